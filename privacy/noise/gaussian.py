"""The discrete Gaussian at any scale: a table for the coarse part, a uniform for the fine."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from privacy.noise.half_gaussian import half_gaussian
from privacy.noise.rejection import Floats, Integers, collect
from privacy.noise.words import Words

# The table's deviation is below 2^5, so one proposal in thirty is refused.
_TABLE_BITS = 5
# Thirty times what float64 can be wrong by here: the cost is under 1, so below 1e-15.
_MARGIN = 2.0**-45


def gaussian(sigma: float, size: int, words: Words) -> Integers:
    """Sample P(x) proportional to exp(-x^2 / (2 sigma^2)) over the integers, exactly.

    With k a power of 2: y from 0 up with deviation sigma/k by the table, u uniform below k, and
    k y + u is kept with probability exp(-u (u + 2 k y) / (2 sigma^2)); then a sign, and of a
    negative zero nothing (Ducas et al. 2013, "Lattice Signatures and Bimodal Gaussians",
    algorithm 11). Every decision compares as many bits of a uniform number as it takes, so
    given uniform words the law is this one and not one near it.
    """
    shift = max(0, math.frexp(sigma)[1] - _TABLE_BITS)
    table = half_gaussian(math.ldexp(sigma, -shift))
    mask = np.uint64((1 << shift) - 1)

    def propose(num: int) -> Integers:
        y, bits = table.draw(words, num), words.take(num)
        negative = (bits >> np.uint64(63)).astype(np.bool_)
        fine = (bits & mask).astype(np.int64)
        x = (y << shift) + fine
        kept = ~(negative & (x == 0))
        if shift:
            kept &= _coins(fine, (x << 1) - fine, sigma, words)
        return np.where(negative, -x, x)[kept]

    return collect(size, propose)


def _coins(one: Integers, other: Integers, sigma: float, words: Words) -> NDArray[np.bool_]:
    """Toss coins with P(heads) = exp(-one * other / (2 sigma^2))."""
    cost: Floats = one.astype(np.float64) * other.astype(np.float64) * (0.5 / sigma / sigma)
    chance, bits = np.exp(-cost), words.take(len(one))
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    heads = uniform < chance
    for place in np.flatnonzero(np.abs(uniform - chance) < _MARGIN):
        exact = Fraction(int(one[place]) * int(other[place])) / (2 * Fraction(sigma) ** 2)
        heads[place] = exact_coin(int(bits[place]), exact, words)
    return heads


def exact_coin(word: int, cost: Fraction, words: Words) -> bool:
    """Return whether the uniform number that begins with a word is below exp(-cost)."""
    if not cost:
        return True
    number, bits = word, 64
    while True:
        digits = bits // 3 + 10
        with localcontext() as context:
            context.prec = digits + 10
            chance = (-Decimal(cost.numerator) / Decimal(cost.denominator)).exp()
            low, error = Decimal(number) / 2**bits, Decimal(10) ** -digits
            if low + Decimal(1) / 2**bits <= chance - error:
                return True
            if low >= chance + error:
                return False
        number, bits = words.more(number), bits + 64
