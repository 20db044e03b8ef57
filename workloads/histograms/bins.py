"""The bins of all columns of a table, one after the other in one vector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.table import Table

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_USUAL_BINS = 32


class Bins:
    """The bins of a table's columns, those of missing values included.

    Parameters
    ----------
    table : Table
        The columns.
    max_bins : int
        The most bins of a column of numbers, without that of missing values.

    Attributes
    ----------
    sizes : ndarray of int, shape (columns,)
        Bins of each column; the last is that of missing values.
    firsts : ndarray of int, shape (columns,)
        The place of each column's first bin.
    """

    def __init__(self, table: Table, max_bins: int) -> None:
        self.columns = table.columns
        self.max_bins = max_bins
        self.sizes = np.array([column.num_bins(max_bins) for column in self.columns])
        self.firsts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    @property
    def num_columns(self) -> int:
        """Return the number of columns."""
        return len(self.columns)

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def places(self, values: Floats) -> Places:
        """Return the place of each value's bin, shape (n, columns): one in each column.

        By comparisons only, so a record's places depend on that record alone. A value that is
        none of its column's, such as a category that does not exist, is in the nearest bin.

        Parameters
        ----------
        values : ndarray, float64, shape (n, columns)
            As of ``Examples.columns``.
        """
        places = np.empty(values.shape, np.intp)
        for number, column in enumerate(self.columns):
            least, most = -1.0, float(self.sizes[number])
            own = values[:, number]
            if column.is_categorical:
                own = np.clip(own, least, most)
            found = np.clip(column.bins(own, self.max_bins), 0, self.sizes[number] - 1)
            places[:, number] = self.firsts[number] + found
        return places

    @property
    def cuts(self) -> tuple[Floats, ...]:
        """Return where one bin of each column ends and the next begins."""
        return tuple(column.cuts(self.max_bins) for column in self.columns)

    def by_column(self, values: Floats) -> tuple[Floats, ...]:
        """Return the values of each column's bins, shape (..., bins of the column) each."""
        return tuple(np.split(values, self.firsts[1:], axis=-1))

    def of_columns(self, values: Floats) -> Floats:
        """Return the value of each column for each of its bins, shape (..., len(self))."""
        return np.repeat(values, self.sizes, axis=-1)

    def sum_columns(self, values: Floats) -> Floats:
        """Return the sum over each column's bins, shape (..., columns)."""
        return np.add.reduceat(values, self.firsts, axis=-1)

    def centred(self, curves: Floats, counts: Floats) -> Floats:
        """Return curves less their mean over the records, column by column."""
        weight = np.maximum(self.sum_columns(counts), 1.0)
        return curves - self.of_columns(self.sum_columns(curves * counts) / weight)

    def links(self) -> Floats:
        """Return how closely each bin is tied to the next, shape (len(self) - 1,).

        Bins of numbers are, but not the last of a column, nor that of its missing values: by 1
        where there are 32, and by more where they are narrower, so that a curve is as smooth
        however many bins it has.
        """
        links = np.zeros(len(self))
        for number, column in enumerate(self.columns):
            if not column.is_categorical:
                first, num = self.firsts[number], self.sizes[number] - 1
                links[first : first + num - 1] = num / _USUAL_BINS
        return links[:-1]
