"""How far a step of DP-SGD goes, from the public numbers of a run: no record is touched."""

from math import sqrt

from app.config.algorithm import AlgorithmConfig
from app.config.run import AppConfig
from privacy.mode import Place
from privacy.plan.plan import PrivacyPlan

# In clip norms. `python -m benchmarks.proposals` holds it against a grid.
_LONGEST = 4.0


def settled_step(plan: PrivacyPlan) -> float:
    """Return the learning rate times the clip norm that suits the noise of a run.

    The steps' noise adds up like a root: after S steps of length a each number of the model is
    off by a nu sqrt(S), nu being the noise in the mean of a batch, in clip norms. A step of
    1 / (nu sqrt(S)) lets that be about 1, which records whose features are about 1 can bear;
    where there is less noise, a longer one bought nothing.
    """
    terms = plan.terms
    noise = plan.noise_multiplier / terms.batch_size
    if terms.place is Place.LOCAL:
        # Each node's own, and the mean of so many.
        noise /= sqrt(terms.population)
    num_steps = terms.num_rounds * terms.num_local_steps
    return min(_LONGEST, 1 / (noise * sqrt(num_steps)))


def learning_rate(config: AppConfig, plan: PrivacyPlan) -> float | None:
    """Return the learning rate of a sum of gradients, given or settled; None without one."""
    summed, algorithm = config.privacy.gradient_sum, config.algorithm
    if summed is None or summed.clip_norm is None or not isinstance(algorithm, AlgorithmConfig):
        return None
    if summed.learning_rate is not None:
        return summed.learning_rate
    return algorithm.settled_step(settled_step(plan)) / summed.clip_norm
