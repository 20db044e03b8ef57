"""What a run has spent, towards whom."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.accounting.epsilon import accountant, epsilon
from privacy.plan.plan import PrivacyPlan


@dataclass(frozen=True)
class RunCost:
    """What a run has spent.

    Attributes
    ----------
    epsilon : float
        Towards the server with the colluding participants that were assumed. Caps use it.
    epsilon_model_only : float
        Towards those who see the models and nothing else.
    delta : float
        Of both.
    unit, neighbours, accountant : str
        What it means.
    """

    epsilon: float
    epsilon_model_only: float
    delta: float
    unit: str
    neighbours: str
    accountant: str


def spent_of(plan: PrivacyPlan, num_updates: int, num_metrics: int) -> RunCost:
    """Return what so many releases of a plan have spent."""
    delta = plan.terms.delta
    schedule = plan.schedule(num_updates, num_metrics=num_metrics)
    release = plan.update_release()
    return RunCost(
        epsilon=epsilon(schedule, delta),
        epsilon_model_only=model_only_epsilon(plan, num_updates, num_metrics),
        delta=delta,
        unit=str(release.unit),
        neighbours=str(release.neighbours),
        accountant=str(accountant(schedule)),
    )


def model_only_epsilon(
    plan: PrivacyPlan, num_updates: int | None = None, num_metrics: int | None = None
) -> float:
    """Return what those learn who see models and nothing else; of the whole run by default.

    Nobody's share is known to them, nor who was drawn. What amplification by sampling gains
    can be less than what the chance of an abort takes off delta, so it is left out then.
    """

    def outside(sampled: bool, delta: float) -> float:
        schedule = plan.schedule(
            num_updates, colluding=0, sampled=sampled, num_metrics=num_metrics
        )
        return epsilon(schedule, delta)

    plain = outside(False, plan.terms.delta)
    left = plan.delta_of_models(plain)
    return min(plain, outside(True, left)) if left > 0 else plain
