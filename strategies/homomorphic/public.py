"""The public polynomials of an attempt, from the hash of its plan.

Each node derives them from its own plan and takes them from nobody: whoever chose them could
choose some that hide nothing. A plan's roster holds fresh keys of honest nodes, so no two
attempts have the same. As in FrodoKEM-AES an ideal cipher is assumed. A server may draw rosters
again, and so choose among a few polynomials: see ``docs/homomorphic.md``.
"""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic.parameters import DEGREE, PRIME_BITS, PRIMES
from strategies.homomorphic.sampler import Keystream

_DOMAIN = b"tacet/kahe/v1/public"
_KEY_BYTES = 16
_WORDS = len(PRIMES) * DEGREE + 1024  # at a time; about 300 of the first are skipped
_LOW = np.uint32((1 << PRIME_BITS) - 1)


def public_key(plan: bytes) -> bytes:
    """Return the AES key of the public polynomials of a plan (16 bytes)."""
    return hashlib.sha256(_DOMAIN + plan).digest()[:_KEY_BYTES]


@lru_cache(maxsize=4)
def public_polynomial(key: bytes, number: int) -> NDArray[np.uint32]:
    """Return one public polynomial as its values at the points of the NTT.

    Parameters
    ----------
    key : bytes
        From `public_key`.
    number : int
        j, from 0.

    Returns
    -------
    ndarray of shape (7, N), uint32
        Uniform below each prime. Read-only: a cache may give it again.
    """
    stream = Keystream(key, number.to_bytes(8, "little") + bytes(8))
    found = np.empty((len(PRIMES), DEGREE), np.uint32)
    words = np.zeros(0, np.uint32)
    for row, prime in zip(found, PRIMES, strict=True):
        filled = 0
        while filled < DEGREE:
            if not len(words):
                words = stream.take(4 * _WORDS).view("<u4").astype(np.uint32) & _LOW
            places = np.flatnonzero(words < prime)[: DEGREE - filled]
            row[filled : filled + len(places)] = words[places]
            filled += len(places)
            # What was skipped before the last one that was taken is used up, too.
            used = int(places[-1]) + 1 if filled == DEGREE else len(words)
            words = words[used:]
    found.flags.writeable = False
    return found
