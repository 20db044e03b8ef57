"""What two states differ by: exactly, or in steps of eight bits.

A delta is read with no trust in it: the arrays that a node holds say how long each part is.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.rounding import dithered
from privacy.noise.randomness import secure_generator
from workloads.values import Arrays

_DOMAIN = b"tacet: arrays that a node holds, version 1\0"
_MOST_STEPS = 127
# Numbers of a model hardly repeat: a higher level takes five times as long for one per cent.
_LEVEL = 1

Bytes = NDArray[np.uint8]
Steps = NDArray[np.int8]


class BadDeltaError(ValueError):
    """A delta that does not go with the arrays that it is to be added to."""


def digest_of(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return SHA-256 of names, types, shapes and every bit of arrays (32 bytes)."""
    digest = hashlib.sha256(_DOMAIN)
    for name, values in sorted(arrays.items()):
        head = f"{len(name)}:{name}:{values.dtype.str}:{values.shape}".encode()
        digest.update(len(head).to_bytes(4, "big") + head)
        digest.update(np.ascontiguousarray(values).data)
    return digest.digest()


def are_alike(before: Arrays, after: Arrays) -> bool:
    """Whether two states have arrays of the same names, shapes and types, of numbers."""
    return before.keys() == after.keys() and all(
        values.shape == before[name].shape
        and values.dtype == before[name].dtype
        and values.dtype.kind in "fiu"
        for name, values in after.items()
    )


def exact_delta(before: Arrays, after: Arrays) -> dict[str, Bytes]:
    """Return the difference of two alike states, from which the second is restored bit for bit.

    The bits of a number are taken for an integer. Two numbers that are near each other have
    integers that are, so that the first bytes of the differences are nearly all 0; bytes of the
    same place lie together, and are compressed (zlib).
    """
    found: dict[str, Bytes] = {}
    for name, values in after.items():
        old, new = _as_integers(before[name]), _as_integers(values)
        # As two's complement, the sign in the last bit: small ones have zeros before them.
        difference: NDArray[Any] = new - old
        sign: NDArray[Any] = difference >> np.array(8 * old.itemsize - 1, old.dtype)
        folded: NDArray[Any] = difference << np.array(1, old.dtype) ^ -sign
        planes = folded.reshape(-1, 1).view(np.uint8).reshape(-1, old.itemsize).T
        packed = zlib.compress(np.ascontiguousarray(planes).tobytes(), _LEVEL)
        found[name] = np.frombuffer(packed, np.uint8)
    return found


def add_exact(before: Arrays, delta: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the state that ``exact_delta`` has told.

    Raises
    ------
    BadDeltaError
        If the delta is of other arrays.
    """
    _require_names(before, delta)
    found: Arrays = {}
    for name, values in before.items():
        old, packed = _as_integers(values), delta[name]
        if packed.dtype != np.uint8 or packed.ndim != 1:
            raise BadDeltaError(f"{name}: {packed.dtype} of shape {packed.shape}")
        planes = _unpacked(packed.tobytes(), old.nbytes).reshape(old.itemsize, -1).T
        folded: NDArray[Any] = np.ascontiguousarray(planes).view(old.dtype).reshape(-1)
        one: NDArray[Any] = np.array(1, old.dtype)
        sign: NDArray[Any] = folded & one
        difference: NDArray[Any] = folded >> one ^ -sign
        found[name] = (old + difference).view(values.dtype).reshape(values.shape)
    return found


def coarse_delta(before: Arrays, after: Arrays) -> tuple[dict[str, Steps], dict[str, float]]:
    """Return the difference of two alike states of floats in whole steps, and the steps.

    Rounded at random, so unbiased: on average the state that ``add_coarse`` makes of them is
    ``after``. A number is off by less than its array's step, 1 / 127 of the largest difference.

    Returns
    -------
    dict of ndarray, int8
        From -127 to 127, by name.
    dict of float
        The step of each array, by name.
    """
    delta: dict[str, Steps] = {}
    sizes: dict[str, float] = {}
    for name, values in after.items():
        change = values.astype(np.float64) - before[name].astype(np.float64)
        size = float(np.float32(np.max(np.abs(change), initial=0.0) / _MOST_STEPS))
        steps = np.clip(change / (size or 1.0), -_MOST_STEPS, _MOST_STEPS)
        # Arithmetic makes a numpy scalar of an array without a dimension.
        delta[name] = np.asarray(dithered(steps, secure_generator()), np.int8)
        sizes[name] = size
    return delta, sizes


def add_coarse(
    before: Arrays, delta: Mapping[str, NDArray[Any]], sizes: Mapping[str, float]
) -> Arrays:
    """Return the state that is so many steps away: the same bits on server and nodes.

    Raises
    ------
    BadDeltaError
        If the delta is of other arrays, or a step is not finite.
    """
    _require_names(before, delta)
    _require_names(before, sizes)
    if not all(0 <= size < float("inf") for size in sizes.values()):
        raise BadDeltaError("a step that is negative or not finite")
    found: Arrays = {}
    for name, values in before.items():
        steps, size = delta[name], sizes[name]
        if steps.dtype != np.int8 or steps.shape != values.shape or values.dtype.kind != "f":
            raise BadDeltaError(f"{name}: {steps.dtype} of shape {steps.shape}")
        moved = values.astype(np.float64) + steps.astype(np.float64) * size
        found[name] = np.asarray(moved, values.dtype)
    return found


def _as_integers(values: NDArray[Any]) -> NDArray[Any]:
    """Return the bits of numbers as unsigned integers, shape (n,)."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(np.dtype(f"u{flat.itemsize}"))


def _unpacked(packed: bytes, size: int) -> Bytes:
    """Return so many bytes that were compressed, and never many more."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise BadDeltaError(str(error)) from None
    if len(found) != size or not stream.eof or stream.unused_data:
        raise BadDeltaError(f"{len(found)} bytes where {size} are due")
    return np.frombuffer(found, np.uint8)


def _require_names(before: Arrays, delta: Mapping[str, object]) -> None:
    if before.keys() != delta.keys():
        raise BadDeltaError(f"a delta of {len(delta)} arrays, or of other names")
