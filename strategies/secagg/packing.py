"""b-bit packing: d integers modulo 2^b in exactly ceil(d * b / 8) bytes.

Little-endian throughout: bit i of the stream is bit i mod 8 of byte i div 8, and value j
takes the bits from j * b. Eight values fill b whole bytes, which is the unit of the generic
path; widths of whole bytes are plain copies.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.crypto.prg import Vector, reduce_modulus, word_dtype
from strategies.secagg.fields import Buffer

MIN_BITS = 2
MAX_BITS = 64
Read = Callable[[int], Buffer]
_CHUNK = 1 << 16  # values at a time; a multiple of 8, so chunks meet at whole bytes


def packed_bytes(num_values: int, modulus_bits: int) -> int:
    """Return the number of bytes that `num_values` values of `modulus_bits` bits take."""
    return (num_values * modulus_bits + 7) // 8


def pack(vector: Vector, modulus_bits: int) -> Buffer:
    """Pack values below 2^b, b from 2 to 64.

    Parameters
    ----------
    vector : ndarray of shape (d,), of `word_dtype(modulus_bits)`
        Already reduced modulo 2^b.
    modulus_bits : int
        b.

    Returns
    -------
    bytes-like
        ``packed_bytes(d, b)`` bytes; bits after the last value are zero. Where b is the whole
        word, a view of `vector` and not a copy.
    """
    _check(vector, modulus_bits)
    if modulus_bits == 8 * vector.itemsize:
        return np.ascontiguousarray(vector).view(np.uint8).data
    out = bytearray(packed_bytes(len(vector), modulus_bits))
    view = np.frombuffer(out, np.uint8)
    for start in range(0, len(vector), _CHUNK):
        part = vector[start : start + _CHUNK]
        at = start * modulus_bits // 8
        view[at : at + packed_bytes(len(part), modulus_bits)] = _pack_chunk(part, modulus_bits)
    return out


def add_packed(payload: Buffer, modulus_bits: int, total: Vector) -> None:
    """Unpack a payload and add it to `total` in place, chunk by chunk.

    Parameters
    ----------
    payload : bytes-like
        ``packed_bytes(d, b)`` bytes; `ValueError` for any other length.
    modulus_bits : int
        b.
    total : ndarray of shape (d,), of `word_dtype(modulus_bits)`
        Wraps modulo its own width, and only its low b bits mean anything: reduce it modulo
        2^b at the end.
    """
    _check(total, modulus_bits)
    view = np.frombuffer(payload, np.uint8)
    if len(view) != packed_bytes(len(total), modulus_bits):
        raise ValueError(
            f"{len(view)} bytes given where {len(total)} values of {modulus_bits} bits take "
            f"{packed_bytes(len(total), modulus_bits)}"
        )
    place = 0

    def read(num_bytes: int) -> Buffer:
        nonlocal place
        place += num_bytes
        return view[place - num_bytes : place].data

    _combine(read, modulus_bits, total, np.add)


def subtract_packed(read: Read, modulus_bits: int, total: Vector) -> None:
    """Undo `add_packed`, with the payload read a chunk at a time.

    Parameters
    ----------
    read : callable
        From a number of bytes to the next so many bytes of the payload.
    modulus_bits : int
        b.
    total : ndarray of shape (d,), of `word_dtype(modulus_bits)`
        As for `add_packed`.
    """
    _check(total, modulus_bits)
    _combine(read, modulus_bits, total, np.subtract)


def _combine(read: Read, modulus_bits: int, total: Vector, combine: np.ufunc) -> None:
    for start in range(0, len(total), _CHUNK):
        part = total[start : start + _CHUNK]
        raw = np.frombuffer(read(packed_bytes(len(part), modulus_bits)), np.uint8)
        combine(part, _unpack_chunk(raw, modulus_bits, len(part)), out=part)


def unpack(payload: Buffer, modulus_bits: int, num_values: int) -> Vector:
    """Return the `num_values` integers in a payload, of `word_dtype(modulus_bits)`."""
    total = np.zeros(num_values, word_dtype(modulus_bits))
    add_packed(payload, modulus_bits, total)
    reduce_modulus(total, modulus_bits)
    return total


def _check(vector: Vector, modulus_bits: int) -> None:
    if not MIN_BITS <= modulus_bits <= MAX_BITS:
        raise ValueError(
            f"modulus_bits={modulus_bits} is not between {MIN_BITS} and {MAX_BITS}"
        )
    if vector.ndim != 1 or vector.dtype != word_dtype(modulus_bits):
        raise ValueError(
            f"a vector modulo 2^{modulus_bits} is one-dimensional of "
            f"{word_dtype(modulus_bits)}, not {vector.ndim}-dimensional of {vector.dtype}"
        )


def _pack_chunk(part: Vector, bits: int) -> NDArray[np.uint8]:
    if bits % 8 == 0:
        raw = np.ascontiguousarray(part).view(np.uint8).reshape(len(part), part.itemsize)
        return raw[:, : bits // 8].reshape(-1)
    eights = np.zeros((-(-len(part) // 8), 8), np.uint64)
    eights.reshape(-1)[: len(part)] = part
    out = np.empty((len(eights), bits), np.uint8)
    for k in range(bits):  # byte k of the eight values: the bits 8k to 8k + 7
        first = 8 * k // bits
        byte = eights[:, first] >> np.uint64(8 * k - first * bits)
        # Of values narrower than a byte there are up to four in one.
        for i in range(first + 1, -(-(8 * k + 8) // bits)):
            byte = byte | eights[:, i] << np.uint64(i * bits - 8 * k)
        out[:, k] = byte.astype(np.uint8)  # keeps the low 8 bits
    return out.reshape(-1)[: packed_bytes(len(part), bits)]


def _unpack_chunk(raw: NDArray[np.uint8], bits: int, num_values: int) -> Vector:
    """Return values whose low b bits are right; the bits above are left over from neighbours.

    Every value is read with its whole word at its own byte, in one strided pass: eight
    values start at the same bits of every b bytes, and with whole bytes all values do.
    """
    dtype = word_dtype(bits)
    if bits == 8 * dtype.itemsize:
        return raw.view(dtype)
    period, places = (bits // 8, 1) if bits % 8 == 0 else (bits, 8)
    wide = np.dtype("<u4") if bits + 7 <= 32 else np.dtype("<u8")
    groups = -(-num_values // places)
    # A word more: the last value may reach beyond its word.
    padded = np.zeros(groups * period + 2 * wide.itemsize, np.uint8)
    padded[: len(raw)] = raw
    out = np.empty((groups, places), dtype)
    for i in range(places):
        first, shift = i * bits // 8, i * bits % 8
        words = np.ndarray((groups,), wide, padded, first, (period,))
        if shift + bits > 64:
            # The value's last bits are in the byte behind its word.
            behind = np.ndarray((groups,), np.uint8, padded, first + 8, (period,))
            high = behind.astype(wide) << wide.type(64 - shift)
            out[:, i] = ((words >> wide.type(shift)) | high).astype(dtype)
        else:
            out[:, i] = (words >> wide.type(shift)).astype(dtype) if shift else words
    return out.reshape(-1)[:num_values]
