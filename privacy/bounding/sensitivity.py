"""Bounds on how far one unit can move a vector of integers, in steps of the grid."""

from __future__ import annotations

import math


def rounded_l2(norm: float, step: float, dimension: int, beta: float) -> float:
    """Return the L2 bound of ``rounding.conditional``, for one client's vector.

    The square root of
    min{(C/g + sqrt d)^2, (C/g)^2 + d/4 + sqrt(2 ln(1/beta)) (C/g + sqrt(d)/2)}:
    Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), algorithm 1 and proposition 22; Agarwal,
    Kairouz, Liu 2021 (arXiv 2110.04995). A rounding stays within it with probability at least
    1 - beta.

    Parameters
    ----------
    norm : float
        C, the clip norm; above 0, in the units of the vector.
    step : float
        g, the grid's step, in the same units; above 0.
    dimension : int
        d, length of the rounded vector, padding included.
    beta : float
        In [0, 1); 0 never rejects.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    length = _in_steps(norm, step, dimension)
    if not 0 <= beta < 1:
        raise ValueError(f"beta={beta}: must be in [0, 1)")
    root = math.sqrt(dimension)
    certain = (length + root) ** 2
    if beta == 0:
        return math.sqrt(certain)
    spread = math.sqrt(-2 * math.log(beta)) * (length + root / 2)
    return math.sqrt(min(certain, length**2 + dimension / 4 + spread))


def rounded_l1(l2: float, dimension: int) -> float:
    """Return the L1 bound of an integer vector: l2 min(sqrt d, l2).

    The first by Cauchy and Schwarz; the second because an integer is at most its square.
    Papers as ``rounded_l2``. It goes with either rounding.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    _check("l2", l2)
    _check("dimension", dimension)
    return l2 * min(math.sqrt(dimension), l2)


def dithered_l2(norm: float, step: float, dimension: int, rotated: int = 0) -> float:
    """Return the L2 bound of ``rounding.dithered``, for a sum: C/g + sqrt d + 2^-10 sqrt N.

    Given the dither, each coordinate of the rounded sum moves by less than one step more than
    that of the sum itself; the triangle inequality (privacy.md, section 3). One record can
    change every rounding, so nothing smaller holds. The 2^-10 is what float64 may lose where a
    sum of up to ``noise_grid.MOST_STEPS`` is projected and rotated: (log2 block + 4) 2^-53 and
    30 2^-53 of it, twice. Where only d of N rotated entries are kept and rounded, all of that
    loss may be in them.

    Parameters
    ----------
    norm : float
        C, how far one unit moves the sum; above 0, in the units of the vector.
    step : float
        g, the grid's step, in the same units; above 0.
    dimension : int
        d, length of the rounded vector, padding included.
    rotated : int, optional
        N, length of the vector that was rotated, of which d entries are kept; d unless given.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    lost = 2.0**-10 * math.sqrt(max(dimension, rotated))
    return _in_steps(norm, step, dimension) + math.sqrt(dimension) + lost


def _in_steps(norm: float, step: float, dimension: int) -> float:
    _check("norm", norm)
    _check("step", step)
    _check("dimension", dimension)
    return norm / step


def _check(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value}: must be finite and above 0")
