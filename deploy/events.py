"""Turn run folders into TensorBoard's event files, as the runs go on, and serve them.

``events.py RUNS EVENTS``: every number in ``RUNS/<run>/metrics.jsonl`` becomes a scalar of the
run, at its round.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

_LOOK_SECONDS = 5


class Runs:
    """The run folders, with the position up to which each was read."""

    def __init__(self, runs: Path, events: Path) -> None:
        self._runs, self._events = runs, events
        self._writers: dict[Path, EventFileWriter] = {}
        self._num_lines: dict[Path, int] = {}

    def update(self) -> None:
        """Write an event for each number of each new whole line."""
        for file in sorted(self._runs.glob("*/metrics.jsonl")):
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            new = whole[self._num_lines.get(file, 0) :]
            if not new:
                continue
            if file not in self._writers:
                self._writers[file] = EventFileWriter(str(self._events / file.parent.name))
            self._num_lines[file] = len(whole)
            for line in new:
                self._write(self._writers[file], json.loads(line))
            self._writers[file].flush()

    def _write(self, writer: EventFileWriter, values: dict[str, Any]) -> None:
        for name, number in numbers(values):
            summary = Summary(value=[Summary.Value(tag=name, simple_value=number)])
            writer.add_event(
                Event(wall_time=time.time(), step=values.get("round", 0), summary=summary)
            )


def numbers(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a line with their names, ``privacy/epsilon`` for one inside."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + key, float(value)


def main(runs: Path, events: Path) -> int:
    """Serve until TensorBoard ends."""
    events.mkdir(parents=True, exist_ok=True)
    command = ["tensorboard", "--logdir", str(events), "--host", "0.0.0.0", "--port", "6006"]  # noqa: S104 - in a container
    served = subprocess.Popen([*command, "--reload_interval", str(_LOOK_SECONDS)])
    known = Runs(runs, events)
    while served.poll() is None:
        known.update()
        time.sleep(_LOOK_SECONDS)
    return served.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
