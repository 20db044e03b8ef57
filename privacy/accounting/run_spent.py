"""The privacy cost of a run, by adversary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from privacy.accounting.epsilon import accountant, epsilon
from privacy.plan.plan import PrivacyPlan


@dataclass(frozen=True)
class RunCost:
    """The privacy cost of a run.

    Attributes
    ----------
    epsilon : float
        Towards the server with the colluding participants that were assumed. Caps use it.
    epsilon_model_only : float
        Towards those who see the models and nothing else.
    delta : float
        The delta of both epsilons.
    unit, neighbours, accountant : str
        The privacy unit, the neighbouring relation and the accountant.
    """

    epsilon: float
    epsilon_model_only: float
    delta: float
    unit: str
    neighbours: str
    accountant: str


# Asked before the messages of a round go out, and again when the round has closed.
@lru_cache(maxsize=4)
def spent_of(
    plan: PrivacyPlan, num_updates: int, num_metrics: int, num_drawable: int
) -> RunCost:
    """Return the cost of a number of releases of a plan; see ``model_only_epsilon``."""
    delta = plan.terms.delta
    schedule = plan.schedule(num_updates, num_metrics=num_metrics)
    release = plan.update_release()
    return RunCost(
        epsilon=epsilon(schedule, delta),
        epsilon_model_only=model_only_epsilon(plan, num_drawable, num_updates, num_metrics),
        delta=delta,
        unit=str(release.unit),
        neighbours=str(release.neighbours),
        accountant=str(accountant(schedule)),
    )


def model_only_epsilon(
    plan: PrivacyPlan,
    num_drawable: int,
    num_updates: int | None = None,
    num_metrics: int | None = None,
) -> float:
    """Return epsilon against those who see only models; of the whole run by default.

    They know no node's share of the noise, nor who was drawn. Amplification by sampling can
    gain less than the chance of an abort takes off delta; then it is left out.

    Parameters
    ----------
    plan : PrivacyPlan
        Of the run.
    num_drawable : int
        The fewest nodes that a cohort is drawn among; 0 where others than chance decide.
    num_updates, num_metrics : int, optional
        See ``PrivacyPlan.planned``.
    """

    def outside(sampled: bool, delta: float) -> float:
        schedule = plan.schedule(
            num_updates, colluding=0, sampled=sampled, num_metrics=num_metrics
        )
        return epsilon(schedule, delta)

    plain = outside(False, plan.terms.delta)
    left = plan.delta_of_models(plain, num_drawable)
    return min(plain, outside(True, left)) if left > 0 else plain
