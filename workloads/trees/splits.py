"""The best split of each node of a level, from the sums by column and bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.histograms.bins import Bins, Floats
from workloads.trees.criteria import Criterion
from workloads.trees.ensemble import Nodes

Flags = NDArray[np.bool_]
# A gain below this share of what the parent has is rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Asked:
    """What a round asks of the open nodes: the histograms of some columns of each.

    Attributes
    ----------
    columns : ndarray of int, shape (nodes, asked)
        Ascending in a row.
    firsts : ndarray of int, shape (nodes, asked)
        Where the histogram of each begins; each of the ``num_stats`` numbers has ``size`` bins.
    size : int
        Bins of all together.
    """

    columns: Nodes
    firsts: Nodes
    size: int

    @classmethod
    def of(cls, columns: Nodes, bins: Bins) -> Asked:
        """Return where the histograms of these columns lie, one after the other."""
        sizes = bins.sizes[columns]
        ends = np.cumsum(sizes).reshape(sizes.shape)
        return cls(columns, ends - sizes, int(sizes.sum()))


@dataclass(frozen=True)
class Splits:
    """The best split of each node.

    Attributes
    ----------
    gain : ndarray, shape (nodes,)
        Minus infinity where there is none.
    column : ndarray of int, shape (nodes,)
    goes_left : ndarray of bool, shape (nodes, bins)
        Which of the column's bins go left.
    left, right : ndarray, shape (nodes, stats)
        The sums of both sides.
    """

    gain: Floats
    column: Nodes
    goes_left: Flags
    left: Floats
    right: Floats


@dataclass(frozen=True)
class Splitter:
    """The search for the best split.

    Attributes
    ----------
    bins : Bins
    criterion : Criterion
        What is gained.
    min_data_in_leaf : int
        No side has fewer records.
    """

    bins: Bins
    criterion: Criterion
    min_data_in_leaf: int

    def best(self, total: Floats, asked: Asked) -> Splits:
        """Return the best split of each node.

        Parameters
        ----------
        total : ndarray, float64, shape (stats, asked.size)
            The sums.
        asked : Asked
            Where they are.
        """
        num, width = len(asked.columns), int(self.bins.sizes.max())
        stats = self.criterion.num_stats
        best = Splits(
            np.full(num, -np.inf),
            np.zeros(num, np.intp),
            np.zeros((num, width), bool),
            np.zeros((num, stats)),
            np.zeros((num, stats)),
        )
        for column in np.unique(asked.columns):
            nodes, places = np.nonzero(asked.columns == column)
            first, size = asked.firsts[nodes, places], int(self.bins.sizes[column])
            where = first[:, np.newaxis] + np.arange(size)
            self._take(best, column, nodes, np.moveaxis(total[:, where], 0, -1))
        return best

    def _take(self, best: Splits, column: int, nodes: Nodes, sums: Floats) -> None:
        """Keep the best split by one column where it is better; sums (nodes, bins, stats)."""
        found, rows = self._of_column(column, sums), np.arange(len(nodes))
        better = found.gain > best.gain[nodes]
        at, rows = nodes[better], rows[better]
        best.gain[at], best.column[at] = found.gain[rows], column
        best.goes_left[at] = False
        best.goes_left[at, : sums.shape[1]] = found.goes_left[rows]
        best.left[at], best.right[at] = found.left[rows], found.right[rows]

    def _of_column(self, column: int, sums: Floats) -> Splits:
        """Return the best split by one column.

        Its bins in their order, or categories in that of what they say, are cut once, and
        missing values, in the last bin, go to the side that suits them better.
        """
        total, missing = sums.sum(axis=1), sums[:, -1]
        rows, num_values = np.arange(len(sums)), sums.shape[1] - 1
        order = np.tile(np.arange(num_values), (len(sums), 1))
        if self.bins.columns[column].is_categorical:
            order = np.argsort(self.criterion.order(sums[:, :-1], total), axis=1, kind="stable")
        values = np.take_along_axis(sums[:, :-1], order[..., np.newaxis], axis=1)
        # By side of the missing values, node and cut. One cut more parts them from the rest.
        left = np.cumsum(values, axis=1)
        left = np.stack([left, left + missing[:, np.newaxis]])
        gain = self._gain(left, total)
        best = np.moveaxis(gain, 0, 1).reshape(len(sums), -1).argmax(axis=1)
        side, cut = np.divmod(best, num_values)
        chosen = left[side, rows, cut]
        rest = total - chosen
        goes_left = np.zeros(sums.shape[:2], bool)
        np.put_along_axis(goes_left, order, np.arange(num_values) <= cut[:, np.newaxis], axis=1)
        goes_left[:, -1] = side == 1
        # Where nobody was, whoever comes later goes with most.
        counts = self.criterion.counts
        most_left = counts(chosen) >= counts(rest)
        is_empty = counts(sums) <= 0
        if not self.bins.columns[column].is_categorical:
            is_empty[:, :-1] = False
        goes_left = np.where(is_empty, most_left[:, np.newaxis], goes_left)
        return Splits(gain[side, rows, cut], np.zeros(0, np.intp), goes_left, chosen, rest)

    def _gain(self, left: Floats, total: Floats) -> Floats:
        """Return what each split gains, minus infinity where it may not be."""
        criterion, whole = self.criterion, total[np.newaxis, :, np.newaxis]
        right, before = whole - left, criterion.scores(whole)
        gain = criterion.scores(left) + criterion.scores(right) - before
        allowed = criterion.allows(left) & criterion.allows(right)
        for side in (left, right):
            allowed &= criterion.counts(side) >= self.min_data_in_leaf
        allowed &= gain > _ROUNDING * np.maximum(np.abs(before), 1.0)
        return np.where(allowed, gain, -np.inf)
