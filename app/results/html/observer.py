"""The observer of a run that keeps its ``report.html`` up to date, and never ends the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from app.results.html.page import write_page
from strategies.rounds.observer import ClosedRound, Observer, Outcome

log = logging.getLogger("flwr.tacet")

# Drawing takes a twentieth of a run's time at most, as far as the last drawing tells.
_SHARE = 1 / 20
_LEAST_SECONDS = 5.0
# Of the first drawing, which loads matplotlib.
_FIRST_COST_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0


class PageObserver(Observer):
    """Draw the report after a round, where it costs little, and at the end.

    To be told last, when the folder has everything.

    Parameters
    ----------
    folder : Path
        The run folder.
    plan : Thread, optional
        Writes the words on the run; the last drawing waits for it.
    draw : callable
        Draws the report of a folder and returns where it is.
    clock : callable
        Seconds, for tests.
    """

    def __init__(
        self,
        folder: Path,
        plan: Thread | None = None,
        draw: Callable[[Path], Path] = write_page,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._plan = folder, plan
        self._draw, self._clock = draw, clock
        self._ended, self._cost_seconds = clock(), _FIRST_COST_SECONDS

    def round_closed(self, closed: ClosedRound) -> None:
        """Draw the rounds so far, unless that would slow the run."""
        waits = max(_LEAST_SECONDS, self._cost_seconds / _SHARE)
        if self._clock() - self._ended >= waits:
            self._write()

    def finished(self, outcome: Outcome) -> None:
        """Draw the whole run, and log where."""
        self._write_last()

    def failed(self, error: BaseException) -> None:
        """Draw what there is of a run that failed, and log where."""
        self._write_last()

    def _write_last(self) -> None:
        if self._plan is not None:
            self._plan.join(_LONGEST_WAIT_SECONDS)
        if (file := self._write()) is not None:
            log.info("report: %s", file)

    def _write(self) -> Path | None:
        """Draw; return where, or None if that failed, which is told and ends no run."""
        started = self._clock()
        try:
            return self._draw(self._folder)
        except OSError as error:
            log.warning("report.html is not written: %s", error)
        except Exception:
            log.warning("report.html is not written", exc_info=True)
        finally:
            self._ended = self._clock()
            self._cost_seconds = self._ended - started
        return None
