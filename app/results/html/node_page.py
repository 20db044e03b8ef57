"""Make the report of a node's own side from its own file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.node.own_report import KEPT_ROUNDS, KEPT_RUNS, Kept, OwnRun, read_own
from app.results.html.files import replace_page
from app.results.html.node_figures import (
    budget,
    contribution_curves,
    own_curves,
    own_traffic,
)
from app.results.html.node_words import gain_sentences
from app.results.html.parts import Section, Table, Tile, facts, table
from app.results.html.shown import bytes_of, in_order, metric_name, number, seconds_of
from app.results.html.svg import style
from app.results.html.templates import render
from privacy.ledger.charge import Charge
from privacy.ledger.ledger import Ledger
from privacy.ledger.rows import read, reading
from privacy.ledger.spent import spent_in_all, summary_line

# Of a page below 1 MB: the runs that are drawn; all are in the table.
_DRAWN_RUNS = 5
_FILE = "the node's own file"


class NoReportError(ValueError):
    """A node's file without anything to report. The message is one line and names it."""


def write_node_page(state: Path, file: Path, dataset: str | None = None) -> Path:
    """Draw the report of a node's own side; return where it is.

    Parameters
    ----------
    state : Path
        The node's own file, which is only read.
    file : Path
        Where to write.
    dataset : str, optional
        Report on the runs about this data set only.

    Raises
    ------
    LedgerError
        If the file is not there, is not a node's, or its ledger is damaged.
    NoReportError
        If no run is in it.
    OSError
        If the page cannot be written.
    """
    kept = read_own(state)
    with reading(state) as connection:
        charges = read(connection, state)
    if dataset is not None:
        named = sorted({str(run.about.get("dataset")) for run in kept.runs})
        runs = [run for run in kept.runs if run.about.get("dataset") == dataset]
        charges = [charge for charge in charges if charge.dataset == dataset]
        if not runs and not charges:
            there = ", ".join(named) or "none"
            raise NoReportError(f"{state}: nothing about dataset={dataset}; there is {there}")
        kept = Kept(runs, kept.refusals)
    if not (kept.runs or kept.refusals or charges):
        raise NoReportError(f"{state}: this node has answered no run yet")
    # Like what it is drawn from: for its owner alone.
    replace_page(file, page_of_node(kept, charges, _held(state, charges)), is_secret=True)
    return file


def _held(state: Path, charges: Sequence[Charge]) -> float | None:
    """Return epsilon of all charges by the rule of the last one's cap; None without a cap."""
    if not charges or (cap := charges[-1].budget) is None:
        return None
    return Ledger(state, charges[-1].dataset).held(cap)


def page_of_node(kept: Kept, charges: Sequence[Charge], held: float | None) -> str:
    """Return the report of a node's own side as HTML.

    Parameters
    ----------
    kept : Kept
        What the node has kept.
    charges : sequence of Charge
        Of its ledger.
    held : float or None
        Epsilon of the charges as it is held against the cap; None without one.
    """
    names = sorted({str(run.about.get("dataset")) for run in kept.runs})
    with style():
        drawn = kept.runs[::-1][:_DRAWN_RUNS]
        sections = [
            _budget(kept, charges, held),
            *(_run(run) for run in drawn),
            _all_runs(kept),
            _refusals(kept),
        ]
    return render(
        "node",
        title=f"This node: {', '.join(names) or 'its own side'}",
        under="What it gave, what that cost, and how the models do on its own records. Of this"
        " page nothing has left the node, but for what its policy publishes: keep it as you"
        " keep the records.",
        tiles=_tiles(kept, charges, held),
        sections=[one for one in sections if not one.is_empty],
        footer=f"Written by Tacet from the node's own file alone, which keeps the last"
        f" {KEPT_RUNS} runs and {KEPT_ROUNDS:,} rounds.",
    )


def _tiles(kept: Kept, charges: Sequence[Charge], held: float | None) -> list[Tile]:
    rounds = [one for run in kept.runs for one in run.rounds]
    tiles = [
        Tile("Runs", number(len(kept.runs)), f"{number(len(rounds))} rounds answered"),
        Tile(
            "Sent",
            bytes_of(sum(run.bytes_out for run in kept.runs)),
            f"received {bytes_of(sum(run.bytes_in for run in kept.runs))}",
        ),
        Tile("Time", seconds_of(sum(run.seconds for run in kept.runs)), "of computing"),
    ]
    cap = charges[-1].budget if charges else None
    if cap is not None and held is not None:
        left = max(0.0, cap.epsilon - held)
        more = f"of {number(cap.epsilon)} at delta {cap.delta:g}"
        tiles.insert(0, Tile("Epsilon left", number(left), more))
    return tiles


