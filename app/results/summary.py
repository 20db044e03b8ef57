"""``summary.json`` of a run folder: how a run stands, or how it ended.

Whoever runs writes it and holds the folder's lock meanwhile; the lock goes with the process. So
"running" without anybody who holds the lock is a run whose process was killed.
"""

import fcntl
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from app.results.model_file import write_whole

RUNNING, FAILED, COMPLETED = "running", "failed", "completed"
#: By the run itself, which was done before its last round.
STOPPED_EARLY = "stopped early"
#: By a person, who may go on with it.
STOPPED = "stopped"
_KILLED = {
    "status": FAILED,
    "reason": "its process was killed, or its machine went down; resume-from goes on with it",
}


def summary_file(folder: Path) -> Path:
    """Return the path of a run folder's summary."""
    return folder / "summary.json"


def take_lock(folder: Path, *, is_reader: bool = False) -> TextIO | None:
    """Return the folder's lock, open and held, or None if another process holds it.

    Parameters
    ----------
    folder : Path
        The run folder.
    is_reader : bool
        Take the lock that is there, as whoever may not write in the folder.
    """
    lock = (folder / ".lock").open("r" if is_reader else "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def write_summary(folder: Path, summary: Mapping[str, object]) -> None:
    """Replace the summary as a whole."""
    write_whole(summary_file(folder), (json.dumps(summary, indent=2) + "\n").encode())


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary; a run whose process is gone is told, and written, as failed.

    Raises
    ------
    OSError, ValueError
        If there is none, or it is no JSON.
    """
    summary = _read(folder)
    if summary["status"] != RUNNING:
        return summary
    try:
        lock = take_lock(folder)
    except OSError:
        lock = take_lock(folder, is_reader=True)
    if lock is None:
        return summary
    with lock:
        # Again: it may have ended, or begun anew, before the lock was ours.
        summary = _read(folder)
        if summary["status"] == RUNNING:
            summary |= _KILLED
            # Whoever may only read is told the same.
            with suppress(OSError):
                write_summary(folder, summary)
    return summary


def _read(folder: Path) -> dict[str, Any]:
    return dict(json.loads(summary_file(folder).read_text(encoding="utf-8")))
