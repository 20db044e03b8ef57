"""The round loop: draw a cohort, run the round, report, until the rounds or the progress end.

Evaluation rides on the train trip: the clients score the global model as they receive it, so
round r reports how good the model of round r - 1 is, and one trip at the end scores the last.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence

import numpy as np

from strategies.rounds.averaging import IterateAverage
from strategies.rounds.checkpoint import Checkpoint
from strategies.rounds.closing import RoundCloser
from strategies.rounds.observer import ClosedRound, Observer, Outcome
from strategies.rounds.report import RoundReport, evaluation_metrics, report_of
from strategies.rounds.settings import LoopSettings
from strategies.rounds.strategy import RoundStrategy
from strategies.rounds.transport import PollingGrid
from workloads.values import State

log = logging.getLogger("flwr.tacet")


class RoundLoop:
    """The loop that drives a strategy over a grid.

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
    observers : sequence of Observer
        Told in this order when a round has closed, before the next begins, and of the end.
    """

    def __init__(
        self,
        strategy: RoundStrategy,
        grid: PollingGrid,
        settings: LoopSettings,
        cohort_rng: Callable[[int], random.Random],
        observers: Sequence[Observer],
    ) -> None:
        self._strategy = strategy
        self._traffic, self._published_figures = grid.traffic, grid.published
        self._settings = settings
        self._closer = RoundCloser(strategy, grid, settings, cohort_rng, self._tell_release)
        self._observers = observers
        self._average = IterateAverage(settings.average_from)

    def run(self, state: State, checkpoint: Checkpoint | None = None) -> Outcome:
        """Run the rounds that are still to do, and tell the observers.

        Parameters
        ----------
        state : State
            The initial one.
        checkpoint : Checkpoint, optional
            What the last round left, when resuming.

        Raises
        ------
        RunStoppedError
            Naming the round and the reason.
        ValueError
            If the checkpoint is of another algorithm or model.
        """
        try:
            outcome = self._run(state, checkpoint)
            for observer in self._observers:
                observer.finished(outcome)
        except BaseException as error:
            self._tell_failure(error)
            raise
        return outcome

    def _run(self, state: State, checkpoint: Checkpoint | None) -> Outcome:
        reports: list[RoundReport] = []
        if checkpoint:
            state = self._restore(checkpoint, state)
            reports = list(checkpoint.reports)
            self._closer.resume(reports)
        stopped_early = has_converged = False
        closed: ClosedRound | None = None
        for server_round in range(len(reports) + 1, self._settings.num_rounds + 1):
            if self._has_plateaued(reports):
                stopped_early = True
                log.info("early stopping: no better loss in %d rounds", self._settings.patience)
                break
            if not self._strategy.coding.pays_for(server_round):
                stopped_early = True
                log.warning(
                    "the run ends before round %d of %d: attempts that failed or were cut off"
                    " have used up what the plan pays for (privacy.spare_attempts)",
                    server_round,
                    self._settings.num_rounds,
                )
                break
            before = state
            closed = self._close_round(server_round, state)
            state = closed.state
            reports.append(closed.report)
            for observer in self._observers:
                observer.round_closed(closed)
            has_converged = self._has_converged(server_round, before, state)
            if has_converged or self._strategy.workload.is_finished(state):
                stopped_early = server_round < self._settings.num_rounds
                break
        published = self._published(state)
        ending = self._strategy.workload.ending(state)
        if ending:
            log.info("the run ends: %s", ", ".join(f"{k} {v}" for k, v in ending.items()))
        if closed is not None and has_converged and _same(published, state):
            # Nodes have scored it in its round, before they trained on it, and do so once.
            metrics, aggregate = dict(reports[-1].metrics), closed.aggregate
            signed = None
        else:
            result = self._closer.score(len(reports) + 1, published)
            metrics = evaluation_metrics(result.means) if result else {}
            aggregate = result.aggregate if result else None
            signed = result.signed if result else None
        return Outcome(
            published,
            len(reports),
            stopped_early,
            metrics,
            self._strategy.coding.report(),
            self._strategy.workload.evaluation(aggregate) if aggregate else None,
            ending,
            signed,
            self._published_figures.take(),
        )

    def _published(self, state: State) -> State:
        """Return what the run gives if it ends with this state."""
        return self._strategy.workload.published(self._average.published(state))

    def _has_converged(self, server_round: int, before: State, after: State) -> bool:
        """Whether the next round would ask what this one asked: nodes answer that once only."""
        if not _same(before, after):
            return False
        hashes = [
            self._strategy.hash_asked(number, state)
            for number, state in ((server_round, before), (server_round + 1, after))
        ]
        if hashes[0] != hashes[1]:
            return False
        log.warning(
            "round %d left the model as it was, and the run ends: training has converged, or"
            " the updates are zero (task.training.learning_rate) or below the codec's grid"
            " (aggregation.codec.modulus_bits and clip_range; lower max_weight_examples to the"
            " records of the largest client, for updates are weighted by their share of it)",
            server_round,
        )
        return True

    def _restore(self, checkpoint: Checkpoint, initial: State) -> State:
        """Restore everything that changes from round to round; return where the run stood."""
        num_rounds = len(checkpoint.reports)
        if num_rounds:
            rest = self._average.restore(checkpoint.kept, num_rounds)
            rest = self._strategy.coding.take_up(rest)
            self._strategy.flower_step.restore_state(rest, list(initial.arrays))
        if num_rounds or checkpoint.privacy:
            self._strategy.coding.restore(checkpoint.privacy)
        log.info("resumed after round %d", num_rounds)
        return initial if checkpoint.state is None else checkpoint.state

    def _close_round(self, server_round: int, state: State) -> ClosedRound:
        """Train until a round closes; return its record for the observers."""
        started = time.monotonic()
        result = self._closer.train(server_round, state)
        # It raises otherwise.
        assert result.state is not None and result.aggregate is not None  # noqa: S101, PT018
        privacy = self._strategy.coding.report()
        seconds = time.monotonic() - started
        published = self._published_figures.take()
        report = report_of(
            server_round, seconds, result, privacy, self._traffic.take(), published
        )
        self._average.take(server_round, result.state)
        optimizer = self._strategy.flower_step.export_state(list(result.state.arrays))
        return ClosedRound(
            report=report,
            aggregate=result.aggregate,
            state=result.state,
            published=self._published(result.state),
            kept=optimizer | self._average.export() | self._strategy.coding.export(),
            signed=result.signed,
        )

    def _tell_release(self) -> None:
        """Tell every observer what the nodes are about to charge, if they charge at all."""
        if privacy := self._strategy.coding.report():
            for observer in self._observers:
                observer.releasing(privacy)

    def _tell_failure(self, error: BaseException) -> None:
        """Tell every observer of a failure, even if one of them raises."""
        for observer in self._observers:
            try:
                observer.failed(error)
            except Exception:
                log.exception("%s could not take note of the failure", type(observer).__name__)

    def _has_plateaued(self, reports: Sequence[RoundReport]) -> bool:
        """Whether the last ``patience`` losses are all no better than the best before them."""
        patience = self._settings.patience
        losses = [r.metrics["loss"] for r in reports if "loss" in r.metrics]
        if not patience or len(losses) <= patience:
            return False
        return min(losses[-patience:]) >= min(losses[:-patience]) - self._settings.min_delta


def _same(one: State, other: State) -> bool:
    """Whether two states have equal arrays, which is soon seen where they differ."""
    return all(np.array_equal(other.arrays[n], values) for n, values in one.arrays.items())
