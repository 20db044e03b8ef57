"""Fine public bins of the columns of numbers, and the common edges that their counts give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Column, Scale, Table
from workloads.histograms.bins import Bins, Floats

Edges = NDArray[np.int32]

# The narrow fine bins begin at this part of a column's range.
_NARROW = 1e-4
# Fewer records than so many deviations of a fine bin's noise make no bin.
_LEAST_DEVIATIONS = 4.0
# A bin before a value that has one for itself may have this share of the usual records.
_LEAST_SHARE = 0.5


class FineGrid:
    """The fine bins of those columns of a table whose bins are to be found.

    These are the columns of numbers whose edges are not given and which have no bin for each
    whole number. With the scale ``log`` the fine bins are those of a column with as many bins.
    Else half of their edges are of one distance, and half are narrow about 0, or about the
    bound that is nearest to it, and wider on both sides: most of a column's records may lie in
    a thousandth of its range. All is public, from bounds and scale.

    Parameters
    ----------
    table : Table
        The columns.
    max_bins : int
        The most bins that a column gets, without that of missing values.
    num_fine : int
        The most fine bins of a column.

    Attributes
    ----------
    numbers : ndarray of int, shape (found,)
        The columns whose bins are to be found.
    bins : Bins
        Their fine bins.
    """

    def __init__(self, table: Table, max_bins: int, num_fine: int) -> None:
        self._table, self.max_bins = table, max_bins
        self.numbers = np.array(
            [number for number, column in enumerate(table.columns) if _is_open(column)], np.intp
        )
        fine = tuple(
            replace(
                table.columns[number],
                scale=Scale.uniform,
                edges=_fine_edges(table.columns[number], num_fine),
            )
            for number in self.numbers
        )
        self.bins = Bins(Table(fine, table.classes, table.label), max_bins)

    def may_begin(self) -> NDArray[np.bool_]:
        """Return where a bin may begin: not at a column's first fine bin, nor its missing."""
        found = np.ones(len(self.bins), bool)
        found[self.bins.firsts] = False
        found[self.bins.firsts + self.bins.sizes - 1] = False
        return found

    def edges(self, counts: Floats, noise: float) -> Edges:
        """Return the fine bins at which bins of about equal counts begin, ascending.

        Parameters
        ----------
        counts : ndarray, float64, shape (len(bins),)
            Records in each fine bin.
        noise : float
            The standard deviation of their noise.
        """
        found: list[Edges] = []
        for first, size in zip(self.bins.firsts, self.bins.sizes, strict=True):
            own = counts[first : first + size - 1]
            begins = _begins(_without_noise(own, noise), self.max_bins, noise)
            found.append((first + begins).astype(np.int32))
        return np.concatenate(found)

    def table(self, edges: Edges) -> Table:
        """Return the table with these edges in its open columns."""
        columns = list(self._table.columns)
        for place, number in enumerate(self.numbers):
            first, size = self.bins.firsts[place], self.bins.sizes[place]
            own = edges[(edges >= first) & (edges < first + size)] - first
            fine = self.bins.columns[place].edges
            columns[number] = replace(
                columns[number], scale=Scale.uniform, edges=tuple(fine[at - 1] for at in own)
            )
        return replace(self._table, columns=tuple(columns))

    def objection(self, edges: NDArray[Any]) -> str:
        """Return what is wrong with edges that somebody sent; empty for nothing."""
        if edges.dtype != np.int32 or edges.ndim != 1:
            return f"edges are {edges.dtype} of shape {edges.shape}"
        if (edges[1:] <= edges[:-1]).any():
            return "edges do not ascend"
        if len(edges) and not 0 <= edges[0] <= edges[-1] < len(self.bins):
            return f"edges are not from 0 to {len(self.bins) - 1}"
        if not self.may_begin()[edges].all():
            return "an edge is none of a fine bin within its column"
        where = np.searchsorted(self.bins.firsts, edges, side="right") - 1
        numbers = np.bincount(where, minlength=self.bins.num_columns)
        if not ((numbers >= 1) & (numbers < self.max_bins)).all():
            return f"a column has no edge, or more than {self.max_bins - 1}"
        return ""


def _is_open(column: Column) -> bool:
    is_given = bool(column.edges) or column.scale is Scale.integer
    return not column.is_categorical and not is_given


def _fine_edges(column: Column, num_fine: int) -> tuple[float, ...]:
    low, high = column.low, column.high
    if column.scale is Scale.log:
        found = column.cuts(num_fine)
    else:
        half, span = num_fine // 2, high - low
        even = low + np.arange(1, half) / half * span
        centre, narrow = float(np.clip(0.0, low, high)), span * _NARROW
        ends = np.arcsinh((np.array([low, high]) - centre) / narrow)
        steps = np.linspace(ends[0], ends[1], num_fine - half + 1)
        found = np.concatenate([even, centre + narrow * np.sinh(steps)])
    found = np.unique(found)
    inside = found[(found > low) & (found < high)]
    return tuple(map(float, inside))


def _without_noise(counts: Floats, noise: float) -> Floats:
    """Return counts of at least 0 with about the same sums: their cumulative sum must ascend.

    The mean of the least ascending curve above the noisy one and the highest below it.
    """
    if not noise:
        return counts
    total = np.cumsum(counts)
    above = np.maximum.accumulate(total)
    below = np.minimum.accumulate(total[::-1])[::-1]
    rising = np.clip((above + below) / 2, 0.0, max(float(total[-1]), 0.0))
    return np.diff(rising, prepend=0.0)


def _begins(counts: Floats, max_bins: int, noise: float) -> NDArray[np.intp]:
    """Return where bins begin, without the first: by the greedy way of LightGBM.

    A fine bin with more than the usual share, such as that of a common value, is a bin for
    itself; the others share what is left.
    """
    total = float(counts.sum())
    most = max_bins
    if noise:
        most = int(np.clip(total / (_LEAST_DEVIATIONS * noise), 2, max_bins))
    is_large, share = _large(counts, total, most)
    rest, left = float(counts[~is_large].sum()), most - int(is_large.sum())
    begins, held = list[int](), 0.0
    for place in range(len(counts) - 1):
        if len(begins) == most - 1:
            break
        held += counts[place]
        if not is_large[place]:
            rest -= counts[place]
        enough = held >= share or (is_large[place + 1] and held >= _LEAST_SHARE * share)
        if is_large[place] or (enough and held > 0):
            begins.append(place + 1)
            held = 0.0
            if not is_large[place]:
                left -= 1
                share = rest / max(left, 1)
    # A column without records, or with one value, has two bins.
    return np.array(begins or [max(1, len(counts) // 2)], np.intp)


def _large(counts: Floats, total: float, most: int) -> tuple[NDArray[np.bool_], float]:
    """Return which fine bins have more than their share, and the share of the others."""
    is_large, share = np.zeros(len(counts), bool), total / most
    while True:
        grown = counts > share
        # Each needs a bin, and the others one.
        if grown.sum() == is_large.sum() or grown.sum() >= most:
            return is_large, share
        is_large = grown
        share = float(counts[~is_large].sum()) / (most - int(is_large.sum()))
