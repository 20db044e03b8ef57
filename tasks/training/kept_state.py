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
    """The attributes of one module.

    Those that can only be replaced, lists of the module's own parameters (torch's recurrent
    layers have one), and the others' copies.
    """

    name: str
    now: dict[str, Any]
    fixed: dict[str, Any]
    lists: dict[str, list[nn.Parameter]]
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
            parameters = list(module.parameters(recurse=False))
            lists = {k: list(v) for k, v in own.items() if _is_list_of(v, parameters)}
            rest = own.keys() - fixed.keys() - lists.keys()
            copies = {key: deepcopy(own[key]) for key in rest}
            self._kept.append(_Kept(name, vars(module), fixed, lists, copies))

    def restore(self) -> None:
        """Put every attribute back to what it was."""
        for one in self._kept:
            now = one.now
            if len(now) > len(one.fixed) + len(one.lists) + len(one.copies):
                for key in _own(now).keys() - (one.fixed | one.lists | one.copies).keys():
                    del now[key]
            now.update(one.fixed)
            for key, own in one.lists.items():
                now[key] = list(own)
            if one.copies:
                now.update(deepcopy(one.copies))

    def changes(self) -> list[str]:
        """Return the names of the attributes that are others than they were."""
        found: list[str] = []
        for one in self._kept:
            now, before = _own(one.now), one.fixed | one.lists | one.copies
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


def _is_list_of(value: Any, parameters: list[nn.Parameter]) -> bool:
    """Return whether a value is a list that holds nothing but these very parameters."""
    if type(value) is not list or not value:
        return False
    own = {id(parameter) for parameter in parameters}
    return all(id(item) in own for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; what cannot be compared may have changed."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, list) and any(isinstance(item, nn.Parameter) for item in one):
        return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
    try:
        found = one == other
        return bool(found.all()) if hasattr(found, "all") else bool(found)
    except Exception:
        return False
