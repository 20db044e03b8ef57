"""What each adversary could learn from a run of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from privacy.accounting.epsilon import epsilon
from privacy.accounting.run_spent import model_only_epsilon
from privacy.plan.plan import PrivacyPlan


@dataclass(frozen=True)
class Adversary:
    """What one adversary could learn of one unit.

    Attributes
    ----------
    who : str
        In words.
    num_colluding : int or None
        Participants that it knows the noise of; None where that changes nothing.
    epsilon : float
        At the plan's delta; infinite where it must be trusted.
    """

    who: str
    num_colluding: int | None
    epsilon: float


def adversaries(plan: PrivacyPlan, num_drawable: int) -> list[Adversary]:
    """Return what each adversary could learn, for every number of colluders below T.

    Parameters
    ----------
    plan : PrivacyPlan
        Of the run.
    num_drawable : int
        The fewest nodes that a cohort will be drawn among, as far as that is certain.
    """
    terms = plan.terms
    models = model_only_epsilon(plan, num_drawable)
    found = [Adversary("who sees the models only", None, models)]
    if terms.mode.is_distributed:
        for known in range(terms.min_survivors):
            who = f"server and {known} participants"
            spent = epsilon(plan.schedule(colluding=known), terms.delta)
            found.append(Adversary(who, known, spent))
        return found
    spent = epsilon(plan.schedule(), terms.delta)
    if not terms.mode.is_central:
        return [*found, Adversary("server and all other participants", None, spent)]
    trusted = Adversary("server, which is trusted", None, inf)
    return [*found, Adversary("all other participants", None, spent), trusted]
