"""Make one page that compares several runs: how good, at what epsilon, time and bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from app.results.html.files import replace_page
from app.results.html.gather import RunData, gather, naming_damage
from app.results.html.parts import Section, table
from app.results.html.shown import bytes_of, cut, in_order, metric_name, number, seconds_of
from app.results.html.svg import SERIES, Figure, axes, style, to_svg
from app.results.html.templates import render

_MOST_LABELS = 20


@dataclass(frozen=True)
class _Cost:
    """What a figure has on its horizontal axis."""

    name: str
    of: Callable[[RunData], float | None]
    word: Callable[[float], str]


def write_comparison(folders: Sequence[Path], file: Path) -> Path:
    """Draw the comparison of the runs in these folders; return where it is.

    Raises
    ------
    NoRunError
        Naming a folder without a run, or folders of which one is damaged.
    OSError
        If the page cannot be written.
    """
    with naming_damage(folders):
        page = _page([gather(folder) for folder in folders])
    replace_page(file, page)
    return file


def _page(runs: Sequence[RunData]) -> str:
    names = _names(runs)
    with style():
        figures = _figures(runs, names)
    sections = [
        Section("figures", "What it gives, and what it costs", figures=figures),
        Section("runs", "The runs", tables=[_table(runs, names)]),
    ]
    return render(
        "comparison",
        title=f"{len(runs)} runs",
        under=", ".join(sorted({data.option("task") for data in runs})),
        sections=[one for one in sections if not one.is_empty],
        footer="Written by Tacet from the run folders alone.",
    )


def _names(runs: Sequence[RunData]) -> list[str]:
    """Return a name for each run: its folder's, with a number where two have the same."""
    plain = [data.folder.resolve().name for data in runs]
    return [
        f"{name} ({plain[: place + 1].count(name)})" if plain.count(name) > 1 else name
        for place, name in enumerate(plain)
    ]


def _figures(runs: Sequence[RunData], names: Sequence[str]) -> list[Figure]:
    metrics = in_order({name for data in runs for name in data.last_metrics()})
    costs = (
        _Cost("epsilon", _epsilon, number),
        _Cost("time", _seconds, seconds_of),
        _Cost("bytes, both directions", _bytes, bytes_of),
    )
    # The first two are what most look for; more figures would only be more of them.
    found = [_against(metric, cost, runs, names) for metric in metrics[:2] for cost in costs]
    return [figure for figure in found if figure is not None]


def _against(
    metric: str, cost: _Cost, runs: Sequence[RunData], names: Sequence[str]
) -> Figure | None:
    """Draw a metric against a cost, of the runs that have both; None if fewer than two do."""
    points = [
        (at, value, name)
        for data, name in zip(runs, names, strict=True)
        if (at := cost.of(data)) is not None and (value := _metric(data, metric)) is not None
    ]
    if len(points) < 2:
        return None
    title = f"{metric_name(metric)} by {cost.name}"
    told = "; ".join(
        f"{name}: {number(value)} at {cost.word(at)}" for at, value, name in points
    )
    drawn = axes(340, 260)
    for at, value, name in points:
        drawn.plot(at, value, "o", color=SERIES[0], markersize=6)
        if len(points) <= _MOST_LABELS:
            drawn.annotate(
                cut(name, 20),
                (at, value),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
            )
    drawn.margins(0.18, 0.2)
    _scale(drawn, [at for at, _, _ in points], cost.word)
    drawn.set_xlabel(cost.name)
    drawn.set_ylabel(metric_name(metric))
    return Figure(title, told, to_svg(drawn, told))


def _scale(drawn: Any, values: Sequence[float], word: Callable[[float], str]) -> None:
    """Take a logarithmic axis where values are far apart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if min(values) > 0 and max(values) / min(values) > 30:
        drawn.set_xscale("log")
        drawn.xaxis.set_major_locator(LogLocator(numticks=5))
        drawn.xaxis.set_minor_locator(NullLocator())
    else:
        drawn.xaxis.set_major_locator(MaxNLocator(nbins=4))
    drawn.xaxis.set_major_formatter(FuncFormatter(lambda value, _: word(value)))


def _table(runs: Sequence[RunData], names: Sequence[str]) -> Any:
    metrics = in_order({name for data in runs for name in data.last_metrics()})
    columns = ["run", "algorithm", "privacy", *(metric_name(name) for name in metrics)]
    columns += ["epsilon", "delta", "time", "bytes, both directions"]
    columns += ["rounds", "status", "task", "aggregation"]
    rows = [
        [
            name,
            data.option("algorithm"),
            data.option("privacy"),
            *(_metric(data, metric) for metric in metrics),
            _epsilon(data),
            data.spent().get("delta"),
            _worded(_seconds(data), seconds_of),
            _worded(_bytes(data), bytes_of),
            f"{len(data.rounds)} of {data.num_rounds}",
            data.status,
            data.option("task"),
            data.option("aggregation"),
        ]
        for data, name in zip(runs, names, strict=True)
    ]
    note = "Metrics are those of the last model that was scored."
    return table("The runs in numbers", columns, rows, note=note)


def _worded(value: float | None, word: Callable[[float], str]) -> str | None:
    return None if value is None else word(value)


def _metric(data: RunData, name: str) -> float | None:
    return _finite(data.last_metrics().get(name))


def _epsilon(data: RunData) -> float | None:
    return _finite(data.spent().get("epsilon"))


def _seconds(data: RunData) -> float | None:
    return _finite(data.summary.get("seconds"))


def _bytes(data: RunData) -> float | None:
    counted = [
        one[name]
        for one in data.rounds
        for name in ("bytes_down", "bytes_up")
        if isinstance(one.get(name), int)
    ]
    return float(sum(counted)) if counted else None


def _finite(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and isfinite(value) else None
