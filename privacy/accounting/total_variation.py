"""The total variation distance of a schedule: how well one presence can be guessed at most."""

from __future__ import annotations

import math

from privacy.accounting.domination import transfer
from privacy.accounting.epsilon import (
    Accountant,
    accountant,
    compose_pld,
    gaussian_part,
    pld_rounding,
    renyi_epsilon,
    renyi_total,
)
from privacy.accounting.renyi import ORDERS
from privacy.plan.release import Schedule


def total_variation(schedule: Schedule, delta: float) -> float:
    """Return an upper bound on the total variation distance between neighbours' outputs.

    It is the delta of epsilon 0. Who guesses a fair coin's presence or absence from the output
    is right with a chance of at most (1 + distance) / 2.

    Parameters
    ----------
    schedule : sequence of (Release, int)
        Releases and how often each is made; at least one is.
    delta : float
        In (0, 1). Only sets the grid of the privacy losses where they are computed.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    ValueError
        If a release cannot be accounted for.

    Notes
    -----
    By PLD where it serves: with D the distance of the continuous mechanisms that dominate, step
    (iv) of ``dominating_ratio`` at epsilon 0 reads P(E) - P'(E) <= (e^{2 K kappa} - 1) P'(E) +
    e^{K kappa} D. By RDP the distance is at most sqrt(KL / 2) (Pinsker) and sqrt(1 - exp(-KL))
    (Bretagnolle and Huber 1979), KL at most the divergence of the least order; that is loose.
    """
    divergence = renyi_total(schedule, min(ORDERS))
    bound = min(math.sqrt(divergence / 2), math.sqrt(-math.expm1(-divergence)))
    if accountant(schedule) is Accountant.RDP:
        return bound
    cost = transfer(schedule)
    found = math.exp(cost / 2) * _continuous(schedule, delta) + math.expm1(cost)
    return min(1.0, bound, found)


def _continuous(schedule: Schedule, delta: float) -> float:
    """Return the distance of the continuous mechanisms: of a Gaussian alone it is exact."""
    squared_mu, others = gaussian_part([(one, times) for one, times in schedule if times])
    if not others:
        return math.erf(math.sqrt(squared_mu / 8))
    ledger = compose_pld(squared_mu, others, renyi_epsilon(others, delta))
    return float(ledger.get_delta(0.0)) + pld_rounding(others)
