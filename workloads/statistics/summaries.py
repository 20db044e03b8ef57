"""What is told of each variable: its cells as far as they are shown, and figures from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.estimates import (
    Correlations,
    Quantile,
    Spread,
    correlations_of,
    quantile_of,
    spread_of,
)
from workloads.statistics.hiding import Mask, hide_line, hide_table, merge_small
from workloads.statistics.layout import Layout
from workloads.statistics.variables import Variable
from workloads.values import Vector

#: The quantiles that are reported.
PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Cells:
    """The cells of one variable as they are shown, that of missing values, if any, last.

    Attributes
    ----------
    names : tuple of str
    begins, ends : ndarray, shape (n,)
        Of numbers: where each begins and ends; NaN for missing values and categories.
    counts : ndarray, float64, shape (n,)
    sizes : ndarray, shape (n,)
        So many cells with noise of their own are in each.
    hidden : ndarray of bool, shape (n,)
        Which counts are not shown.
    """

    names: tuple[str, ...]
    begins: Vector
    ends: Vector
    counts: Vector
    sizes: NDArray[np.intp]
    hidden: Mask

    @property
    def shown(self) -> Vector:
        """Return the counts that a reader can know of: hidden ones share their total evenly."""
        if not self.hidden.any():
            return self.counts
        return np.where(self.hidden, self.counts[self.hidden].mean(), self.counts)


class Summaries:
    """What the sums say of the records.

    Parameters
    ----------
    layout : Layout
        The parts of the vector.
    sums : ndarray, float64, shape (length,)
        In their units.
    noise : float
        Standard deviation of the noise in each; 0 for none.
    min_cell : int
        Cells of fewer records are hidden.
    z : float
        Half the width of an interval, in standard errors.
    """

    def __init__(
        self, layout: Layout, sums: Vector, noise: float, min_cell: int, z: float
    ) -> None:
        self.layout, self.noise, self.min_cell, self.z = layout, noise, min_cell, z
        self._sums = sums
        self.num_records = layout.count(sums)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return the label and the columns."""
        return self.layout.variables

    @cached_property
    def cells(self) -> tuple[Cells, ...]:
        """Return the cells of each variable."""
        return tuple(self._cells_of(number) for number in range(len(self.variables)))

    def present(self, number: int) -> float:
        """Return how many records have a number."""
        return self.num_records - float(self.layout.cells(self._sums, number)[-1])

    @cached_property
    def spreads(self) -> dict[int, Spread | None]:
        """Return mean and deviation of each number, in its unit; None of too few records."""
        first, second = self.layout.moments(self._sums)
        found: dict[int, Spread | None] = {}
        for place, number in enumerate(self.layout.numbers):
            count, own = self.present(number), self.variables[number]
            if count < max(2, self.min_cell):
                found[number] = None
                continue
            coded = spread_of(count, float(first[place]), float(second[place]), self.noise)
            found[number] = Spread(
                own.centre + own.half * coded.mean, *(own.half * one for one in coded[1:])
            )
        return found

    @cached_property
    def quantiles(self) -> dict[int, list[Quantile | None]]:
        """Return the quantiles of each number, from the cells that are shown."""
        return {number: self._quantiles_of(number) for number in self.layout.numbers}

    def _quantiles_of(self, number: int) -> list[Quantile | None]:
        cells = self.cells[number]
        if self.spreads[number] is None:
            return [None] * len(PROBABILITIES)
        # Noised counts are no secret, and fewer of them would only be less exact.
        counts = cells.counts if self.noise else cells.shown
        parts = cells.begins[:-1], cells.ends[:-1], counts[:-1]
        return [quantile_of(p, *parts, self.noise, self.z) for p in PROBABILITIES]

    @cached_property
    def num_complete(self) -> float | None:
        """Return how many records miss no number; None where that would tell of a few."""
        complete, _ = self.layout.complete(self._sums)
        return None if self._is_few(self.num_records - complete.count) else complete.count

    @cached_property
    def correlations(self) -> Correlations:
        """Return the correlations of all numbers; NaN for too few records."""
        complete, products = self.layout.complete(self._sums)
        found = correlations_of(complete, products, self.noise)
        if complete.count < self.min_cell:
            return Correlations(found.values * nan, found.errors * nan)
        return found

    def table(self, number: int) -> tuple[Vector, Mask]:
        """Return a two-way table with its totals, (R + 1, C + 1), and what is hidden of it."""
        inner = self.layout.table(self._sums, number)
        rows, columns = (self._totals(one) for one in self.layout.pairs[number])
        whole = np.zeros((len(rows) + 1, len(columns) + 1))
        whole[:-1, :-1] = inner
        if self.noise:
            # A total has the noise of the variable's own cell, not that of a sum of cells.
            whole[:-1, -1], whole[-1, :-1] = rows, columns
            whole[-1, -1] = self.num_records
            return whole, self._under(whole)
        whole[:-1, -1], whole[-1, :-1] = inner.sum(axis=1), inner.sum(axis=0)
        whole[-1, -1] = inner.sum()
        rows, columns = (self._hidden_totals(one) for one in self.layout.pairs[number])
        return whole, hide_table(inner, self.min_cell, rows, columns)

    def _totals(self, number: int) -> Vector:
        return self.layout.cells(self._sums, number)

    def _hidden_totals(self, number: int) -> Mask:
        """Return which cells of a variable are hidden; of a number also what was joined."""
        cells = self.cells[number]
        hidden = np.repeat(cells.hidden, cells.sizes)
        joined = np.repeat(cells.sizes > 1, cells.sizes)
        return hidden | (joined & (self._totals(number) > 0))

    def _cells_of(self, number: int) -> Cells:
        own, counts = self.variables[number], self._totals(number)
        groups = [(place, place + 1) for place in range(len(counts))]
        if own.is_number and not self.noise:
            groups[:-1] = merge_small(counts[:-1], self.min_cell)
        joined = np.array([counts[a:b].sum() for a, b in groups])
        hidden = self._under(joined) if self.noise else hide_line(joined, self.min_cell)
        begins = ends = np.full(len(groups), nan)
        if own.is_number:
            first, last = (np.append(edges, nan) for edges in own.edges)
            begins = np.array([first[a] for a, _ in groups])
            ends = np.array([last[b - 1] for _, b in groups])
        names = tuple(
            own.cell_names[a] if b == a + 1 else f"{first_name(own, a)} to {ends[i]:g}"
            for i, (a, b) in enumerate(groups)
        )
        return Cells(names, begins, ends, joined, np.array([b - a for a, b in groups]), hidden)

    def _under(self, noised: Vector) -> Mask:
        """Return which noised counts are hidden: not even negative ones if the minimum is 0."""
        return (noised < self.min_cell) & (self.min_cell > 0)

    def _is_few(self, count: float) -> bool:
        return not self.noise and 0 < count < self.min_cell


def first_name(variable: Variable, cell: int) -> str:
    """Return where a cell of a number begins."""
    return f"{variable.edges[0][cell]:g}"


def share_of(part: float, whole: float, noise: float, num_others: int = 1) -> tuple[Any, Any]:
    """Return the share of a count in another, and its error; None of nothing.

    Parameters
    ----------
    part, whole : float
        The counts.
    noise : float
        Standard deviation of the noise in ``part``, and of each count of ``whole``.
    num_others : int
        So many counts ``whole`` is the sum of.
    """
    if whole <= 0:
        return None, None
    share = part / whole
    return share, noise * sqrt(1 + num_others * share**2) / whole


def pairs_of(k: int) -> Iterator[tuple[int, int]]:
    """Yield each pair of k things once."""
    return ((one, other) for one in range(k) for other in range(one + 1, k))
