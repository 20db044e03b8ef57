"""The continuous Gaussian step that stands for one of discrete Gaussian noise."""

from __future__ import annotations

import math

from privacy.accounting.renyi import check_sampling, sum_tau
from privacy.plan.release import Mechanism, Release, Schedule

#: Variance of the random move from a real number to an integer: s^2 with s = 3/2, which the
#: continuous Gaussian has less than the noise.
MOVE_VARIANCE = 9 / 4
#: Least variance of one share: tau is then below 1e-18 for each number and share.
LEAST_SHARE_VARIANCE = 9 / 2
#: Steps in one deviation of ``GAUSSIAN`` noise, which always has far more.
FINE_SCALE = 2.0**20
#: Most that the transfer from continuous to integer noise may add to epsilon.
LARGEST_TRANSFER = 1e-3

# theta of the proof, about 1e-19. The quotient in eta is 1.0 in float64: hence the atanh.
_THETA = 2 * sum(math.exp(-2 * math.pi**2 * MOVE_VARIANCE * k * k) for k in (1, 2, 3))
_ETA = 2 * math.atanh(_THETA)


def objection(release: Release) -> str:
    """Return which condition of ``dominating_ratio`` fails, with the mend; empty if none."""
    if release.mechanism is Mechanism.GAUSSIAN:
        if release.noise_scale >= FINE_SCALE:
            return ""
        return f"noise_scale={release.noise_scale:g}: must be 2^20 steps; take a finer grid"
    if release.mechanism is not Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN:
        return (
            f"mechanism={release.mechanism}: no Gaussian dominates it; take"
            " distributed_discrete_gaussian"
        )
    share_variance = release.noise_scale * (release.noise_scale / release.num_shares)
    if share_variance >= LEAST_SHARE_VARIANCE:
        return ""
    return (
        f"a share's variance is {share_variance:.3g} steps squared: must be at least"
        f" {LEAST_SHARE_VARIANCE:g}; take more modulus_bits, or a larger noise_multiplier"
    )


def dominating_ratio(release: Release) -> float:
    r"""Return sensitivity over deviation of a continuous Gaussian no more private than ours.

    Guarantees
    ----------
    Unit: the release's. Neighbours: one unit's term added, removed or replaced by zero; any
    relation without sampling. If K adaptive steps of the Poisson sampled continuous Gaussian
    with this ratio and the release's rate are (epsilon, delta)-DP, each direction by itself,
    then K of ours are (epsilon + 2 K kappa, exp(K kappa) delta)-DP, with ``kappa`` of below.
    Assumes a sum D b + B + Z with Z a sum of n independent discrete Gaussians in each number,
    D of integers, |D| at most the L2 sensitivity, and b ~ Bernoulli(q) independent of B and of
    Z. B may be anything, D depend on it, and more honest shares do no harm.

    Raises
    ------
    ValueError
        If a condition fails; names the value and the mend.

    Notes
    -----
    S^2 is the variance of n equal shares, s = 3/2, d the dimension. The continuous Gaussian has
    variance S^2 - s^2. Proof:

    (i) Move a real vector x to integers, each coordinate by the discrete Gaussian centred at
    x_j with parameter s^2. If x ~ N(D, S^2 - s^2) then y comes out in proportion to the
    integral of phi(x - D) rho_s(y - x) / N(x) with N(x) = sum_m rho_s(m - x), by Poisson
    summation constant within 1 +- theta, theta = 2 sum_k exp(-2 pi^2 s^2 k^2). What remains is
    proportional to exp(-(y - D)^2 / (2 S^2)); with its normalisation each probability is that
    of the discrete Gaussian within (1 + theta)/(1 - theta) = e^eta. The move does not know D or
    b, so mixtures over b and B go through it.
    (ii) The sum of n shares against one discrete Gaussian: both max-divergences are at most tau
    (Kairouz et al. 2021, arXiv 2102.06387, at their Theorem 1; completing the square leaves in
    each convolution such a sum N, of variance s0^2 k/(k+1)). (iii) Factors multiply over
    coordinates and over the conditional laws of adaptive steps: e^{K kappa}, kappa =
    d (tau + eta). (iv) P(E) <= e^{K kappa} G(E) <= e^{K kappa} (e^epsilon G'(E) + delta)
    <= e^{epsilon + 2 K kappa} P'(E) + e^{K kappa} delta. (v) Given B the continuous step is
    N(0) against (1 - q) N(0) + q N(D), the same for all D of one length and worse for longer
    ones; hockey-stick divergences are jointly convex, so mixing over B does no harm; dominating
    pairs compose (Zhu, Dong and Wang 2022, arXiv 2106.08567, Theorem 10).

    Equal variance, without the 9/4, is false: the tests have cases above it.
    """
    check_sampling(release)
    if failed := objection(release):
        raise ValueError(failed)
    return release.l2_sensitivity / math.sqrt(release.noise_scale**2 - MOVE_VARIANCE)


def kappa(release: Release) -> float:
    """Return by how much a log probability may change from continuous to integer, one step."""
    return release.dimension * (sum_tau(release) + _ETA)


def transfer(schedule: Schedule) -> float:
    """Return 2 K kappa, what the whole schedule pays in epsilon for its integers."""
    gaussians = (r for r in schedule if r[0].mechanism is not Mechanism.LAPLACE)
    return 2 * sum(times * r.num_steps * kappa(r) for r, times in gaussians)
