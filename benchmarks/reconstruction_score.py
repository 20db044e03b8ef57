"""How much of a participant's table a guess has, matched row by row, one to one."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.reconstruction_attack import UNKNOWN, Ints, Peeling
from tasks.records import Examples
from tasks.table import Table
from workloads.histograms.bins import Bins

Floats = NDArray[np.float64]

#: A number is right within this share of its column's public range: half of a bin, of 32.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Rows:
    """Rows that are known or guessed.

    Attributes
    ----------
    columns : ndarray, float64, shape (n, columns)
        As of ``Examples.columns``.
    labels : ndarray of int, shape (n,)
    """

    columns: Floats
    labels: NDArray[np.integer]

    @classmethod
    def of(cls, records: Examples) -> Self:
        """Return the rows of records."""
        assert records.columns is not None
        return cls(records.columns, records.targets)

    def drawn(self, num: int, rng: np.random.Generator) -> "Rows":
        """Return some of them, each once if there are enough."""
        chosen = rng.permutation(len(self.labels))[:num]
        return Rows(self.columns[chosen], self.labels[chosen])

    def independent(
        self, num: int, rng: np.random.Generator, weights: Floats | None = None
    ) -> "Rows":
        """Return rows whose columns are drawn from these, each by itself given the label.

        Parameters
        ----------
        num : int
            How many.
        rng : Generator
        weights : ndarray, shape (n, columns), optional
            How likely each value is to be drawn, beside the others of its column; labels are
            drawn by those of the first.
        """
        shares = np.ones(self.columns.shape) if weights is None else weights
        labels = rng.choice(self.labels, num, p=shares[:, 0] / shares[:, 0].sum())
        columns = np.empty((num, self.columns.shape[1]))
        for label in np.unique(labels):
            own, same = np.flatnonzero(labels == label), self.labels == label
            for number in range(columns.shape[1]):
                likely = shares[same, number]
                likely = likely / likely.sum() if likely.any() else None
                values = self.columns[same, number]
                columns[own, number] = rng.choice(values, len(own), p=likely)
        return Rows(columns, labels)


def filled(peeling: Peeling, num: int, rng: np.random.Generator) -> Rows:
    """Return as many rows: those that were found, and what is left of each bin dealt out.

    Parameters
    ----------
    peeling : Peeling
        What was found.
    num : int
        How many records there are, which is public here.
    rng : Generator
        Deals what could not be decided, by class.
    """
    evidence, bins = peeling.evidence, peeling.evidence.bins
    classes, known = len(evidence.classes), peeling.prints[:num]
    labels = known[:, :classes].argmax(axis=1)
    totals = evidence.classes[:, : bins.sizes[0]].sum(axis=1)
    missing = np.maximum(totals - np.bincount(labels, minlength=classes), 0)
    labels = np.append(labels, _draws(missing, num - len(labels), rng))
    places = np.full((num, bins.num_columns), UNKNOWN)
    places[: len(known)] = peeling.places[:num]
    for column in range(bins.num_columns):
        own = bins.firsts[column] + np.arange(bins.sizes[column])
        for label in range(classes):
            mine = labels == label
            decided = places[mine & (places[:, column] != UNKNOWN), column]
            left = evidence.classes[label, own] - np.bincount(decided, minlength=len(own))
            empty = np.flatnonzero(mine & (places[:, column] == UNKNOWN))
            places[empty, column] = _draws(np.maximum(left, 0), len(empty), rng)
    return Rows(_values(bins, places), labels)


def scores(truth: Rows, guess: Rows, table: Table) -> tuple[float, float]:
    """Return the shares of rows and of cells, the label one of them, that a guess has right.

    Each row of the truth is matched with another row of the guess: so that the most rows are
    right in every cell, and then so that the most cells are.
    """
    from scipy.optimize import linear_sum_assignment

    right = np.stack([_right(truth, guess, table, c) for c in range(len(table.columns))])
    same_label = truth.labels[:, np.newaxis] == guess.labels
    right = np.concatenate([right, same_label[np.newaxis]])
    cells = right.sum(axis=0)
    found: list[float] = []
    for what in ((cells == len(right)).astype(np.float64), cells / len(right)):
        one, other = linear_sum_assignment(what, maximize=True)
        found.append(float(what[one, other].sum() / len(truth.labels)))
    return found[0], found[1]


def _right(truth: Rows, guess: Rows, table: Table, number: int) -> NDArray[np.bool_]:
    """Return whether each value of a column is each of the guessed ones, shape (n, m)."""
    column = table.columns[number]
    one, other = truth.columns[:, number], guess.columns[:, number]
    both_missing = np.isnan(one)[:, np.newaxis] & np.isnan(other)
    if column.is_categorical:
        return both_missing | (one[:, np.newaxis] == other)
    one, other = (np.clip(values, column.low, column.high) for values in (one, other))
    near = TOLERANCE * (column.high - column.low)
    return both_missing | (np.abs(one[:, np.newaxis] - other) <= near)


def _draws(counts: Ints, num: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return numbers as often as they are counted, in any order; by chance if too few are."""
    if counts.sum() >= num:
        return rng.permutation(np.repeat(np.arange(len(counts)), counts))[:num]
    shares = np.maximum(counts, 1e-9)
    return rng.choice(len(counts), num, p=shares / shares.sum())


def _values(bins: Bins, places: NDArray[np.intp]) -> Floats:
    """Return the middle of each bin, the category, or NaN for what is missing."""
    found = np.empty(places.shape)
    for number, column in enumerate(bins.columns):
        values = np.arange(bins.sizes[number], dtype=np.float64)
        if not column.is_categorical:
            edges = np.array([column.low, *column.cuts(bins.max_bins), column.high])
            values[:-1] = (edges[1:] + edges[:-1]) / 2
        values[-1] = np.nan
        found[:, number] = values[places[:, number]]
    return found
