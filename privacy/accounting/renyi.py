"""Renyi differential privacy curves of noisy sums of integers.

Everything here is exact arithmetic on public numbers: numpy only, a few milliseconds.
Orders are integers from 2 up, where every theorem used below holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.plan.release import Mechanism, Neighbours, Release

Array = NDArray[np.float64]

#: Beyond this a ratio of lengths or a divergence is called infinite, lest squares overflow.
_HUGE = 1e60


def _orders() -> tuple[int, ...]:
    largest, ratio = 8192, 1.08
    num_large = math.ceil(math.log(largest / 128) / math.log(ratio))
    return (*range(2, 129), *(round(128 * ratio**i) for i in range(1, num_large)), largest)


#: Every integer to 128 and then steps of 8%, which cost at most 0.1% of epsilon: enough for
#: epsilon from 0.01 up at any delta in use.
ORDERS: tuple[int, ...] = _orders()


def curve(release: Release, orders: Sequence[float] = ORDERS) -> Array:
    """Return the Renyi divergences that bound one release, all of its steps together.

    Parameters
    ----------
    release : Release
        What leaves.
    orders : sequence of float
        Orders, whole numbers from 2 up.

    Returns
    -------
    ndarray of float64, one value for each order
        Infinite where the mechanism promises nothing.

    Raises
    ------
    ValueError
        If an order is no whole number from 2 up, or the release is sampled under the relation
        "replaced by any other", for which no amplification is known here.

    Notes
    -----
    Steps compose by addition (Mironov 2017, arXiv 1702.07476, Proposition 1), adaptive or not.
    """
    if not all(order == int(order) and order >= 2 for order in orders):
        raise ValueError(f"orders={tuple(orders)}: must be whole numbers from 2 up")
    check_sampling(release)
    one = _unsampled(release, np.asarray(orders, dtype=np.float64))
    if release.sampling_rate < 1 and one.min() > 0 and one.max() < _HUGE:
        # Sampling never hurts: the divergence is quasi-convex (van Erven and Harremoes 2014,
        # Theorem 13), so the unsampled curve stays a bound.
        one = np.minimum(one, _sampled(release, [int(order) for order in orders]))
    return release.num_steps * one


def _unsampled(release: Release, alphas: Array) -> Array:
    if release.noise_scale * _HUGE < max(1.0, release.l1_sensitivity, release.l2_sensitivity):
        return np.full_like(alphas, np.inf)
    return _CURVES[release.mechanism](release, alphas)


def check_sampling(release: Release) -> None:
    """Refuse sampling under the relation that it does not amplify here.

    Raises
    ------
    ValueError
        If the release is sampled and its neighbours are ``REPLACE``.
    """
    if release.neighbours is Neighbours.REPLACE and release.sampling_rate != 1:
        raise ValueError(
            f"sampling_rate={release.sampling_rate}: must be 1 where a contribution is "
            "replaced by any other; set it to 1, or protect by zeroing out"
        )


def laplace_loss(release: Release) -> float:
    r"""Return the largest privacy loss of a continuous Laplace mechanism that dominates ours.

    Discrete Laplace noise of parameter b under an integer shift D is dominated (each of its
    hockey-stick divergences is at most as large) by continuous Laplace noise with largest loss
    D/b + 2 ln cosh(1/(2b)).

    Notes
    -----
    With x = D/b the continuous mechanism has delta(e) = 1 - exp((e - x)/2) for \|e\| <= x. The
    discrete one has the same value at e = x - 2m/b for integers m and is linear in exp(e)
    between: with s = exp(e/2) between s0 and s1 = s0 exp(1/b) its 1 - delta is exp(-x/2)
    (s^2 + s0 s1)/(s0 + s1), which is at least exp(-x/2) s / cosh(1/(2b)) since s + s0 s1/s >=
    2 sqrt(s0 s1). A shift spread over coordinates is no worse than one of the same L1 length in
    a single one: delta_{x,y}(e) is a mean of delta_y(e - L) over losses L <= x, so at most
    delta_y(e - x), which is delta_{x+y}(e) while \|e - x\| <= y; the coordinates can be named
    so that this holds. With fine grids the second term is nothing: 1/(4 b^2).
    """
    scale = release.noise_scale
    half = 0.5 / scale
    # ln cosh, for arguments of any size.
    log_cosh = (
        half + math.log1p(math.exp(-2 * half)) - math.log(2) if half > 1e-3 else half**2 / 2
    )
    return release.l1_sensitivity / scale + 2 * log_cosh


def _gaussian(release: Release, alphas: Array) -> Array:
    """Return a D2^2 / (2 s^2), the continuous and the discrete Gaussian's curve alike.

    Canonne, Kamath and Steinke 2020 (arXiv 2004.00010), Proposition 5 and Theorem 14.
    """
    return alphas * (release.l2_sensitivity / release.noise_scale) ** 2 / 2


def _laplace(release: Release, alphas: Array) -> Array:
    """Return the Laplace curve: Mironov 2017 (arXiv 1702.07476), Proposition 6.

    With x the largest loss: ln[a/(2a-1) e^{(a-1)x} + (a-1)/(2a-1) e^{-ax}] / (a-1). No order
    exceeds the largest loss of the discrete noise itself, D1/b.
    """
    loss = laplace_loss(release)
    inner = (alphas - 1) / (2 * alphas - 1) * np.expm1(-(2 * alphas - 1) * loss)
    renyi = loss + np.log1p(inner) / (alphas - 1)
    return np.minimum(renyi, release.l1_sensitivity / release.noise_scale)


def _skellam(release: Release, alphas: Array) -> Array:
    """Return the Skellam curve: Agarwal et al. 2021 (arXiv 2110.04995), Theorem 3.5.

    With m the variance of all of the noise, at integer orders and for integer vectors:
    a D2^2/(2m) + min{((2a-1) D2^2 + 6 D1)/(4 m^2), 3 D1/(2m)}. The theorem is for one
    coordinate; a sum of minima is at most the minimum of the sums.
    """
    scale = release.noise_scale
    l1, l2 = release.l1_sensitivity / scale / scale, release.l2_sensitivity / scale
    first = ((2 * alphas - 1) * l2**2 + 6 * l1) / 4 / scale / scale
    return alphas * l2**2 / 2 + np.minimum(first, 1.5 * l1)


def sum_tau(release: Release) -> float:
    """Return tau: how far the law of n summed shares is from one discrete Gaussian's.

    10 sum_{k=1}^{n-1} exp(-2 pi^2 s0^2 k/(k+1)) for shares of deviation s0 >= 1/2, in both
    max-divergences, for each number: Kairouz et al. 2021 (arXiv 2102.06387), Theorem 9.
    """
    k = np.arange(1, release.num_shares, dtype=np.float64)
    share_variance = release.noise_scale * (release.noise_scale / release.num_shares)
    return 10 * float(np.exp(-2 * math.pi**2 * share_variance * k / (k + 1)).sum())


def _distributed_discrete_gaussian(release: Release, alphas: Array) -> Array:
    """Return the curve of a sum of discrete Gaussians: Kairouz et al. 2021 (arXiv 2102.06387).

    Theorem 1 and Proposition 14, n shares, s^2 their variance together, and ``sum_tau``: the
    least of a D2^2/(2s^2) + tau d, a/2 (D2^2/s^2 + 2 tau D1/s + tau^2 d) and
    a/2 (D2/s + tau sqrt d)^2. It needs shares of s0 >= 1/2; below, nothing is promised.

    Notes
    -----
    The first bound holds from order 2 up: a probability of the sum and one of the single
    discrete Gaussian differ by a factor in [e^-u, e^v] with u + 2v <= 6.2/10 tau, and such
    factors add at most u + v + v/(a-1) for each coordinate.
    """
    l1, l2 = release.l1_sensitivity, release.l2_sensitivity
    scale, num_shares, dim = release.noise_scale, release.num_shares, release.dimension
    if num_shares > 1 and scale * scale / num_shares < 0.25:
        return np.full_like(alphas, np.inf)
    tau, ratio = sum_tau(release), l2 / scale
    bounds = (
        alphas / 2 * ratio**2 + tau * dim,
        alphas / 2 * (ratio**2 + 2 * tau * l1 / scale + tau**2 * dim),
        alphas / 2 * (ratio + tau * math.sqrt(dim)) ** 2,
    )
    return np.minimum.reduce(bounds)


_CURVES: dict[Mechanism, Callable[[Release, Array], Array]] = {
    Mechanism.GAUSSIAN: _gaussian,
    Mechanism.LAPLACE: _laplace,
    Mechanism.SKELLAM: _skellam,
    Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN: _distributed_discrete_gaussian,
}


def _sampled(release: Release, orders: Sequence[int]) -> Array:
    r"""Return the curve of a Poisson sampled release, from the curve e() of the unsampled one.

    At integer orders a and rate q: ln[(1-q)^{a-1} (aq-q+1)
    + sum_{l=2}^a C(a,l) (1-q)^{a-l} q^l e^{(l-1) e(l)}] / (a-1), without the factor 3 of Zhu
    and Wang 2019, Theorem 5, for any noise.

    Guarantees
    ----------
    Both directions, for noise with p(-x) = p(x), which all of ours is, integer shifts D, add or
    remove or zero out, and Poisson sampling. Not for ``REPLACE``, nor for samples of a fixed
    size. Assumes the coin b ~ Bernoulli(q) independent of the noise and of all else.

    Notes
    -----
    Let m0 = p, m1 = p(. - D), m = (1-q) m0 + q m1. The sum is exp((a-1) R_a(m || m0)) by the
    binomial theorem. The other direction is no larger, at every real a > 1: x -> D - x swaps m0
    and m1. Divide the masses at x and D - x by m0(x): those of m0 are (1, r), those of m
    (u, v) with u = 1 - q + q r, v = (1-q) r + q, so u + v = 1 + r and u v >= r. With
    A = ln u, B = ln(v/r), t = a - 1/2 the pair's part of exp((a-1) R_a(m || m0)) less that of
    the reverse is 2 [sqrt(u) sinh(tA) + sqrt(v r) sinh(tB)], which is 0 at t = 1/2. For r < 1,
    A <= 0 <= B and A + B >= 0, so sinh(tB) / sinh(t |A|) grows with t (x coth x does) and the
    bracket stays at least 0; r > 1 is the same pair seen from D - x. All else that is released
    is mixed in by the joint convexity of exp((a-1) R_a). For Gaussians this is Mironov, Talwar
    and Zhang 2019 (arXiv 1908.10530), section 3.3.

    The binomial weights sum to 1, so what is computed is the excess over 1, term by term
    positive: no digits cancel however small q is.
    """
    rate, top = release.sampling_rate, max(orders)
    counts = np.arange(2, top + 1, dtype=np.float64)
    exponents = (counts - 1) * _unsampled(release, counts)
    # ln(e^x - 1), also of small x.
    with np.errstate(divide="ignore"):
        head = exponents + np.log(-np.expm1(-exponents)) + counts * math.log(rate)
    log_factorials = _log_factorials(top)
    head -= log_factorials[2:]
    tail = (np.arange(top - 1) * math.log1p(-rate) - log_factorials[: top - 1])[::-1]
    values = np.empty(len(orders))
    for i, order in enumerate(orders):
        terms = head[: order - 1] + tail[top - order :]
        largest = terms.max()
        log_excess = log_factorials[order] + largest + math.log(np.exp(terms - largest).sum())
        values[i] = np.logaddexp(0.0, log_excess) / (order - 1)
    return values


@lru_cache(maxsize=8)
def _log_factorials(top: int) -> Array:
    table = np.array([math.lgamma(i + 1) for i in range(top + 1)])
    table.flags.writeable = False
    return table
