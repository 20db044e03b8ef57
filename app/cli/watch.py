"""``tacet watch``: how far a run is, as it goes on."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.cli.common import CommandError
from app.federation.superlink import flwr_command

_LOOK_SECONDS = 1.0
_LAST = 8
_QUESTION = "The run goes on without this window. [l]eave it running, [s]top it, [w]atch on? "


def add(commands: Any) -> None:
    """Add the command to a parser's subparsers."""
    watch = commands.add_parser(
        "watch", help="show how far a run is: rounds, scores, epsilon, time left"
    )
    watch.add_argument("run_folder", type=Path, metavar="RUN", help="the run's folder")
    watch.add_argument(
        "--superlink",
        default="",
        metavar="NAME",
        help="Flower's connection, to stop the run; default: flwr's own",
    )
    watch.set_defaults(run=_watch)


def _watch(arguments: argparse.Namespace) -> tuple[int, list[str]]:
    from app.results.history import RunFolderError

    try:
        if sys.stdout.isatty():
            return _watch_terminal(arguments.run_folder, arguments.superlink)
        return _watch_log(arguments.run_folder)
    except RunFolderError as error:
        raise CommandError(str(error)) from None


def _watch_log(folder: Path) -> tuple[int, list[str]]:
    """Print a line for each round, for a log or a pipe."""
    from app.results.progress import read_progress

    told = 0
    while True:
        progress = read_progress(folder)
        for line in progress.lines[told:]:
            print(
                f"round {line['round']} of {progress.planned_rounds}: {_scores(line)}",
                flush=True,
            )
        told = max(told, len(progress.lines))
        if not progress.is_running:
            return _end(progress)
        time.sleep(_LOOK_SECONDS)


def _watch_terminal(folder: Path, superlink: str) -> tuple[int, list[str]]:
    from rich.live import Live

    from app.results.progress import read_progress

    while True:
        progress = read_progress(folder)
        try:
            with Live(_screen(progress), refresh_per_second=4) as live:
                while progress.is_running:
                    time.sleep(_LOOK_SECONDS)
                    progress = read_progress(folder)
                    live.update(_screen(progress))
            return _end(progress)
        except KeyboardInterrupt:
            answer = _ask()
        if answer == "s":
            return _stop(progress.run_id, superlink)
        if answer == "l":
            return 0, [f"it goes on; tacet watch {folder} shows it again"]


def _ask() -> str:
    while True:
        try:
            answer = input(f"\n{_QUESTION}").strip().lower()[:1]
        except (EOFError, KeyboardInterrupt):
            # Whoever insists on leaving stops nothing by it.
            return "l"
        if answer in ("l", "s", "w"):
            return answer


def _stop(run_id: str, superlink: str) -> tuple[int, list[str]]:
    """Stop the run through Flower; its folder then says so."""
    if not run_id:
        raise CommandError("the run folder has no run id, so the run cannot be stopped here")
    command = [flwr_command(), "stop", run_id, *([superlink] if superlink else [])]
    done = subprocess.run(command, env=os.environ, check=False)
    return done.returncode, ["stopped; resume-from goes on with it"] * (not done.returncode)


def _screen(progress: Any) -> Any:
    """Return what is drawn: a bar, the last rounds, epsilon against the cap, time left."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(progress.planned_rounds, completed=progress.num_rounds, width=40)
    head.add_row(
        f"round {progress.num_rounds} of {progress.planned_rounds}", bar, _time_left(progress)
    )
    if progress.spent is not None:
        cap = progress.cap
        head.add_row(
            f"epsilon {progress.spent:.3g}" + (f" of {cap:.3g}" if cap else ", no cap"),
            ProgressBar(cap, completed=min(progress.spent, cap), width=40) if cap else "",
            "",
        )
    rounds = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("round", "seconds", "answered", "scores"):
        rounds.add_column(name, justify="left" if name == "scores" else "right")
    for line in progress.lines[-_LAST:]:
        rounds.add_row(
            str(line["round"]), f"{line['seconds']:.1f}", _answered(line), _metrics(line)
        )
    return Group(head, rounds)


def _time_left(progress: Any) -> str:
    seconds = progress.seconds_left
    if seconds is None:
        return progress.status
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"about {hours}:{minutes:02}:{rest:02} left"


def _answered(line: Mapping[str, Any]) -> str:
    return f"{line.get('num_replies', '?')} of {line.get('num_asked', '?')}"


def _metrics(line: Mapping[str, Any]) -> str:
    metrics = line.get("metrics")
    found = metrics.items() if isinstance(metrics, dict) else ()
    return ", ".join(f"{k} {v:.4g}" for k, v in found if isinstance(v, int | float))


def _scores(line: Mapping[str, Any]) -> str:
    spent = dict(line.get("privacy") or {}).get("epsilon")
    told = f", epsilon {spent:.3g}" if isinstance(spent, int | float) else ""
    return f"{line['seconds']:.1f} s, {_answered(line)} answered, {_metrics(line)}{told}"


def _end(progress: Any) -> tuple[int, list[str]]:
    from app.results.summary import COMPLETED, STOPPED_EARLY

    reason = f": {progress.reason}" if progress.reason else ""
    line = f"{progress.status} after {progress.num_rounds} rounds{reason}"
    return int(progress.status not in (COMPLETED, STOPPED_EARLY)), [line]
