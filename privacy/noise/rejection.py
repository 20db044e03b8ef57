"""Rejection sampling of arrays of integers: the parts of the samplers.

Canonne, Kamath, Steinke 2020 (arXiv 2004.00010), algorithms 1 to 3. Not meant to be called from
anywhere but ``samplers``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Arrays of this length stay in the processor's cache.
_BATCH = 2**16


def from_laplace(
    size: int, scale: int, cost: Callable[[Integers], Floats], rng: np.random.Generator
) -> Integers:
    """Sample P(y) proportional to exp(-abs(y) / scale - cost(y)); costs are at least 0."""

    def propose(num: int) -> Integers:
        y = laplace_attempts(num, scale, 0, rng)
        return y[exp_coins(cost(y), rng)]

    return collect(size, propose)


def collect(size: int, propose: Callable[[int], Integers]) -> Integers:
    """Call ``propose``, which keeps some of the attempts asked for, until all are there."""
    if size < 0:
        raise ValueError(f"size={size}: must not be negative")
    samples = np.empty(size, np.int64)
    done = 0
    while done < size:
        kept = propose(min(2 * (size - done) + 16, _BATCH))[: size - done]
        samples[done : done + kept.size] = kept
        done += kept.size
    return samples


def laplace_attempts(
    num: int, numerator: int, shift: int, rng: np.random.Generator
) -> Integers:
    """Make ``num`` attempts at algorithm 2 for the scale numerator / 2**shift; return the kept.

    U + numerator * V stays below 2**63 unless V, which is v with probability below e^-v,
    reaches 2**10.
    """
    u = rng.integers(0, numerator, num)
    u = u[rng.random(num) < np.exp(-u / numerator)]
    magnitude = (u + numerator * _geometric(u.size, rng)) >> shift
    negative = rng.integers(0, 2, u.size, dtype=np.bool_)
    # Zero has one sign, or it would be twice as likely as it should be.
    kept = ~(negative & (magnitude == 0))
    return np.where(negative, -magnitude, magnitude)[kept]


def _geometric(num: int, rng: np.random.Generator) -> Integers:
    """Count heads before the first tail, heads with probability 1/e.

    One coin after the other: numpy's sampler inverts one 53-bit uniform and so stops at 37,
    which would cut the Laplace distribution off.
    """
    heads = np.zeros(num, np.int64)
    going = np.arange(num)
    while going.size:
        going = going[rng.random(going.size) < math.exp(-1)]
        heads[going] += 1
    return heads


def exp_coins(cost: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Toss a coin with P(heads) = exp(-cost) for each cost >= 0 (algorithm 1).

    One coin for the fraction and one for each whole e^-1, so that a small probability is as
    accurate as a large one; a single 53-bit uniform knows nothing below 2**-53.
    """
    whole = np.floor(cost)
    heads = rng.random(cost.size) < np.exp(whole - cost)
    open_ones = np.flatnonzero(heads & (whole > 0))
    heads[open_ones] = _geometric(open_ones.size, rng) >= whole[open_ones]
    return heads
