"""A node's ledger for the tests: releases, a plan, and how they are charged."""

from dataclasses import replace

from privacy.ledger.ledger import Budget, OverBudgetError
from privacy.plan.release import Mechanism, Neighbours, Release
from privacy.unit import Unit

DELTA = 1e-5
RELEASE = Release(
    unit=Unit.EXAMPLE,
    neighbours=Neighbours.ADD_OR_REMOVE,
    mechanism=Mechanism.GAUSSIAN,
    l1_sensitivity=2.0**30,
    l2_sensitivity=2.0**30,
    noise_scale=20 * 2.0**30,
    num_shares=1,
    dimension=64,
)
OTHER = replace(RELEASE, noise_scale=18 * 2.0**30)
PLAN = [(RELEASE, 10)]
LARGE = Budget(50.0, DELTA)


def charge(ledger, run=1, number=1, attempt=0, release=RELEASE, plan=PLAN, budget=LARGE):
    ledger.charge(run, number, attempt, [release], plan, budget)


def epsilon_of(plan) -> float:
    from privacy.accounting.epsilon import epsilon

    return epsilon(plan, DELTA)


def num_accepted(ledger, budget, most=60, **kwargs) -> int:
    """Charge round after round until the cap; return how many passed."""
    for number in range(most):
        try:
            charge(ledger, number=number, budget=budget, **kwargs)
        except OverBudgetError:
            return number
    return most
