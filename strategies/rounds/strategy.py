"""A Flower strategy that our round loop drives: the one interface of every aggregation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from strategies.codec.run_state import RunState
from strategies.rounds.attempt import DivergedError, RoundAttempt, RoundResult
from strategies.rounds.flower_step import FlowerStep
from strategies.rounds.records import model_request
from strategies.rounds.synchronisation import Synchroniser
from strategies.rounds.transport import PollingGrid
from strategies.secagg.messages import NO_LOG_HEAD
from workloads.base import Workload
from workloads.model_arrays import hash_state
from workloads.values import Aggregate, State

_NOT_BY_FLOWERS_LOOP = "give this strategy to strategies.rounds.loop.RoundLoop, not to start()"


class RoundStrategy(Strategy):
    """Flower strategy that runs whole rounds: from a cohort's contributions to the next state.

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
        self.flower_step = FlowerStep(inner)
        self.min_replies = min_replies
        self.workload = workload
        self.coding = coding
        #: What nodes hold of the model, and are sent of the next.
        self.synchroniser = Synchroniser()
        #: The head of the run's log, which participants sign where messages are signed.
        self.log_head = NO_LOG_HEAD
        #: What a registry says of the model that the run began with, for the nodes; empty if
        #: it says nothing, None where the run began with its own initial state.
        self.model_entry: str | None = None

    @abstractmethod
    def train_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Run one attempt at a training round, in as many trips as it takes."""

    @abstractmethod
    def evaluate_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Evaluate the global model alone: the last trip of a run."""

    def summary(self) -> None:
        """Log the inner strategy's settings (Flower's interface)."""
        self.flower_step.inner.summary()

    def requests(self, server_round: int, state: State) -> Callable[[int], RecordDict]:
        """Return what gives the content of a round's request to each node."""
        query = self.workload.query(state, server_round)
        coding, asked = self.coding, self.workload.asked(state)
        told, entry = coding.request(), self.model_entry
        whole = model_request(asked, query, told, coding.last_sum, entry)
        return self.synchroniser.contents(whole, asked)

    def note_release(self, asked: RoundAttempt, *, training: bool) -> None:
        """Count what the nodes may charge, and tell it, before they are asked."""
        self.coding.note_release(asked.number, training=training)
        asked.tell_release()

    def note_log_head(self, head: bytes) -> None:
        """Take the head of the run's log (40 bytes) that the next requests show."""
        self.log_head = head

    def hash_asked(self, server_round: int, state: State) -> bytes:
        """Return SHA-256 of what a round asks about (32 bytes)."""
        query = self.workload.query(state, server_round)
        return hash_state(self.workload.asked(state), query.values, self.workload.loads_as)

    def step(self, server_round: int, before: State, aggregate: Aggregate) -> State:
        """Return the next state.

        Parameters
        ----------
        server_round : int
            Counted from 1.
        before : State
            What the round asked about.
        aggregate : Aggregate
            The sum over the survivors.

        Raises
        ------
        DivergedError
            If the next state would hold a value that is not finite.
        """
        self.coding.take(aggregate, before)
        # An overflow is not a warning but the end of the run, below.
        with np.errstate(over="ignore", invalid="ignore"):
            step = self.flower_step.step
            state = self.workload.apply(before, aggregate, server_round, step)
        if not all(np.isfinite(array).all() for array in state.arrays.values()):
            raise DivergedError("the new model is not finite (or a client sent a huge update)")
        return self.synchroniser.settle(before, state, self.workload.asked)

    # Flower's loop asks a strategy for one set of messages a round. That is half of a masked
    # round, and the plan's releases would go uncounted: `strategies.rounds.loop` drives it.

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Refuse Flower's own loop."""
        raise NotImplementedError(_NOT_BY_FLOWERS_LOOP)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Refuse Flower's own loop."""
        raise NotImplementedError(_NOT_BY_FLOWERS_LOOP)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Refuse Flower's own loop."""
        raise NotImplementedError(_NOT_BY_FLOWERS_LOOP)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Refuse Flower's own loop."""
        raise NotImplementedError(_NOT_BY_FLOWERS_LOOP)
