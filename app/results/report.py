"""What a person reads of a run whose result is no model: in the log and in the run folder."""

import json
import logging
from pathlib import Path

from app.results.model_file import write_whole
from strategies.rounds.observer import ClosedRound, Observer, Outcome
from workloads.base import Workload

log = logging.getLogger("flwr.tacet")


class ReportObserver(Observer):
    """Write ``report.json`` and a CSV file for each table at the end of a run, and log them.

    Parameters
    ----------
    workload : Workload
        Of the run; nothing is written where it has no report.
    folder : Path
        The run folder.
    """

    def __init__(self, workload: Workload, folder: Path) -> None:
        self._workload, self._folder = workload, folder

    def round_closed(self, closed: ClosedRound) -> None:
        """Do nothing: the tables are those of the end."""

    def finished(self, outcome: Outcome) -> None:
        """Write and log the report of the last state."""
        report = self._workload.report(outcome.state)
        if report is None:
            return
        text = json.dumps(report.to_dict(), indent=2, default=float) + "\n"
        write_whole(self._folder / "report.json", text.encode())
        for name, content in report.files().items():
            write_whole(self._folder / name, content.encode())
        for line in report.lines():
            log.info("%s", line)
