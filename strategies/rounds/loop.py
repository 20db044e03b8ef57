"""The round loop: draw a cohort, run the round, report, until the rounds or the progress end.

Evaluation rides on the train trip: the clients score the global model as they receive it, so
round r reports how good the model of round r - 1 is, and one trip at the end scores the last.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord

from strategies.refusals import is_permanent
from strategies.rounds.attempt import (
    CohortTooSmallError,
    RoundAttempt,
    RoundResult,
    RunStoppedError,
)
from strategies.rounds.averaging import IterateAverage
from strategies.rounds.report import RoundReport, evaluation_metrics, report_of
from strategies.rounds.strategy import RoundStrategy
from strategies.rounds.transport import PollingGrid

log = logging.getLogger("flwr.tacet")


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """When rounds go on and when they end. See ``RoundsConfig`` and ``EarlyStoppingConfig``."""

    num_rounds: int
    cohort_fraction: float
    min_clients: int
    min_replies: int
    max_attempts: int
    stop_on_client_failure: bool
    deadline_seconds: float
    patience: int
    min_delta: float
    #: Whether more clients may still connect: not in a simulation.
    wait_for_clients: bool
    #: Each client is drawn by a coin of its own, and a cohort under this is drawn again; 0 for
    #: cohorts of a fixed size.
    min_poisson_cohort: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    arrays : ArrayRecord
        The last global model, or the mean of the last ones.
    num_rounds : int
        Rounds that were done, those before a resume included.
    stopped_early : bool
        Whether early stopping ended it.
    metrics : dict
        ``loss`` and metrics of the last model.
    privacy : dict
        What the run has spent, the last metrics included; empty without differential privacy.
    """

    arrays: ArrayRecord
    num_rounds: int
    stopped_early: bool
    metrics: dict[str, float]
    privacy: dict[str, Any] = field(default_factory=dict[str, Any])


