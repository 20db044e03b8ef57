"""What a report says of the model of another run that a run began with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from app.results.html.shown import number


def initial_model_words(summary: Mapping[str, Any]) -> list[str]:
    """Return what a run's summary says of its initial model, a sentence or two each.

    Parameters
    ----------
    summary : mapping
        As in ``summary.json``; without an initial model there is nothing to say.
    """
    found = summary.get("initial_model")
    if not isinstance(found, dict):
        return []
    told = cast(dict[str, Any], found)
    runs: list[dict[str, Any]] = told["runs"]
    words = [_run_words(run, number_) for number_, run in enumerate(runs, start=1)]
    return [
        "The run began with the model of another run, not with an untrained one. Only the model"
        f" was taken, not the optimiser's state: SHA-256 {told['model']}.",
        "It came from: " + "; ".join(words) + ".",
        _sum_words(told, len(runs)),
    ]


def epsilon_with_initial_model(summary: Mapping[str, Any]) -> str:
    """Return a few words for a tile: the sum, or that there is none; empty without one."""
    found = summary.get("initial_model")
    if not isinstance(found, dict):
        return ""
    total = cast(dict[str, Any], found).get("epsilon_with_initial_model")
    if total is None:
        return "; the initial model's records are not covered"
    return f"; {number(total)} with the initial model's"


def _run_words(run: Mapping[str, Any], place: int) -> str:
    name = f"({place}) run {run['run_id']}, {run['num_rounds']} rounds"
    if run["entry"]:
        name += f", as {run['entry']} of a registry"
    spent: dict[str, Any] | None = run["privacy"]
    if spent is None:
        return f"{name}, without differential privacy"
    return (
        f"{name}, with epsilon {number(spent['epsilon'])} at delta {number(spent['delta'])} for"
        f" each {spent['unit']}"
    )


def _sum_words(told: Mapping[str, Any], num_runs: int) -> str:
    if "no_sum_because" in told:
        return (
            f"Warning: this run's own epsilon is not all that was released:"
            f" {told['no_sum_because']}."
        )
    return (
        f"This run and the {num_runs} before it together: epsilon"
        f" {number(told['epsilon_with_initial_model'])} at delta"
        f" {number(told['delta_with_initial_model'])} on whatever was in all of them, as"
        " epsilons and deltas add (basic composition); for whoever sees the models only,"
        f" epsilon {number(told['epsilon_model_only_with_initial_model'])}."
    )
