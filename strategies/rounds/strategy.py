"""A Flower strategy that our round loop drives: the one interface of every aggregation."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg, Strategy

from strategies.codec.run_state import RunCodec
from strategies.contribution import Aggregate
from strategies.rounds.attempt import RoundAttempt, RoundResult, RunStoppedError
from strategies.rounds.flower_step import FlowerStep
from strategies.rounds.records import to_arrays, to_parameters
from strategies.rounds.transport import PollingGrid


class RoundStrategy(Strategy):
    """How the contributions of a cohort become the next global model.

    Parameters
    ----------
    inner : FedAvg
        Flower's strategy that turns the mean into the next model.
    min_replies : int
        With fewer good replies a round changes nothing.
    coding : RunCodec
        How contributions become integers, and what that costs in privacy.
    """

    def __init__(self, inner: FedAvg, min_replies: int, coding: RunCodec) -> None:
        self.flower_step = FlowerStep(inner)
        self.min_replies = min_replies
        self.coding = coding

    @abstractmethod
    def train_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Run one attempt at a training round, in as many trips as it takes."""

    @abstractmethod
    def evaluate_round(self, grid: PollingGrid, asked: RoundAttempt) -> RoundResult:
        """Evaluate the global model alone: the last trip of a run."""

    def summary(self) -> None:
        """Log the inner strategy's settings (Flower's interface)."""
        self.flower_step.inner.summary()

    def step(self, server_round: int, before: ArrayRecord, aggregate: Aggregate) -> ArrayRecord:
        """Return the next global model.

        Parameters
        ----------
        server_round : int
            Counted from 1.
        before : ArrayRecord
            The global model that the updates started from.
        aggregate : Aggregate
            The mean of the updates and the total weight.

        Raises
        ------
        RunStoppedError
            If the next model would hold a value that is not finite.
        """
        self.coding.take(aggregate)
        after = self.flower_step.step(
            server_round, to_parameters(before), aggregate.mean_update, aggregate.weight
        )
        if not all(np.isfinite(array).all() for array in after.values()):
            raise RunStoppedError(
                f"round {server_round}: the new model is not finite; either training diverged"
                " (lower the learning rate) or a client sent a huge update"
            )
        return to_arrays(after)
