"""The figures of how good a model is: of two classes, of several, or of a number."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from app.results.html.shown import cut, number
from app.results.html.svg import LINE, SERIES, Figure, axes, to_svg

# As in a square, with room for the labels.
_SQUARE = (300, 290)
_MOST_CLASSES = 20
_PREDICTED = "predicted "
_COARSE = "Points: ranges of ten records or more; the figure is from finer counts."

Rows = Sequence[dict[str, Any]]


def score_figures(evaluation: dict[str, Any]) -> list[Figure]:
    """Return the figures of an ``evaluation.json``, of whichever kind it is."""
    rows: Rows = evaluation.get("rows") or []
    if not rows:
        return []
    if "recall above" in rows[0]:
        return [_roc(evaluation, rows), _precision_recall(evaluation, rows), _calibration(rows)]
    if "residual from" in rows[0]:
        return [_residuals(rows)]
    names = [name for name in rows[0] if name.startswith(_PREDICTED)]
    if 1 < len(names) <= _MOST_CLASSES:
        return [_confusion(rows, names)]
    return []


def _roc(evaluation: dict[str, Any], rows: Rows) -> Figure:
    area = evaluation.get("area under the ROC curve")
    low, high = (evaluation.get(f"its 95 % interval {end}") for end in ("from", "to"))
    points = sorted((row["false positives above"], row["recall above"]) for row in rows)
    alt = f"ROC curve: area {number(area)}, 95 % interval {number(low)} to {number(high)}"
    drawn = axes(*_SQUARE)
    drawn.plot((0, 1), (0, 1), color=LINE, linewidth=1.2)
    at, values = zip(*[(0.0, 0.0), *points, (1.0, 1.0)], strict=True)
    drawn.plot(at, values, color=SERIES[0], marker="o", markersize=3.5)
    _unit(drawn, "false positives (share of negatives)", "recall (share of positives)")
    note = f"Area {number(area)} ({number(low)} to {number(high)}, 95 % interval). {_COARSE}"
    return Figure("ROC curve", alt, to_svg(drawn, alt), note)


def _precision_recall(evaluation: dict[str, Any], rows: Rows) -> Figure:
    average = evaluation.get("average precision")
    points = sorted(
        ((row["recall above"], row["precision above"]) for row in rows),
        key=lambda point: (point[0], -point[1]),
    )
    # Of the highest range alone, no finer precision is known.
    points.insert(0, (0.0, points[0][1]))
    alt = f"Precision by recall: average precision {number(average)}"
    drawn = axes(*_SQUARE)
    at, values = zip(*points, strict=True)
    drawn.plot(at, values, color=SERIES[0], marker="o", markersize=3.5)
    _unit(drawn, "recall (share of positives)", "precision (share of those predicted)")
    note = f"Average precision {number(average)}. {_COARSE}"
    return Figure("Precision and recall", alt, to_svg(drawn, alt), note)


def _calibration(rows: Rows) -> Figure:
    points = [(row["mean predicted"], row["share of positives"]) for row in rows]
    worst = max(abs(one - other) for one, other in points)
    alt = (
        f"Calibration: share of positives by predicted probability in {len(points)} ranges;"
        f" the largest difference is {number(worst)}"
    )
    drawn = axes(*_SQUARE)
    drawn.plot((0, 1), (0, 1), color=LINE, linewidth=1.2)
    at, values = zip(*points, strict=True)
    drawn.plot(at, values, color=SERIES[0], marker="o", markersize=3.5)
    _unit(drawn, "predicted probability (mean)", "share of positives")
    note = "On the diagonal, predictions come true as often as they say."
    return Figure("Calibration", alt, to_svg(drawn, alt), note)


def _unit(drawn: Any, x: str, y: str) -> None:
    drawn.set_xlabel(x)
    drawn.set_ylabel(y)
    drawn.set_xlim(-0.02, 1.02)
    drawn.set_ylim(-0.02, 1.02)


def _confusion(rows: Rows, names: Sequence[str]) -> Figure:
    """Draw the share of each class that is taken for each, with the counts."""
    side = 80 + 34 * len(names)
    told = ", ".join(f"{row['class']} {number(row['recall'])}" for row in rows)
    alt = f"Confusion matrix of {len(rows)} classes; recall of each: {told}"
    drawn = axes(max(300, side), max(290, side))
    drawn.grid(visible=False)
    for place, row in enumerate(rows):
        total = max(1.0, float(row["records"]))
        for other, name in enumerate(names):
            count = row[name]
            known = row["recall"] if place == other else (count or 0.0) / total
            drawn.add_patch(_cell(other, place, min(1.0, max(0.0, known))))
            text = number(None if count is None else round(count))
            drawn.text(other, place, text, ha="center", va="center", fontsize=8.5)
    drawn.set_xlim(-0.5, len(names) - 0.5)
    drawn.set_ylim(len(rows) - 0.5, -0.5)
    labels = [cut(name.removeprefix(_PREDICTED), 12) for name in names]
    drawn.set_xticks(range(len(names)), labels, rotation=90 if max(map(len, labels)) > 4 else 0)
    drawn.set_yticks(range(len(rows)), [cut(row["class"], 12) for row in rows])
    drawn.tick_params(length=0)
    drawn.set_xlabel("predicted class")
    drawn.set_ylabel("class")
    note = "Records of each class (row) by the class that is predicted (column)."
    if any(row[name] is None for row in rows for name in names):
        note += f" {number(None)}: hidden, for a count of one or two records would be known."
    return Figure("Confusion matrix", alt, to_svg(drawn, alt), note, width=max(400, side + 60))


def _cell(x: int, y: int, share: float) -> Any:
    from matplotlib.patches import Rectangle

    where = (x - 0.47, y - 0.47)
    return Rectangle(where, 0.94, 0.94, facecolor=SERIES[0], alpha=0.05 + 0.5 * share)


def _residuals(rows: Rows) -> Figure:
    alt = f"Residuals: share of records by predicted less observed, in {len(rows)} ranges"
    drawn = axes()
    for row in rows:
        low, high = float(row["residual from"]), float(row["to"])
        if isfinite(high - low) and high > low:
            density = float(row["share"]) / (high - low)
            drawn.bar(low, density, high - low, align="edge", color=SERIES[0])
    drawn.set_xlabel("predicted less observed (1 is half of the target's range)")
    drawn.set_ylabel("density of records")
    drawn.grid(visible=False, axis="x")
    return Figure("Residuals", alt, to_svg(drawn, alt))
