"""The rows of an evaluation's tables, from which no reader can single out a record."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rows of a report hold as many records at least, and of a class none or as many.
_FEWEST, _FEWEST_OF_CLASS, _MOST_ROWS = 10, 3, 20


def ranges(counts: Floats, noise: float) -> list[tuple[int, int]]:
    """Part the bins into ranges for people: none of few records, nor one or two of a class.

    So no row shows one of them. With noise too: a row of little but noise says nothing.
    """
    least = max(_FEWEST, 5 * noise, float(counts.sum()) / _MOST_ROWS)

    def may_be_shown(first: int, last: int) -> bool:
        own = counts[:, first:last].sum(axis=1)
        is_small = (own > 0) & (own < _FEWEST_OF_CLASS)
        return own.sum() >= least and not (is_small.any() and not noise)

    ends = [0]
    for last in range(1, counts.shape[1] + 1):
        if may_be_shown(ends[-1], last):
            ends.append(last)
    # What is left over belongs to the last, and that to the one before it if it has to.
    ends[-1] = counts.shape[1]
    while len(ends) > 2 and not may_be_shown(ends[-2], ends[-1]):
        del ends[-2]
    return list(pairwise(ends)) or [(0, counts.shape[1])]


def without_small(row: Floats) -> list[float | None]:
    """Return counts, but for those of one or two records, nor what would show one of them."""
    is_hidden = (row > 0) & (row < _FEWEST_OF_CLASS)
    if is_hidden.sum() == 1 and len(others := np.flatnonzero((row > 0) & ~is_hidden)):
        is_hidden[others[np.argmin(row[others])]] = True
    return [None if hidden else float(v) for v, hidden in zip(row, is_hidden, strict=True)]