def _budget(kept: Kept, charges: Sequence[Charge], held: float | None) -> Section:
    """Return what was charged, and what the cap leaves."""
    if not charges:
        text = "Nothing was charged: no run with differential privacy was answered."
        return Section("budget", "What it cost in privacy", texts=[text])
    cap = charges[-1].budget
    delta = cap.delta if cap is not None else 1e-5
    spent = spent_in_all(charges, delta)
    values: list[tuple[str, Any]] = [
        ("data set", spent.dataset),
        ("privacy unit", f"{spent.unit} ({spent.neighbours})"),
        ("charged", summary_line(spent)),
    ]
    if cap is not None and held is not None:
        left = max(0.0, cap.epsilon - held)
        values += [
            ("held against the cap", f"epsilon {number(held)}"),
            ("cap", f"epsilon {cap.epsilon:g}"),
            ("left", f"epsilon {number(left)}"),
        ]
    return Section(
        "budget", "What it cost in privacy", facts=facts(values, _FILE), figures=budget(kept)
    )


def _run(run: OwnRun) -> Section:
    about = run.about
    values: list[tuple[str, Any]] = [
        ("task", about.get("task")),
        ("algorithm", about.get("algorithm")),
        ("aggregation", about.get("aggregation")),
        ("privacy", about.get("privacy")),
        ("first message", _when(run.first_time)),
        ("last message", _when(run.last_time)),
        ("rounds answered", f"{_num_rounds(run)} of {about.get('num_rounds')}"),
        ("messages answered", run.num_messages),
        ("records that took part", _records(run, "num_train")),
        ("records held out", _records(run, "num_test")),
        ("received", bytes_of(run.bytes_in)),
        ("sent", bytes_of(run.bytes_out)),
        ("time", seconds_of(run.seconds)),
    ]
    return Section(
        f"run-{run.run_id}",
        f"Run {run.run_id}",
        texts=gain_sentences(run),
        facts=facts(values, _FILE),
        figures=[*contribution_curves(run), *own_curves(run), *own_traffic(run)],
        tables=[_rounds(run)] if run.rounds else [],
    )


def _rounds(run: OwnRun) -> Table:
    names = in_order({name for one in run.rounds for name in one["metrics"]})
    columns = ["round", "asked for", "when", "seconds", "received", "sent", "records"]
    columns += ["training loss", *(metric_name(name) for name in names), "epsilon after"]
    rows = [
        [
            one["round"],
            one["kind"],
            _when(one["time"]),
            one["seconds"],
            bytes_of(one["bytes_in"]),
            bytes_of(one["bytes_out"]),
            one["num_train"],
            one["train_loss"],
            *(one["metrics"].get(name) for name in names),
            one["epsilon"],
        ]
        for one in run.rounds[-100:]
    ]
    note = "Scores are those of the model that the node was given, on its own held-out records."
    if any(one["num_attempts"] > 1 for one in run.rounds):
        note += " Of a round that was asked for again: the last answer, and what all cost."
    return table("Round by round", columns, rows, note=note, is_folded=True)


def _all_runs(kept: Kept) -> Section:
    if not kept.runs:
        return Section("runs", "All runs")
    columns = ["run", "data set", "task", "algorithm", "privacy", "from", "to", "rounds"]
    columns += ["received", "sent", "time"]
    rows = [
        [
            str(run.run_id),
            *(run.about.get(name) for name in ("dataset", "task", "algorithm", "privacy")),
            _when(run.first_time),
            _when(run.last_time),
            _num_rounds(run),
            bytes_of(run.bytes_in),
            bytes_of(run.bytes_out),
            seconds_of(run.seconds),
        ]
        for run in kept.runs[::-1]
    ]
    return Section("runs", "All runs", tables=[table("Runs, the newest first", columns, rows)])


def _refusals(kept: Kept) -> Section:
    if not kept.refusals:
        text = "This node has refused nothing."
        return Section("refusals", "What it refused", texts=[text])
    rows = [
        [_when(one["time"]), str(one["run_id"]), one["kind"], one["reason"]]
        for one in kept.refusals[::-1]
    ]
    note = "The reason as the server was told it; the node's own log says more."
    columns = ["when", "run", "asked for", "reason"]
    found = table("Refusals, the newest first", columns, rows, note=note)
    return Section("refusals", "What it refused", tables=[found])


def _num_rounds(run: OwnRun) -> int:
    return len({one["round"] for one in run.rounds if one["kind"] == "train"})


def _records(run: OwnRun, name: str) -> Any:
    found = [one[name] for one in run.rounds if one[name] is not None]
    return found[-1] if found else None


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
