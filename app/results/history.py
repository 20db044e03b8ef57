"""The history of a run on disk: ``metrics.jsonl``, one line for each round."""

import json
import os
from pathlib import Path
from typing import Any

from app.results.model_file import write_whole
from strategies.rounds.report import RoundReport

_MAPPINGS = ("metrics", "privacy", "stage_seconds", "published")
START_ANEW = "start a new run in another output-dir"


class RunFolderError(ValueError):
    """A run folder that cannot be used. The message names it and the mend."""


class History:
    """History of the closed rounds.

    Parameters
    ----------
    file : Path
        ``metrics.jsonl``.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def exists(self) -> bool:
        """Whether the history's file exists."""
        return self._file.exists()

    def begin(self) -> None:
        """Start an empty history."""
        self._file.touch()

    def append(self, report: RoundReport) -> None:
        """Append a round's line and sync the file."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report.to_dict()) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def num_lines(self) -> int:
        """Return how many lines there are, whole or not."""
        return len(self._lines())

    def read(self, num_rounds: int) -> list[RoundReport]:
        """Return the reports of the first rounds, which must all be there.

        Raises
        ------
        RunFolderError
            Naming the line.
        """
        reports: list[RoundReport] = []
        for number, line in enumerate(self._lines()[:num_rounds], start=1):
            try:
                reports.append(_report(line))
            except (KeyError, TypeError, ValueError, AttributeError):
                raise RunFolderError(
                    f"{self._file}, line {number}: {line[:60].rstrip()!r} is not the report"
                    f" of a round; {START_ANEW}"
                ) from None
        found = [report.round for report in reports]
        if not found or found != list(range(1, num_rounds + 1)):
            raise RunFolderError(
                f"{self._file} has the rounds {found}, the checkpoint is of round"
                f" {num_rounds}; {START_ANEW}"
            )
        return reports

    def cut(self, num_rounds: int) -> None:
        """Drop lines beyond the checkpoint: their rounds are going to be done again."""
        lines = self._lines()
        kept = [line.rstrip("\n") + "\n" for line in lines[:num_rounds]]
        if kept != lines:
            write_whole(self._file, "".join(kept).encode())

    def _lines(self) -> list[str]:
        # A byte that is no text makes a line that is no report.
        text = self._file.read_text(encoding="utf-8", errors="replace")
        return text.splitlines(keepends=True)


def _report(line: str) -> RoundReport:
    values: dict[str, Any] = json.loads(line)
    # JSON makes strings of node ids that are keys.
    values["failures"] = {int(node): reason for node, reason in values["failures"].items()}
    if not isinstance(values["seconds"], (int, float)):
        raise TypeError
    if not all(isinstance(values.get(name, {}), dict) for name in _MAPPINGS):
        raise TypeError
    published = values.get("published", {})
    values["published"] = {int(node): dict(own) for node, own in published.items()}
    values["took_part"] = tuple(int(node) for node in values.get("took_part", ()))
    return RoundReport(**values)
