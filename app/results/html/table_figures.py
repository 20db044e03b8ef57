"""The figures of a result that is read from tables: coefficients, survival, curves, counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from app.results.html.run_figures import thinned
from app.results.html.shown import cut, is_finite, metric_name, number
from app.results.html.svg import INK, SERIES, Figure, axes, to_svg

_MOST_BARS = 25
_MOST_LINES_OF_FOREST = 60
_MOST_GROUPS = len(SERIES)

Rows = Sequence[dict[str, Any]]


def table_figures(report: dict[str, Any]) -> list[Figure]:
    """Return the figures of a ``report.json``, by what it is a report of; none of others."""
    rows: Rows = report.get("rows") or []
    drawers: dict[str, Callable[[Rows, dict[str, Any]], list[Figure]]] = {
        "curves": lambda rows, report: _importance(rows, "mean absolute score"),
        "trees": lambda rows, report: _importance(rows, list(rows[0])[-1]),
        "regression": _forest,
        "Cox regression": _forest,
        "survival": _survival,
    }
    draw = drawers.get(str(report.get("title")))
    return draw(rows, report) if draw is not None and rows else []


def _importance(rows: Rows, what: str) -> list[Figure]:
    shown = [row for row in rows if is_finite(row.get(what))][:_MOST_BARS]
    if not shown:
        return []
    first = shown[0]
    alt = f"{what} of {len(shown)} columns: most has {first['column']}, {number(first[what])}"
    drawn = axes(340, 60 + 17 * len(shown))
    places = range(len(shown))
    drawn.barh(places, [row[what] for row in shown], 0.65, color=SERIES[0])
    drawn.set_yticks(places, [cut(row["column"]) for row in shown])
    drawn.tick_params(axis="y", length=0)
    drawn.invert_yaxis()
    drawn.grid(visible=False, axis="y")
    drawn.set_xlabel(what)
    drawn.set_ylabel("column")
    note = f"The first {len(shown)} of {len(rows)} columns." if len(shown) < len(rows) else ""
    return [Figure("Importance of the columns", alt, to_svg(drawn, alt), note, width=520)]


def _forest(rows: Rows, report: dict[str, Any]) -> list[Figure]:
    """Draw coefficients, or the ratios they are read as, with their intervals."""
    columns = list(rows[0])
    ratio = next((n for n in columns if n.endswith("ratio")), None)
    if ratio is not None:
        ends = f"{ratio} from", f"{ratio} to"
    else:
        ratio = next(n for n in columns if n in ("estimate", "coefficient"))
        ends = tuple(n for n in columns if n.endswith((" % from", " % to")))
    level = next(n for n in columns if n.endswith(" % from")).removesuffix(" from")
    is_ratio = ratio.endswith("ratio")
    # The intercept is no effect.
    lines = [
        (cut(row[columns[0]]), row[ratio], row[ends[0]], row[ends[1]])
        for row in rows
        if "ntercept" not in str(row[columns[0]])
    ]
    able = [one for one in lines if all(map(is_finite, one[1:])) and _in_range(one, is_ratio)]
    if not able:
        return []
    shown = able[:_MOST_LINES_OF_FOREST]
    left_out = len(lines) - len(shown)
    name = metric_name(ratio)
    alt = f"{name} and {level} interval of {len(shown)} terms: " + "; ".join(
        f"{term} {number(value)} ({number(low)} to {number(high)})"
        for term, value, low, high in shown[:10]
    )
    drawn = axes(420, 60 + 19 * len(shown))
    drawn.axvline(1 if is_ratio else 0, color=INK, linewidth=1, linestyle="--")
    for place, (_, value, low, high) in enumerate(shown):
        drawn.plot((low, high), (place, place), color=SERIES[0])
        drawn.plot(value, place, "s", color=SERIES[0], markersize=5)
    drawn.set_yticks(range(len(shown)), [term for term, *_ in shown])
    drawn.set_ylim(len(shown) - 0.4, -0.6)
    drawn.tick_params(axis="y", length=0)
    drawn.grid(visible=False, axis="y")
    if is_ratio:
        _log_scale(drawn, shown)
    drawn.set_xlabel(f"{name}, {level} interval" + (" (log scale)" if is_ratio else ""))
    drawn.set_ylabel("term")
    note = "Each term in its own unit; the dashed line is no effect."
    if left_out:
        beyond = ", or beyond 1e-6 to 1e6," if is_ratio else ""
        note += f" In the table only, as too many{beyond} or without an interval: {left_out}."
    return [Figure(f"{name}s", alt, to_svg(drawn, alt), note, width=640)]


def _in_range(line: tuple[Any, ...], is_ratio: bool) -> bool:
    return not is_ratio or all(1e-6 < value < 1e6 for value in line[1:])


def _log_scale(drawn: Any, lines: Sequence[tuple[Any, ...]]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(one[2] for one in lines), max(one[3] for one in lines)
    drawn.set_xscale("log")
    drawn.set_xlim(min(low, 0.9) / 1.1, max(high, 1.1) * 1.1)
    subs = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    is_narrow = high / low < 8
    located = MaxNLocator(6) if is_narrow else LogLocator(subs=subs, numticks=9)
    drawn.xaxis.set_major_locator(located)
    drawn.xaxis.set_minor_locator(NullLocator())
    drawn.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _survival(rows: Rows, report: dict[str, Any]) -> list[Figure]:
    """Draw the share without the event by time, a step curve with its band for each group."""
    ends = tuple(n for n in rows[0] if n.endswith((" % from", " % to")))
    level = ends[0].removesuffix(" from")
    groups = [(name, list(own)) for name, own in groupby(rows, key=lambda row: row["group"])]
    told: list[str] = []
    drawn = axes(460, 300)
    for (name, own), colour in zip(groups[:_MOST_GROUPS], SERIES, strict=False):
        # All are without the event at first.
        start = {"time": 0.0, "survival": 1.0, ends[0]: 1.0, ends[1]: 1.0}
        points = thinned([start, *own])
        times, share, low, high = (
            [row[key] for row in points] for key in ("time", "survival", *ends)
        )
        drawn.step(times, share, where="post", color=colour, label=cut(name))
        band = {"step": "post", "color": colour, "alpha": 0.15, "linewidth": 0}
        drawn.fill_between(times, low, high, **band)
        told.append(f"{name}: {number(share[-1])} at {number(times[-1])}")
    drawn.set_ylim(0, 1.03)
    drawn.set_xlim(left=0)
    drawn.set_xlabel(f"time: {report.get('time', 'as in the records')}")
    drawn.set_ylabel("share without the event")
    if len(groups) > 1:
        drawn.legend(loc="best", fontsize=9)
    alt = "Survival curves: " + "; ".join(told)
    note = f"Band: {level} interval."
    if len(groups) > _MOST_GROUPS:
        note += f" The first {_MOST_GROUPS} of {len(groups)} groups."
    return [Figure("Kaplan-Meier curves", alt, to_svg(drawn, alt), note, width=720)]
