"""Numbers and names as a person reads them."""

from __future__ import annotations

from math import isfinite
from typing import Any

_UNITS = ("bytes", "kB", "MB", "GB", "TB")

#: Metrics with a name of their own; any other one is called as it is.
_METRICS = {"auc": "AUC", "loss": "Loss", "accuracy": "Accuracy"}
#: Which metrics are read first.
_FIRST = ("auc", "accuracy", "loss")


def number(value: Any) -> str:
    """Return a number with four digits that count, a count whole, and what is none as it is."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if not isfinite(value):
        return "not a number" if value != value else ("-" * (value < 0)) + "infinite"
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:.4g}"


def bytes_of(value: float) -> str:
    """Return a number of bytes in the unit in which it is short."""
    place = 0
    while value >= 1000 and place < len(_UNITS) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.3g} {_UNITS[place]}" if place else f"{value:.0f} bytes"


def seconds_of(value: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if value < 120:
        return f"{value:.3g} s"
    if value < 7200:
        return f"{value / 60:.3g} min"
    return f"{value / 3600:.3g} h"


def metric_name(name: str) -> str:
    """Return what a metric is called."""
    return _METRICS.get(name, name.replace("_", " ").capitalize())


def in_order(names: Any) -> list[str]:
    """Return the names of metrics, those that are read first at the front."""
    return sorted(
        (name for name in names if not name.endswith("_se")),
        key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name),
    )


def cut(text: str, most: int = 28) -> str:
    """Return a text for an axis, short enough to be read there."""
    text = " ".join(str(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def is_finite(value: Any) -> bool:
    """Return whether a value is a number that can be drawn."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and isfinite(value)
