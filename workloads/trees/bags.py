"""Which records a tree is grown on: by a public hash of the record, not by its place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.histograms.bins import Floats

Words = NDArray[np.uint64]
_GOLDEN = 0x9E3779B97F4A7C15
_MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_WORD = 2**64


def in_bags(
    columns: Floats, targets: NDArray[Any], seed: int, trees: range, fraction: float
) -> NDArray[np.bool_]:
    """Return which records are in the bags of which trees, shape (n, trees): 0 or 1 times.

    Of a record's own values, elementwise, by the mixer of SplitMix64 (Steele et al. 2014,
    https://doi.org/10.1145/2660193.2660195). Equal records are in the same bags. The seed is
    no secret: the hash only has to deal evenly, and the same wherever a record lies.

    Parameters
    ----------
    columns : ndarray, float64, shape (n, columns)
    targets : ndarray, shape (n,)
    seed : int
        Public key of the hash.
    trees : range
        The numbers of the trees.
    fraction : float
        Chance of a record to be in a bag, in (0, 1]; at 1 all are.
    """
    if fraction >= 1:
        return np.ones((len(columns), len(trees)), bool)
    found = np.zeros(len(columns), np.uint64)
    for values in (*columns.T, targets):
        found = _mixed(found ^ _bits(values))
    keys = np.array([(seed + (tree + 1) * _GOLDEN) % _WORD for tree in trees], np.uint64)
    dealt = _mixed(found[:, np.newaxis] ^ _mixed(keys))
    # The largest float under 1 is 1 - 2^-53, and that times 2^64 fits 64 bits.
    return dealt < np.uint64(int(fraction * _WORD))


def _bits(values: NDArray[Any]) -> Words:
    """Return the bits of numbers, one and the same for every NaN and for both zeros."""
    numbers = values.astype(np.float64) + 0.0
    return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)


def _mixed(words: Words) -> Words:
    words = words + np.uint64(_GOLDEN)
    for shift, mixer in zip(_SHIFTS, _MIXERS, strict=False):
        words = (words ^ (words >> shift)) * mixer
    return words ^ (words >> _SHIFTS[2])
