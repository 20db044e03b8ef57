"""What a person reads of a run whose result is no model: in the log and in the run folder."""

import json
import logging
from pathlib import Path

from app.results.model_file import write_whole
from strategies.rounds.observer import ClosedRound, Observer, Outcome
from workloads.base import Workload
from workloads.report import Report

log = logging.getLogger("flwr.tacet")


class ReportObserver(Observer):
    """Write ``report`` and ``evaluation``: JSON, and a CSV file for each table; log the former.

    Parameters
    ----------
    workload : Workload
        Of the run; no report is written where it has none.
    folder : Path
        The run folder.
    """

    def __init__(self, workload: Workload, folder: Path) -> None:
        self._workload, self._folder = workload, folder

    def round_closed(self, closed: ClosedRound) -> None:
        """Do nothing: the tables are those of the end."""

    def finished(self, outcome: Outcome) -> None:
        """Write and log the report of the last state, and write what other files it gives."""
        report = self._workload.report(outcome.state)
        if report is not None:
            self._write("report", report)
            for line in report.lines():
                log.info("%s", line)
        for file, content in self._workload.files(outcome.state).items():
            write_whole(self._folder / file, content.encode())
        if outcome.evaluation is not None:
            self._write("evaluation", outcome.evaluation)

    def _write(self, name: str, report: Report) -> None:
        text = json.dumps(report.to_dict(), indent=2, default=float) + "\n"
        write_whole(self._folder / f"{name}.json", text.encode())
        for file, content in report.files(name).items():
            write_whole(self._folder / file, content.encode())
