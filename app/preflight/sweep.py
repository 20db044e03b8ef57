"""Several plans beside each other, for the values of one key or more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import Any

from app.config.words import replaced


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
        found.append((values, replaced(run_config, values)))
    return found


# A value, with commas in brackets or braces only.
_VALUE = re.compile(r"(?:\[[^\]]*\]|\{[^}]*\}|[^,\[{])+")


def _axis(text: str) -> tuple[str, list[str]]:
    key, separator, values = text.partition("=")
    # A comma in brackets is none between values.
    found = _VALUE.findall(values)
    if not separator or not key or not found or ",".join(found) != values or " " in text:
        raise ValueError(f"{text!r} is not of the form key=value,value")
    if key == "overrides":
        raise ValueError("overrides has several keys; name the one whose values you compare")
    return key, list(dict.fromkeys(found))
