"""Which numbers add up to a sum: few by search, many by linear equations modulo a prime."""

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.intp]

# Subsets of one size that are tried for a bin.
_MOST_SUBSETS = 30_000
_PRIME = 2**31 - 1


def subset(hashes: Hashes, size: int, target: int) -> Numbers | None:
    """Return which ``size`` of these add up to the target, or None if none are found.

    Halves of the subset meet in the middle. None too where more than there is time for would
    have to be tried.
    """
    num, half = len(hashes), size // 2
    if num < size or comb(num, size - half) > _MOST_SUBSETS:
        return None
    if num == size:
        everyone = hashes.sum(dtype=np.uint64) == target
        return np.arange(num) if everyone else None
    first, second = _subsets(num, half), _subsets(num, size - half)
    sums = hashes[second].sum(axis=1, dtype=np.uint64)
    order = np.argsort(sums)
    missing = np.uint64(target) - hashes[first].sum(axis=1, dtype=np.uint64)
    low, high = (np.searchsorted(sums[order], missing, side) for side in ("left", "right"))
    for at in np.flatnonzero(high > low):
        for other in order[low[at] : high[at]]:
            both = np.concatenate([first[at], second[other]])
            if len(np.unique(both)) == size:
                return both
    return None


@lru_cache(maxsize=512)
def _subsets(num: int, size: int) -> Numbers:
    """Return all subsets of ``size`` of ``num``, shape (subsets, size)."""
    return np.array(list(combinations(range(num), size)), np.intp).reshape(
        comb(num, size), size
    )


def solve(matrix: Ints, sums: Ints) -> Ints:
    """Solve linear equations modulo a prime, whose right sides are columns.

    Parameters
    ----------
    matrix : ndarray of int64, shape (equations, unknowns)
    sums : ndarray of int64, shape (equations, sides)

    Returns
    -------
    ndarray of int64, shape (unknowns, sides)
        Values from 0; -1 where there is no solution, or none is determined.
    """
    unknowns = matrix.shape[1]
    rows = np.concatenate([matrix, sums], axis=1) % _PRIME
    pivots: list[int] = []
    for column in range(unknowns):
        rank = len(pivots)
        below = np.flatnonzero(rows[rank:, column])
        if not len(below):
            continue
        rows[[rank, rank + below[0]]] = rows[[rank + below[0], rank]]
        rows[rank] = rows[rank] * pow(int(rows[rank, column]), -1, _PRIME) % _PRIME
        others = rows[:, column].copy()
        others[rank] = 0
        touched = np.flatnonzero(others)
        rows[touched] = (rows[touched] - others[touched, np.newaxis] * rows[rank]) % _PRIME
        pivots.append(column)
    rank = len(pivots)
    found = np.full((unknowns, sums.shape[1]), -1, np.int64)
    # A value that hangs on an undetermined one is not determined either.
    is_free = np.ones(unknowns, bool)
    is_free[pivots] = False
    sure = ~rows[:rank, :unknowns][:, is_free].any(axis=1)
    found[np.array(pivots, np.intp)[sure]] = rows[:rank, unknowns:][sure]
    found[:, rows[rank:, unknowns:].any(axis=0)] = -1
    return found
