"""q-FedAvg: participants on whom the model is bad count more (Li et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from tasks.schema import require
from workloads.base import Records, Step, WorkloadConfig
from workloads.model_update import ModelUpdate, personal_of, update_of
from workloads.values import (
    NUM_EXAMPLES,
    TRAIN_LOSS,
    Aggregate,
    Contribution,
    Query,
    State,
    StateRefusedError,
)

#: The sum that the sum of the updates is divided by.
CURVATURE = "qfedavg_curvature"
_LOSS = "mean_loss"


@dataclass
class QFedAvgConfig(WorkloadConfig):
    """How much more a participant with a large loss counts.

    Attributes
    ----------
    q : float
        0 counts every participant the same; the larger, the more the worst one counts.
    """

    q: float = 1.0

    def __post_init__(self) -> None:
        require(
            0 <= self.q <= 10,
            f"algorithm.q={self.q}: must be in [0, 10]; 0 counts all participants the same",
        )


class QFedAvg(ModelUpdate):
    """Minimise the sum of the participants' losses to the power q + 1 (arXiv 1905.10497).

    Algorithm 2 of the paper, whose two sums over participants are all that the server needs:
    that of ``F^q (w_k - w)``, and that of ``F^q + q F^(q-1) |w_k - w|^2 / eta``, with F the
    loss of the model w on a participant's training records, and w_k the model after its
    training. So nobody's loss is shown. eta is the learning rate of one step that is as long as
    the whole training: the number of steps times theirs, over 1 - momentum. (The paper's code
    has that of a single step, with which a round of 100 steps hardly moves: the worst hospital
    of ``heart`` was at 0.60 after 20 rounds, and is at 0.78.) F is taken in units of the last
    round's mean loss, which cancels in the quotient, so that powers keep to the grid. Every
    participant counts once, however many records it has.
    """

    Config = QFedAvgConfig
    serves = frozenset()
    is_weighted = False
    averages_updates = False
    instead = "take algorithm=fedavg"

    def sum_names(self, *, training: bool) -> tuple[str, ...]:
        """Return the names of a model update's sums, and that of the divisor."""
        names = super().sum_names(training=training)
        return (*names, CURVATURE) if training else names

    def initial_state(self) -> State:
        """Return the untrained model; losses are in units of 1 until a round has closed."""
        return State(super().initial_state().arrays, {_LOSS: 1.0})

    def check(self, state: State) -> None:
        """Refuse what is not the model's parameters and a mean loss above 0."""
        super().check(state)
        unit = state.header.get(_LOSS)
        if not (isinstance(unit, float) and isfinite(unit) and unit > 0):
            raise StateRefusedError(f"{_LOSS}={unit!r} is no loss")

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return the update times F^q, and what the server divides the sum by."""
        model = self.load(state, records)
        sums = self.score(model, records)
        loss_sum = self._loss_sum(model, records)
        # It refuses a node without records.
        result = self._train(model, records, rng)
        sums |= {
            NUM_EXAMPLES: float(result.num_examples),
            TRAIN_LOSS: result.mean_loss * result.num_examples,
        }
        update = update_of(model, state).astype(np.float64)
        scale, steep = self._weights(
            loss_sum / result.num_examples,
            float(update @ update) / self._step_length(result.num_steps),
            state.header[_LOSS],
        )
        with np.errstate(invalid="ignore"):
            weighted = scale * update
        sums[CURVATURE] = scale + steep
        return Contribution(weighted, sums, personal=personal_of(model))

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Move the model by the quotient of the two sums."""
        curvature = aggregate.sums.get(CURVATURE, 0.0)
        found = aggregate.total / curvature if curvature > 0 else 0.0 * aggregate.total
        moved = found.astype(np.float32)
        arrays = step(server_round, state.arrays, moved, aggregate.weight)
        count = aggregate.sums.get(NUM_EXAMPLES, 0.0)
        loss = aggregate.sums.get(TRAIN_LOSS, 0.0) / count if count > 0 else 0.0
        unit = loss if isfinite(loss) and loss > 0 else state.header[_LOSS]
        return State(arrays, {_LOSS: float(unit)})

    def _step_length(self, num_steps: int) -> float:
        """Return the learning rate of the one long step that local training is taken for."""
        training = self.task.config.training
        return num_steps * training.learning_rate / (1 - training.momentum)

    def _weights(self, loss: float, steepness: float, unit: float) -> tuple[float, float]:
        """Return F^q and q F^(q-1) times the steepness, by a loss in units of the mean one.

        Not finite beyond float64, which the codec takes for training that diverged.
        """
        q, unit = self.setup.algorithm.q, np.float64(unit)
        with np.errstate(all="ignore"):
            found = np.float64(loss) / unit
            scale = found**q
            steep = q * found ** (q - 1) * (steepness / unit) if q and loss else 0.0
        return float(scale), float(steep)

    def _loss_sum(self, model: Any, records: Records) -> float:
        """Return the sum of a model's losses on the training records."""
        from tasks.training.local import evaluate

        sums: dict[str, Any] = evaluate(self.task, model, records.train)
        return float(sums["loss"])
