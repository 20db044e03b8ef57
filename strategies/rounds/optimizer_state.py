"""The state that Flower's strategies keep between rounds, for checkpoints.

Flower gives no interface for it. FedAvgM keeps a list in the model's order
(``momentum_vector``), FedAdam and FedYogi dicts by parameter name (``m_t``, ``v_t``).
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

_BY_POSITION = ("momentum_vector",)
_BY_NAME = ("m_t", "v_t")
_SEPARATOR = "/"

State = dict[str, NDArray[Any]]


def export_state(inner: FedAvg, parameter_names: Sequence[str]) -> State:
    """Return the optimiser state as arrays named ``<slot>/<parameter>``; may be empty."""
    state: State = {}
    for slot in _BY_POSITION:
        vectors = cast(list[NDArray[Any]] | None, getattr(inner, slot, None))
        for name, values in zip(parameter_names, vectors or [], strict=bool(vectors)):
            state[slot + _SEPARATOR + name] = np.asarray(values)
    for slot in _BY_NAME:
        named = cast(Mapping[str, NDArray[Any]] | None, getattr(inner, slot, None))
        for name, values in (named or {}).items():
            state[slot + _SEPARATOR + name] = np.asarray(values)
    return state


def restore_state(inner: FedAvg, state: State, parameter_names: Sequence[str]) -> None:
    """Put back what ``export_state`` returned.

    Raises
    ------
    ValueError
        If the state belongs to another algorithm or another model.
    """
    slots: dict[str, State] = {}
    for key, values in state.items():
        slot, _, name = key.partition(_SEPARATOR)
        slots.setdefault(slot, {})[name] = values
    for slot, named in slots.items():
        if slot not in _BY_POSITION + _BY_NAME or not hasattr(inner, slot):
            raise ValueError(f"optimiser state {slot!r} is not of {type(inner).__name__}")
        if sorted(named) != sorted(parameter_names):
            raise ValueError(f"optimiser state {slot!r} is of another model")
        ordered = {name: named[name] for name in parameter_names}
        setattr(inner, slot, list(ordered.values()) if slot in _BY_POSITION else ordered)
