"""A node's cap, and the rule by which one more charge stays under it.

The rule rests on one of two proofs, and which one is settled before anything has left the
node: by the plan that came with the ledger's first charge, the cap and one Renyi order.

*Filter.* If that whole plan stays under the cap by its Renyi divergence at the ledger's order,
then so must everything, whatever run it is of: the divergences at that order of all charges,
this one included, are added, converted at the node's delta and held against the cap. Runs may
follow each other with parameters that somebody chose after seeing what earlier ones released
(Feldman and Zrnic 2021, arXiv 2008.11193, section 4). The order is one and fixed: a minimum
over orders is a choice that depends on what was released, which the theorem does not cover.

*Fixed parameters.* Else the first plan fits, if at all, only by its own, tighter accountant
(PLD, or RDP over all orders). That is for parameters which were fixed in advance, so nothing
but releases of that plan is accepted, of any run: a resumed run goes on where the first one
stopped. How many there will be is still up to the server (attempts fail and are repeated, and
the cap cuts a plan off that is over it). So what is charged must lie in a sequence of
schedules that grow and are fixed in advance (``covering``), and the largest one under the cap
bounds everything.

Nothing ever moves from the second proof to the first. Each alone gives (epsilon, delta); but to
go on with a run or to turn to another, whichever looks better after seeing what was released,
would be covered at twice delta only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from privacy.plan.release import Release, Schedule

# Sums of many terms are not exact.
_SLACK = 1 + 1e-9

#: Epsilon of a schedule whose parameters are fixed, at a delta.
EpsilonOf = Callable[[Schedule, float], float]


class LedgerError(RuntimeError):
    """A charge that was not made, so that nothing may leave. The message has the mend."""


class OverBudgetError(LedgerError):
    """A charge that would exceed the node's cap."""


@dataclass(frozen=True)
class Budget:
    """A node's cap on everything that its ledger holds.

    Attributes
    ----------
    epsilon : float
        Finite and above 0.
    delta : float
        In (0, 1).
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"epsilon={self.epsilon}: must be finite and above 0")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta={self.delta}: must be in (0, 1)")


def totals(schedules: Sequence[Schedule]) -> Mapping[Release, int]:
    """Return the count of each release over all schedules."""
    counts: Counter[Release] = Counter()
    for schedule in schedules:
        for release, times in schedule:
            counts[release] += times
    return counts


def choose_order(planned: Schedule, budget: Budget) -> int:
    """Return the order at which the plan fits into the cap most often.

    It depends on the plan and the cap alone, not on anything released.
    """
    from privacy.accounting.epsilon import epsilon_at, renyi_total
    from privacy.accounting.renyi import ORDERS

    def times(order: int) -> float:
        cost = renyi_total(planned, order)
        # Converting adds the same to any total.
        room = 2 * budget.epsilon - epsilon_at(order, budget.epsilon, budget.delta)
        # Also for a cost that is not a number.
        return room / cost if 0 < cost < inf else -inf

    return max(ORDERS, key=times)


def check(
    past: Sequence[Schedule],
    new: Schedule,
    plans: Sequence[Mapping[Release, int]],
    budget: Budget,
    order: int,
    epsilon_of: EpsilonOf,
) -> float:
    """Accept or refuse a charge. See the head of this file.

    Parameters
    ----------
    past : sequence of schedules
        All charges so far.
    new : schedule
        The one that is asked for.
    plans : sequence of mappings
        The plan of each charge, this one's last.
    budget : Budget
        The cap.
    order : int
        The ledger's one Renyi order.
    epsilon_of : callable
        Epsilon of fixed parameters; may be remembered from one charge to the next.

    Returns
    -------
    float
        Epsilon of all charges, this one among them, by the rule: at most the cap's.

    Raises
    ------
    OverBudgetError
        Naming what it would come to.
    """
    from privacy.accounting.epsilon import epsilon_at, renyi_total

    def filtered(counts: Mapping[Release, int]) -> float:
        return epsilon_at(order, renyi_total(list(counts.items()), order), budget.delta)

    counts, first = totals([*past, new]), plans[0]
    if filtered(first) <= budget.epsilon * _SLACK:
        found = filtered(counts)
    elif any(plan != first for plan in plans) or not counts.keys() <= first.keys():
        raise OverBudgetError(
            f"this ledger's first plan takes max_epsilon={budget.epsilon:g} (delta="
            f"{budget.delta:g}) for itself, so it holds releases of that plan only; take that"
            " run's privacy parameters, or let the data's owner raise max_epsilon"
        )
    else:
        found = _fixed(counts, first, budget, epsilon_of)
    # Said so that a value that is not a number is refused.
    if not found <= budget.epsilon * _SLACK:
        raise OverBudgetError(
            f"with this charge the node would have spent epsilon={found:.4g} at delta="
            f"{budget.delta:g}, over its max_epsilon={budget.epsilon:g}; end the run here, or"
            " let the data's owner raise max_epsilon"
        )
    return found


def covering(counts: Mapping[Release, int], plan: Mapping[Release, int]) -> Schedule:
    """Return a schedule that has these releases, out of a sequence that only the plan fixes.

    It is the smallest one. The n-th makes every release in proportion to the plan, rounded up,
    until the plan is complete, and from then on each once more at every step.
    """
    longest = max(plan.values())

    def step(release: Release) -> int:
        made, planned = counts.get(release, 0), plan[release]
        # The smallest n with ceil(planned * n / longest) >= made.
        within = (made - 1) * longest // planned + 1 if made else 0
        return within if made <= planned else longest + made - planned

    n = max(step(release) for release in plan)
    extra = max(0, n - longest)
    part = min(n, longest)
    steps = ((r, -(-planned * part // longest) + extra) for r, planned in plan.items())
    return [(release, times) for release, times in steps if times]


def _fixed(
    counts: Mapping[Release, int],
    plan: Mapping[Release, int],
    budget: Budget,
    epsilon_of: EpsilonOf,
) -> float:
    """Return epsilon by the plan's own accountant, of the whole plan if that is enough."""
    needed = covering(counts, plan)
    if all(times <= plan[release] for release, times in needed):
        whole = epsilon_of(list(plan.items()), budget.delta)
        if whole <= budget.epsilon * _SLACK:
            return whole
    return epsilon_of(needed, budget.delta)
