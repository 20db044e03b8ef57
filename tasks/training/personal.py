"""Personal parameters: a part of the model that each node keeps and trains for itself.

FedPer (Arivazhagan et al. 2019, arXiv 1912.00818, algorithm 1): all nodes share the first
layers, whose mean is taken, and each has last layers of its own, which fit its own labels. Both
are trained together, by every optimiser. A node's part is in no message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.base import ModelRefusedError

# An attribute of the model, so that it goes along with every copy.
_MARK = "personal_names"
_MOST_TOLD = 20


def mark_personal(model: nn.Module, given: Collection[str]) -> None:
    """Mark what stays on each node.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    given : collection of str
        Names of trained parameters, or what they begin with up to a dot.

    Raises
    ------
    ModelRefusedError
        If one stands for no trained parameter, or all together for every one.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    found: set[str] = set()
    for one in given:
        own = {name for name in names if name == one or name.startswith(f"{one}.")}
        if not own:
            raise ModelRefusedError(
                f"task.personal: no trained parameter of the model is {one!r} or begins with"
                f" '{one}.'; there are {_listed(names)}"
            )
        found |= own
    if len(found) == len(names):
        raise ModelRefusedError(
            f"task.personal=[{', '.join(given)}] is every trained parameter, and nothing would"
            f" be shared; take some of {_listed(names)}"
        )
    setattr(model, _MARK, frozenset(found))


def exchanged(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained and exchanged, by name, in the model's order."""
    personal = personal_names(model)
    return {name: p for name, p in _trained(model).items() if name not in personal}


def personal_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters that stay on each node."""
    return getattr(model, _MARK, frozenset())


def get_personal(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return copies of what stays on each node, by name, in the model's order."""
    personal = personal_names(model)
    return arrays_of({name: p for name, p in _trained(model).items() if name in personal})


def set_personal(model: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Load what stays on the node.

    Raises
    ------
    ValueError
        If a name or a shape differs from the model's.
    """
    personal = personal_names(model)
    load_into({name: p for name, p in _trained(model).items() if name in personal}, arrays)


def arrays_of(parameters: Mapping[str, nn.Parameter]) -> dict[str, NDArray[Any]]:
    """Return copies of parameters."""
    return {name: p.detach().cpu().numpy().copy() for name, p in parameters.items()}


def load_into(
    parameters: Mapping[str, nn.Parameter], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Load arrays into parameters of the same names and shapes.

    Raises
    ------
    ValueError
        If a name or a shape differs.
    """
    if parameters.keys() != arrays.keys():
        differing = sorted(parameters.keys() ^ arrays.keys())
        raise ValueError(f"the arrays and the model differ in {differing}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != arrays[name].shape:
                raise ValueError(
                    f"{name} has shape {arrays[name].shape}, not {tuple(parameter.shape)}"
                )
            # Not ``ascontiguousarray``, which makes one number of no dimension a vector.
            parameter.copy_(torch.from_numpy(np.asarray(arrays[name], order="C")))


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _listed(names: list[str]) -> str:
    told = ", ".join(names[:_MOST_TOLD])
    return f"{told} and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else told
