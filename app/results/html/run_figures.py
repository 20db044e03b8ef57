"""The figures of how a run went: metrics, participants, time, bytes, epsilon by round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from app.results.html.gather import RunData
from app.results.html.shown import bytes_of, in_order, metric_name, number, seconds_of
from app.results.html.svg import INK, MOST_POINTS, MUTED, SERIES, Figure, axes, to_svg

_MOST_METRICS = 8
_TWO_SIDED_95 = 1.96
_STAGES = {
    "train": "training and scoring",
    "evaluate": "scoring",
    "train.advert": "keys",
    "train.share": "shares",
    "train.confirm": "confirming",
    "train.unmask": "unmasking",
}
_REST = "the server's own work"

Point = tuple[float, float]
Points = list[Point]


def thinned(points: Sequence[Any]) -> list[Any]:
    """Return at most ``MOST_POINTS`` points, evenly, the first and the last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(place * step)] for place in range(MOST_POINTS)]


def learning_curves(data: RunData) -> list[Figure]:
    """Return a figure for each metric, by the round whose model it scores."""
    found: dict[str, Points] = {}
    for one in data.rounds:
        for name, value in one["metrics"].items():
            _add(found, name, one.get("evaluated_round"), value)
        _add(found, "train loss", one["round"], one.get("train_loss"))
    scored = data.summary.get("evaluated_round")
    for name, value in data.last_metrics().items():
        if name in found and scored is not None and scored > found[name][-1][0]:
            _add(found, name, scored, value)
    trained = found.pop("train loss", [])
    names = in_order(found)[:_MOST_METRICS]
    if trained and "loss" not in names:
        return [_curve("Training loss", trained), *(_of_metric(n, found) for n in names)]
    return [_of_metric(name, found, trained) for name in names]


def _add(found: dict[str, Points], name: str, at: Any, value: Any) -> None:
    if isinstance(value, (int, float)) and isinstance(at, int) and isfinite(value):
        found.setdefault(name, []).append((float(at), float(value)))


def _of_metric(name: str, found: dict[str, Points], trained: Sequence[Point] = ()) -> Figure:
    errors = dict(found.get(f"{name}_se", ()))
    return _curve(
        metric_name(name), found[name], trained if name == "loss" else (), errors=errors
    )


def _curve(
    title: str,
    points: Points,
    trained: Sequence[Point] = (),
    errors: dict[float, float] | None = None,
) -> Figure:
    """Draw a metric by round, with a band of 95 % where its error is known."""
    drawn = axes()
    _line(drawn, points, SERIES[0], "held-out records")
    if trained:
        _line(drawn, trained, SERIES[1], "training records", dashed=True)
        drawn.legend(loc="best", fontsize=9)
    if errors:
        at, values = zip(*thinned(points), strict=True)
        width = [_TWO_SIDED_95 * errors.get(x, 0.0) for x in at]
        low = [v - w for v, w in zip(values, width, strict=True)]
        high = [v + w for v, w in zip(values, width, strict=True)]
        drawn.fill_between(at, low, high, color=SERIES[0], alpha=0.15, linewidth=0)
    _by_round(drawn, title)
    first, last = points[0], points[-1]
    alt = (
        f"{title} by round: {number(first[1])} at round {number(first[0])},"
        f" {number(last[1])} at round {number(last[0])}"
    )
    note = "Band: 95 % interval." if errors else ""
    return Figure(title, alt, to_svg(drawn, alt), note)


def _line(
    drawn: Any, points: Sequence[Point], colour: str, label: str, *, dashed: bool = False
) -> None:
    at, values = zip(*thinned(points), strict=True)
    # A line through one point is not to be seen.
    marker = "o" if len(points) <= 25 else ""
    style = "--" if dashed else "-"
    drawn.plot(at, values, style, color=colour, label=label, marker=marker, markersize=3.5)


