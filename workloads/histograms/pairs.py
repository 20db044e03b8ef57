"""Pairs of columns whose joint effect is a table: its cells, its sums, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workloads.histograms.bins import Bins, Floats, Places

#: Cells of a pair, at most.
MOST_CELLS = 4096
# The links of a column's bins are 1 where it has so many.
_USUAL_BINS = 32
# Rows and columns of a table are centred in turn, so often.
_NUM_CENTRED = 30
# The least curvature of a cell where tables are centred.
_LEAST_WEIGHT = 1e-6
# No value of a table is further from 0, in scores.
_HIGHEST = 4.0


class Pairs:
    """The cells of all pairs, one pair after the other.

    A column has the bins of its curve here, neighbours taken together until there are no more
    than ``max_bins``; categories and missing values keep theirs.

    Parameters
    ----------
    bins : Bins
        The bins of all columns.
    named : sequence of pairs of str
        The columns of each pair.
    max_bins : int
        The most bins of a column of numbers, without that of missing values.

    Raises
    ------
    ValueError
        If a column does not exist, or a pair has too many cells.
    """

    def __init__(self, bins: Bins, named: Sequence[Sequence[str]], max_bins: int) -> None:
        self.bins, self.max_bins = bins, max_bins
        numbers = {column.name: number for number, column in enumerate(bins.columns)}
        for pair in named:
            for name in pair:
                if name not in numbers:
                    raise ValueError(
                        f"algorithm.interactions={list(pair)}: {name} is no column; there are"
                        f" {', '.join(numbers)}"
                    )
        #: The numbers of each pair's columns.
        self.columns = [(numbers[one], numbers[other]) for one, other in named]
        self.shapes = [(self.size(one), self.size(other)) for one, other in self.columns]
        for pair, (rows, columns) in zip(named, self.shapes, strict=True):
            if rows * columns > MOST_CELLS:
                raise ValueError(
                    f"algorithm.interactions={list(pair)}: {rows} times {columns} cells are"
                    f" more than {MOST_CELLS}; lower algorithm.interaction_bins={max_bins}, or"
                    " take a column with fewer categories"
                )
        cells = [rows * columns for rows, columns in self.shapes]
        self.firsts = np.concatenate([[0], np.cumsum(cells)]).astype(np.intp)

    @property
    def num_pairs(self) -> int:
        """Return how many pairs there are."""
        return len(self.columns)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def size(self, number: int) -> int:
        """Return the bins of a column in a pair, that of missing values included."""
        own = int(self.bins.sizes[number]) - 1
        if not self.bins.columns[number].is_categorical:
            own = min(own, self.max_bins)
        return own + 1

    def coarse(self, number: int) -> Places:
        """Return the bin in a pair for each bin of a column; the last is that of missing."""
        own, size = int(self.bins.sizes[number]) - 1, self.size(number) - 1
        return np.append(np.arange(own) * size // own, size)

    def places(self, places: Places) -> Places:
        """Return each record's cell in each pair, shape (n, pairs): all different.

        Parameters
        ----------
        places : ndarray of int, shape (n, columns)
            As of ``Bins.places``.
        """
        found = np.empty((len(places), self.num_pairs), np.intp)
        for pair, (one, other) in enumerate(self.columns):
            row = self.coarse(one)[places[:, one] - self.bins.firsts[one]]
            column = self.coarse(other)[places[:, other] - self.bins.firsts[other]]
            found[:, pair] = self.firsts[pair] + row * self.shapes[pair][1] + column
        return found

    def step(
        self,
        tables: Floats,
        residuals: Floats,
        curvature: Floats,
        *,
        ridge: float,
        smoothing: float,
    ) -> Floats:
        """Return how far each table would go if it were the only one, shape (scores, cells).

        Newton's step with a penalty on the table's values and on the squared differences
        between neighbours along both columns; and centred: what one column says alone is its
        curve's. The penalty is on the whole table, not on the step alone, so that many rounds
        come to rest before they have learnt every cell by heart.

        Parameters
        ----------
        tables : ndarray, shape (scores, cells)
            So far.
        residuals, curvature : ndarray, shape (scores, cells)
            The sums of residuals and of second derivatives, noise included.
        ridge, smoothing : float
            On every cell, and between neighbours where a column has 32 bins.
        """
        found = np.zeros_like(residuals)
        for pair, (rows, columns) in enumerate(self.shapes):
            own = slice(self.firsts[pair], self.firsts[pair + 1])
            penalty = smoothing * self._penalty(pair)
            for score in range(len(residuals)):
                weight = np.maximum(curvature[score, own], 0.0)
                before = tables[score, own]
                gradient = residuals[score, own] - ridge * before - penalty @ before
                table = _solved(weight + ridge, penalty, gradient)
                table = _centred(table.reshape(rows, columns), weight.reshape(rows, columns))
                found[score, own] = np.clip(table.ravel(), -_HIGHEST, _HIGHEST)
        return found

    def importance(self, tables: Floats, curvature: Floats) -> Floats:
        """Return the mean absolute value of each pair's table by curvature, shape (pairs,)."""
        weight = np.maximum(curvature, 0.0)
        moved = np.add.reduceat(np.abs(tables) * weight, self.firsts[:-1], axis=1)
        whole = np.add.reduceat(weight, self.firsts[:-1], axis=1)
        return (moved / np.maximum(whole, 1.0)).mean(axis=0)

    def edges(self, number: int) -> list[tuple[str, float | None, float | None]]:
        """Return name, begin and end of a column's bins in a pair, that of missing last."""
        column = self.bins.columns[number]
        missing = ("missing", None, None)
        if column.is_categorical:
            return [*((name, None, None) for name in column.categories), missing]
        begins = np.flatnonzero(np.diff(self.coarse(number)[:-1])) + 1
        cuts = column.cuts(self.bins.max_bins)
        edges = [None, *(float(cuts[begin - 1]) for begin in begins), None]
        found: list[tuple[str, float | None, float | None]] = [
            (f"bin {place}", *edges[place : place + 2]) for place in range(len(edges) - 1)
        ]
        return [*found, missing]

    def _penalty(self, pair: int) -> Any:
        """Return the matrix of squared differences between neighbours, sparse.

        A table that is alike along one column is as smooth along the other as a curve is: what
        binds two bins there is divided between as many cells as the first has.
        """
        from scipy import sparse

        one, other = (self._differences(number) for number in self.columns[pair])
        rows, columns = (sparse.identity(size) / size for size in self.shapes[pair])
        return sparse.kron(one, columns) + sparse.kron(rows, other)

    def _differences(self, number: int) -> Any:
        from scipy import sparse

        size = self.size(number)
        links = np.zeros(size - 1)
        if not self.bins.columns[number].is_categorical:
            links[:-1] = (size - 1) / _USUAL_BINS
        diagonal = np.append(links, 0.0) + np.append(0.0, links)
        beside = sparse.diags(-links, 1)
        return sparse.diags(diagonal) + beside + beside.T


def _solved(diagonal: Floats, penalty: Any, values: Floats) -> Floats:
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    return np.asarray(spsolve((penalty + sparse.diags(diagonal)).tocsc(), values), np.float64)


def _centred(table: Floats, weight: Floats) -> Floats:
    """Return a table whose weighted means along rows and columns are 0, nearly.

    By turns, as Lengerich et al. (2020, arXiv 1911.04974) purify interactions.
    """
    weight = weight + _LEAST_WEIGHT
    for _ in range(_NUM_CENTRED):
        for axis in (0, 1):
            mean = (table * weight).sum(axis, keepdims=True) / weight.sum(axis, keepdims=True)
            table = table - mean
    return table
