"""Unbiased rounding of real coordinates, given in steps of the grid, to integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Coordinates must be smaller than this, so that noise can be added within int64.
LARGEST = 2.0**61


def dithered(x: Floats, rng: np.random.Generator) -> Integers:
    """Round x to floor(x + u), u uniform on (0, 1] and independent of x.

    Unbiased, each coordinate by itself. The dither of subtractive quantisation, kept in: for
    a *fixed* u this is a function of x alone, which is what makes a bound for sums possible.

    Guarantees
    ----------
    Unit: a record or a client, whoever moves x by at most C steps in L2. Neighbours: the
    relation that C is for. Sensitivity: given u, one coordinate moves by less than its own
    change plus one, so ``sensitivity.dithered_l2`` (privacy.md, section 3).
    Assumes that u is independent of the data and that nothing is drawn again because of it.

    Parameters
    ----------
    x : Floats
        Any shape; finite, magnitudes below 2**61. Above 2**53 all floats are integers.
    rng : np.random.Generator
        From ``secure_generator``.

    Returns
    -------
    Integers
        Same shape.

    Raises
    ------
    ValueError
        If a coordinate is not finite or too large.
    """
    _check(x)
    # x + u itself would be rounded by the processor; the fraction is exact. With v = 1 - u in
    # [0, 1): floor(x + u) = floor(x) + 1 exactly where v < fraction, except that u = 1 and an
    # integer x, which have probability 2**-53, give x.
    whole = np.floor(x)
    return whole.astype(np.int64) + (rng.random(x.shape) < x - whole)


def conditional(
    x: Floats, max_norm: float, rng: np.random.Generator, *, max_attempts: int = 1000
) -> Integers:
    """Round x without bias again and again until the L2 norm is at most ``max_norm``.

    Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), algorithm 1 and proposition 22; Agarwal,
    Kairouz, Liu 2021 (arXiv 2110.04995). Conditioning brings a small bias, which the papers
    bound by beta.

    Guarantees
    ----------
    Unit: one client, whose whole contribution x is. Neighbours: the contribution replaced by
    zero. Sensitivity: the norm of the result, at most ``max_norm``, always. Assumes that x was
    clipped to C and ``max_norm`` is ``sensitivity.rounded_l2(C, ...)``: then an attempt
    succeeds with probability at least 1 - beta. Not for sums of several units' values: the
    bound would not hold for the difference (privacy.md, section 3). The number of attempts,
    hence the time, depends a little on x.

    Parameters
    ----------
    x : Floats
        Shape (d,); finite, magnitudes below 2**61.
    max_norm : float
        In steps of the grid.
    rng : np.random.Generator
        From ``secure_generator``.
    max_attempts : int
        After so many failures x must have been longer than ``max_norm`` allows for.

    Raises
    ------
    ValueError
        If a coordinate is not finite or too large, ``max_norm`` is negative or not a number, or
        the attempts are used up.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm={max_norm}: must be at least 0")
    for _ in range(max_attempts):
        rounded = dithered(x, rng)
        if _square_norm_bound(rounded) <= max_norm * max_norm:
            return rounded
    # The message says nothing of x, which is data.
    raise ValueError(
        f"max_norm={max_norm}: missed by {max_attempts} roundings; clip the vector to the norm "
        "that the bound was computed from"
    )


def _square_norm_bound(vector: Integers) -> float:
    """Return the sum of squares, rounded up past all that float64 can have lost."""
    total = float(np.sum(np.square(vector, dtype=np.float64)))
    # Below 2**53 every partial sum was an exact integer.
    return total if total < 2.0**53 else total * (1 + (vector.size + 4) * 2.0**-52)


def _check(x: Floats) -> None:
    # Not a number compares as false. The message names no value: it would be data.
    if not float(np.max(np.abs(x), initial=0.0)) < LARGEST:
        raise ValueError("a coordinate to round is not finite, or 2**61 or more; clip first")