def _by_round(drawn: Any, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    drawn.set_xlabel("round")
    drawn.set_ylabel(name)
    drawn.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    drawn.grid(visible=False, axis="x")


def lines_by_round(
    title: str,
    name: str,
    lines: Sequence[tuple[str, Points]],
    *,
    word: Callable[[float], str] | None = None,
    from_zero: bool = False,
) -> Figure:
    """Draw lines by round, each with its label; those without a point are left out.

    Parameters
    ----------
    title, name : str
        Of the figure, and of what is on its upright axis.
    lines : sequence of (str, list of (float, float))
        At least one of them with a point.
    word : callable, optional
        From a value to how the axis shows it.
    from_zero : bool
        Whether the axis begins at 0.
    """
    drawn, told = axes(), list[str]()
    shown = [(label, points) for label, points in lines if points]
    for place, (label, points) in enumerate(shown):
        _line(drawn, points, SERIES[place % len(SERIES)], label, dashed=place % 2 == 1)
        last = number(points[-1][1]) if word is None else word(points[-1][1])
        told.append(f"{label} {last} at round {number(points[-1][0])}")
    if len(shown) > 1:
        drawn.legend(loc="best", fontsize=9)
    if from_zero:
        # Room for the legend.
        top = max(value for _, points in shown for _, value in points)
        drawn.set_ylim(bottom=0, top=1.4 * max(top, 1e-9))
    _by_round(drawn, name)
    if word is not None:
        _in(drawn.yaxis, word)
    alt = f"{title} by round: {', '.join(told)}"
    return Figure(title, alt, to_svg(drawn, alt))


def participation(data: RunData) -> list[Figure]:
    """Return who was asked, and whose contribution is in the sum, by round."""
    asked = [(one["round"], one.get("num_asked") or 0) for one in data.rounds]
    answered = [(one["round"], one.get("num_replies") or 0) for one in data.rounds]
    if not asked:
        return []
    alt = (
        f"Nodes by round: {_range(asked)} asked, {_range(answered)} in the sum,"
        f" over {len(asked)} round{'s' * (len(asked) != 1)}"
    )
    drawn = axes()
    _line(drawn, asked, MUTED, "asked", dashed=True)
    _line(drawn, answered, SERIES[0], "in the sum")
    missing = [(one["round"], len(one["failures"])) for one in data.rounds]
    if any(value for _, value in missing):
        alt += f", {_range(missing)} missing"
        _line(drawn, missing, SERIES[1], "missing")
    drawn.set_ylim(bottom=0, top=1.35 * max(1, *(value for _, value in asked)))
    drawn.legend(loc="upper right", fontsize=9, ncols=3)
    _by_round(drawn, "nodes")
    return [Figure("Participation", alt, to_svg(drawn, alt))]


def _range(points: Sequence[tuple[Any, Any]]) -> str:
    values = [value for _, value in points]
    low, high = min(values), max(values)
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def times(data: RunData) -> list[Figure]:
    """Return the seconds of each stage by round, one on top of the other."""
    rounds = thinned(data.rounds)
    if not rounds:
        return []
    kinds = list(dict.fromkeys(kind for one in rounds for kind in one["stage_seconds"]))
    layers = {
        _STAGES.get(kind, kind): [_positive(one["stage_seconds"].get(kind)) for one in rounds]
        for kind in kinds
    }
    waited = [sum(values) for values in zip(*layers.values(), strict=True)] or [0.0] * len(
        rounds
    )
    rest = [max(0.0, one["seconds"] - w) for one, w in zip(rounds, waited, strict=True)]
    layers |= {_REST if kinds else "round": rest}
    totals = {name: sum(values) for name, values in layers.items()}
    alt = f"Seconds by round; mean of a round {seconds_of(sum(totals.values()) / len(rounds))}"
    alt += "".join(f", {name} {seconds_of(t / len(rounds))}" for name, t in totals.items())
    at = [one["round"] for one in rounds]
    drawn = axes()
    colours = [SERIES[place % len(SERIES)] for place in range(len(layers))]
    if len(rounds) <= 60:
        base = [0.0] * len(rounds)
        for (name, values), colour in zip(layers.items(), colours, strict=True):
            drawn.bar(at, values, 0.8, bottom=base, color=colour, label=name)
            base = [b + v for b, v in zip(base, values, strict=True)]
    else:
        drawn.stackplot(at, *layers.values(), labels=[*layers], colors=colours)
    drawn.set_ylim(top=1.45 * max(0.001, *(one["seconds"] for one in rounds)))
    drawn.legend(loc="upper right", fontsize=8.5, ncols=2 if len(layers) > 2 else 1)
    _by_round(drawn, "time (seconds)")
    return [Figure("Time by stage", alt, to_svg(drawn, alt))]


def _positive(value: Any) -> float:
    is_good = isinstance(value, (int, float)) and isfinite(value)
    return max(0.0, float(value)) if is_good else 0.0


def traffic(data: RunData) -> list[Figure]:
    """Return the bytes of each direction by round, of all nodes together."""
    found = [one for one in data.rounds if isinstance(one.get("bytes_down"), int)]
    if not found:
        return []
    down = [(one["round"], one["bytes_down"]) for one in found]
    up = [(one["round"], _positive(one.get("bytes_up"))) for one in found]
    mean = [bytes_of(sum(v for _, v in points) / len(points)) for points in (down, up)]
    alt = f"Bytes by round, all nodes: on average {mean[0]} to them and {mean[1]} from them"
    drawn = axes()
    _line(drawn, down, SERIES[0], "to the nodes")
    _line(drawn, up, SERIES[1], "from the nodes")
    drawn.set_ylim(bottom=0, top=1.4 * max(1.0, *(v for _, v in down + up)))
    drawn.legend(loc="upper right", fontsize=9, ncols=2)
    _by_round(drawn, "bytes")
    _in(drawn.yaxis, bytes_of)
    return [Figure("Bytes by direction", alt, to_svg(drawn, alt))]


def _in(axis: Any, word: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: word(value)))


def epsilons(data: RunData) -> list[Figure]:
    """Return what a private run had spent after each round, against its cap."""
    points: Points = []
    for one in data.rounds:
        value = one["privacy"].get("epsilon")
        if isinstance(value, (int, float)) and isfinite(value):
            points.append((one["round"], value))
    if not points:
        return []
    cap = data.cap()
    alt = f"Epsilon spent by round: {number(points[-1][1])} after round {points[-1][0]:g}"
    alt += f", of a cap of {number(cap)}" if cap is not None else ""
    drawn = axes()
    _line(drawn, points, SERIES[0], "spent")
    if cap is not None:
        drawn.axhline(cap, color=INK, linestyle="--", linewidth=1.2, label="cap")
        drawn.legend(loc="lower right", fontsize=9)
    drawn.set_ylim(bottom=0)
    _by_round(drawn, "epsilon")
    return [Figure("Privacy spent", alt, to_svg(drawn, alt))]
