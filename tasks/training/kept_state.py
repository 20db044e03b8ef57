"""What modules of a model keep beside their parameters, put back before each record.

A module may set attributes of its own in its forward pass, such as the largest input so far:
then a record would change what later records add to a sum, by any amount.
"""

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import nn

# Parameters, buffers, submodules and hooks, which torch keeps for every module.
_OF_TORCH = frozenset(vars(nn.Module()))
_NEVER_CHANGES = (int, float, complex, bool, str, bytes, type, type(None), torch.dtype)


class _Kept(NamedTuple):
    """The attributes of one module: those that can only be replaced, and the others' copies."""

    name: str
    now: dict[str, Any]
    fixed: dict[str, Any]
    copies: dict[str, Any]


class KeptState:
    """The attributes of all modules of a model as they were when this was made.

    Parameters
    ----------
    model : nn.Module
        One without buffers.
    """

    def __init__(self, model: nn.Module) -> None:
        self._kept: list[_Kept] = []
        for name, module in model.named_modules():
            own = _own(vars(module))
            fixed = {key: value for key, value in own.items() if _is_fixed(value)}
            copies = {key: deepcopy(own[key]) for key in own.keys() - fixed.keys()}
            self._kept.append(_Kept(name, vars(module), fixed, copies))

    def restore(self) -> None:
        """Put every attribute back to what it was."""
        for one in self._kept:
            now = one.now
            if len(now) > len(one.fixed) + len(one.copies):
                for key in _own(now).keys() - one.fixed.keys() - one.copies.keys():
                    del now[key]
            now.update(one.fixed)
            if one.copies:
                now.update(deepcopy(one.copies))

    def changes(self) -> list[str]:
        """Return the names of the attributes that are others than they were."""
        found: list[str] = []
        for one in self._kept:
            now, before = _own(one.now), one.fixed | one.copies
            for key in sorted(now.keys() | before.keys()):
                if key not in now or key not in before or not _same(now[key], before[key]):
                    found.append(f"{one.name}.{key}" if one.name else key)
        return found


def _own(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in _OF_TORCH}


def _is_fixed(value: Any) -> bool:
    """Return whether a value cannot change but by being replaced."""
    if isinstance(value, tuple | frozenset):
        return all(map(_is_fixed, value))  # pyright: ignore[reportUnknownArgumentType]
    return isinstance(value, _NEVER_CHANGES) or (
        callable(value) and not isinstance(value, nn.Module)
    )


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; what cannot be compared may have changed."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    try:
        found = one == other
        return bool(found.all()) if hasattr(found, "all") else bool(found)
    except Exception:
        return False
