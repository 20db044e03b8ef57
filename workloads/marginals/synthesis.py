"""Rows of nobody, made from noised tables: post-processing of what was released, so free."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite, log10

import numpy as np

from workloads.marginals.config import MOST_ROWS_UNASKED
from workloads.marginals.layout import Layout, group_sums
from workloads.marginals.mixture import Shares, fit_mixture
from workloads.statistics.variables import Places, Variable
from workloads.values import Vector

# A number is not drawn at the very end of its bin, and has no more digits than tell a
# thousandth of the narrowest: so to round it does not move it to another bin.
_MARGIN, _PARTS = 0.001, 1000
_LEAST_CHANCE = 1e-12


@dataclass(frozen=True)
class Released:
    """What the rounds have released.

    Attributes
    ----------
    singles : ndarray, shape (layout.num_singles,)
        The cells of each column by the label, noise included.
    groups : ndarray, shape (layout.num_cells,)
        The group of each cell.
    tables : ndarray, shape (layout.num_pairs,), or empty
        The cells of pairs of columns, noise included; empty where there is no pair.
    noise_ratio : float
        The noise of a cell of a pair in that of a cell of one column.
    """

    singles: Vector
    groups: Vector
    tables: Vector
    noise_ratio: float


@dataclass(frozen=True)
class Synthetic:
    """A synthetic table.

    Attributes
    ----------
    columns : ndarray, float64, shape (n, columns)
        As of ``Examples.columns``.
    label : ndarray, float64, shape (n,)
        The position of the class, or the number in its own unit.
    """

    columns: Vector
    label: Vector


def num_records(layout: Layout, singles: Vector) -> float:
    """Return the noised number of records, at least 1: the mean over all columns' tables."""
    found = float(np.mean([table.sum() for table in layout.singles(singles)]))
    return max(1.0, found) if isfinite(found) else 1.0


def synthesize(
    layout: Layout, found: Released, rows: int | None, seed: int, *, may_miss: bool
) -> Synthetic:
    """Return a synthetic table.

    Label and groups are drawn from a mixture that is fitted to all tables, then the cell in its
    group by the counts of the column and the label, and a number evenly within its bin.

    Parameters
    ----------
    layout : Layout
    found : Released
        Any numbers at all give some table: no row has a value that is not in the schema.
    rows : int or None
        How many; None for the noised number of records, ``MOST_ROWS_UNASKED`` at most.
    seed : int
        Public: the table is a function of what was released.
    may_miss : bool
        Whether a value may be missing.
    """
    rng = np.random.default_rng([seed, 0x53594E])
    num = num_records(layout, found.singles)
    own = layout.by_variable(found.groups)
    label, groups = fit_mixture(_shares(layout, found, own, num), rng).rows(
        rows or min(round(num), MOST_ROWS_UNASKED), rng
    )
    singles = list(layout.singles(found.singles))
    of_label = np.mean([table.sum(axis=1) for table in singles], axis=0)[np.newaxis]
    cells = _cells(layout.label, own[0], label, of_label, np.zeros_like(label), False, rng)
    columns = np.empty(groups.shape)
    for number, variable in enumerate(layout.columns):
        by_label = group_sums(singles[number], own[0], int(own[0].max()) + 1, 0)
        place, group = own[number + 1], groups[:, number]
        drawn = _cells(variable, place, group, by_label, label, may_miss, rng)
        columns[:, number] = _values(variable, drawn, rng)
    return Synthetic(columns, _values(layout.label, cells, rng))


