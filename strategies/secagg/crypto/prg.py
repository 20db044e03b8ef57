"""Masks: AES-128-CTR keystreams added to and subtracted from unsigned vectors in place.

The keystream under one key is read as little-endian words of the vector's type, so adding
it wraps modulo 2^8, 2^16, 2^32 or 2^64. The modulus 2^b divides that, and reducing once at
the end is the same as reducing at every step; a word's low b bits are uniform.

A key masks one input under one mask binding only, each of its segments with a part of the
keystream of its own, so the counter starts at zero and never wraps: counter blocks are 128
bits and an input stays far below 2^64 blocks.

Counter mode encrypts counters block by block (NIST SP 800-38A, section 6.5). All keystreams of
a chunk take the same counters, so they are written once and every key encrypts them as they
are: OpenSSL does that faster than it counts for each key, by a sixth where this was measured.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 16
CHUNK_BYTES = 1 << 18
_AT_ONCE = 1024  # counters that are written by one call
_MAX_OPEN = 256  # encryptors alive at once: bounds memory, keeps the vector's chunk in cache

BLOCK_BYTES = 16

# What is encrypted are counters, no two of them the same under one key.
_COUNTERS_AS_THEY_ARE = modes.ECB()  # noqa: S305

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
    scratch = _Scratch(min(CHUNK_BYTES, max(segment.nbytes for segment in segments)))
    todo = iter(masks)
    while batch := list(islice(todo, _MAX_OPEN)):
        streams = [(_block_cipher(key), add) for key, add in batch]
        first = 0
        for segment in segments:
            _apply_batch(segment, first, streams, scratch)
            first += segment.nbytes


def _block_cipher(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a mask key has {KEY_BYTES} bytes, not {len(key)}")
    return Cipher(algorithms.AES128(key), _COUNTERS_AS_THEY_ARE).encryptor()


class _Scratch:
    """Room for a chunk's counters and for one keystream over them.

    Parameters
    ----------
    num_bytes : int
        Of a chunk of a segment, which may begin within a block.
    """

    def __init__(self, num_bytes: int) -> None:
        most = num_bytes // BLOCK_BYTES + 2
        self._numbers = np.arange(_AT_ONCE, dtype=np.uint64)
        # Big-endian, 128 bits: the upper half stays zero.
        self._counters = np.zeros((most, 2), np.uint64)
        # One block more, as the library wants room for what it may have kept back.
        self.keystream = bytearray((most + 1) * BLOCK_BYTES)

    def counters(self, first: int, num_bytes: int) -> tuple[memoryview, int]:
        """Return the counters of a part of the keystream, and where in their blocks it begins.

        They are valid until the next call.
        """
        block, skipped = divmod(first, BLOCK_BYTES)
        count = -(-(skipped + num_bytes) // BLOCK_BYTES)
        low = self._counters[:count, 1]
        for at in range(0, count, _AT_ONCE):
            part = low[at : at + _AT_ONCE]
            np.add(self._numbers[: len(part)], np.uint64(block + at), out=part)
        if sys.byteorder == "little":
            low.byteswap(inplace=True)
        return self._counters[:count].reshape(-1).view(np.uint8).data, skipped


def _apply_batch(
    vector: Vector, first: int, streams: list[tuple[CipherContext, bool]], scratch: _Scratch
) -> None:
    """Apply the part of each keystream that begins at byte ``first`` to a vector."""
    step = max(1, CHUNK_BYTES // vector.itemsize)
    dtype, keystream = vector.dtype.newbyteorder("<"), scratch.keystream
    for start in range(0, len(vector), step):
        part = vector[start : start + step]
        counters, at = scratch.counters(first + start * vector.itemsize, part.nbytes)
        words = np.frombuffer(keystream, dtype, len(part), at)
        for cipher, add in streams:
            cipher.update_into(counters, keystream)
            if add:
                np.add(part, words, out=part)
            else:
                np.subtract(part, words, out=part)


def reduce_modulus(vector: Vector, modulus_bits: int) -> None:
    """Reduce `vector` modulo 2^`modulus_bits` in place."""
    if modulus_bits < 8 * vector.itemsize:
        np.bitwise_and(vector, vector.dtype.type((1 << modulus_bits) - 1), out=vector)
