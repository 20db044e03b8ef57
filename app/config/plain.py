"""Plain values for JSON, which has no infinity and no NaN."""

from __future__ import annotations

from math import isfinite
from typing import Any, cast


def finite(value: Any) -> Any:
    """Return nested dicts and lists with None for every number that is not finite."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        held = cast(dict[str, Any], value)
        return {name: finite(inner) for name, inner in held.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in cast(list[Any], value)]
    return value
