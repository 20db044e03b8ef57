"""How far a run is, read from its folder by whoever watches it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from app.results.history import RunFolderError
from app.results.summary import RUNNING, read_summary

# Of so many rounds the median tells how long the next ones take.
_RECENT = 5


@dataclass(frozen=True)
class Progress:
    """A run at one moment.

    Attributes
    ----------
    status, reason : str
        Of the summary; the reason is empty where there is none.
    run_id : str
        Flower's id of the run, for ``flwr stop``; empty where it is not known.
    num_rounds, planned_rounds : int
        Rounds that have closed, and all that were asked for.
    lines : tuple of mappings
        The closed rounds' lines of ``metrics.jsonl``, those of them that can be read.
    spent, cap : float or None
        Epsilon so far and as configured; None without privacy, or without a cap.
    """

    status: str
    reason: str
    run_id: str
    num_rounds: int
    planned_rounds: int
    lines: tuple[Mapping[str, Any], ...]
    spent: float | None
    cap: float | None

    @property
    def is_running(self) -> bool:
        """Return whether its process is still there."""
        return self.status == RUNNING

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at the pace of the last rounds; None if unknown."""
        seconds = [line["seconds"] for line in self.lines[-_RECENT:]]
        if not seconds or not self.is_running:
            return None
        return median(seconds) * max(0, self.planned_rounds - self.num_rounds)


def read_progress(folder: Path) -> Progress:
    """Return how far the run in a folder is.

    Raises
    ------
    RunFolderError
        If it holds no run.
    """
    try:
        summary = read_summary(folder)
        config = dict(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
        privacy = dict(config.get("privacy") or {})
        return Progress(
            status=str(summary["status"]),
            reason=str(summary.get("reason", "")),
            run_id=str(summary.get("run_id", "")),
            num_rounds=int(summary["num_rounds"]),
            planned_rounds=int(config["num_rounds"]),
            lines=_lines(folder),
            spent=_number(dict(summary.get("privacy") or {}).get("epsilon")),
            cap=_number(privacy.get("epsilon")),
        )
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise RunFolderError(f"{folder}: no run folder, or a damaged one: {what}") from None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _lines(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """Return the whole lines; one that is being written is none yet."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
    found: list[Mapping[str, Any]] = []
    for line in text.splitlines():
        try:
            values = dict(json.loads(line))
            if isinstance(values["seconds"], int | float) and isinstance(values["round"], int):
                found.append(values)
        except (ValueError, TypeError, KeyError):
            continue
    return tuple(found)
