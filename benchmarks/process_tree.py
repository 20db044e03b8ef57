"""CPU seconds and memory of a process and of all below it, as Linux counts them."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from app.simulation.superlink import tree

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOK_SECONDS = 0.2


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU seconds of processes, and of their children that have ended."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) / _TICK


def largest_bytes(pids: list[int]) -> int:
    """Return the resident bytes of the largest process; what it shares counts too."""
    return max((int(fields[21]) for pid in pids if (fields := _stat(pid))), default=0) * _PAGE


def _parents() -> dict[int, int]:
    """Return the parent of each process; many times a second, so not by starting ``ps``."""
    return {
        int(one.name): int(fields[1])
        for one in _PROC.iterdir()
        if one.name.isdigit() and (fields := _stat(int(one.name)))
    }


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from the third on, see proc(5); none if it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The name may hold anything, parentheses too.
    return text.rpartition(")")[2].split()


class TreeWatch(Thread):
    """Watch a process tree, and note its CPU seconds whenever a file gets a line.

    Parameters
    ----------
    pid : int
        The process at the top.
    file : Path
        Gets a line at the end of each round.
    """

    def __init__(self, pid: int, file: Path) -> None:
        super().__init__(daemon=True)
        self._pid, self._file = pid, file
        self._ended = Event()
        self._marks: list[float] = []
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Look until the context ends."""
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()
        self._look()

    def _look(self) -> None:
        pids = sorted(tree(self._pid, _parents()))
        self.peak_bytes = max(self.peak_bytes, largest_bytes(pids))
        lines = self._file.read_bytes().count(b"\n") if self._file.exists() else 0
        if lines > len(self._marks):
            seconds = cpu_seconds(pids)
            self._marks += [seconds] * (lines - len(self._marks))

    def rounds(self) -> list[float]:
        """Return the CPU seconds of each round but the first, whose beginning is not known."""
        return [b - a for a, b in zip(self._marks[:-1], self._marks[1:], strict=True)]
