"""Named arrays as one vector and back, and their hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.values import Arrays, State

# Values that are hashed at a time: a large model is not copied whole.
_CHUNK = 1 << 16


def flatten(arrays: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float32]:
    """Return the arrays as one float32 vector, in the mapping's order."""
    pieces = [np.asarray(p, dtype=np.float32).ravel() for p in arrays.values()]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)


def add_to(arrays: Mapping[str, NDArray[Any]], update: NDArray[np.float32]) -> Arrays:
    """Return the arrays plus a flat update, with the names, shapes and dtypes kept."""
    result: Arrays = {}
    first = 0
    for name, values in arrays.items():
        piece = update[first : first + values.size].reshape(values.shape)
        result[name] = (values + piece).astype(values.dtype, copy=False)
        first += values.size
    return result


def prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return arrays under names of their own, beside others in a checkpoint."""
    return {prefix + name: values for name, values in arrays.items()}


def parted(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
    """Return the arrays that ``prefixed`` has named so, and the rest."""
    own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return own, {k: v for k, v in arrays.items() if not k.startswith(prefix)}


def hash_state(
    state: State, values: Mapping[str, Any], loaded_as: type[np.floating] = np.float32
) -> bytes:
    """Return SHA-256 of what a request asks about (32 bytes).

    It is over what a node loads, so that no other order or type of the same values, and no
    negative zero, passes for another question.

    Parameters
    ----------
    state : State
        Names, shapes and values of its arrays are hashed, and its header.
    values : dict
        The query's own values.
    loaded_as : type
        What a node takes numbers for: with fewer digits two questions would have one hash, and
        with more one question two.
    """
    digest = hashlib.sha256(b"tacet/model/v2")
    for name, array in sorted(state.arrays.items()):
        head = f"{len(name)}:{name}:{array.shape}".encode()
        digest.update(len(head).to_bytes(4, "big") + head)
        kind, flat = (
            np.dtype(loaded_as).newbyteorder("<"),
            np.ascontiguousarray(array).reshape(-1),
        )
        for start in range(0, len(flat), _CHUNK):
            with np.errstate(over="ignore"):
                loaded = flat[start : start + _CHUNK].astype(kind) + loaded_as(0)
            digest.update(loaded.data)
    if state.header or values:
        asked = [dict(state.header), dict(values)]
        digest.update(json.dumps(asked, sort_keys=True).encode())
    return digest.digest()


def hash_arrays(state: State) -> bytes:
    """Return SHA-256 of a state's arrays alone (32 bytes), whatever its header says of them."""
    return hash_state(State(state.arrays), {})
