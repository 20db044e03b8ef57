"""Gradient sums, DP-SGD over all nodes: one step on everybody's records in each round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import sum_of_terms
from privacy.mode import Place
from privacy.noise.sampling import poisson_sample
from privacy.unit import Unit
from workloads.base import Privacy, Records, Step
from workloads.model import ModelWorkload
from workloads.values import (
    Aggregate,
    Contribution,
    PrivateContribution,
    Query,
    State,
    Vector,
)

#: Why ``task.training.device`` has no effect where records are hidden, with the mend.
NO_DEVICE = (
    "each record's gradient is computed alone, in float64 and in one order, which the guarantee"
    " rests on and no GPU keeps to; take it out"
)

# So that inputs of length 1, as float32 rounds them, are within the bound.
_SHORTER = 1 - 2.0**-20


class GradientSum(ModelWorkload):
    """Sum the records' clipped gradients (Abadi et al. 2016, arXiv 1607.00133, algorithm 1).

    Guarantees
    ----------
    Unit: one record, of whichever node. Its term is its gradient, clipped to ``clip_norm``; in
    a round that begins with a centre of zeros (``Task.centre``) it is the record's inputs times
    ``clip_norm``, clipped to as much. So each round is the same release, whichever state a
    server sends, and the mean of the inputs is paid for as one step.
    """

    serves = frozenset({(Unit.EXAMPLE, Place.DISTRIBUTED), (Unit.EXAMPLE, Place.CENTRAL)})
    serves_exact = False
    idle_training: ClassVar[Mapping[str, str]] = {
        "device": NO_DEVICE,
    } | dict.fromkeys(
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

        model, clip = self.load(state), privacy.clip_norm
        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        span, length = self.centre_span(state), self.length(state)
        if span is not None and self._is_centring(state):
            terms = _inputs(records.train, drawn, clip, span, length)
        else:
            terms = clipped_gradients(self.task, model, records.train, drawn, clip, rng)
        return PrivateContribution(sum_of_terms(terms, length, clip))

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Let the optimiser move the model by one step along the sum, or set the centre."""
        span = self.centre_span(state)
        if span is not None and self._is_centring(state):
            clip = self.setup.clip_norm
            assert clip is not None  # noqa: S101 - the example unit has one
            mean = aggregate.total[span] / (clip * self.setup.expected_batch_size)
            # No mean of inputs of length 1 is longer, whatever noise or a node has added: there
            # is no second round to mend it.
            mean /= max(1.0, float(np.linalg.norm(mean)))
            centre = {self.task.centre: mean.astype(np.float32)}
            return State({**state.arrays, **centre}, state.header)
        moved = (aggregate.total * self.step_size).astype(np.float32)
        if span is not None:
            # There is nothing but noise.
            moved[span] = 0
        return State(step(server_round, state.arrays, moved, aggregate.weight), state.header)

    def _is_centring(self, state: State) -> bool:
        """Return whether a round sums inputs: the centre is not set yet."""
        return not state.arrays[self.task.centre].any()


def _inputs(
    examples: Any, drawn: NDArray[np.intp], clip: float, span: slice, length: int
) -> Iterator[Vector]:
    """Yield each record's inputs times ``clip``, in the centre's place, alone."""
    term = np.zeros(length)
    for record in examples.one_by_one(drawn):
        term[span] = record.inputs[0]
        term[span] *= clip * _SHORTER
        yield term
