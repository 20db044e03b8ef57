"""Bounds on what one unit contributes, and the private search for a good bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clipped:
    """A vector within the bound. All but the vector are secrets, like the data.

    Attributes
    ----------
    vector : Floats
        What may be used; zeros if the input was not finite.
    norm : float
        The norm before; infinite if the input was not finite or the norm overflows.
    was_clipped : bool
        Whether the vector is not the input.
    was_finite : bool
        Whether all coordinates of the input were finite.
    """

    vector: Floats
    norm: float
    was_clipped: bool
    was_finite: bool


def clip_l2(x: NDArray[np.floating], norm: float) -> Clipped:
    """Scale x down to an L2 norm of at most ``norm``, keeping its direction.

    x min(1, C / ||x||): Abadi et al. 2016 (arXiv 1607.00133), algorithm 1.

    Guarantees
    ----------
    Unit: whose vector x is. Neighbours: that vector absent, or zero: sensitivity ``norm``;
    replaced by any other: twice that. The norm of the result is at most ``norm`` both in exact
    arithmetic and as float64 sums it up, in any order. A vector that is not finite becomes
    zeros, as refusing it would reveal data. Assumes nothing of x.

    Parameters
    ----------
    x : NDArray[np.floating]
        Any shape.
    norm : float
        C; finite and above 0.

    Raises
    ------
    ValueError
        If ``norm`` is out of range.
    """
    return _clip(x, norm, lambda units: math.sqrt(float(np.sum(np.square(units)))))


def clip_l1(x: NDArray[np.floating], norm: float) -> Clipped:
    """Scale x down to an L1 norm of at most ``norm``, keeping its direction.

    As ``clip_l2``, whose guarantees hold with L1 for L2; for Laplace noise (Dwork et al. 2006).

    Raises
    ------
    ValueError
        If ``norm`` is out of range.
    """
    return _clip(x, norm, lambda units: float(np.sum(np.abs(units))))


def clip_bit(norm_of_update: float, clip_norm: float) -> float:
    """Return 1/2 if the update's norm is at most the clip norm, else -1/2.

    The centred bit of Andrew et al. 2021 (arXiv 1905.03871), section 2 and algorithm 1.

    Guarantees
    ----------
    Unit: one client. Neighbours: its bit replaced by zero: sensitivity 1/2, which centring
    halves; replaced by any other: 1. Assumes that the bit gets noise of its own, is summed
    under the mask, and is divided by a public number. Not a number counts as above the norm.
    """
    return 0.5 if norm_of_update <= clip_norm else -0.5


def next_clip_norm(
    clip_norm: float,
    sum_of_centred_bits: float,
    divisor: float,
    target_quantile: float,
    learning_rate: float,
) -> float:
    """Return C exp(-eta (b - gamma)), b being the fraction of updates within the clip norm.

    Andrew et al. 2021 (arXiv 1905.03871), section 2: if more updates than the target are
    within the norm, it shrinks. b is the noised sum over the divisor plus 1/2, clamped
    to [0, 1], which only noise can make it leave. Post-processing: costs no privacy.

    Parameters
    ----------
    clip_norm : float
        C of this round; above 0.
    sum_of_centred_bits : float
        Noised sum of ``clip_bit`` over the survivors.
    divisor : float
        Public constant, the expected number of bits; above 0. Fewer bits pull b towards 1/2.
    target_quantile : float
        gamma in [0, 1]: the fraction of updates that should be within the norm.
    learning_rate : float
        eta; at least 0. The paper uses 0.2.

    Raises
    ------
    ValueError
        If an argument is out of range or not finite.
    """
    _check("clip_norm", clip_norm)
    _check("divisor", divisor)
    if not 0 <= target_quantile <= 1:
        raise ValueError(f"target_quantile={target_quantile}: must be in [0, 1]")
    if not 0 <= learning_rate < math.inf:
        raise ValueError(f"learning_rate={learning_rate}: must be finite and at least 0")
    if not math.isfinite(sum_of_centred_bits):
        raise ValueError(f"sum_of_centred_bits={sum_of_centred_bits}: must be finite")
    mean_bit = min(max(sum_of_centred_bits / divisor + 0.5, 0.0), 1.0)
    return clip_norm * math.exp(-learning_rate * (mean_bit - target_quantile))


def _clip(x: NDArray[np.floating], bound: float, norm_of: Callable[[Floats], float]) -> Clipped:
    _check("norm", bound)
    vector = x.astype(np.float64)
    largest = float(np.max(np.abs(vector), initial=0.0))
    if not math.isfinite(largest):
        return Clipped(np.zeros_like(vector), math.inf, was_clipped=True, was_finite=False)
    if largest == 0:
        return Clipped(vector, 0.0, was_clipped=False, was_finite=True)
    # In units of the largest coordinate neither squares nor sums can overflow or vanish.
    units = vector / largest
    norm_in_units = norm_of(units)
    norm = largest * norm_in_units
    # Summing n numbers in any order is off by less than n 2**-53 of the sum; twice, and more,
    # because whoever checks the result sums again.
    limit = bound * (1 - (x.size + 8) * 2.0**-52)
    if norm <= limit:
        return Clipped(vector, norm, was_clipped=False, was_finite=True)
    return Clipped(units * (limit / norm_in_units), norm, was_clipped=True, was_finite=True)


def _check(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value}: must be finite and above 0")
