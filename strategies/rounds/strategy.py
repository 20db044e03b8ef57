"""A Flower strategy that our round loop drives: the one interface of every aggregation."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from flwr.supercore.run import Run
from numpy.typing import NDArray

from strategies.codec.run_state import RunState
from strategies.rounds.records import ARRAYS, to_arrays, to_parameters
from strategies.rounds.transport import PollingGrid
from workloads.base import NUM_EXAMPLES, Aggregate, Arrays, State, Workload
from workloads.model_arrays import add_to


class CohortTooSmallError(RuntimeError):
    """A cohort was drawn under T: nothing is sent, and it is drawn again."""


class RunStoppedError(RuntimeError):
    """The run cannot go on. Everything up to the last good round is kept."""


@dataclass(frozen=True)
class RoundResult:
    """What one attempt at a round gave.

    Attributes
    ----------
    arrays : ArrayRecord or None
        The next global model; None if too few clients answered and nothing changed, and
        always when only evaluating.
    means : dict
        Losses and metrics per example over the survivors.
    num_asked, num_replies : int
        Size of the cohort and how many good replies came.
    failures : dict
        Node id to reason, for the rest of the cohort.
    """

    arrays: ArrayRecord | None
    means: dict[str, float]
    num_asked: int
    num_replies: int
    failures: dict[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True, kw_only=True)
class RoundAttempt:
    """What a strategy is asked to do once.

    Attributes
    ----------
    number : int
        The round, counted from 1; the last evaluation is one more than the last round.
    arrays : ArrayRecord
        The global model.
    deadline_seconds : float
        For each trip.
    draw : callable
        Round number to the cohort of that round: a strategy may look one round ahead.
    """

    number: int
    arrays: ArrayRecord
    deadline_seconds: float
    draw: Callable[[int], list[int]]


class RoundStrategy(Strategy):
    """How the contributions of a cohort become the next global model.

    Wraps one of Flower's own strategies, which sees a single reply with the mean: so any
    inner strategy that needs only the mean works over any aggregation.

    Parameters
    ----------
    inner : FedAvg
        Flower's strategy that turns the mean into the next model.
    min_replies : int
        With fewer good replies a round changes nothing.
    workload : Workload
        What is summed, and what becomes of the sum.
    coding : RunState
        How contributions become integers, and what that costs in privacy.
    """

    def __init__(
        self, inner: FedAvg, min_replies: int, workload: Workload, coding: RunState
    ) -> None:
        self.inner = inner
        self.min_replies = min_replies
        self.workload = workload
        self.coding = coding
        self._sent: ArrayRecord | None = None

    @abstractmethod
    def train_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Run one attempt at a training round, in as many trips as it takes."""

    @abstractmethod
    def evaluate_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Evaluate the global model alone: the last trip of a run."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return one message for each node of the grid (Flower's interface)."""
        self._sent = arrays
        with _quiet_flower():
            return self.inner.configure_train(server_round, arrays, config, grid)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return one message for each node of the grid (Flower's interface)."""
        with _quiet_flower():
            return self.inner.configure_evaluate(server_round, arrays, config, grid)

    def summary(self) -> None:
        """Log the inner strategy's settings (Flower's interface)."""
        self.inner.summary()

    def step(self, server_round: int, aggregate: Aggregate) -> ArrayRecord:
        """Let the workload make the next state of the sum.

        Parameters
        ----------
        server_round : int
            Counted from 1.
        aggregate : Aggregate
            The sum over the survivors.

        Raises
        ------
        RunStoppedError
            If the next state would hold a value that is not finite.
        """
        if self._sent is None:
            raise RuntimeError("step() needs configure_train() of the same round before it")
        before = to_parameters(self._sent)
        self.coding.take(aggregate)
        # An overflow is not a warning but the end of the run, below.
        with _quiet_flower(), np.errstate(over="ignore", invalid="ignore"):
            state = self.workload.apply(State(before), aggregate, server_round, self._step)
        if not all(np.isfinite(array).all() for array in state.arrays.values()):
            raise RunStoppedError(
                f"round {server_round}: the new model is not finite; either training diverged"
                " (lower the learning rate) or a client sent a huge update"
            )
        return to_arrays(state.arrays)

    def _step(
        self, server_round: int, before: Arrays, mean: NDArray[np.float32], weight: float
    ) -> Arrays:
        """Let Flower's strategy turn the mean update into the next model."""
        content = RecordDict(
            {
                ARRAYS: to_arrays(add_to(before, mean)),
                "metrics": MetricRecord({NUM_EXAMPLES: weight}),
            }
        )
        reply = Message(content, dst_node_id=1, message_type="train")
        arrays, _ = self.inner.aggregate_train(server_round, [reply])
        if arrays is None:
            raise RuntimeError(
                f"{type(self.inner).__name__} gave no model in round {server_round}"
            )
        after = to_parameters(arrays)
        # FedAdam multiplies by a numpy float64 and would double the model's size.
        return {name: after[name].astype(old.dtype) for name, old in before.items()}


class CohortGrid(Grid):
    """A grid on which only the cohort exists, so that Flower's sampling takes all of it."""

    def __init__(self, cohort: Sequence[int]) -> None:
        self._cohort = list(cohort)

    def get_node_ids(self) -> Iterable[int]:
        """Return the cohort."""
        return list(self._cohort)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the cohort."""
        return [NodeInfo(node_id=node) for node in self._cohort]

    def _sends_nothing(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a CohortGrid only tells who is in the cohort; it sends nothing")

    set_run = create_message = push_messages = pull_messages = send_and_receive = _sends_nothing

    @property
    def run(self) -> Run:
        """Refuse: there is no run here."""
        return self._sends_nothing()


@contextmanager
def _quiet_flower() -> Generator[None]:
    """Keep the inner strategy from logging one reply where a whole cohort answered."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
