"""The finest integer grid for a modulus.

Lengths are in units of the clip norm, unless they are said to be in grid steps.
"""

from __future__ import annotations

import math

import numpy as np


def grid_step(
    modulus_bits: int,
    deviations: float,
    signal_norm: float,
    block: int,
    num_contributions: int,
    share_deviation: float,
) -> float:
    """Return the step g of the grid on which the sum just fits the modulus.

    Kairouz et al. 2021 (arXiv 2102.06387), section 5, with flatness rho = 1: the modulus spans
    k standard deviations to either side of one rotated number of the sum,
    g 2^b = 2 k sqrt(S^2 / m + n (g^2/4 + s^2)), solved for g:
    g^2 (4^b / (4 k^2) - n/4) = S^2 / m + n s^2.

    Parameters
    ----------
    modulus_bits : int
        b.
    deviations : float
        k.
    signal_norm : float
        S, a bound on the L2 norm of the sum before noise; n if all clients pull one way.
    block : int
        m, numbers that one rotation mixes; 1 for no rotation.
    num_contributions : int
        n, how many are rounded, each with its share of the noise.
    share_deviation : float
        s, standard deviation of one share; 0 for none.

    Raises
    ------
    ValueError
        If a value is out of range, or the rounding alone fills the modulus.
    """
    positive = {"deviations": deviations, "signal_norm": signal_norm}
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: must be finite and above 0")
    if not 0 <= share_deviation < math.inf:
        raise ValueError(f"share_deviation={share_deviation}: must be finite and at least 0")
    _check_counts(modulus_bits=modulus_bits, block=block, num_contributions=num_contributions)
    room = 4.0**modulus_bits / (4 * deviations**2) - num_contributions / 4
    if room <= 0:
        raise ValueError(
            f"modulus_bits={modulus_bits} is too small for {num_contributions} contributions "
            f"and {deviations} deviations: rounding alone fills the modulus; take more bits, "
            "fewer contributions or fewer deviations"
        )
    return math.sqrt((signal_norm**2 / block + num_contributions * share_deviation**2) / room)


def wrap_probability(
    modulus_bits: int,
    step: float,
    signal_norm: float,
    block: int,
    dimension: int,
    num_contributions: int,
    share_deviation: float,
) -> float:
    """Return a bound on the chance that any number of a noisy sum passes the modulus.

    Parameters
    ----------
    modulus_bits, signal_norm, block, num_contributions, share_deviation
        See ``grid_step``.
    step : float
        The step of the grid.
    dimension : int
        How many numbers the sum has, padding included.

    Returns
    -------
    float
        At most 1. A bound, often far above the truth: it is 1 for the papers' own settings of
        three or four deviations and a million numbers, where some do wrap.

    Notes
    -----
    In grid steps, with V = n (s/g)^2, U = (S/g)^2 / m and T = 2^(b-1) - n, the bound is
    2 d min_t exp(U t^2 / 2 + V (cosh t - 1) - t T): a union over d numbers and two sides of
    Chernoff's bound. It assumes that

    * the signal's signs are flipped at random, so that a rotated number is sub-Gaussian with
      variance proxy S^2/m (Hoeffding), for a signal that does not depend on the signs;
    * rounding moves each contribution by at most one step, whichever way and however it is
      conditioned: n steps in the worst case;
    * the noise is Skellam, whose moments V (cosh t - 1) is exact for, or discrete Gaussian,
      for which V t^2 / 2 is a bound (completing the square leaves a sum over a shifted grid,
      which is largest unshifted) and this a larger one; not Laplace.
    """
    if not 0 < step < math.inf:
        raise ValueError(f"step={step}: must be finite and above 0")
    _check_counts(
        modulus_bits=modulus_bits,
        block=block,
        dimension=dimension,
        num_contributions=num_contributions,
    )
    room = 2.0 ** (modulus_bits - 1) - num_contributions
    signal = (signal_norm / step) ** 2 / block
    noise = num_contributions * (share_deviation / step) ** 2
    if room <= 0:
        return 1.0
    if signal + noise == 0:
        return 0.0
    # The best t has U t + V sinh t = T, so it lies between these; any t gives a bound, and none
    # above 300 is tried, lest it overflow.
    ratio = min(room / (signal + noise), 1e300)
    t = np.minimum(np.geomspace(math.asinh(ratio), ratio, 1000), 300.0)
    # cosh t - 1 without loss for small t.
    exponents = signal * t**2 / 2 + noise * 2 * np.sinh(t / 2) ** 2 - t * room
    return min(1.0, 2 * dimension * math.exp(min(0.0, float(exponents.min()))))


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
