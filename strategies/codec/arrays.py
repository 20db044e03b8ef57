"""Reader of serialised arrays that checks everything about them, and their writer.

Flower's ``Array.numpy()`` gives the bytes to ``numpy.load``, which believes what their header
says: a reply of a few bytes could ask for terabytes, or raise nearly anything. Its ``Array()``
writes into a buffer that grows, and copies a large array several times.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.lib import format as npy
from numpy.typing import NDArray

_STYPE = "numpy.ndarray"
_HEADER_BYTES = 1024
# Where a file of format 1.0 tells the bytes of the text that follows.
_LENGTH = slice(8, 10)


class BadArrayError(ValueError):
    """A serialised array of another shape or type than is expected."""


def read_array(array: Array) -> NDArray[Any]:
    """Return a copy of an array of numbers of any shape, as large as its bytes are.

    Raises
    ------
    BadArrayError
        If it is anything else, such as an archive, an object or a structure.
    """
    shape, is_fortran, found, offset = _header(array)
    size = len(array.data) - offset
    is_number = found.kind in "fiub" and found.isnative
    is_whole = min(shape, default=0) >= 0 and math.prod(shape) * found.itemsize == size
    if not (is_number and is_whole):
        raise BadArrayError(f"{found} of shape {shape} in {size} bytes")
    values = np.frombuffer(array.data, found, offset=offset)
    return values.reshape(shape, order="F" if is_fortran else "C").copy()


def read_vector(array: Array, dtype: str, length: int | None = None) -> NDArray[Any]:
    """Return a one-dimensional array, without a copy of its values.

    Parameters
    ----------
    array : Array
        The array as received.
    dtype : str
        What it must be, e.g. ``float32``.
    length : int, optional
        How many values it must have; None for as many as there are bytes.

    Raises
    ------
    BadArrayError
        If it is anything else.
    """
    expected = np.dtype(dtype)
    if length is not None and tuple(array.shape) != (length,):
        raise BadArrayError(f"{array.stype} of shape {tuple(array.shape)}")
    shape, _, found, offset = _header(array)
    size = len(array.data) - offset
    if found != expected or shape != (size // expected.itemsize,) or size % expected.itemsize:
        raise BadArrayError(f"{found} of shape {shape} in {size} bytes")
    values = np.frombuffer(array.data, expected, offset=offset)
    if length is not None and len(values) != length:
        raise BadArrayError(f"{len(values)} values, not {length}")
    return values


def write_array(values: NDArray[Any]) -> Array:
    """Return what Flower's ``Array(values)`` is, byte by byte, after one copy of the values."""
    if values.dtype.hasobject or not values.flags.c_contiguous:
        return Array(values)
    return _written(values.dtype, values.shape, [values.reshape(-1).view(np.uint8).data])


def write_bytes(parts: Iterable[bytes | bytearray | memoryview]) -> Array:
    """Return Flower's array of the bytes of all parts, after one copy of them."""
    views = [memoryview(part).cast("B") for part in parts]
    return _written(np.dtype(np.uint8), (sum(map(len, views)),), views)


def _written(dtype: np.dtype[Any], shape: tuple[int, ...], parts: list[memoryview]) -> Array:
    stream = BytesIO()
    head = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, head)
    data = b"".join([stream.getvalue(), *parts])
    return Array(str(dtype), shape, _STYPE, data)


def _header(array: Array) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order, dtype and where the values begin."""
    if array.stype != _STYPE:
        raise BadArrayError(f"{array.stype!r} is no array")
    data = array.data
    try:
        end = _LENGTH.stop + int.from_bytes(data[_LENGTH], "little")
        return _parsed(data[: min(end, _HEADER_BYTES)])
    except BadArrayError:
        raise
    except Exception as error:
        raise BadArrayError(f"{type(error).__name__} in the header") from None


# numpy compiles the text of a header, and the arrays of a run have the same few.
@lru_cache(maxsize=64)
def _parsed(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    stream = BytesIO(head)
    if npy.read_magic(stream) != (1, 0):
        raise BadArrayError("not numpy's format 1.0")
    shape, is_fortran, found = npy.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
    # To Python True is a 1, but to numpy it is no size.
    if any(type(size) is not int for size in shape):
        raise BadArrayError(f"sizes {shape}")
    return shape, is_fortran, found, stream.tell()
