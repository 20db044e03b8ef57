"""A discrete Gaussian over the whole numbers from 0 up, by an exact table of integers."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.noise.words import Words

Integers = NDArray[np.int64]

# A word's first bits name a bucket, nearly all of which lie between two thresholds.
_GUIDE_BITS = 14
_SHIFT = np.uint64(64 - _GUIDE_BITS)
# Digits with which thresholds are computed first, and those that are not relied on.
_DIGITS, _SPARE = 60, 10


class HalfGaussian:
    """Samples of P(y) proportional to exp(-y^2 / (2 s^2)), y = 0, 1, 2, ...

    Exact: with G_j = P(Y > j) and U uniform on [0, 1), y is the number of j with U < G_j. A
    word is the first 64 bits of U, the table holds the first 64 of each G_j, from decimal
    arithmetic of 60 digits. Where a word equals one of them, or is 0, they do not decide, and
    more bits of both are computed until they do: about one word in 2^56.

    Parameters
    ----------
    deviation : float
        s, at most 32; taken as the rational number that a float is.
    """

    def __init__(self, deviation: float) -> None:
        self._variance = Fraction(deviation) ** 2
        self._thresholds = _thresholds(self._variance)
        buckets = np.arange(2**_GUIDE_BITS, dtype=np.uint64)
        guide = self._rank(buckets << _SHIFT)
        undecided = self._thresholds >> _SHIFT
        guide[np.append(undecided, np.uint64(0)).astype(np.intp)] = -1
        self._guide = guide.astype(np.int16)

    def draw(self, words: Words, size: int) -> Integers:
        """Return samples; shape (size,)."""
        bits = words.take(size)
        found = self._guide[(bits >> _SHIFT).astype(np.intp)].astype(np.int64)
        unsure = np.flatnonzero(found < 0)
        among = bits[unsure]
        found[unsure] = self._rank(among)
        ties = np.isin(among, self._thresholds) | (among == 0)
        for place in unsure[ties]:
            found[place] = self.decide(int(bits[place]), words)
        return found

    def decide(self, word: int, words: Words) -> int:
        """Return the sample whose U begins with a word, by as many more bits as it takes."""
        number, bits = word, 64
        while True:
            number, bits = words.more(number), bits + 64
            digits = bits // 3 + _SPARE
            with localcontext() as context:
                context.prec = digits + 2 * _SPARE
                low, width = Decimal(number) / 2**bits, Decimal(1) / 2**bits
                error = Decimal(10) ** -digits
                tails = _tails(self._variance, digits)
                above = sum(tail - error >= low + width for tail in tails)
                # What lies beyond the last tail is smaller than the error.
                if low > error and above == sum(tail + error > low for tail in tails):
                    return above

    def _rank(self, bits: NDArray[np.uint64]) -> Integers:
        """Return how many thresholds are above each word."""
        below = np.searchsorted(self._thresholds, bits, side="right")
        return (len(self._thresholds) - below).astype(np.int64)


@lru_cache(maxsize=8)
def half_gaussian(deviation: float) -> HalfGaussian:
    """Return the table of a deviation; kept, for a run has few."""
    return HalfGaussian(deviation)


def _thresholds(variance: Fraction) -> NDArray[np.uint64]:
    """Return floor(2^64 G_j) where it is above 0, ascending."""
    digits = _DIGITS
    while True:
        with localcontext() as context:
            context.prec = digits + 2 * _SPARE
            scaled = [tail * 2**64 for tail in _tails(variance, digits)]
            error = Decimal(10) ** (20 - digits)
            floors = [int(value + error) for value in scaled]
            if floors == [int(max(value - error, 0)) for value in scaled]:
                return np.array([f for f in reversed(floors) if f], dtype=np.uint64)
        digits *= 2


def _tails(variance: Fraction, digits: int) -> list[Decimal]:
    """Return G_0, G_1, ... to within 10^-digits, until they are below that.

    The weights follow from one exponential b = exp(-1/(2 v)): each is the one before times
    b^(2y+1). A thousand products of ``digits + 20`` digits are right to ``digits + 16``.
    """
    with localcontext() as context:
        context.prec = digits + 2 * _SPARE
        base = (-Decimal(variance.denominator) / Decimal(2 * variance.numerator)).exp()
        least = Decimal(10) ** -(digits + _SPARE)
        weight, ratio, weights = Decimal(1), base, list[Decimal]()
        while weight > least:
            weights.append(weight)
            weight, ratio = weight * ratio, ratio * base * base
        tails, total = list[Decimal](), Decimal(0)
        for weight in reversed(weights):
            tails.append(total)
            total += weight
        return [tail / total for tail in reversed(tails)]
