"""Close a round: attempt it until it has a result, or the run has to stop."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

from strategies.refusals import Reason
from strategies.rounds.attempt import (
    CohortTooSmallError,
    DivergedError,
    RoundAttempt,
    RoundResult,
    RunStoppedError,
)
from strategies.rounds.cohort import Cohorts
from strategies.rounds.divergence import LossWatch
from strategies.rounds.failures import Failures
from strategies.rounds.report import RoundReport
from strategies.rounds.settings import LoopSettings
from strategies.rounds.strategy import RoundStrategy
from strategies.rounds.transport import PollingGrid
from workloads.values import State

log = logging.getLogger("flwr.tacet")


class RoundCloser:
    """Attempt rounds, and keep who failed in them over the whole run.

    Parameters
    ----------
    strategy : RoundStrategy
        Does one attempt.
    grid : PollingGrid
        Reaches the clients.
    settings : LoopSettings
        How many attempts, and for how long.
    cohort_rng : callable
        Round number to the generator that draws its cohort.
    tell_release : callable
        See ``RoundAttempt``.
    """

    def __init__(
        self,
        strategy: RoundStrategy,
        grid: PollingGrid,
        settings: LoopSettings,
        cohort_rng: Callable[[int], random.Random],
        tell_release: Callable[[], None],
    ) -> None:
        self._strategy = strategy
        self._grid = grid
        self._settings = settings
        self._tell_release = tell_release
        self._has_released = False
        self._losses = LossWatch()
        self._failures = Failures(settings.max_silent)
        self._cohorts = Cohorts(grid, settings, cohort_rng, self._failures)

    def resume(self, reports: Sequence[RoundReport]) -> None:
        """Take up what the rounds before a resume have shown."""
        self._losses.resume(reports)

    def train(self, server_round: int, state: State) -> RoundResult:
        """Return the result of the first attempt that has one.

        Raises
        ------
        RunStoppedError
            Naming who is left out, who failed, the round and the reason.
        """
        asked = self._asked(server_round, state, self._cohorts.draw)
        self._has_released = False
        for attempt in range(1, self._settings.max_attempts + 1):
            self._require_paid(server_round)
            result = self._attempt(asked, attempt)
            if result is not None and result.state is not None:
                self._check_losses(server_round, result)
                return result
            if result is not None:
                self._cohorts.note_redrawn()
        raise self._stopped(
            f"round {server_round}: too few clients answered in each of rounds.max_attempts="
            f"{self._settings.max_attempts} attempts,"
            f" rounds.min_replies={self._settings.min_replies}"
        )

    def score(self, server_round: int, state: State) -> RoundResult | None:
        """Return what all clients score the last state of a run; None if nobody can.

        Parameters
        ----------
        server_round : int
            One more than the last round.
        state : State
            What is scored.
        """
        coding = self._strategy.coding
        if not coding.scores_last_model:
            return None
        # However early the run ended, no round is to come but this.
        if coding.shortfall(self._settings.num_rounds + 1):
            log.warning(
                "last evaluation: left out, as attempts that failed or were cut off have used"
                " up the metrics that the plan pays for"
            )
            return None
        if not self._cohorts.usable():
            log.warning("last evaluation: no client is connected")
            return None
        asked = self._asked(server_round, state, lambda _: self._cohorts.usable())
        try:
            result = self._strategy.evaluate_round(self._grid, asked)
        except RunStoppedError as error:
            raise self._told(error, server_round, 1) from None
        self._failures.note(server_round, 1, result.failures, result.answered)
        self._check_answers(server_round, result)
        self._check_losses(server_round, result)
        return result

    def _attempt(self, asked: RoundAttempt, attempt: int) -> RoundResult | None:
        """Return the result of one attempt; None if no cohort could be drawn for it."""
        settings, number = self._settings, asked.number
        try:
            result = self._strategy.train_round(self._grid, asked)
        except CohortTooSmallError as error:
            log.warning("round %d, attempt %d: %s", number, attempt, error)
            return None
        except RunStoppedError as error:
            raise self._told(error, number, attempt) from None
        self._failures.note(number, attempt, result.failures, result.answered)
        self._strategy.synchroniser.note(result.answered, result.failures)
        self._check_answers(number, result)
        if result.failures and settings.stop_on_client_failure:
            node, reason = next(iter(result.failures.items()))
            raise self._stopped(
                f"round {number}: client {node} failed: {reason}"
                " (rounds.on_client_failure=stop)"
            )
        if result.state is None:
            log.warning(
                "round %d, attempt %d of %d: %d of %d answered, rounds.min_replies=%d;"
                " the model stays as it was",
                number,
                attempt,
                settings.max_attempts,
                result.num_replies,
                result.num_asked,
                settings.min_replies,
            )
        return result

    def _require_paid(self, server_round: int) -> None:
        """Stop a private run before it asks nodes again for what its plan does not pay for.

        The round itself is paid for, or the loop has ended: what a resumed run has left may do
        for fewer rounds than are to come, but not for one of them twice.
        """
        if not self._has_released:
            return
        if shortfall := self._strategy.coding.shortfall(server_round):
            raise self._stopped(
                f"round {server_round}: an attempt failed after nodes may have charged for it,"
                f" and {shortfall}"
            )

    def _check_answers(self, server_round: int, result: RoundResult) -> None:
        """Stop the run if too few clients answered because training diverged on the others."""
        diverged = list(result.failures.values()).count(Reason.TRAINING_DIVERGED)
        if result.num_replies < self._settings.min_replies <= result.num_replies + diverged:
            how = f"on {diverged} of {result.num_asked} clients"
            raise self._stopped(self._diverged(server_round, how))

    def _check_losses(self, server_round: int, result: RoundResult) -> None:
        """Stop the run if the losses of a round say that training has diverged."""
        if self._strategy.coding.is_private:
            return
        if how := self._losses.objection(result.means):
            raise self._stopped(self._diverged(server_round, how))

    def _diverged(self, server_round: int, how: str) -> str:
        mend = self._settings.divergence_mend
        return f"round {server_round}: training diverged: {how}; {mend}"

    def _release(self) -> None:
        self._has_released = True
        if self._cohorts.fewest_drawable is not None:
            self._strategy.coding.note_drawable(self._cohorts.fewest_drawable)
        self._tell_release()

    def _asked(
        self, server_round: int, state: State, draw: Callable[[int], list[int]]
    ) -> RoundAttempt:
        return RoundAttempt(
            number=server_round,
            state=state,
            deadline_seconds=self._settings.deadline_seconds,
            draw=draw,
            tell_release=self._release,
        )

    def _told(self, error: RunStoppedError, server_round: int, attempt: int) -> RunStoppedError:
        """Return the error of an attempt, with who was left out and who failed before it."""
        self._failures.note(server_round, attempt, error.failures, frozenset())
        is_diverged = isinstance(error, DivergedError)
        text = self._diverged(server_round, str(error)) if is_diverged else str(error)
        return self._stopped(text)

    def _stopped(self, message: str) -> RunStoppedError:
        return RunStoppedError(self._failures.told_before(message))
