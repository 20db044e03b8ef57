"""The observers of a run: one writes its folder, one logs."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.results.run_folder import RunFolder
from strategies.rounds.observer import ClosedRound, Observer, Outcome
from strategies.rounds.report import describe, describe_privacy

log = logging.getLogger("flwr.tacet")


class FolderObserver(Observer):
    """Write every round to the run folder, so that the run can be resumed.

    Parameters
    ----------
    folder : RunFolder
        Held by this process.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def releasing(self, privacy: Mapping[str, Any]) -> None:
        """Write what nodes are about to charge: it counts even if no round closes."""
        self._folder.note_release(privacy)

    def round_closed(self, closed: ClosedRound) -> None:
        """Write the round's line, the checkpoint and the model."""
        self._folder.write_round(closed)

    def finished(self, outcome: Outcome) -> None:
        """Write how the run ended."""
        self._folder.finish(outcome)

    def failed(self, error: BaseException) -> None:
        """Write why the run could not go on."""
        self._folder.fail(f"{type(error).__name__}: {error}")


class LogObserver(Observer):
    """Log a line for each round, and three at the end.

    Parameters
    ----------
    num_rounds : int
        The rounds of the whole run.
    folder : Path
        The run folder, for the log.
    """

    def __init__(self, num_rounds: int, folder: Path) -> None:
        self._num_rounds = num_rounds
        self._folder = folder

    def round_closed(self, closed: ClosedRound) -> None:
        """Log the round's line."""
        log.info("%s", closed.report.line(self._num_rounds))

    def finished(self, outcome: Outcome) -> None:
        """Log the last scores, what the run has spent and where the run folder is."""
        log.info("last model: %s", describe(outcome.metrics) or "not scored")
        if outcome.privacy:
            log.info("the run has spent: %s", describe_privacy(outcome.privacy))
        log.info("done: %d rounds; everything is in %s", outcome.num_rounds, self._folder)
