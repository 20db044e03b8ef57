"""The vector of a round: its three parts, and what one record adds to each."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.histograms.bins import Bins, Floats, Places
from workloads.histograms.losses import Loss
from workloads.histograms.pairs import Pairs
from workloads.histograms.schedule import Shares

# What the curvature of a record weighs in the scalars, beside its gradient: its norm is then
# a quarter of the square of the curves' with every loss, as it is with the logistic one.
_CURVATURE = 0.25


class Weights(NamedTuple):
    """What each part of the vector is multiplied by; 0 for a part that is not asked for."""

    slots: float
    scalars: float
    residuals: float
    pairs: float = 0.0


@dataclass(frozen=True)
class Asked:
    """The model that a round asks about.

    Attributes
    ----------
    intercepts : ndarray, shape (scores,)
    curves : ndarray, shape (scores, bins)
        The scores of a record are the sums of these over its bins.
    base : ndarray, shape (scores, bins)
        The curves that the scalars multiply.
    pairs : ndarray, shape (scores, cells), optional
        The tables of pairs, which add to the scores; None where there are none.
    """

    intercepts: Floats
    curves: Floats
    base: Floats
    pairs: Floats | None = None


@dataclass(frozen=True)
class Entries:
    """What records add to a sum: zero but for these.

    Attributes
    ----------
    places : ndarray of int, shape (n, entries)
        Different from each other in a row.
    values : ndarray, float64, shape (n, entries)
    owners : ndarray of int, shape (n,), optional
        The record of each row; not given: one row for each record, in order.
    """

    places: Places
    values: Floats
    owners: Places | None = None


class Layout:
    """The parts of the vector: slots by bin, scalars, residuals by bin, sums by cell of pairs.

    Parameters
    ----------
    bins : Bins
        The bins of all columns.
    loss : Loss
        What is minimised.
    tables : Pairs, optional
        The pairs of columns that have a table.
    """

    def __init__(self, bins: Bins, loss: Loss, tables: Pairs | None = None) -> None:
        self.bins, self.loss, self.tables = bins, loss, tables
        num, k = len(bins), bins.num_columns
        #: The pairs of columns whose curvature is summed; the matrix is symmetric.
        self.pairs = [(one, other) for one in range(k) for other in range(one, k)]
        self.num_slots = loss.num_slots * num
        self.num_scalars = k + len(self.pairs)
        self.num_residuals = loss.num_scores * num
        self.first_cell = self.num_slots + self.num_scalars + self.num_residuals

    def __len__(self) -> int:
        num_cells = len(self.tables) if self.tables is not None else 0
        return self.first_cell + 2 * self.loss.num_scores * num_cells

    def weights(self, shares: Shares) -> Weights:
        """Return what each part is multiplied by, so that a record's term is at most 1 long.

        A record is in one bin of each column: k times the bound of a bin's entries, squared,
        is that of the whole part. So it is in one cell of each pair, whose entries are its
        residuals and second derivatives. Parts are apart, so their squares add up to the sum
        of the shares.
        """
        loss, k = self.loss, self.bins.num_columns
        gradient = loss.residual_bound * loss.longest
        scalars = sqrt(gradient**2 + (_CURVATURE * loss.longest**2) ** 2)
        return Weights(
            sqrt(shares.counts / k) / loss.slots_bound,
            sqrt(shares.scalars) / scalars,
            sqrt(shares.residuals / k) / loss.residual_bound,
            sqrt(shares.pairs / self._num_tables) / loss.pair_bound,
        )

    def entries(
        self,
        asked: Asked,
        columns: Floats,
        targets: NDArray[Any],
        weights: Weights,
    ) -> Entries:
        """Return what each record adds; a part of weight 0 has no entries.

        Parameters
        ----------
        asked : Asked
            The model.
        columns : ndarray, float64, shape (n, columns)
        targets : ndarray, shape (n,)
        weights : Weights
            Of the parts.
        """
        places = self.bins.places(columns)
        num = len(self.bins)
        found: list[tuple[Places, Floats]] = []
        if weights.slots:
            found.append(_by_bin(places, weights.slots * self.loss.slots(targets), num, 0))
        if weights.scalars or weights.residuals or weights.pairs:
            predicted = self.loss.predicted(self.scores(asked, places))
            residuals = self.loss.residuals(targets, predicted)
            if weights.scalars:
                scalars = self._scalars(asked.base, places, residuals, predicted)
                where = self.num_slots + np.arange(self.num_scalars)
                where = np.broadcast_to(where, scalars.shape)
                found.append((where, weights.scalars * scalars))
            if weights.residuals:
                first = self.num_slots + self.num_scalars
                found.append(_by_bin(places, weights.residuals * residuals, num, first))
            if weights.pairs and self.tables is not None:
                hessians = self.loss.hessian_weight * self.loss.hessians(predicted)
                both = np.concatenate([residuals, hessians], axis=1)
                cells, first = self.tables.places(places), self.first_cell
                found.append(_by_bin(cells, weights.pairs * both, len(self.tables), first))
        return Entries(
            np.concatenate([places for places, _ in found], axis=1),
            np.concatenate([values for _, values in found], axis=1),
        )

    def split(self, total: Floats) -> tuple[Floats, Floats, Floats]:
        """Return slots (slots, bins), scalars and residuals (scores, bins) of a sum.

        What is behind them are the sums of ``cells``.
        """
        one, other = self.num_slots, self.num_slots + self.num_scalars
        num = len(self.bins)
        return (
            total[:one].reshape(-1, num),
            total[one:other],
            total[other : self.first_cell].reshape(-1, num),
        )

    def cells(self, total: Floats) -> tuple[Floats, Floats]:
        """Return residuals and second derivatives by cell, (scores, cells) both, of a sum."""
        residuals, hessians = np.split(total[self.first_cell :], 2)
        shape = self.loss.num_scores, -1
        return residuals.reshape(shape), hessians.reshape(shape) / self.loss.hessian_weight

    def scores(self, asked: Asked, places: Places) -> Floats:
        """Return the scores of records by the curves and the tables, shape (n, scores)."""
        found = scores(asked.intercepts, asked.curves, places)
        if self.tables is None or asked.pairs is None:
            return found
        for cells in self.tables.places(places).T:
            found += asked.pairs.T[cells]
        return found

    @property
    def _num_tables(self) -> int:
        return self.tables.num_pairs if self.tables is not None else 1

    @property
    def curvature_weight(self) -> float:
        """Return what a record's curvature is multiplied by, beside its gradient."""
        return _CURVATURE / self.loss.curvature_bound

    def newton(self, scalars: Floats) -> tuple[Floats, Floats]:
        """Return the gradient (columns,) and curvature (columns, columns) of the scalars."""
        k = self.bins.num_columns
        curvature = np.zeros((k, k))
        for (one, other), value in zip(self.pairs, scalars[k:], strict=True):
            curvature[one, other] = curvature[other, one] = value / self._pair_weight(
                one, other
            )
        return scalars[:k], curvature

    def _pair_weight(self, one: int, other: int) -> float:
        # Off the diagonal an entry stands for two of the matrix, whose norm is what is bounded.
        twice = 1.0 if one == other else sqrt(2)
        return twice * self.curvature_weight

    def _scalars(
        self, base: Floats, places: Places, residuals: Floats, predicted: Floats
    ) -> Floats:
        """Return gradient and curvature along the columns' curves, cut to a common length."""
        curves = [base.T[places[:, column]] for column in range(places.shape[1])]
        square = np.zeros(len(places))
        for curve in curves:
            for values in curve.T:
                square += values * values
        longest = self.loss.longest
        shorter = longest / np.sqrt(np.maximum(square, longest**2))
        curves = [curve * shorter[:, np.newaxis] for curve in curves]
        found: list[Floats] = []
        for curve in curves:
            along = np.zeros(len(places))
            for values, residual in zip(curve.T, residuals.T, strict=True):
                along += values * residual
            found.append(along)
        for one, other in self.pairs:
            curvature = self.loss.curvature(curves[one], curves[other], predicted)
            found.append(self._pair_weight(one, other) * curvature)
        return np.stack(found, axis=1)


def scores(intercepts: Floats, curves: Floats, places: Places) -> Floats:
    """Return the scores of records, shape (n, scores): column by column, in order."""
    found = np.repeat(intercepts[np.newaxis], len(places), axis=0)
    for column in range(places.shape[1]):
        found += curves.T[places[:, column]]
    return found


def _by_bin(places: Places, values: Floats, num: int, first: int) -> tuple[Places, Floats]:
    """Return entries with the same values (n, each) in every column's bin.

    Each of the values has bins of its own, one after the other.
    """
    each = values.shape[1]
    where = [first + number * num + places for number in range(each)]
    what = [np.repeat(values[:, [number]], places.shape[1], axis=1) for number in range(each)]
    return np.concatenate(where, axis=1), np.concatenate(what, axis=1)
