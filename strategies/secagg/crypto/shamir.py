"""Shamir secret sharing of 32-byte seeds over the prime 2^256 + 297.

Shamir, How to share a secret, CACM 1979. The prime is the smallest above 2^256, so every
32-byte seed is a field element and an element takes 33 bytes. Member number i of a
neighbourhood holds the point x = i >= 1; x = 0 is the secret.

Python integers are not constant-time. The protocol shows the server no timing of single
operations, and every seed lives for one attempt.
"""

from collections.abc import Callable, Sequence
from math import prod
from operator import mul

import numpy as np

PRIME = 2**256 + 297
SEED_BYTES = 32
ELEMENT_BYTES = 33


def split(
    seed: bytes, threshold: int, points: Sequence[int], random_bytes: Callable[[int], bytes]
) -> list[bytes]:
    """Share a seed so that any `threshold` shares give it back and fewer tell nothing.

    Parameters
    ----------
    seed : bytes
        32 bytes.
    threshold : int
        Shares needed, at least 1 and at most the number of points.
    points : sequence of int
        Distinct x coordinates from 1 up, one for each holder.
    random_bytes : callable
        ``random_bytes(n)`` gives n uniform secret bytes.

    Returns
    -------
    list of bytes
        The 33-byte share for each point, in order.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"threshold {threshold} is not between 1 and {len(points)} points")
    if len(set(points)) != len(points) or min(points) < 1:
        raise ValueError("points must be distinct and at least 1")
    # 64 bytes modulo a 257-bit prime: within 2^-255 of uniform.
    raw = random_bytes(64 * (threshold - 1))
    high = [int.from_bytes(raw[i : i + 64], "big") % PRIME for i in range(0, len(raw), 64)]
    secret = int.from_bytes(seed, "big")
    return [_evaluate(secret, high, x).to_bytes(ELEMENT_BYTES, "big") for x in points]


def _evaluate(secret: int, high: Sequence[int], x: int) -> int:
    # Small x: one reduction at the end is cheaper than one at every step.
    value = 0
    for coefficient in high:
        value = (value + coefficient) * x
    return (value + secret) % PRIME


def coefficients(points: Sequence[int]) -> list[int]:
    """Return the Lagrange coefficients at zero for the given distinct points.

    They depend on who answers only, so one call serves every seed that the same holders
    give back. Cost is quadratic in the number of points with one modular inverse.
    """
    if len(set(points)) != len(points) or min(points) < 1:
        raise ValueError("points must be distinct and at least 1")
    numerator = prod(points) % PRIME
    factors = _differences(points, points)
    denominators = [x * prod(row) % PRIME for x, row in zip(points, factors, strict=True)]
    return [numerator * inverse % PRIME for inverse in _invert_all(denominators)]


def coefficients_of_part(
    part: Sequence[int], points: Sequence[int], lagrange: Sequence[int]
) -> list[int]:
    """Return the Lagrange coefficients at zero for some of the points, from those for all.

    Each lacks a factor m / (m - x) for every point m that is left out, so that the cost is the
    number of points in the part times the number of those left out.

    Parameters
    ----------
    part : sequence of int
        Distinct, of `points`.
    points : sequence of int
        Distinct, at least 1.
    lagrange : sequence of int
        What `coefficients` gives for `points`.
    """
    known, left_out = dict(zip(points, lagrange, strict=True)), [*{*points}.difference(part)]
    scale = pow(prod(left_out), -1, PRIME)
    factors = _differences(part, left_out)
    return [
        known[x] * (scale * prod(row)) % PRIME for x, row in zip(part, factors, strict=True)
    ]


def _differences(points: Sequence[int], others: Sequence[int]) -> list[list[int]]:
    """Return for each point the product of what others are more than it, in a few factors.

    A difference of 0 is left out: a point's to itself. Points are small, so that several
    differences have a product of 63 bits: Python has that fewer multiplications of long
    integers to do.
    """
    at_once = max(1, 63 // max((*points, *others)).bit_length())
    padded = np.ones((len(points), (len(others) // at_once + 1) * at_once), np.int64)
    between = padded[:, : len(others)]
    xs, ms = (np.array(part, np.int64) for part in (points, others))
    np.subtract(ms, xs[:, None], out=between)
    between[between == 0] = 1
    return padded.reshape(len(points), -1, at_once).prod(axis=2).tolist()


def _invert_all(values: Sequence[int]) -> list[int]:
    # Montgomery's trick: one inverse for the product, two multiplications for each value.
    prefix = [1]
    for value in values:
        prefix.append(prefix[-1] * value % PRIME)
    running = pow(prefix[-1], -1, PRIME)
    inverses = [0] * len(values)
    for i in range(len(values) - 1, -1, -1):
        inverses[i] = running * prefix[i] % PRIME
        running = running * values[i] % PRIME
    return inverses


def is_element(share: bytes) -> bool:
    """Say whether `share` is the 33-byte encoding of a field element."""
    return len(share) == ELEMENT_BYTES and int.from_bytes(share, "big") < PRIME


def combine(lagrange: Sequence[int], shares: Sequence[bytes]) -> bytes | None:
    """Return the 32-byte seed, or None where the shares do not meet in a seed.

    `lagrange` comes from `coefficients` for the points of `shares`, in the same order. A
    result is not proof of honesty: check it against the public key or the commitment.
    """
    if len(lagrange) != len(shares):
        raise ValueError(f"{len(shares)} shares for {len(lagrange)} coefficients")
    secret = sum(map(mul, lagrange, map(int.from_bytes, shares))) % PRIME
    return secret.to_bytes(SEED_BYTES, "big") if secret < 2**256 else None
