"""Reader of serialised arrays that checks everything about them.

Flower's ``Array.numpy()`` gives the bytes to ``numpy.load``, which believes what their header
says: a reply of a few bytes could ask for terabytes, or raise nearly anything.
"""

from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.lib import format as npy
from numpy.typing import NDArray

_STYPE = "numpy.ndarray"
_HEADER_BYTES = 1024


class BadArrayError(ValueError):
    """A serialised array of another shape or type than is expected."""


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
    try:
        if array.stype != _STYPE or (length is not None and tuple(array.shape) != (length,)):
            raise BadArrayError(f"{array.stype} of shape {tuple(array.shape)}")
        stream = BytesIO(array.data[:_HEADER_BYTES])
        if npy.read_magic(stream) != (1, 0):
            raise BadArrayError("not numpy's format 1.0")
        shape, _, found = npy.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
        size = len(array.data) - stream.tell()
        if found != expected or shape != (size // expected.itemsize,):
            raise BadArrayError(f"{found} of shape {shape} in {size} bytes")
        values = np.frombuffer(array.data, expected, offset=stream.tell())
    except BadArrayError:
        raise
    except Exception as error:
        raise BadArrayError(f"{type(error).__name__} in the header") from None
    if length is not None and len(values) != length:
        raise BadArrayError(f"{len(values)} values, not {length}")
    return values
