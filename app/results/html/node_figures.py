"""The figures of a node's own report: its models on its own records, its budget, its bytes."""

from __future__ import annotations

from typing import Any

from app.node.own_report import Kept, OwnRun
from app.results.html.run_figures import Points, lines_by_round
from app.results.html.shown import bytes_of, in_order, is_finite, metric_name, number
from app.results.html.svg import INK, SERIES, Figure, axes, to_svg

_MOST_METRICS = 4
#: What each model is called in a figure and in a sentence.
MODELS = {
    "with": "with this node",
    "without": "without this node",
    "alone": "this node alone",
}


def own_curves(run: OwnRun) -> list[Figure]:
    """Return a figure for each metric of the models that a run gave, on the node's records."""
    scored = [(one["round"] - 1, one["metrics"]) for one in run.rounds if one["metrics"]]
    trained = [
        (float(one["round"]), float(one["train_loss"]))
        for one in run.rounds
        if is_finite(one["train_loss"])
    ]
    names = in_order({name for _, metrics in scored for name in metrics})[:_MOST_METRICS]
    if not names and trained:
        return [lines_by_round("Own training loss", "loss", [("own training", trained)])]
    return [
        lines_by_round(
            f"{metric_name(name)} on own records",
            metric_name(name),
            [
                ("held-out records", _points(scored, name)),
                ("own training", trained if name == "loss" else []),
            ],
        )
        for name in names
    ]


def contribution_curves(run: OwnRun) -> list[Figure]:
    """Return a figure for each metric of the models with, without and alone."""
    told = [(one["round"] - 1, one["contribution"]) for one in run.rounds]
    found = {
        label: [(at, models[name]) for at, models in told if name in models]
        for name, label in MODELS.items()
    }
    names = in_order({n for line in found.values() for _, scores in line for n in scores})
    return [
        lines_by_round(
            f"{metric_name(name)}: with, without, alone",
            metric_name(name),
            [(label, _points(line, name)) for label, line in found.items()],
        )
        for name in names[:_MOST_METRICS]
    ]


def _points(scored: list[tuple[int, dict[str, Any]]], name: str) -> Points:
    return [(float(at), m[name]) for at, m in scored if is_finite(m.get(name))]


def own_traffic(run: OwnRun) -> list[Figure]:
    """Return the bytes of the messages that asked for contributions, by round."""
    lines: list[tuple[str, Points]] = [
        ("received", [(one["round"], one["bytes_in"]) for one in run.rounds]),
        ("sent", [(one["round"], one["bytes_out"]) for one in run.rounds]),
    ]
    if not run.rounds:
        return []
    return [
        lines_by_round("Bytes of contributions", "bytes", lines, word=bytes_of, from_zero=True)
    ]


def budget(kept: Kept) -> list[Figure]:
    """Return epsilon after each charge of all runs, against the cap."""
    charged = [one for run in kept.runs for one in run.rounds if is_finite(one["epsilon"])]
    if not charged:
        return []
    cap = charged[-1]["max_epsilon"]
    values = [one["epsilon"] for one in sorted(charged, key=lambda one: one["time"])]
    alt = f"Epsilon after each of {len(values)} charges: {number(values[-1])} after the last"
    drawn = axes()
    marker = "o" if len(values) <= 25 else ""
    at = range(1, len(values) + 1)
    drawn.plot(at, values, color=SERIES[0], marker=marker, markersize=3.5, label="spent")
    if is_finite(cap):
        alt += f", of a cap of {number(cap)}"
        drawn.axhline(cap, color=INK, linestyle="--", linewidth=1.2, label="cap")
        drawn.legend(loc="center right", fontsize=9)
    drawn.set_ylim(bottom=0)
    drawn.set_xlim(0.5, len(values) + 0.5)
    drawn.locator_params(axis="x", nbins=6, integer=True)
    drawn.set_xlabel("charge")
    drawn.set_ylabel("epsilon")
    note = "As each charge was held against the cap, which may be more than what is charged."
    return [Figure("Epsilon charged", alt, to_svg(drawn, alt), note)]
