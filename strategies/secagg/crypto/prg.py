"""Masks: AES-128-CTR keystreams added to and subtracted from unsigned vectors in place.

The keystream under one key is read as little-endian words of the vector's type, so adding
it wraps modulo 2^8, 2^16, 2^32 or 2^64. The modulus 2^b divides that, and reducing once at
the end is the same as reducing at every step; a word's low b bits are uniform.

A key masks one input under one mask binding only, each of its segments with a part of the
keystream of its own, so the counter starts at zero and never wraps: counter blocks are 128
bits and an input stays far below 2^64 blocks.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 16
CHUNK_BYTES = 1 << 18
_MAX_OPEN = 256  # encryptors alive at once: bounds memory, keeps the vector's chunk in cache

_FROM_ZERO = modes.CTR(bytes(16))

Word = np.uint8 | np.uint16 | np.uint32 | np.uint64
Vector = NDArray[Any]
# A key, and whether its keystream is added.
Mask = tuple[bytes, bool]


def word_dtype(modulus_bits: int) -> np.dtype[Any]:
    """Return the smallest unsigned little-endian type that holds `modulus_bits` bits."""
    if not 1 <= modulus_bits <= 64:
        raise ValueError(f"modulus_bits={modulus_bits} is not between 1 and 64")
    size = next(size for size in (1, 2, 4, 8) if modulus_bits <= 8 * size)
    return np.dtype(f"<u{size}")


def apply_masks(segments: Sequence[Vector], masks: Iterable[Mask]) -> None:
    """Add or subtract the keystream of every key to the segments, in order and in place.

    Parameters
    ----------
    segments : sequence of ndarray of shape (d,), uint8, uint16, uint32 or uint64
        C-contiguous and writable; each wraps modulo its own width.
    masks : iterable of (bytes, bool)
        A 16-byte key, and True to add or False to subtract. Keys are taken while they are
        used.

    Notes
    -----
    Extra memory is two chunks of 256 KiB, whatever the dimension and the number of masks.
    A segment's chunk is the outer loop, so it stays in the processor's cache while up to
    256 keystreams pass over it.
    """
    for segment in segments:
        if segment.ndim != 1 or not segment.flags.c_contiguous or segment.dtype.kind != "u":
            raise ValueError("a vector to mask is one-dimensional, contiguous and unsigned")
        if not segment.dtype.isnative:
            raise ValueError("the vector is not in this machine's byte order")
    size = min(CHUNK_BYTES, max(segment.nbytes for segment in segments))
    scratch = (memoryview(bytes(size)), bytearray(size + 15))
    todo = iter(masks)
    while batch := list(islice(todo, _MAX_OPEN)):
        streams = [(_keystream(key), add) for key, add in batch]
        for segment in segments:
            _apply_batch(segment, streams, scratch)


def _keystream(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a mask key has {KEY_BYTES} bytes, not {len(key)}")
    return Cipher(algorithms.AES128(key), _FROM_ZERO).encryptor()


def _apply_batch(
    vector: Vector,
    streams: list[tuple[CipherContext, bool]],
    scratch: tuple[memoryview, bytearray],
) -> None:
    zeros, buffer = scratch
    step = max(1, len(zeros) // vector.itemsize)
    words = np.frombuffer(buffer, vector.dtype.newbyteorder("<"), len(zeros) // vector.itemsize)
    for start in range(0, len(vector), step):
        part = vector[start : start + step]
        stream = words[: len(part)]
        for encryptor, add in streams:
            encryptor.update_into(zeros[: part.nbytes], buffer)
            if add:
                np.add(part, stream, out=part)
            else:
                np.subtract(part, stream, out=part)


def reduce_modulus(vector: Vector, modulus_bits: int) -> None:
    """Reduce `vector` modulo 2^`modulus_bits` in place."""
    if modulus_bits < 8 * vector.itemsize:
        np.bitwise_and(vector, vector.dtype.type((1 << modulus_bits) - 1), out=vector)
