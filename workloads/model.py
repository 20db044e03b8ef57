"""The base of the workloads whose state is the parameters of a neural model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privacy.bounding.bounded_sum import BoundedSum, one_term, sum_of_terms
from tasks.base import SHARE_METRICS, ModelRefusedError, Task
from workloads.base import Privacy, Records, Workload
from workloads.scoring import spread
from workloads.scoring.bins import ScoreBins, score_bins
from workloads.values import (
    NUM_EXAMPLES,
    TRAIN_LOSS,
    Arrays,
    Contribution,
    Query,
    State,
    StateRefusedError,
    evaluated,
)

if TYPE_CHECKING:
    from torch import nn


class ModelWorkload(Workload):
    """A workload whose state is the parameters of the task's model."""

    task: Task
    has_model = True
    sums_a_direction = True
    loads_as = np.float32
    idle_training: ClassVar[Mapping[str, str]] = {}
    begins_afresh = ""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return the names of the task's metrics."""
        return self.task.metric_names(self.task.config)

    @property
    def scores(self) -> bool:
        """Return True: a model is scored on held-out records."""
        return True

    def sum_names(self, *, training: bool) -> tuple[str, ...]:
        """Return the count and the loss of training, then those of the evaluation."""
        train = (NUM_EXAMPLES, TRAIN_LOSS) if training else ()
        return (*train, *self.score_names)

    def share_names(self) -> tuple[str, ...]:
        """Return the metrics that are shares of the records, and the bins."""
        shares = (name for name in self.metric_names if name in SHARE_METRICS)
        bins = self.score_bins.names if self.score_bins else ()
        return (*evaluated(shares), *bins)

    @property
    def score_bins(self) -> ScoreBins | None:
        """Return bins of the outputs, where the task says what they are."""
        classes = self.task.scored_classes
        if classes is None:
            return None
        return score_bins(classes, is_private=self.setup.mode is not None)

    def build_model(self) -> nn.Module:
        """Return the run's untrained model, the same everywhere; loads torch.

        Raises
        ------
        ModelRefusedError
            If it is more than its parameters, or if the run is private per record and the
            model cannot be trained so.
        """
        from tasks.training.local import initial_model

        try:
            model = initial_model(self.task)
        except Exception as error:
            raise ModelRefusedError(
                f"the model cannot be built: {type(error).__name__}: {error}"
            ) from error
        from tasks.training.buffers import refuse_buffers, refuse_dtypes

        refuse_dtypes(model)
        mode = self.setup.mode
        if mode is None or not mode.hides_records:
            refuse_buffers(model)
            return model
        from tasks.training.model_check import admit_model

        return admit_model(model, self.setup.fix_model)

    def rehearse(self, records: Records | None = None) -> None:
        """Train and score on made-up records, by themselves where records are hidden."""
        from tasks.training.rehearsal import rehearse, require_made_up

        mode = self.setup.mode
        rehearse(self.task, self.build_model(), alone=mode is not None and mode.hides_records)
        if records is not None:
            require_made_up(self.task, records.train)
            require_made_up(self.task, records.test)

    def initial_state(self) -> State:
        """Return the untrained model's parameters."""
        from tasks.training.local import get_parameters

        return State(get_parameters(self.build_model()))

    def initial_personal(self) -> Arrays:
        """Return the untrained model's parameters that stay on each node, by name."""
        if not self.task.config.personal:
            return {}
        from tasks.training.personal import get_personal

        return get_personal(self.build_model())

    def check(self, state: State) -> None:
        """Refuse arrays that are not the model's parameters, or are not finite as it has them.

        A number may be finite as it comes and endless in fewer bits: then every record would
        fail, and what the node charges would pay for noise alone.
        """
        self.load(state)
        for name, array in state.arrays.items():
            with np.errstate(over="ignore"):
                loaded = array.astype(self.loads_as, copy=False)
            if not np.isfinite(loaded).all():
                raise StateRefusedError(f"{name} is not finite")

    def centre_span(self, state: State) -> slice | None:
        """Return where the centre (``Task.centre``) is in a sum; None where there is none."""
        first = 0
        for name, values in state.arrays.items():
            if name == self.task.centre:
                return slice(first, first + values.size)
            first += values.size
        return None

    def load(self, state: State, records: Records | None = None) -> nn.Module:
        """Return the model with a state's parameters.

        Parameters
        ----------
        state : State
            As published.
        records : Records, optional
            Of the node whose own part the model gets; without, that part is untrained.

        Raises
        ------
        StateRefusedError
            If they are not those of this model.
        """
        from tasks.training.local import set_parameters
        from tasks.training.personal import set_personal

        model = self.build_model()
        try:
            set_parameters(model, dict(state.arrays))
        except (KeyError, TypeError, ValueError) as error:
            raise StateRefusedError(str(error)) from error
        if records is not None and records.personal is not None:
            set_personal(model, records.personal)
        return model

    def evaluate(self, state: State, query: Query, records: Records) -> Contribution:
        """Return the model's scores on the held-out records."""
        model = self.load(state, records)
        return Contribution(np.zeros(0, np.float32), self.score(model, records))

    def score(self, model: Any, records: Records) -> dict[str, float]:
        """Return the evaluation's sums by name."""
        from tasks.training.local import evaluate_in_bins

        scores, counts = evaluate_in_bins(self.task, model, records.test, self.score_bins)
        values = [*scores.values(), *counts.tolist()]
        return dict(zip(self.record_score_names, values, strict=True))

    def bounded_metrics(self, state: State, records: Records, privacy: Privacy) -> BoundedSum:
        """Return the metric vector: each record's entries are in [0, 1]."""
        from tasks.training.dp_sgd import metric_vectors

        model, bins = self.load(state, records), self.score_bins
        vectors = metric_vectors(self.task, model, records.test, privacy.loss_clip, bins)
        length, bound = len(self.record_score_names), self.scores_bound
        if privacy.mode.hides_records:
            return sum_of_terms(vectors, length, bound)
        # One client counts once, however many records it has.
        rows = np.array(list(vectors)).reshape(-1, length)
        own = rows.sum(axis=0) / max(1, len(rows))
        if self.setup.counts_participants:
            # The count and the loss stand before the metrics.
            place = 2 + self.metric_names.index(spread.SCORE)
            accuracy = own[place] if len(rows) else None
            own = np.concatenate([own, spread.own_counts(accuracy)])
        return one_term(own, bound).bounded
