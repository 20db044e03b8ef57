"""Logs of runs that somebody has written anew."""

import json
from collections.abc import Callable
from pathlib import Path

from app.results.run_log import RunLog


def history_of(folder: Path) -> list[dict]:
    """Return the entries of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def rewritten(folder: Path, change: Callable[[list[dict]], object]) -> None:
    """Write the log anew with a changed history, and the head that it makes."""
    history = history_of(folder)
    change(history)
    for name in ("log.jsonl", "head.json"):
        (folder / name).unlink()
    log = RunLog(folder)
    for entry in history:
        log.append(entry.pop("kind"), entry)
