"""Several plans beside each other, for the values of one key or more."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from app.config.words import split_words
from app.preflight.run_plan import RunPlan


def combinations(
    run_config: dict[str, Any], sweeps: Sequence[str]
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Return, for each combination of values, these and the run config that has them.

    Parameters
    ----------
    run_config : dict
        As for ``flwr run``.
    sweeps : sequence of str
        Each ``key=value,value``: a key of the run config, or one that ``overrides`` reaches.

    Raises
    ------
    ValueError
        Naming what is not of that form, or a key that comes twice.
    """
    axes = dict(map(_axis, sweeps))
    if len(axes) < len(sweeps):
        raise ValueError("a key is given twice; give all its values at once")
    found: list[tuple[dict[str, str], dict[str, Any]]] = []
    for chosen in product(*axes.values()):
        values = dict(zip(axes, chosen, strict=True))
        found.append((values, _with(run_config, values)))
    return found


def table(found: Iterable[tuple[dict[str, str], RunPlan | str]]) -> list[str]:
    """Return a line for each plan, under a line of headers; one that is refused says why."""
    rows: list[list[str]] = []
    refused: list[str] = []
    for values, plan in found:
        if not rows:
            rows.append([*values, *_HEADERS])
        if isinstance(plan, str):
            rows.append([*values.values(), "refused", *[""] * (len(_HEADERS) - 1)])
            refused.append(f"{', '.join(f'{k}={v}' for k, v in values.items())}: {plan}")
        else:
            rows.append([*values.values(), *_cells(plan)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*lines, *([""] if refused else []), *refused]


_HEADERS = ("epsilon", "noise multiplier", "signal of all steps", "learning rate", "result")


def _cells(plan: RunPlan) -> list[str]:
    told = plan.guarantee
    if not told:
        return ["none", "-", "-", "-", "no guarantee"]
    recipe = told.get("recipe")
    result = "noise" if told["signal"]["is_noise"] else "no objection"
    if recipe and recipe["objection"]:
        result = "see its warning"
    return [
        f"{told['epsilon']:.4g}",
        f"{told['noise_multiplier']:.4g}",
        f"{told['signal']['in_run']:.3g}",
        f"{recipe['learning_rate']:.3g}" if recipe else "-",
        result,
    ]


def _axis(text: str) -> tuple[str, list[str]]:
    key, separator, values = text.partition("=")
    if not separator or not key or not all(values.split(",")):
        raise ValueError(f"{text!r} is not of the form key=value,value")
    return key, values.split(",")


def _with(run_config: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Return the run config with these values, in place of any that it has."""
    words = split_words(str(run_config.get("overrides", "")))
    words = [word for word in words if word.partition("=")[0] not in values]
    words += [f"{key}={value}" for key, value in values.items() if "." in key]
    plain = {key: _plain(value) for key, value in values.items() if "." not in key}
    return run_config | plain | {"overrides": shlex.join(words)}


def _plain(value: str) -> int | str:
    return int(value) if value.isdecimal() else value
