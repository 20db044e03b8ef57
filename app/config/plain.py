"""Plain values: of a configuration, and for JSON, which has no infinity and no NaN."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
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


def to_dict(config: object) -> dict[str, object]:
    """Return a dataclass of the configuration as plain nested dicts, enums by name."""
    return cast(dict[str, object], _plain(config))


def _plain(value: object) -> object:
    """Return dataclasses as dicts, enums by name, in dicts and lists as well.

    As OmegaConf does, but that takes seconds for a table of thousands of columns.
    """
    if isinstance(value, Enum):
        return value.name
    if is_dataclass(value):
        return {key.name: _plain(getattr(value, key.name)) for key in fields(value)}
    if isinstance(value, dict):
        given = cast(dict[object, object], value)
        return {name: _plain(inner) for name, inner in given.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in cast(list[object], value)]
    return value