def _shares(layout: Layout, found: Released, own: list[Places], num: float) -> Shares:
    """Return the tables over the groups that there are, as shares of the records."""
    sizes = [int(groups.max()) + 1 for groups in own]
    singles: list[Vector] = []
    weights: list[Vector] = []
    for number, table in enumerate(layout.singles(found.singles), start=1):
        by_label = group_sums(table, own[0], sizes[0], 0)
        singles.append(group_sums(by_label, own[number], sizes[number], 1) / num)
        # Each cell of a group has noise of its own.
        cells = np.bincount(own[number], minlength=sizes[number])
        weights.append(found.noise_ratio**2 / np.maximum(cells, 1))
    pairs = [
        (one, two, table[: sizes[0], : sizes[one + 1], : sizes[two + 1]] / num)
        for one, two, table in (layout.tables(found.tables) if len(found.tables) else ())
    ]
    return Shares(singles, pairs, weights)


def _cells(
    variable: Variable,
    place: Places,
    groups: Places,
    counts: Vector,
    label: Places,
    may_miss: bool,
    rng: np.random.Generator,
) -> Places:
    """Return a cell of each row's group, by the counts (labels, cells) of the row's label.

    Where no count is left above the noise, by those of all labels, or else evenly. A missing
    value is drawn only where one may be.
    """
    allowed = np.ones(variable.num_cells, np.bool_)
    if variable.can_miss and not may_miss:
        allowed[-1] = False
    found = np.zeros(len(groups), np.intp)
    for group in range(int(place.max()) + 1):
        inside = np.flatnonzero((place == group) & allowed)
        if not len(inside):  # of missing values alone, which may not be: any other
            inside = np.flatnonzero(allowed)
        for number, own in enumerate(counts):
            rows = np.flatnonzero((groups == group) & (label == number))
            if not len(rows):
                continue
            chances = _above_noise(own[inside])
            if not chances.any():
                chances = _above_noise(counts[:, inside].sum(axis=0))
            reached = np.cumsum(chances + _LEAST_CHANCE * max(1.0, float(chances.sum())))
            # Spread evenly over the rows, which are in no order: as often as the counts say.
            steps = (rng.permutation(len(rows)) + rng.random(len(rows))) / len(rows)
            drawn = np.searchsorted(reached, steps * reached[-1], side="right")
            found[rows] = inside[np.minimum(drawn, len(inside) - 1)]
    return found


def _above_noise(counts: Vector) -> Vector:
    """Return the counts that are nearest among those of no negative one, with the same sum.

    Zeros if the sum is none. The projection onto a simplex (Duchi et al. 2008, ICML, figure 1):
    where many cells are empty, the noise above zero in them is taken off again.
    """
    counts = np.nan_to_num(np.asarray(counts, np.float64), posinf=0.0, neginf=0.0)
    counts = np.clip(counts, -(2.0**60), 2.0**60)
    total = float(counts.sum())
    if total <= 0:
        return np.zeros_like(counts)
    ordered = np.sort(counts)[::-1]
    excess = (ordered.cumsum() - total) / np.arange(1, len(counts) + 1)
    last = int(np.flatnonzero(ordered > excess)[-1])
    return np.maximum(counts - excess[last], 0.0)


def _values(variable: Variable, cells: Places, rng: np.random.Generator) -> Vector:
    """Return a value of each cell, NaN for the missing one."""
    draws = _MARGIN + (1 - 2 * _MARGIN) * rng.random(len(cells))
    last = variable.num_cells - 1
    is_missing = (cells == last) & variable.can_miss
    if not variable.is_number:
        return np.where(is_missing, np.nan, cells.astype(np.float64))
    begins, ends = (np.append(one, np.nan) for one in variable.edges)
    values = begins[cells] + draws * (ends - begins)[cells]
    widths = np.abs(variable.edges[1] - variable.edges[0])
    widths = widths[widths > 0]
    # Whole numbers and bounds are points, which stay as they are.
    is_point = begins[cells] == ends[cells]
    if len(widths):
        digits = ceil(log10(_PARTS) - log10(float(widths.min())))
        rounded = np.round(values, digits) if digits < 300 else values
        inside = (rounded > begins[cells]) & (rounded < ends[cells])
        values = np.where(is_point | ~inside, values, rounded)
    return values
