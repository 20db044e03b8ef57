"""What each adversary could learn from a run of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from privacy.accounting.epsilon import epsilon
from privacy.accounting.run_spent import model_only_epsilon
from privacy.plan.plan import PrivacyPlan

# Each takes a second of accounting, and nobody reads hundreds of lines.
_MOST_TOLD = 12


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
    """Return what each adversary could learn, for numbers of colluders below T.

    For each of them where T is small; else for some, c and T - 1 among them.

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
        for known in _colluders(terms.min_survivors, terms.max_colluding):
            who = f"server and {known} participants"
            spent = epsilon(plan.schedule(colluding=known), terms.delta)
            found.append(Adversary(who, known, spent))
        return found
    spent = epsilon(plan.schedule(), terms.delta)
    if not terms.mode.is_central:
        return [*found, Adversary("server and all other participants", None, spent)]
    trusted = Adversary("server, which is trusted", None, inf)
    return [*found, Adversary("all other participants", None, spent), trusted]


def _colluders(fewest: int, promised: int) -> list[int]:
    """Return the numbers to tell of, in order: none, ``promised``, all but one, and between."""
    if fewest <= _MOST_TOLD:
        return list(range(fewest))
    spread = {round(part * (fewest - 1) / (_MOST_TOLD - 2)) for part in range(_MOST_TOLD - 1)}
    return sorted(spread | {promised})
