"""What suits the noise of a run better than what was asked for: no record is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.builders.step import learning_rate, longest_step, settled_step
from app.config.algorithm import AlgorithmConfig, momentum_gain
from app.config.load import Scalar, load_given
from app.config.pairs import as_pairs, parse_pairs
from app.config.run import AppConfig
from app.config.words import join_words, replaced, split_words
from app.preflight.signal import signal_of
from privacy.accounting.resolve import resolve
from privacy.plan.plan import PrivacyPlan
from privacy.plan.terms import PrivacyTerms
from tasks.schema import Optimizer
from workloads.base import Workload

# A learning rate so many times off costs more than 0.01 AUC (`benchmarks.proposals`).
_FAR = 5.0
# With more rounds the step gets shorter by as much where there is much noise, and where there
# is little there is nothing left to learn.
_ROUNDS, _FEW_ROUNDS, _SHORT_STEP = 60, 30, 1.5
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Fewer records make a sum that is too random by itself.
_LEAST_BATCH = 500
# What a rate may cost: of the step, and of the signal of all steps, if that is not so clear
# that there is enough of it.
_AS_GOOD, _CLEAR = 0.9, 50.0


@dataclass(frozen=True)
class Recipe:
    """How a run with noise in its steps takes them.

    Attributes
    ----------
    key : str
        The key of the learning rate.
    learning_rate : float
        As configured.
    settled : float or None
        As the noise suggests; None where an adaptive optimiser, or clip norm, finds its own
        length.
    longest : float or None
        The noise bears no longer one; at least ``settled``.
    clip_norm : float
        Of a record's gradient, or a client's update.
    average_from : int
        The model is the mean of those from this round on; 0 for the last.
    """

    key: str
    learning_rate: float
    settled: float | None
    longest: float | None
    clip_norm: float
    average_from: int

    @property
    def objection(self) -> str:
        """Why the learning rate does not suit the noise, with the mend; empty if it does."""
        if self.settled is None or self.longest is None:
            return ""
        times = self.learning_rate / self.settled
        if self.learning_rate > _FAR * self.longest:
            what = f"{times:.3g} times too long: the model will be lost in the noise"
        elif times < 1 / _FAR:
            what = f"{1 / times:.3g} times too short: the model will hardly move"
        else:
            return ""
        return f"{self.key}={self.learning_rate:g} is {what}; take {self.settled:.3g}"


@dataclass(frozen=True)
class Proposal:
    """Rounds and sampling that suit an epsilon.

    The rounds are a rule of thumb, tried on small tables (``benchmarks.proposals``); the rate
    is the lowest that costs little of the signal.

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

    def in_place(self, run_config: Mapping[str, Scalar]) -> str:
        """Return the keys that take it up, as they are given in place of a run config's.

        The overrides hold all that the run had; but no first round of the average that comes
        after the last one. Empty if the configuration would be refused.
        """
        values = {
            "num-rounds": str(self.num_rounds),
            "privacy.sampling_rate": f"{self.sampling_rate:g}",
            # A whole number of records.
            "privacy.expected_batch_size": f"{self.expected_batch_size:.0f}",
        }
        changed = replaced(run_config, values)
        for chosen in (changed, _averaging_as_settled(changed)):
            text = as_pairs({key: chosen[key] for key in ("num-rounds", "overrides")})
            try:
                load_given({**run_config, **parse_pairs(text)})
            except ValueError:
                continue
            return text
        return ""


def _averaging_as_settled(run_config: dict[str, Any]) -> dict[str, Any]:
    """Return the run config without the round from which models are averaged."""
    words = split_words(run_config["overrides"])
    kept = [word for word in words if not word.startswith("algorithm.average_from=")]
    return {**run_config, "overrides": join_words(kept)}


def recipe_of(config: AppConfig, plan: PrivacyPlan) -> Recipe | None:
    """Return how a run steps; None where nobody takes a step along noisy gradients."""
    private, algorithm = config.privacy.private, config.algorithm
    if private is None or not private.clip_norm or not isinstance(algorithm, AlgorithmConfig):
        return None
    # The learning rate of a step of one clip norm.
    unit = algorithm.settled_step(1 / private.clip_norm, plan.terms.num_rounds)
    key, given = "privacy.learning_rate", learning_rate(config, plan)
    by_length = algorithm.steps_by_length and private.adaptive is None
    if given is None:
        training = config.task.training
        key, given = "task.training.learning_rate", training.learning_rate
        # Of the node's own, which begins anew in each round.
        unit /= momentum_gain(training.momentum, plan.terms.num_local_steps)
        by_length = by_length and training.optimizer is Optimizer.sgd
    return Recipe(
        key=key,
        learning_rate=given,
        settled=settled_step(plan) * unit if by_length else None,
        longest=longest_step(plan) * unit if by_length else None,
        clip_norm=private.clip_norm,
        average_from=config.average_from,
    )


def propose(plan: PrivacyPlan, workload: Workload) -> Proposal | None:
    """Return rounds and sampling for the epsilon of a sum of gradients.

    None for any other run, where the run has them already, and where the result would be noise
    with them too.
    """
    terms = plan.terms
    steps = workload.sums_a_direction and terms.mode.sums_gradients
    if terms.epsilon is None or not steps:
        return None
    rounds = _ROUNDS
    try:
        whole = _sampled(terms, 1.0, rounds)
        if settled_step(whole) < _SHORT_STEP:
            rounds = _FEW_ROUNDS
            whole = _sampled(terms, 1.0, rounds)
        found = _least_sampled(whole)
    except ValueError:
        # With so many records, or so few, the sum does not fit.
        return None
    if (rounds, found.terms.sampling_rate) == (terms.num_rounds, terms.sampling_rate):
        return None
    if signal_of(found).is_noise:
        return None
    return Proposal(
        rounds, found.terms.sampling_rate, found.terms.batch_size, found.noise_multiplier
    )


def _least_sampled(whole: PrivacyPlan) -> PrivacyPlan:
    """Return the plan with the lowest rate that is about as good as taking all records."""
    terms, step = whole.terms, _AS_GOOD * settled_step(whole)
    signal = min(_CLEAR, _AS_GOOD * signal_of(whole).in_run)
    for rate in _RATES[:-1]:
        if rate * _num_records(terms) >= _LEAST_BATCH:
            found = _sampled(terms, rate, terms.num_rounds)
            if settled_step(found) >= step and signal_of(found).in_run >= signal:
                return found
    return whole


def _num_records(terms: PrivacyTerms) -> float:
    """Return the records of all nodes, as the public divisor tells."""
    return terms.batch_size / terms.sampling_rate


def _sampled(terms: PrivacyTerms, rate: float, num_rounds: int) -> PrivacyPlan:
    batch = float(round(_num_records(terms) * rate))
    return resolve(
        replace(terms, sampling_rate=rate, batch_size=max(1.0, batch), num_rounds=num_rounds)
    )
