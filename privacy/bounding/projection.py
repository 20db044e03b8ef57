"""A projection on entries that public coins choose: fewer numbers, within the bound of all."""

from __future__ import annotations

import hashlib
from math import ceil

import numpy as np
from numpy.typing import NDArray

_DOMAIN = b"tacet: entries that are kept, version 1\0"


def num_kept(length: int, fraction: float) -> int:
    """Return k: how many of so many entries are kept, at least one.

    Parameters
    ----------
    length : int
        N, at least 1.
    fraction : float
        In (0, 1].
    """
    return max(1, ceil(fraction * length))


def kept_entries(seed: bytes, length: int, number: int) -> NDArray[np.intp]:
    """Draw which entries of a vector are kept, the same on every machine.

    Those with the smallest words, which are SHAKE256 of the seed.

    Guarantees
    ----------
    Unit and neighbours: those of the vector. Sensitivity: the kept entries of two vectors are
    no further apart than the vectors, in L2 and in L1, for *every* set of entries: what is left
    out of the distance is a sum of squares, or of magnitudes, and not below 0. So they need the
    noise of the vector's own bound, in k entries in place of N, whoever has chosen the seed.
    Assumes that the set is the same under both neighbours: nothing of this sum's records goes
    into the seed. What the kept entries are multiplied by, so that their sum is right on
    average, is post-processing where it comes after the noise; before it, it would stretch the
    bound as well.

    Parameters
    ----------
    seed : bytes
        Public, the same on all nodes.
    length : int
        N: entries of the vector.
    number : int
        k, from 1 to N.

    Returns
    -------
    ndarray of intp, shape (number,)
        Ascending.
    """
    digest = hashlib.shake_256(_DOMAIN + seed).digest(8 * length)
    words = np.frombuffer(digest, "<u8")
    last = np.partition(words, number - 1)[number - 1]
    below = np.flatnonzero(words < last)
    # Of equal words the first ones, so that every machine takes the same.
    equal = np.flatnonzero(words == last)[: number - len(below)]
    return np.sort(np.concatenate([below, equal]))
