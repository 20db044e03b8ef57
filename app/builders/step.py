"""How far a step of the server goes, from the public numbers of a run: no record is touched."""

from math import hypot, sqrt

from app.config.algorithm import AlgorithmConfig
from app.config.run import AppConfig
from privacy.mode import Place
from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import Mechanism
from privacy.unit import Unit

# In clip norms. `python -m benchmarks.proposals` holds it against a grid.
_LONGEST = 4.0
# How far a model is from where it begins, about; tried on tables (docs/privacy.md).
_TRAVEL = 5.0


def settled_step(plan: PrivacyPlan) -> float:
    """Return the learning rate times the clip norm that suits the noise of a run.

    Of records: the steps' noise adds up like a root. After S steps of length a each number of
    the model is off by a nu sqrt(S), nu being the noise in the mean of a batch, in clip norms.
    A step of 1 / (nu sqrt(S)) lets that be about 1, which records whose features are about 1
    can bear; where there is less noise, a longer one bought nothing.

    Of clients: the clip norm is so small that updates are as long as it, also near the end,
    where gradients would be short. With noise nu in each of d numbers a mean then has about the
    length G = sqrt(1 + d nu^2), and steps of D / (G sqrt(S)) are those of stochastic gradient
    descent over a distance D (Nemirovski et al. 2009), whose mean model is the result. Where k
    of N entries are kept, signal and noise of such a mean are sqrt(N / k) times as long.
    """
    if plan.terms.unit is Unit.CLIENT:
        length = hypot(sqrt(plan.kept_scale), noise_of_updates(plan))
        return _TRAVEL / (sqrt(_num_steps(plan)) * length)
    return min(_LONGEST, 1 / (_noise_of_batch(plan) * sqrt(_num_steps(plan))))


def longest_step(plan: PrivacyPlan) -> float:
    """Return the longest step that the noise alone bears.

    Clients' updates may be shorter than a clip norm of the user's, and then suit themselves.
    Records have no other step than the settled one.
    """
    if plan.terms.unit is Unit.CLIENT:
        return _TRAVEL / (sqrt(_num_steps(plan)) * noise_of_updates(plan))
    return settled_step(plan)


def noise_of_updates(plan: PrivacyPlan) -> float:
    """Return the length of the noise in the mean of all clients' updates, in clip norms."""
    terms = plan.terms
    cohort = terms.population * terms.cohort_fraction
    noise = plan.noise_multiplier / cohort
    if terms.place is not Place.CENTRAL:
        # Everybody's: each adds all of it, or the share of one of T - c.
        noise *= sqrt(cohort / terms.num_shares)
    if terms.mechanism is Mechanism.LAPLACE:
        # The multiplier is its scale.
        noise *= sqrt(2)
    return noise * sqrt(plan.kept_scale * terms.dimension)


def learning_rate(config: AppConfig, plan: PrivacyPlan) -> float | None:
    """Return what the server multiplies a mean by, given or settled; None where it does not."""
    stepped, algorithm = config.privacy.stepped, config.algorithm
    if stepped is None or stepped.clip_norm is None:
        return None
    if not isinstance(algorithm, AlgorithmConfig):
        return None
    if stepped.learning_rate is not None:
        return stepped.learning_rate
    step = algorithm.settled_step(settled_step(plan), plan.terms.num_rounds)
    return step / stepped.clip_norm


def _num_steps(plan: PrivacyPlan) -> int:
    return plan.terms.num_rounds * plan.terms.num_local_steps


def _noise_of_batch(plan: PrivacyPlan) -> float:
    """Return the noise in the mean of a batch, in clip norms."""
    terms = plan.terms
    noise = plan.noise_multiplier / terms.batch_size * sqrt(plan.kept_scale)
    # Each node's own, and the mean of so many.
    return noise / sqrt(terms.population) if terms.place is Place.LOCAL else noise
