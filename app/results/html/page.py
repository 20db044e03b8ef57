"""Make ``report.html`` of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.results.html.files import replace_page
from app.results.html.gather import RunData, gather, naming_damage
from app.results.html.initial_words import epsilon_with_initial_model
from app.results.html.parts import Tile
from app.results.html.sections import sections_of
from app.results.html.shown import in_order, metric_name, number, seconds_of
from app.results.html.svg import style
from app.results.html.templates import render
from app.results.summary import COMPLETED, FAILED, RUNNING, STOPPED_EARLY

PAGE_FILE = "report.html"

_CLASSES = {COMPLETED: "completed", STOPPED_EARLY: "completed", FAILED: "failed"}
_MOST_METRICS = 3
# Of the configuration of a table of thousands of columns.
_MOST_LETTERS = 100_000
_UNITS = {"example": "record", "client": "participant"}


def write_page(folder: Path, file: Path | None = None) -> Path:
    """Draw the report of a run from its folder; return where it is.

    Parameters
    ----------
    folder : Path
        Of a run that goes on, has ended, or was killed.
    file : Path, optional
        Where to write; ``report.html`` in the folder by default.

    Raises
    ------
    NoRunError
        If there is no run, or a damaged one.
    OSError
        If the page cannot be written.
    """
    target = folder / PAGE_FILE if file is None else file
    with naming_damage([folder]):
        page = page_of(gather(folder))
    replace_page(target, page)
    return target


def page_of(data: RunData) -> str:
    """Return the report of a run as HTML."""
    with style():
        sections = sections_of(data)
    num_done = len(data.rounds)
    return render(
        "run",
        title=f"{data.option('task')}: {data.option('algorithm')}",
        under=_under(data),
        status=data.status,
        status_class=_CLASSES.get(data.status, RUNNING),
        progress=f"{num_done} of {data.num_rounds} round{'s' * (data.num_rounds != 1)}",
        reason=_cut(str(data.summary.get("reason", ""))),
        tiles=_tiles(data),
        sections=[one for one in sections if not one.is_empty],
        provenance=_provenance(data),
        config_text=_cut(data.config_text),
        footer="Written by Tacet from the run folder alone. Nodes go by pseudonyms: node 1 is"
        " the one that the history names first.",
    )


def _cut(text: str) -> str:
    if len(text) <= _MOST_LETTERS:
        return text
    return f"{text[:_MOST_LETTERS]}\n... and {len(text) - _MOST_LETTERS:,} more in config.yaml"


def _under(data: RunData) -> str:
    privacy = data.option("privacy").replace("_", " x ")
    return f"aggregation {data.option('aggregation')}, privacy {privacy}"


def _tiles(data: RunData) -> list[Tile]:
    metrics = data.last_metrics()
    scored = data.summary.get("evaluated_round")
    of_round = f"model of round {scored}" if scored else "initial model"
    tiles = [
        Tile(metric_name(name), number(metrics[name]), of_round)
        for name in in_order(metrics)[:_MOST_METRICS]
    ]
    tiles.append(_epsilon(data))
    seconds = data.summary.get("seconds")
    if isinstance(seconds, (int, float)):
        done = len(data.rounds)
        tiles.append(Tile("Time", seconds_of(seconds), f"{done} round{'s' * (done != 1)}"))
    return tiles


def _epsilon(data: RunData) -> Tile:
    """Return what is spent of the cap, for whom."""
    spent = data.spent()
    if data.option("privacy") == "none":
        return Tile("Privacy", "none", "no bound on what the model reveals")
    if "epsilon" not in spent:
        return Tile("Epsilon spent", "0", _cap(data))
    unit = _UNITS.get(str(spent.get("unit")), str(spent.get("unit")))
    more = f"{_cap(data)}at delta {spent.get('delta', 0):g}, for each {unit}"
    more += epsilon_with_initial_model(data.summary)
    return Tile("Epsilon spent", number(spent["epsilon"]), more)


def _cap(data: RunData) -> str:
    cap = data.cap()
    return "" if cap is None else f"of {number(cap)}, "


def _provenance(data: RunData) -> list[tuple[str, Any]]:
    hashes = [(f"SHA-256 of {name}", value) for name, value in data.hashes.items()]
    return [("run folder", data.folder.resolve().name), *hashes]
