"""Gradient sums, DP-SGD over all nodes: one step on everybody's records in each round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from privacy.bounding.bounded_sum import sum_of_terms
from privacy.mode import Place
from privacy.noise.sampling import poisson_sample
from privacy.unit import Unit
from workloads.base import Privacy, Records, Step
from workloads.model import ModelWorkload
from workloads.values import Aggregate, Contribution, PrivateContribution, Query, State


class GradientSum(ModelWorkload):
    """Sum the records' clipped gradients (Abadi et al. 2016, arXiv 1607.00133, algorithm 1).

    Guarantees
    ----------
    Unit: one record, of whichever node. Its term is its gradient, clipped to ``clip_norm``.
    """

    serves = frozenset({(Unit.EXAMPLE, Place.DISTRIBUTED), (Unit.EXAMPLE, Place.CENTRAL)})
    serves_exact = False
    idle_training: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "optimizer",
            "learning_rate",
            "momentum",
            "weight_decay",
            "batch_size",
            "num_epochs",
            "num_steps",
        ),
        "the gradient sum is one step a round over all nodes' records, by"
        " privacy.learning_rate and privacy.expected_batch_size; take it out, or"
        " choose the server's optimiser with algorithm",
    )

    @property
    def step_size(self) -> float:
        """Return what the sum is multiplied by: minus the learning rate over the batch."""
        return -self.learning_rate / self.setup.expected_batch_size

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Refuse: without a clip norm there is no such sum."""
        raise NotImplementedError("the gradient sum is for private runs only")

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Draw records by Poisson sampling and return the sum of their clipped gradients."""
        from tasks.training.record_gradients import clipped_gradients

        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        gradients = clipped_gradients(
            self.task, self.load(state), records.train, drawn, privacy.clip_norm, rng
        )
        return PrivateContribution(
            sum_of_terms(gradients, self.length(state), privacy.clip_norm)
        )

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Let the optimiser move the model by one step along the sum."""
        moved = (aggregate.total * self.step_size).astype(np.float32)
        return State(step(server_round, state.arrays, moved, aggregate.weight), state.header)
