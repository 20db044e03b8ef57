"""Which values of a polynomial are false: decoding a Reed-Solomon code by its syndromes.

Berlekamp and Massey, IEEE Transactions on Information Theory 15 (1969). In Python's integers:
it is needed only where somebody has lied, for one word and not for every polynomial.
"""

from collections.abc import Sequence
from math import prod


def false_places(
    points: Sequence[int], word: Sequence[int], num_true: int, prime: int
) -> frozenset[int]:
    """Return where a word differs from the values of a polynomial of degree below t.

    Parameters
    ----------
    points : sequence of int
        Where the values are taken: distinct modulo the prime, none of them 0.
    word : sequence of int
        The values, modulo the prime.
    num_true : int
        t.
    prime : int
        The field.

    Returns
    -------
    frozenset of int
        Places in the word: at most half of what is more than t. Empty if none is false, and
        also if more are than can be told.
    """
    redundancy = len(points) - num_true
    scaled = [
        value * pow(prod(x - other for other in points if other != x), -1, prime) % prime
        for x, value in zip(points, word, strict=True)
    ]
    syndromes: list[int] = []
    for _ in range(redundancy):
        syndromes.append(sum(scaled) % prime)
        scaled = [value * x % prime for value, x in zip(scaled, points, strict=True)]
    locator = _shortest_recurrence(syndromes, prime)
    num_false = len(locator) - 1
    if 2 * num_false > redundancy:
        return frozenset()
    roots = {
        at for at, x in enumerate(points) if _value(locator, pow(x, -1, prime), prime) == 0
    }
    return frozenset(roots) if len(roots) == num_false else frozenset()


def _shortest_recurrence(sequence: Sequence[int], prime: int) -> list[int]:
    """Return the connection polynomial of a sequence, its constant term first."""
    current, before = [1], [1]
    length, gap, last = 0, 1, 1
    for at in range(len(sequence)):
        terms = (current[i] * sequence[at - i] for i in range(min(length, at) + 1))
        wrong = sum(terms) % prime
        if wrong == 0:
            gap += 1
            continue
        factor = wrong * pow(last, -1, prime) % prime
        shifted = [0] * gap + [factor * value for value in before]
        size = max(len(current), len(shifted))
        padded = [part + [0] * (size - len(part)) for part in (current, shifted)]
        changed = [(a - b) % prime for a, b in zip(*padded, strict=True)]
        if 2 * length <= at:
            before, last, length, gap = current, wrong, at + 1 - length, 1
        else:
            gap += 1
        current = changed
        current += [0] * (length + 1 - len(current))
    return current[: length + 1]


def _value(coefficients: Sequence[int], x: int, prime: int) -> int:
    found = 0
    for coefficient in reversed(coefficients):
        found = (found * x + coefficient) % prime
    return found
