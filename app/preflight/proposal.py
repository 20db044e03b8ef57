"""What suits the noise of a run better than what was asked for: no record is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.builders.step import learning_rate, settled_step
from app.config.algorithm import AlgorithmConfig
from app.config.run import AppConfig
from privacy.accounting.resolve import resolve
from privacy.plan.plan import PrivacyPlan
from privacy.plan.terms import PrivacyTerms

# A learning rate so many times off costs more than 0.01 AUC (`benchmarks.proposals`).
_FAR = 5.0
# With more rounds the step gets shorter by as much where there is much noise, and where there
# is little there is nothing left to learn.
_ROUNDS, _FEW_ROUNDS, _SHORT_STEP = 60, 30, 1.5
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Fewer records make a sum that is too random by itself; and what a rate may cost of the step.
_LEAST_BATCH, _AS_GOOD = 500, 0.9


@dataclass(frozen=True)
class Recipe:
    """How a run by DP-SGD steps.

    Attributes
    ----------
    key : str
        The key of the learning rate.
    learning_rate, settled : float
        As configured, and as the noise suggests.
    clip_norm : float
        Of a record's gradient.
    average_from : int
        The model is the mean of those from this round on; 0 for the last.
    """

    key: str
    learning_rate: float
    settled: float
    clip_norm: float
    average_from: int

    @property
    def objection(self) -> str:
        """Why the learning rate does not suit the noise, with the mend; empty if it does."""
        times = self.learning_rate / self.settled
        if 1 / _FAR <= times <= _FAR:
            return ""
        what = (
            f"{times:.3g} times too long: the model will be lost in the noise"
            if times > 1
            else f"{1 / times:.3g} times too short: the model will hardly move"
        )
        return f"{self.key}={self.learning_rate:g} is {what}; take {self.settled:.3g}"


@dataclass(frozen=True)
class Proposal:
    """Rounds and sampling that get most out of epsilon, at the least cost.

    Attributes
    ----------
    num_rounds : int
        Rounds.
    sampling_rate, expected_batch_size : float
        q, and the records of a step with it.
    noise_multiplier : float
        What they need.
    """

    num_rounds: int
    sampling_rate: float
    expected_batch_size: float
    noise_multiplier: float

    @property
    def run_config(self) -> str:
        """The keys as they are given."""
        return (
            f"num-rounds={self.num_rounds} privacy.sampling_rate={self.sampling_rate:g}"
            f" privacy.expected_batch_size={self.expected_batch_size:g}"
        )


def recipe_of(config: AppConfig, plan: PrivacyPlan) -> Recipe | None:
    """Return how a run steps; None where nobody takes a step along noisy gradients."""
    example, algorithm = config.privacy.example, config.algorithm
    if example is None or not example.clip_norm or not isinstance(algorithm, AlgorithmConfig):
        return None
    step = settled_step(plan) / example.clip_norm
    given = learning_rate(config, plan)
    if given is None:
        training = config.task.training
        key, given = "task.training.learning_rate", training.learning_rate
        settled = step * (1 - training.momentum)
    else:
        key, settled = "privacy.learning_rate", algorithm.settled_step(step)
    return Recipe(key, given, settled, example.clip_norm, config.average_from)


def propose(plan: PrivacyPlan) -> Proposal | None:
    """Return rounds and sampling for the epsilon of a sum of gradients.

    None for any other run, and where the run has them already.
    """
    terms = plan.terms
    if terms.epsilon is None or not terms.mode.sums_gradients:
        return None
    rounds = _ROUNDS
    try:
        whole = settled_step(_sampled(terms, 1.0, rounds))
        if whole < _SHORT_STEP:
            rounds = _FEW_ROUNDS
            whole = settled_step(_sampled(terms, 1.0, rounds))
        found = _least_sampled(terms, rounds, _AS_GOOD * whole)
    except ValueError:
        # With so many records, or so few, the sum does not fit.
        return None
    if (rounds, found.terms.sampling_rate) == (terms.num_rounds, terms.sampling_rate):
        return None
    return Proposal(
        rounds, found.terms.sampling_rate, found.terms.batch_size, found.noise_multiplier
    )


def _least_sampled(terms: PrivacyTerms, num_rounds: int, step: float) -> PrivacyPlan:
    """Return the plan with the lowest rate that leaves a step of that length."""
    for rate in _RATES[:-1]:
        if rate * _num_records(terms) >= _LEAST_BATCH:
            found = _sampled(terms, rate, num_rounds)
            if settled_step(found) >= step:
                return found
    return _sampled(terms, 1.0, num_rounds)


def _num_records(terms: PrivacyTerms) -> float:
    """Return the records of all nodes, as the public divisor tells."""
    return terms.batch_size / terms.sampling_rate


def _sampled(terms: PrivacyTerms, rate: float, num_rounds: int) -> PrivacyPlan:
    batch = float(round(_num_records(terms) * rate))
    return resolve(
        replace(terms, sampling_rate=rate, batch_size=max(1.0, batch), num_rounds=num_rounds)
    )
