"""The totals of a ledger, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privacy.ledger.budget import Budget, totals
from privacy.ledger.charge import Charge
from privacy.plan.release import Schedule


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The total of a ledger's charges.

    Attributes
    ----------
    dataset, unit, neighbours : str
        The data set, privacy unit and relation; empty without a charge.
    epsilon, delta : float
        The total cost.
    accountant : str
        How that was computed: by the run's own accountant if all charges follow one plan,
        else by the sum of the divergences at the ledger's order.
    num_charges, num_runs : int
        How many there are.
    budget : Budget or None
        The cap at the last charge.
    last_time : float
        The time of the last charge, in seconds since 1970; 0 without one.
    """

    dataset: str
    unit: str
    neighbours: str
    epsilon: float
    delta: float
    accountant: str
    num_charges: int
    num_runs: int
    budget: Budget | None
    last_time: float


@dataclass(frozen=True, kw_only=True)
class RunSpent:
    """The total of one run's charges, as if there were no other run.

    Epsilons of several runs do not add up to that of the ledger.

    Attributes
    ----------
    run_id : int
        Flower's id of the run.
    first_time, last_time : float
        When it was charged, in seconds since 1970.
    num_rounds, num_charges : int
        A repeated attempt is charged again, so there may be more charges than rounds.
    unit, neighbours : str
        What its releases are for.
    schedule : schedule
        What was charged.
    epsilon, delta : float
        The cost of ``schedule`` by the run's own accountant.
    accountant : str
        The run's own accountant.
    planned_epsilon : float
        The cost of the whole run, as planned at its last charge.
    """

    run_id: int
    first_time: float
    last_time: float
    num_rounds: int
    num_charges: int
    unit: str
    neighbours: str
    schedule: Schedule
    epsilon: float
    delta: float
    accountant: str
    planned_epsilon: float


def spent_in_all(charges: Sequence[Charge], delta: float) -> Spent:
    """Return the total of a ledger's charges."""
    first = charges[0].releases[0][0] if charges else None
    epsilon, accountant = _in_all(charges, delta) if charges else (0.0, "none")
    return Spent(
        dataset=charges[0].dataset if charges else "",
        unit=first.unit if first else "",
        neighbours=first.neighbours if first else "",
        epsilon=epsilon,
        delta=delta,
        accountant=accountant,
        num_charges=len(charges),
        num_runs=len({charge.run_id for charge in charges}),
        budget=charges[-1].budget if charges else None,
        last_time=charges[-1].time if charges else 0.0,
    )


def spent_by_run(charges: Sequence[Charge], delta: float) -> list[RunSpent]:
    """Return the total of each run by itself, oldest first."""
    runs: dict[int, list[Charge]] = {}
    for charge in charges:
        runs.setdefault(charge.run_id, []).append(charge)
    return [_run(own, delta) for own in runs.values()]


def _in_all(charges: Sequence[Charge], delta: float) -> tuple[float, str]:
    """Return epsilon and how it was computed."""
    from privacy.accounting.epsilon import accountant, epsilon, epsilon_at, renyi_total
    from privacy.accounting.renyi import ORDERS

    counts = totals([charge.releases for charge in charges])
    plan = totals([charges[0].planned])
    everything = list(counts.items())
    one_plan = all(totals([charge.planned]) == plan for charge in charges)
    if one_plan and counts.keys() <= plan.keys():
        return epsilon(everything, delta), accountant(everything).upper()

    def at(order: int, schedule: Schedule) -> float:
        return epsilon_at(order, renyi_total(schedule, order), delta)

    order = charges[-1].order
    if order is None:
        # No cap yet: what the filter would start from, which only the first plan decides.
        order = min(ORDERS, key=lambda candidate: at(candidate, charges[0].planned))
    return at(order, everything), f"RDP filter of order {order}"


def _run(charges: Sequence[Charge], delta: float) -> RunSpent:
    from privacy.accounting.epsilon import accountant, epsilon

    schedule = list(totals([charge.releases for charge in charges]).items())
    release = schedule[0][0]
    return RunSpent(
        run_id=charges[0].run_id,
        first_time=min(charge.time for charge in charges),
        last_time=max(charge.time for charge in charges),
        num_rounds=len({charge.round for charge in charges}),
        num_charges=len(charges),
        unit=release.unit,
        neighbours=release.neighbours,
        schedule=schedule,
        epsilon=epsilon(schedule, delta),
        delta=delta,
        accountant=accountant(schedule).upper(),
        planned_epsilon=epsilon(charges[-1].planned, delta),
    )


def summary_line(spent: Spent) -> str:
    """Return the total of all charges in one line."""
    how = f"{spent.accountant}; charges: {spent.num_charges}, runs: {spent.num_runs}"
    return f"epsilon {spent.epsilon:.4g} at delta {spent.delta:g} ({how})"