class RoundLoop:
    """Drives a strategy over a grid.

    Parameters
    ----------
    strategy : RoundStrategy
        Does one round.
    grid : PollingGrid
        Reaches the clients.
    settings : LoopSettings
        When to go on and when to stop.
    cohort_rng : callable
        Round number to the generator that draws its cohort.
    on_round : callable
        Called with the report and the new model when a round has closed, before the next
        begins: where checkpoints are written.
    average : IterateAverage
        What the run gives in the end.
    """

    def __init__(
        self,
        strategy: RoundStrategy,
        grid: PollingGrid,
        settings: LoopSettings,
        cohort_rng: Callable[[int], random.Random],
        on_round: Callable[[RoundReport, ArrayRecord], None],
        average: IterateAverage,
    ) -> None:
        self._strategy = strategy
        self._grid = grid
        self._settings = settings
        self._cohort_rng = cohort_rng
        self._on_round = on_round
        self._average = average
        self._left_out: dict[int, str] = {}

    def run(self, arrays: ArrayRecord, history: Sequence[RoundReport] = ()) -> Outcome:
        """Run the rounds that are still to do.

        Parameters
        ----------
        arrays : ArrayRecord
            The model to go on from.
        history : sequence of RoundReport
            The rounds already done, when resuming.

        Raises
        ------
        RunStoppedError
            Naming the round and the reason.
        """
        reports = list(history)
        stopped_early = False
        for server_round in range(len(reports) + 1, self._settings.num_rounds + 1):
            if self._has_plateaued(reports):
                stopped_early = True
                log.info("early stopping: no better loss in %d rounds", self._settings.patience)
                break
            started = time.monotonic()
            result = self._train(server_round, arrays)
            assert result.arrays is not None  # noqa: S101 - _train raises otherwise
            arrays = result.arrays
            privacy = self._strategy.coding.report()
            report = report_of(server_round, time.monotonic() - started, result, privacy)
            reports.append(report)
            self._average.take(server_round, arrays)
            self._on_round(report, arrays)
            log.info("%s", report.line(self._settings.num_rounds))
        published = self._average.published(arrays)
        metrics = self._final_metrics(len(reports), published)
        privacy = self._strategy.coding.report()
        return Outcome(published, len(reports), stopped_early, metrics, privacy)

    def _train(self, server_round: int, arrays: ArrayRecord) -> RoundResult:
        settings = self._settings
        result = RoundResult(None, {}, 0, 0)
        for attempt in range(1, settings.max_attempts + 1):
            asked = RoundAttempt(
                number=server_round,
                arrays=arrays,
                deadline_seconds=settings.deadline_seconds,
                draw=self._draw,
            )
            try:
                result = self._strategy.train_round(self._grid, asked)
            except CohortTooSmallError as error:
                log.warning("round %d, attempt %d: %s", server_round, attempt, error)
                continue
            self._note_failures(server_round, result)
            if result.arrays is not None:
                return result
            log.warning(
                "round %d, attempt %d of %d: %d of %d answered, rounds.min_replies=%d;"
                " the model stays as it was",
                *(server_round, attempt, settings.max_attempts),
                *(result.num_replies, result.num_asked, settings.min_replies),
            )
        reasons = "".join(f"; client {n}: {r}" for n, r in sorted(result.failures.items()))
        raise RunStoppedError(
            f"round {server_round}: too few clients answered in each of rounds.max_attempts="
            f"{settings.max_attempts} attempts, rounds.min_replies={settings.min_replies}"
            f"{reasons}"
        )

    def _draw(self, server_round: int) -> list[int]:
        """Draw the cohort of a round among the connected clients."""
        settings = self._settings
        nodes = self._usable()
        end = time.monotonic() + settings.deadline_seconds
        while len(nodes) < settings.min_clients and settings.wait_for_clients:
            # Who is left out stays out; with nobody else there, no one need wait for more.
            if (self._left_out and not nodes) or time.monotonic() > end:
                break
            self._grid.wait_for_nodes(settings.min_clients + len(self._left_out), 1.0)
            nodes = self._usable()
        if len(nodes) < settings.min_clients:
            reasons = "".join(f"; client {n}: {r}" for n, r in self._left_out.items())
            raise RunStoppedError(
                f"{len(nodes)} usable clients are connected and {len(self._left_out)} are left"
                f" out, rounds.min_clients={settings.min_clients}{reasons}"
            )
        if settings.min_poisson_cohort and settings.cohort_fraction < 1:
            return self._draw_by_coins(nodes, server_round)
        size = min(
            len(nodes),
            max(settings.min_replies, math.ceil(settings.cohort_fraction * len(nodes))),
        )
        if size == len(nodes):
            return nodes
        return sorted(self._cohort_rng(server_round).sample(nodes, size), key=nodes.index)

    def _draw_by_coins(self, nodes: list[int], server_round: int) -> list[int]:
        """Draw a Poisson cohort, as amplification by sampling assumes."""
        settings, rng = self._settings, self._cohort_rng(server_round)
        cohort = [node for node in nodes if rng.random() < settings.cohort_fraction]
        if len(cohort) < settings.min_poisson_cohort:
            raise CohortTooSmallError(
                f"a cohort of {len(cohort)} was drawn, under {settings.min_poisson_cohort}"
            )
        return cohort

    def _usable(self) -> list[int]:
        return [n for n in self._grid.connected_nodes() if n not in self._left_out]

    def _note_failures(self, server_round: int, result: RoundResult) -> None:
        for node, reason in result.failures.items():
            if is_permanent(reason):
                self._left_out[node] = reason
                log.warning(
                    "client %d is left out of the run: %s (the details are in its own log)",
                    node,
                    reason,
                )
            else:
                log.warning("round %d: client %d failed: %s", server_round, node, reason)
        if result.failures and self._settings.stop_on_client_failure:
            node, reason = next(iter(result.failures.items()))
            raise RunStoppedError(
                f"round {server_round}: client {node} failed: {reason}"
                " (rounds.on_client_failure=stop)"
            )

    def _has_plateaued(self, reports: Sequence[RoundReport]) -> bool:
        """Whether the last ``patience`` losses are all no better than the best before them."""
        patience = self._settings.patience
        losses = [r.metrics["loss"] for r in reports if "loss" in r.metrics]
        if not patience or len(losses) <= patience:
            return False
        return min(losses[-patience:]) >= min(losses[:-patience]) - self._settings.min_delta

    def _final_metrics(self, server_round: int, arrays: ArrayRecord) -> dict[str, float]:
        if not self._strategy.coding.scores_last_model:
            return {}
        if not self._usable():
            log.warning("last evaluation: no client is connected")
            return {}
        asked = RoundAttempt(
            number=server_round + 1,
            arrays=arrays,
            deadline_seconds=self._settings.deadline_seconds,
            draw=lambda _: self._usable(),
        )
        result = self._strategy.evaluate_round(self._grid, asked)
        for node, reason in result.failures.items():
            log.warning("last evaluation: client %d failed: %s", node, reason)
        return evaluation_metrics(result.means)
