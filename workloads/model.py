"""The base of the workloads whose state is the parameters of a neural model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from privacy.bounding.bounded_sum import BoundedSum, one_term, sum_of_terms
from tasks.base import SHARE_METRICS, Task
from workloads.base import Privacy, Records, Workload
from workloads.values import (
    EVAL_PREFIX,
    NUM_EXAMPLES,
    TRAIN_LOSS,
    Contribution,
    Query,
    State,
    StateRefusedError,
    names_of_scores,
)

if TYPE_CHECKING:
    from torch import nn


class ModelWorkload(Workload):
    """A workload whose state is the parameters of the task's model."""

    task: Task
    has_model = True
    idle_training: ClassVar[Mapping[str, str]] = {}

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
        return (*train, *names_of_scores(self.metric_names))

    def share_names(self) -> tuple[str, ...]:
        """Return the metrics that are shares of the records."""
        return tuple(EVAL_PREFIX + name for name in self.metric_names if name in SHARE_METRICS)

    def build_model(self) -> nn.Module:
        """Return the run's untrained model, the same everywhere; loads torch.

        Raises
        ------
        ModelRefusedError
            If it is more than its parameters, or if the run is private per record and the
            model cannot be trained so.
        """
        from tasks.training.local import initial_model

        model = initial_model(self.task)
        mode = self.setup.mode
        if mode is None or not mode.hides_records:
            from tasks.training.buffers import refuse_buffers

            refuse_buffers(model)
            return model
        from tasks.training.model_check import admit_model

        return admit_model(model, self.setup.fix_model)

    def initial_state(self) -> State:
        """Return the untrained model's parameters."""
        from tasks.training.local import get_parameters

        return State(get_parameters(self.build_model()))

    def check(self, state: State) -> None:
        """Refuse arrays that are not the model's parameters."""
        self.load(state)

    def load(self, state: State) -> nn.Module:
        """Return the model with a state's parameters.

        Raises
        ------
        StateRefusedError
            If they are not those of this model.
        """
        from tasks.training.local import set_parameters

        model = self.build_model()
        try:
            set_parameters(model, dict(state.arrays))
        except (KeyError, TypeError, ValueError) as error:
            raise StateRefusedError(str(error)) from error
        return model

    def evaluate(self, state: State, query: Query, records: Records) -> Contribution:
        """Return the model's scores on the held-out records."""
        import numpy as np

        model = self.load(state)
        return Contribution(np.zeros(0, np.float32), self.score(model, records))

    def score(self, model: Any, records: Records) -> dict[str, float]:
        """Return the evaluation's sums by name."""
        from tasks.training.local import evaluate

        scores = evaluate(self.task, model, records.test)
        return {EVAL_PREFIX + name: value for name, value in scores.items()}

    def bounded_metrics(self, state: State, records: Records, privacy: Privacy) -> BoundedSum:
        """Return the metric vector: each record's entries are in [0, 1]."""
        from tasks.training.dp_sgd import metric_vectors

        vectors = metric_vectors(self.task, self.load(state), records.test, privacy.loss_clip)
        bound = float(vectors.shape[1]) ** 0.5
        if privacy.mode.hides_records:
            return sum_of_terms(vectors, bound)
        # One client counts once, however many records it has.
        total = vectors.sum(axis=0)
        return one_term(total / max(1, len(vectors)), bound).bounded
