"""A small figure for each column of a table: the curves of a model, the counts of records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from typing import Any

from app.results.html.shown import cut, is_finite, number
from app.results.html.svg import INK, SERIES, Figure, axes, to_svg
from app.results.html.table_figures import Rows

_MOST_CURVES, _MOST_HISTOGRAMS = 60, 30
_MOST_SCORES = len(SERIES)
_SIZE = (220, 150)
# More than the eye can see at that size, and a bound for a page of sixty.
_MOST_BINS = 48


def small_figures(report: dict[str, Any]) -> tuple[list[Figure], str]:
    """Return the small figures of a ``report.json``, and what they are; none of most."""
    tables = report.get("tables") or {}
    if rows := tables.get("curves"):
        order = [str(row["column"]) for row in report["rows"]]
        figures, num = _curves(rows, order)
        shown = f"{len(figures)} of {num} columns, " if len(figures) < num else ""
        return figures, f"The curves: {shown}the most important first, all on one scale"
    if rows := tables.get("histograms"):
        figures, num = _histograms(rows)
        shown = f": the first {len(figures)} of {num} columns" if len(figures) < num else ""
        return figures, f"How the numbers are spread{shown}"
    return [], ""


def _by_column(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    return {str(name): list(own) for name, own in groupby(rows, lambda row: row["column"])}


def _curves(rows: Rows, order: Sequence[str]) -> tuple[list[Figure], int]:
    """Return the curves of the first columns of an order, and how many columns there are."""
    scores = list(rows[0])[4:]
    curves = _by_column(rows)
    found = [
        values
        for own in curves.values()
        for row in own
        for values in (row[name] for name in scores)
        if is_finite(values)
    ]
    # One axis for all: a flat curve looks flat.
    limits = (min(found, default=0.0), max(found, default=1.0))
    # An order has pairs of columns, too.
    names = [name for name in order if name in curves]
    figures = [_curve(name, curves[name], scores, limits) for name in names[:_MOST_CURVES]]
    return figures, len(names)


def _curve(name: str, rows: Rows, scores: list[str], limits: tuple[float, float]) -> Figure:
    is_number = any(is_finite(row["from"]) or is_finite(row["to"]) for row in rows)
    known = [row for row in rows if row["bin"] != "missing"]
    missing = [row for row in rows if row["bin"] == "missing"]
    # Many lines make a figure large, and none of them easier to see.
    most = max(16, min(_MOST_BINS, 2 * _MOST_BINS // len(scores)))
    shown = known if not is_number else _of_bins(known, most)
    margin = 0.05 * (limits[1] - limits[0]) or 1.0
    drawn = axes(*_SIZE)
    for score, colour in zip(scores[:_MOST_SCORES], SERIES, strict=False):
        values = [row[score] for row in shown]
        if is_number:
            edges = [*(row["from"] for row in shown), shown[-1]["to"]]
            drawn.stairs(values, edges, baseline=None, color=colour, linewidth=1.8)
        else:
            drawn.plot(range(len(shown)), values, "o", color=colour, markersize=4)
    if not is_number:
        few = range(0, len(shown), 1 + len(shown) // 7)
        labels = [cut(shown[place]["bin"], 9) for place in few]
        drawn.set_xticks(list(few), labels, rotation=0 if len(few) < 4 else 60)
    drawn.axhline(0, color=INK, linewidth=0.7, linestyle=":")
    drawn.set_ylim(limits[0] - margin, limits[1] + margin)
    drawn.set_xlabel(cut(name, 34))
    drawn.set_ylabel("score")
    drawn.locator_params(axis="y", nbins=4)
    values = [row[score] for row in shown for score in scores if is_finite(row[score])]
    alt = f"Score by {name}: from {number(min(values))} to {number(max(values))}"
    told = [f"{number(row[score])}" for row in missing for score in scores]
    alt += f"; where it is missing {', '.join(told)}" if told else ""
    return Figure(name, alt, to_svg(drawn, alt))


def _of_bins(rows: Rows, most: int) -> list[dict[str, Any]]:
    """Return bins with both edges, a few in place of many; the outer ones as wide as the next.

    Bins beside each other with the same scores are one, and of what is left each is the mean.
    """
    edges = [row["to"] for row in rows[:-1]]
    width = (edges[-1] - edges[0]) / max(1, len(edges) - 1) if edges else 1.0
    first, last = (edges[0] - width, edges[-1] + width) if edges else (0.0, 1.0)
    rows = [{**row} for row in rows]
    rows[0]["from"], rows[-1]["to"] = first, last
    size = -(-len(rows) // most)
    return [_joined(rows[place : place + size]) for place in range(0, len(rows), size)]


def _joined(rows: Rows) -> dict[str, Any]:
    scores = [name for name in rows[0] if name not in ("column", "bin", "from", "to")]
    means = {name: sum(row[name] for row in rows) / len(rows) for name in scores}
    return {**rows[0], "to": rows[-1]["to"], **means}


def _histograms(rows: Rows) -> tuple[list[Figure], int]:
    """Return the records of the first columns by value, and how many columns there are."""
    columns = _by_column(rows)
    shown = islice(columns.items(), _MOST_HISTOGRAMS)
    return [_histogram(name, own) for name, own in shown], len(columns)


def _histogram(name: str, rows: Rows) -> Figure:
    """Draw records by value; of bins that were joined, as many in each unit of their width."""
    known = [
        (row["from"], row["to"], row["count"])
        for row in rows
        if all(map(is_finite, (row["from"], row["to"], row["count"])))
        and row["to"] > row["from"]
    ]
    drawn = axes(*_SIZE)
    size = max(1, -(-len(known) // _MOST_BINS))
    for place in range(0, len(known), size):
        own = known[place : place + size]
        low, high, count = own[0][0], own[-1][1], sum(one[2] for one in own)
        drawn.bar(low, count / (high - low), high - low, align="edge", color=SERIES[0])
    drawn.set_xlabel(cut(name, 34))
    drawn.set_ylabel("records per unit")
    drawn.grid(visible=False, axis="x")
    drawn.locator_params(nbins=4)
    told = f"{number(known[0][0])} to {number(known[-1][1])}" if known else "nothing known"
    alt = f"Histogram of {name}: {number(sum(one[2] for one in known))} records from {told}"
    return Figure(name, alt, to_svg(drawn, alt))
