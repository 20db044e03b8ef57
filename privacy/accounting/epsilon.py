"""The cost of a schedule of releases: from releases to epsilon.

Two accountants. Privacy loss distributions (PLD) are the tighter one and serve Laplace noise
and the discrete Gaussian, in shares or not (``domination``); Renyi differential privacy (RDP)
serves everything.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.domination import (
    LARGEST_TRANSFER,
    dominating_ratio,
    objection,
    transfer,
)
from privacy.accounting.renyi import ORDERS, check_sampling, curve, laplace_loss
from privacy.plan.release import Mechanism, Release, Schedule

# dp_accounting takes seconds to import: only the functions that need it do.

#: Of the rules of ``privacy.accounting``: what another version kept is not used.
VERSION = 3
#: The PLD library takes powers of a Fourier transform, whose rounding errors go either way. So
#: much of delta is kept back for each step: ten times the error measured on Gaussians.
_ROUNDING = 2.0**-52


class Accountant(StrEnum):
    """The accountant of a schedule."""

    PLD = "pld"
    RDP = "rdp"


def accountant(schedule: Schedule) -> Accountant:
    """Return PLD if ``pld_objection`` has none; else RDP."""
    return Accountant.RDP if pld_objection(schedule) else Accountant.PLD


def pld_objection(schedule: Schedule) -> str:
    """Return why PLD does not serve the schedule, with the mend; empty if it does.

    Raises
    ------
    ValueError
        If a release is sampled under the relation "replaced by any other".
    """
    schedule = _made(schedule)
    for release, _ in schedule:
        check_sampling(release)
        if release.mechanism is not Mechanism.LAPLACE and (failed := objection(release)):
            return failed
    cost = transfer(schedule)
    if cost <= LARGEST_TRANSFER:
        return ""
    return (
        f"2 K kappa = {cost:.2g}: must be at most {LARGEST_TRANSFER:g}; take more modulus_bits"
        " or fewer rounds"
    )


def epsilon(schedule: Schedule, delta: float) -> float:
    """Return an epsilon for which the whole schedule is (epsilon, delta)-DP.

    Parameters
    ----------
    schedule : sequence of (Release, int)
        Releases and how often each is made.
    delta : float
        In (0, 1).

    Returns
    -------
    float
        At least 0; 0 for an empty schedule; infinite where nothing is promised.

    Raises
    ------
    ValueError
        If delta is out of range, a count is negative, or a release cannot be accounted for.

    Notes
    -----
    Where PLD serves, the figure is the smaller of the PLD's and RDP's: both are upper bounds.
    A schedule of unsampled Gaussians alone is one Gaussian, and its figure exact. Where delta
    is so small that the PLD's rounding errors would count, RDP's is used.
    """
    schedule = _made(schedule)
    bound = renyi_epsilon(schedule, delta)
    if bound in (0, math.inf) or accountant(schedule) is Accountant.RDP:
        return bound
    return min(bound, _pld_epsilon(schedule, delta, bound))


def renyi_epsilon(schedule: Schedule, delta: float) -> float:
    """Return an upper bound of ``epsilon`` by RDP alone, within milliseconds."""
    _check_delta(delta)
    schedule = _made(schedule)
    if not schedule:
        return 0.0
    totals = np.sum([times * curve(release) for release, times in schedule], axis=0)
    return float(_convert(np.asarray(ORDERS, dtype=np.float64), totals, delta).min())


def renyi_total(schedule: Schedule, order: float) -> float:
    """Return the Renyi divergence of the whole schedule at one whole order."""
    return sum(times * float(curve(release, (order,))[0]) for release, times in _made(schedule))


def epsilon_at(order: float, total: float, delta: float) -> float:
    """Return the epsilon of a Renyi divergence ``total`` at one order.

    For a filter of one order (Feldman and Zrnic 2021, arXiv 2008.11193, section 4). ValueError
    if a value is out of range.
    """
    _check_delta(delta)
    if not order > 1:
        raise ValueError(f"order={order}: must be above 1")
    if not total >= 0:
        raise ValueError(f"total={total}: must be at least 0")
    return float(_convert(np.array([float(order)]), np.array([float(total)]), delta)[0])


def analytic_gaussian(epsilon: float, delta: float, sensitivity: float = 1.0) -> float:
    """Return the least standard deviation for which a Gaussian is (epsilon, delta)-DP.

    Balle and Wang 2018 (arXiv 1805.06530), Theorem 8. ValueError if out of range.
    """
    if not 0 < sensitivity < math.inf:
        raise ValueError(f"sensitivity={sensitivity}: must be finite and above 0")
    return sensitivity / gdp_mu(epsilon, delta)


def gdp_mu(epsilon: float, delta: float) -> float:
    """Return the largest mu for which mu-Gaussian DP is (epsilon, delta)-DP.

    Dong, Roth and Su 2019 (arXiv 1905.02383), Corollary 1: a Gaussian mechanism whose
    sensitivity is mu deviations. ValueError if a value is out of range.
    """
    _check_delta(delta)
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon={epsilon}: must be finite and above 0")
    from dp_accounting import get_sigma_gaussian  # pyright: ignore[reportMissingTypeStubs]

    with np.errstate(divide="ignore"):
        return 1 / float(get_sigma_gaussian(epsilon, delta))


def gdp_epsilon(mu: float, delta: float) -> float:
    """Return the least epsilon for which mu-Gaussian DP is (epsilon, delta)-DP.

    The inverse of ``gdp_mu``; 0 where delta alone pays for mu. ValueError as there.
    """
    _check_delta(delta)
    if not 0 < mu < math.inf:
        raise ValueError(f"mu={mu}: must be finite and above 0")
    from dp_accounting import get_epsilon_gaussian  # pyright: ignore[reportMissingTypeStubs]

    if mu > 1e4:
        # The curve has too few digits: Bun and Steinke 2016 (arXiv 1605.02065), Prop. 1.3.
        return mu**2 / 2 + mu * math.sqrt(-2 * math.log(delta))
    with np.errstate(divide="ignore"):
        return float(get_epsilon_gaussian(1 / mu, delta))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta}: must be above 0 and below 1")


def _made(schedule: Schedule) -> list[tuple[Release, int]]:
    """Return the releases with a count above 0."""
    for release, times in schedule:
        if times < 0 or times != int(times):
            raise ValueError(f"{release} is made {times} times: must be a count")
    return [(release, int(times)) for release, times in schedule if times]


def _convert(
    orders: NDArray[np.float64], totals: NDArray[np.float64], delta: float
) -> NDArray[np.float64]:
    """Return an epsilon for each order.

    Canonne, Kamath and Steinke 2020 (arXiv 2004.00010), Proposition 12: total + ln(1 - 1/a) -
    (ln delta + ln a)/(a - 1). And epsilon 0 where delta exceeds the total variation distance,
    at most sqrt(1 - exp(-total)) by Bretagnolle and Huber 1979.
    """
    bounds = totals + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return np.where(-np.expm1(-totals) <= delta**2, 0.0, np.maximum(bounds, 0.0))


def _pld_epsilon(schedule: Schedule, delta: float, bound: float) -> float:
    """Return epsilon by privacy loss distributions; ``bound`` is the one by RDP.

    That of continuous noise, at a delta so much smaller and with so much added as
    ``dominating_ratio`` says.
    """
    cost = transfer(schedule)
    return _continuous_epsilon(schedule, delta * math.exp(-cost / 2), bound) + cost


def _continuous_epsilon(schedule: Schedule, delta: float, bound: float) -> float:
    """Return epsilon of the continuous mechanisms that dominate a schedule's.

    Unsampled Gaussians are exactly one. The rest is the library's: Koskela et al. 2020 (arXiv
    1906.03049) on a pessimistic grid of losses (Doroshenko et al. 2022, arXiv 2207.04380), add
    and remove composed apart, then the larger.
    """
    squared_mu, others = gaussian_part(schedule)
    if not others:
        return gdp_epsilon(math.sqrt(squared_mu), delta)
    lost = pld_rounding(others)
    if lost > delta / 10:
        return bound
    return float(compose_pld(squared_mu, others, bound).get_epsilon(delta - lost))


def gaussian_part(schedule: Schedule) -> tuple[float, list[tuple[Release, int]]]:
    """Return the squared mu of all unsampled Gaussians as one, and the other releases."""
    squared_mu, others = 0.0, list[tuple[Release, int]]()
    for release, times in schedule:
        if release.mechanism is not Mechanism.LAPLACE and release.sampling_rate == 1:
            squared_mu += times * release.num_steps * dominating_ratio(release) ** 2
        else:
            others.append((release, times))
    return squared_mu, others


def pld_rounding(others: Schedule) -> float:
    """Return the delta that is kept back for the rounding errors of ``compose_pld``."""
    return sum(times * release.num_steps for release, times in others) * _ROUNDING


def compose_pld(squared_mu: float, others: Schedule, bound: float) -> Any:
    """Return the library's accountant of one Gaussian and the other releases.

    ``bound`` is an epsilon of theirs at the delta of interest, which sets the grid of losses.
    """
    import dp_accounting as dp  # pyright: ignore[reportMissingTypeStubs]

    count = sum(times * release.num_steps for release, times in others)
    # One release adds about step^2 to the variance of the loss, so a thirtieth of the deviation
    # of one loss costs about 1e-4 of epsilon; the limits keep time and memory in bounds.
    step = math.sqrt(renyi_total(others, 2) / count) / 30
    step = min(max(step, *map(_finest_step, others)), 1e-4 * max(1.0, bound))
    ledger = dp.pld.PLDAccountant(value_discretization_interval=step)
    if squared_mu > 0:
        ledger.compose(dp.GaussianDpEvent(1 / math.sqrt(squared_mu)))
    for release, times in others:
        ledger.compose(_event(release), times * release.num_steps)
    return ledger


def _finest_step(entry: tuple[Release, int]) -> float:
    """Return the step that takes the library a second: 50,000 in the range of one loss."""
    release = entry[0]
    if release.mechanism is Mechanism.LAPLACE:
        largest = laplace_loss(release)
    else:
        ratio = dominating_ratio(release)
        largest = 10 * ratio + ratio**2 / 2
    # Sampling leaves ln(1 - q + q e^loss).
    hidden = math.log(release.sampling_rate) + largest
    return float(np.logaddexp(0.0, hidden)) / 50_000


def _event(release: Release) -> Any:
    """Return the library's description of one step."""
    import dp_accounting as dp  # pyright: ignore[reportMissingTypeStubs]

    if release.mechanism is Mechanism.LAPLACE:
        event = dp.LaplaceDpEvent(1 / laplace_loss(release))
    else:
        event = dp.GaussianDpEvent(1 / dominating_ratio(release))
    rate = release.sampling_rate
    return dp.PoissonSampledDpEvent(rate, event) if rate < 1 else event
