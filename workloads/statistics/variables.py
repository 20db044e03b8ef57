"""The variables that are described: columns and label, and the cells their values fall into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Column, Scale, Table
from workloads.values import Vector

MISSING = "(missing)"
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Variable:
    """One column of the table, or its label, with cells that each value falls into one of.

    A category has a cell. A number's bins are between the public bounds, open at both ends;
    who is at a bound, or beyond, has a cell there. The last cell is that of missing values;
    a label with classes has none, as tasks leave out records without a label.

    Attributes
    ----------
    column : Column
        What it is.
    place : int or None
        The column of the table; None for the label.
    max_bins : int
        The most bins of numbers whose edges are not given.
    """

    column: Column
    place: int | None
    max_bins: int

    @property
    def name(self) -> str:
        """Return the name, as in the header of a file."""
        return self.column.name

    @property
    def is_number(self) -> bool:
        """Return whether values are numbers."""
        return not self.column.is_categorical

    @property
    def can_miss(self) -> bool:
        """Return whether there is a cell of missing values."""
        return self.is_number or self.place is not None

    @property
    def centre(self) -> float:
        """Return the middle of the bounds of a number."""
        return (self.column.low + self.column.high) / 2

    @property
    def half(self) -> float:
        """Return half the distance of the bounds, which is 1 of a coded number."""
        return (self.column.high - self.column.low) / 2

    @property
    def _is_whole(self) -> bool:
        return self.column.scale is Scale.integer and not self.column.edges

    @cached_property
    def cuts(self) -> Vector:
        """Return the edges between the bins of a number; empty for categories."""
        return self.column.cuts(self.max_bins)

    @cached_property
    def num_cells(self) -> int:
        """Return the number of cells, that of missing values included."""
        if not self.is_number:
            return len(self.column.categories) + self.can_miss
        # Before they are made: there may be a billion of them.
        num_cuts = int(self.half * 2) if self._is_whole else len(self.cuts)
        # Between cuts lies one more bin than there are cuts; then the bounds and the missing.
        return num_cuts + 1 + 2 + 1

    def values(self, records: Any) -> Vector:
        """Return the value of each record, NaN where it is missing, shape (n,).

        Parameters
        ----------
        records : Examples
            With the table's columns.
        """
        if self.place is not None:
            return records.columns[:, self.place]
        if not self.is_number:
            return records.targets.astype(np.float64)
        low, high = self.column.low, self.column.high
        return low + (records.targets.astype(np.float64) + 1) / 2 * (high - low)

    def cells(self, values: Vector) -> Places:
        """Return the cell of each value, shape (n,): by comparisons, so each by itself.

        What is none of a column's categories counts as the nearest.
        """
        last = self.num_cells - 1
        missing = np.isnan(values)
        if not self.is_number:
            codes = np.clip(np.where(missing, 0.0, values), 0, last - self.can_miss)
            return np.where(missing, last, codes.astype(np.intp))
        found = np.searchsorted(self.cuts, values, side="right") + 1
        found = np.where(values <= self.column.low, 0, found)
        found = np.where(values >= self.column.high, last - 1, found)
        return np.where(missing, last, found).astype(np.intp)

    def coded(self, values: Vector) -> Vector:
        """Return numbers mapped from the bounds to [-1, 1], NaN where missing: elementwise."""
        clipped = np.clip(values, self.column.low, self.column.high)
        # Where bounds are huge or tiny, the division may end a bit outside.
        return np.clip((clipped - self.centre) / self.half, -1.0, 1.0)

    @cached_property
    def edges(self) -> tuple[Vector, Vector]:
        """Return where each cell of a number begins and ends, without that of missing values.

        Whole numbers are points.
        """
        low, high = self.column.low, self.column.high
        inner = np.concatenate([[low], self.cuts, [high]])
        begins, ends = inner[:-1], inner[1:]
        if self._is_whole:
            begins = ends = low + np.arange(len(begins), dtype=np.float64)
        return (
            np.concatenate([[low], begins, [high]]),
            np.concatenate([[low], ends, [high]]),
        )

    @cached_property
    def cell_names(self) -> tuple[str, ...]:
        """Return what each cell is called."""
        if not self.is_number:
            return (*self.column.categories, *([MISSING] * self.can_miss))
        begins, ends = self.edges
        inner = [
            f"{a:g}" if a == b else f"{a:g} to {b:g}"
            for a, b in zip(begins[1:-1], ends[1:-1], strict=True)
        ]
        bounds = f"<= {self.column.low:g}", f">= {self.column.high:g}"
        return (bounds[0], *inner, bounds[1], MISSING)


def variables_of(table: Table, chosen: Sequence[str], max_bins: int) -> tuple[Variable, ...]:
    """Return the label and the chosen columns, all if none is named.

    Raises
    ------
    ValueError
        Naming a column that is not there, is named twice, or has no bounds.
    """
    known = [column.name for column in table.columns]
    for number, name in enumerate(chosen):
        if name not in known:
            raise ValueError(
                f"algorithm.columns: {name!r} is no column; there are {', '.join(known)}"
            )
        if name in chosen[:number]:
            raise ValueError(f"algorithm.columns: {name!r} is named twice; take one out")
    label = Column(
        table.label.name,
        table.label.low,
        table.label.high,
        table.classes,
        table.label.scale,
        table.label.edges,
    )
    found = [Variable(label, None, max_bins)]
    for place, column in enumerate(table.columns):
        if not chosen or column.name in chosen:
            found.append(Variable(column, place, max_bins))
    for variable in found:
        low, high = variable.column.low, variable.column.high
        if variable.is_number and not (0 < variable.half < float("inf")):
            raise ValueError(
                f"column {variable.name}: its bounds are {low:g} and {high:g}, and a number"
                " needs public bounds, the first below the second; give them, or name other"
                " algorithm.columns"
            )
    return tuple(found)
