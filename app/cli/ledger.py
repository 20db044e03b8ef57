"""``tacet ledger``: what a node has spent, read from its own file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from app.cli.common import aligned
from app.config.plain import finite
from privacy.ledger.budget import LedgerError
from privacy.ledger.charge import Charge
from privacy.ledger.heads import verify
from privacy.ledger.rows import read, reading
from privacy.ledger.spent import RunSpent, Spent, spent_by_run, spent_in_all, summary_line


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    ledger = commands.add_parser("ledger", help="what a node has spent").add_subparsers(
        required=True, metavar="COMMAND"
    )
    show = ledger.add_parser("show", help="print what was spent, on what, by which run")
    show.add_argument("file", type=Path, metavar="STATE_FILE")
    show.add_argument(
        "--delta", type=_delta, metavar="D", help="default: that of the node's cap"
    )
    show.add_argument("--json", type=Path, metavar="FILE", help="also write it there")
    show.set_defaults(run=_show)


def _delta(text: str) -> float:
    try:
        delta = float(text)
    except ValueError:
        delta = 0.0
    if not 0 < delta < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be between 0 and 1, e.g. 1e-5")
    return delta


def _show(arguments: argparse.Namespace) -> list[str]:
    file: Path = arguments.file
    with reading(file) as connection:
        charges, num_heads = read(connection, file), verify(connection, file)
    delta = arguments.delta
    if charges and delta is None:
        cap = charges[-1].budget
        if cap is None:
            raise LedgerError(f"{file}: its node has no cap, and so no delta; give --delta")
        delta = cap.delta
    if not charges:
        spent, runs = spent_in_all([], delta or 0.0), []
        lines = ["nothing was charged"]
        lines += [_chain(charges, num_heads)] if num_heads else []
    else:
        spent, runs = spent_in_all(charges, delta), spent_by_run(charges, delta)
        lines = [*_summary(spent), _chain(charges, num_heads), "", *_table(runs)]
    if arguments.json is not None:
        _write(arguments.json, file, spent, runs, num_heads)
    return lines


def _summary(spent: Spent) -> list[str]:
    cap = spent.budget
    held = f"epsilon {cap.epsilon:g} at delta {cap.delta:g}" if cap else "none"
    return [
        f"data set:      {spent.dataset}",
        f"privacy unit:  {spent.unit} ({spent.neighbours})",
        f"spent:         {summary_line(spent)}",
        f"cap:           {held}, at the last charge",
        f"last charge:   {_time(spent.last_time)}",
    ]


def _chain(charges: Sequence[Charge], num_heads: int) -> str:
    """Say that the chain is intact, which was checked, and where the clock was not."""
    line = f"chain:         intact: {len(charges)} charges, {num_heads} heads shown to others"
    late = sum(one.time > after.time for one, after in pairwise(charges))
    wrong = f"; the clock was set back {late} times, and order is the chain's" if late else ""
    return line + wrong


_HEAD = ("run", "rounds", "charges", "first", "last", "epsilon", "of planned", "accountant")


def _table(runs: Sequence[RunSpent]) -> list[str]:
    rows = [
        (
            str(run.run_id),
            str(run.num_rounds),
            str(run.num_charges),
            _time(run.first_time),
            _time(run.last_time),
            f"{run.epsilon:.4g}",
            f"{run.planned_epsilon:.4g}",
            run.accountant,
        )
        for run in runs
    ]
    lines = aligned([_HEAD, *rows])
    if len(runs) > 1:
        lines.append("Each run by itself: these epsilons do not add up to what was spent.")
    return lines


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _write(
    path: Path, ledger: Path, spent: Spent, runs: Sequence[RunSpent], num_heads: int
) -> None:
    """Write what was spent as JSON."""
    values = asdict(spent) | {"num_heads": num_heads}
    values["runs"] = [
        {
            **asdict(run),
            "schedule": [{**r.to_dict(), "times": times} for r, times in run.schedule],
        }
        for run in runs
    ]
    try:
        if path.exists() and path.samefile(ledger):
            raise LedgerError(f"--json {path}: that is the node's own file; name another")
        text = json.dumps(finite(values), indent=2, allow_nan=False) + "\n"
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LedgerError(f"--json {path}: {error.strerror}") from None
