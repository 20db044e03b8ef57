"""Several plans beside each other, for the values of one key or more."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import product
from typing import Any

from app.config.words import split_words


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
    axes = {_canonical(key): values for key, values in map(_axis, sweeps)}
    run_config = {_canonical(key): value for key, value in run_config.items()}
    if len(axes) < len(sweeps):
        raise ValueError("a key is given twice; give all its values at once")
    found: list[tuple[dict[str, str], dict[str, Any]]] = []
    for chosen in product(*axes.values()):
        values = dict(zip(axes, chosen, strict=True))
        found.append((values, _with(run_config, values)))
    return found


# A value, with commas in brackets or braces only.
_VALUE = re.compile(r"(?:\[[^\]]*\]|\{[^}]*\}|[^,\[{])+")


def _axis(text: str) -> tuple[str, list[str]]:
    key, separator, values = text.partition("=")
    # A comma in brackets is none between values.
    found = _VALUE.findall(values)
    if not separator or not key or ",".join(found) != values or " " in text:
        raise ValueError(f"{text!r} is not of the form key=value,value")
    if key == "overrides":
        raise ValueError("overrides has several keys; name the one whose values you compare")
    return key, list(dict.fromkeys(found))


def _canonical(key: str) -> str:
    """Return a key of the run config as it is documented: with hyphens."""
    return key if "." in key else key.replace("_", "-")


def _with(run_config: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Return the run config with these values, in place of any that it has."""
    words = split_words(str(run_config.get("overrides", "")))
    words = [word for word in words if word.partition("=")[0] not in values]
    words += [f"{key}={value}" for key, value in values.items() if "." in key]
    plain = {key: _plain(value) for key, value in values.items() if "." not in key}
    return run_config | plain | {"overrides": shlex.join(words)}


def _plain(value: str) -> int | str:
    return int(value) if value.isdecimal() else value
