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

Neither OpenSSL nor numpy holds Python's lock meanwhile, so the keystreams of a long vector are
parted among threads, each of which adds them up for itself.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 16
CHUNK_BYTES = 1 << 18
_AT_ONCE = 1024  # counters that are written by one call
_MAX_OPEN = 256  # encryptors alive at once: bounds memory, keeps the vector's chunk in cache
_MOST_THREADS = 8
# Of keystream in a chunk, for each thread: less is done before another has begun.
_WORTH_A_THREAD = 1 << 23

BLOCK_BYTES = 16

# What is encrypted are counters, no two of them the same under one key.
_COUNTERS_AS_THEY_ARE = modes.ECB()  # noqa: S305

Word = np.uint8 | np.uint16 | np.uint32 | np.uint64
Vector = NDArray[Any]
# A key, and whether its keystream is added.
Mask = tuple[bytes, bool]
_Stream = tuple[CipherContext, bool]


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
    Extra memory is a chunk of 256 KiB and two for each thread, whatever the dimension and the
    number of masks. A segment's chunk is the outer loop, so it stays in the processor's cache
    while up to 256 keystreams pass over it. There are as many threads as processors that this
    process may use, at most eight, or as `OMP_NUM_THREADS` says, as for torch.
    """
    for segment in segments:
        if segment.ndim != 1 or not segment.flags.c_contiguous or segment.dtype.kind != "u":
            raise ValueError("a vector to mask is one-dimensional, contiguous and unsigned")
        if not segment.dtype.isnative:
            raise ValueError("the vector is not in this machine's byte order")
    longest = min(CHUNK_BYTES, max(segment.nbytes for segment in segments))
    counters, workers = _Counters(longest), [_Worker(longest) for _ in range(_num_threads())]
    todo = iter(masks)
    # Threads begin with the first work for them.
    with ThreadPoolExecutor(len(workers)) as pool:
        while batch := list(islice(todo, _MAX_OPEN)):
            streams = [(_block_cipher(key), add) for key, add in batch]
            first = 0
            for segment in segments:
                _apply_batch(segment, first, streams, counters, workers, pool)
                first += segment.nbytes


def _num_threads() -> int:
    """Return how many threads may work at a time."""
    try:
        # Of a list the first is for threads that no thread has begun.
        told = int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0])
    except ValueError:
        told = 0
    if told > 0:
        return min(_MOST_THREADS, told)
    own = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(_MOST_THREADS, own)


def _block_cipher(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a mask key has {KEY_BYTES} bytes, not {len(key)}")
    return Cipher(algorithms.AES128(key), _COUNTERS_AS_THEY_ARE).encryptor()


class _Counters:
    """Room for the counters of a chunk.

    Parameters
    ----------
    num_bytes : int
        Of a chunk of a segment, which may begin within a block.
    """

    def __init__(self, num_bytes: int) -> None:
        self._numbers = np.arange(_AT_ONCE, dtype=np.uint64)
        # Big-endian, 128 bits: the upper half stays zero.
        self._counters = np.zeros((_most_blocks(num_bytes), 2), np.uint64)

    def of(self, first: int, num_bytes: int) -> tuple[memoryview, int]:
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


class _Worker:
    """What one thread needs: room for one keystream over the counters of a chunk."""

    def __init__(self, num_bytes: int) -> None:
        # One block more, as the library wants room for what it may have kept back.
        self._keystream = bytearray((_most_blocks(num_bytes) + 1) * BLOCK_BYTES)

    def apply(
        self, part: Vector, streams: Iterable[_Stream], counters: memoryview, at: int
    ) -> None:
        """Add or subtract what each stream makes of the counters, from byte `at` on."""
        keystream = self._keystream
        words = np.frombuffer(keystream, part.dtype.newbyteorder("<"), len(part), at)
        for cipher, add in streams:
            cipher.update_into(counters, keystream)
            if add:
                np.add(part, words, out=part)
            else:
                np.subtract(part, words, out=part)

    def total_of(
        self, like: Vector, streams: Iterable[_Stream], counters: memoryview, at: int
    ) -> Vector:
        """Return what `apply` adds to a vector of this form."""
        total = np.zeros_like(like)
        self.apply(total, streams, counters, at)
        return total


def _most_blocks(num_bytes: int) -> int:
    return num_bytes // BLOCK_BYTES + 2


def _apply_batch(
    vector: Vector,
    first: int,
    streams: list[_Stream],
    counters: _Counters,
    workers: list[_Worker],
    pool: Executor,
) -> None:
    """Apply the part of each keystream that begins at byte ``first`` to a vector."""
    step = max(1, CHUNK_BYTES // vector.itemsize)
    for start in range(0, len(vector), step):
        part = vector[start : start + step]
        told, at = counters.of(first + start * vector.itemsize, part.nbytes)
        number = min(len(workers), max(1, part.nbytes * len(streams) // _WORTH_A_THREAD))
        others = [
            pool.submit(workers[k].total_of, part, streams[k::number], told, at)
            for k in range(1, number)
        ]
        workers[0].apply(part, streams[::number], told, at)
        for other in others:
            np.add(part, other.result(), out=part)


def reduce_modulus(vector: Vector, modulus_bits: int) -> None:
    """Reduce `vector` modulo 2^`modulus_bits` in place."""
    if modulus_bits < 8 * vector.itemsize:
        np.bitwise_and(vector, vector.dtype.type((1 << modulus_bits) - 1), out=vector)
