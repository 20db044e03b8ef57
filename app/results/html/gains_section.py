"""The section on who gains: what nodes have published of themselves."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

from app.results.html.gather import RunData
from app.results.html.parts import Section, table
from app.results.html.shown import number
from strategies.rounds.published import DELTA, EPSILON_LEFT, GAIN_NOISE, GAINS

# A Laplace variable is within so many of its scale with a chance of 95 %.
_RANGE_95 = -log(0.05)
_TWO_SIDED_95 = 1.96


def gains_section(data: RunData) -> Section:
    """Return who gains, by pseudonym, and what is left of the budgets; empty for nothing."""
    published = data.published()
    if not published:
        return Section("gains", "Who gains")
    rows: list[list[Any]] = []
    gains: dict[str, list[tuple[float, float]]] = {}
    for node, figures in published.items():
        name = next((one for one in GAINS if one in figures), None)
        gain, noise = (figures[name], figures.get(GAIN_NOISE)) if name else (None, None)
        width = _RANGE_95 * noise if noise is not None else None
        metric = name.removeprefix("gain_") if name else None
        rows.append([node, metric, gain, width, figures.get(EPSILON_LEFT), figures.get(DELTA)])
        if metric is not None and gain is not None and noise is not None:
            gains.setdefault(metric, []).append((gain, noise))
    columns = ["node", "gain in", "gain, noised", "95 % within +-", "epsilon left", "at delta"]
    return Section(
        "gains",
        "Who gains",
        texts=_words(gains),
        tables=[table("What nodes have published of themselves", columns, rows)],
    )


def _words(gains: dict[str, list[tuple[float, float]]]) -> list[str]:
    if not gains:
        return ["Nodes have published what is left of their budgets, and no gains."]
    texts = [
        "A gain is by how much the model that all made is better than a node's own model alone,"
        " on that node's held-out records, cut to a quarter up or down. Each node has added"
        " noise to its figure by itself and charged it to its own budget, beside what this"
        " report says that the run has spent. A figure alone says little where the noise is"
        " larger than a quarter, as a gain can be no larger than that. Each"
        " figure is its node's own word: nobody else can check it."
    ]
    means = (_mean(metric, given) for metric, given in gains.items() if len(given) > 1)
    return [*texts, *means]


def _mean(metric: str, gains: list[tuple[float, float]]) -> str:
    """Return what several gains, each with the scale of its noise, say together."""
    mean = sum(gain for gain, _ in gains) / len(gains)
    # The variance of a Laplace variable is twice its scale squared.
    error = sqrt(sum(2 * noise**2 for _, noise in gains)) / len(gains)
    width = _TWO_SIDED_95 * error
    verdict = "it does not tell whether they gain"
    if abs(mean) > width:
        verdict = "they gain" if mean > 0 else "they lose"
    return (
        f"The mean of {len(gains)} gains in {metric} is {number(mean)}, and the noise alone"
        f" moves it by up to {number(width)} in 95 of 100 cases: {verdict}."
    )
