"""The table that a task's records are rows of: its columns, and how values become bins.

Histograms, trees and statistics work on columns as a person knows them, in their own units.
Everything here is public, from the configuration and never from a record, so all participants
have the same bins.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from tasks.schema import require


class Scale(Enum):
    """How the bins of a column of numbers are spread between its bounds."""

    uniform = "uniform"
    log = "log"
    integer = "integer"


@dataclass
class BinsConfig:
    """The bins of one column of numbers.

    Attributes
    ----------
    scale : Scale
        ``uniform``: of one width. ``log``: narrow at ``min``, of the width 1 there, and wider
        above. ``integer``: one for each whole number, however many a workload would have.
    edges : list of float
        Instead: where one bin ends and the next begins, ascending; a value on an edge is in
        the bin above it.
    """

    scale: Scale = Scale.uniform
    edges: list[float] = field(default_factory=list)

    def check(self, key: str, low: float, high: float) -> None:
        """Raise ``ValueError`` if the bins do not lie within the bounds."""
        require(
            not self.edges or self.scale is Scale.uniform,
            f"{key}={{scale: {self.scale.value}, edges: {self.edges}}}: give one of the two",
        )
        ascending = all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        inside = all(isfinite(edge) and low < edge < high for edge in self.edges)
        require(
            ascending and inside,
            f"{key}.edges={self.edges}: must ascend, each between min={low:g} and max={high:g}",
        )
        whole = float(low).is_integer() and float(high).is_integer()
        require(
            self.scale is not Scale.integer or whole,
            f"{key}.scale=integer: min={low:g} and max={high:g} must be whole numbers",
        )


@dataclass(frozen=True)
class Column:
    """One column of a table: numbers between public bounds, or one of some categories.

    A value is a float64: the number in the column's own unit, the position of the category, or
    NaN where it is missing.

    Attributes
    ----------
    name : str
        As in the header of a file.
    low, high : float
        Public bounds of a number; a value outside counts as at the bound.
    categories : tuple of str
        All categories; empty for a column of numbers.
    scale : Scale
        How the bins are spread.
    edges : tuple of float
        The edges between bins, where they are given.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    categories: tuple[str, ...] = ()
    scale: Scale = Scale.uniform
    edges: tuple[float, ...] = ()

    @property
    def is_categorical(self) -> bool:
        """Return whether values are categories, which have no order."""
        return bool(self.categories)

    def cuts(self, max_bins: int) -> NDArray[np.float64]:
        """Return the edges between the bins of numbers, ascending; empty for categories.

        Parameters
        ----------
        max_bins : int
            The most bins, at least 2; that of missing values is not counted. Given edges are
            all used.
        """
        if self.is_categorical:
            return np.zeros(0)
        if self.edges:
            return np.array(self.edges, np.float64)
        span = self.high - self.low
        if self.scale is Scale.integer:
            return self.low + 0.5 + np.arange(int(span), dtype=np.float64)
        parts = np.arange(1, max_bins) / max_bins
        if self.scale is Scale.log:
            return self.low + np.expm1(parts * np.log1p(span))
        return self.low + parts * span

    def num_bins(self, max_bins: int) -> int:
        """Return the number of bins, that of missing values included, which is the last."""
        return (len(self.categories) or len(self.cuts(max_bins)) + 1) + 1

    def bins(self, values: NDArray[np.float64], max_bins: int) -> NDArray[np.intp]:
        """Return the bin of each value, shape (n,); by comparisons only, so each by itself."""
        missing = np.isnan(values)
        last = self.num_bins(max_bins) - 1
        if self.is_categorical:
            found = np.where(missing, last, values).astype(np.intp)
        else:
            found = np.searchsorted(self.cuts(max_bins), values, side="right")
        return np.where(missing, last, found)


@dataclass(frozen=True)
class Table:
    """What a task's records are rows of.

    Attributes
    ----------
    columns : tuple of Column
        In the order of ``Examples.columns``.
    classes : tuple of str
        The classes of the label; empty for a number.
    label : Column
        The label itself; for a number with its bounds. Of a label with a time it is the time,
        from 0 to the longest that is looked at.
    event : str
        Of a label with a time: the column that says whether the event happened. Targets are
        then float64 of shape (n, 2): the time, in (0, high], and 1 for the event, 0 for
        censored. Empty for any other label.
    largest_weight : float, optional
        Public: no record counts for more. None where records have no weights.
    texts : tuple of str
        Further columns, of free text: only a model's inputs have them, and no row of the table.
    """

    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    label: Column
    event: str = ""
    largest_weight: float | None = None
    texts: tuple[str, ...] = ()

    def made_up(self, num_records: int) -> NDArray[np.float64]:
        """Return values of nobody, shape (num_records, columns); some are missing."""
        rng = np.random.default_rng(0)
        values = np.empty((num_records, len(self.columns)))
        for place, column in enumerate(self.columns):
            if column.is_categorical:
                values[:, place] = rng.integers(len(column.categories), size=num_records)
            else:
                values[:, place] = rng.uniform(column.low, column.high, num_records)
        values[rng.random(values.shape) < 0.1] = np.nan
        return values

    def require_columns(self, values: NDArray[np.float64] | None) -> None:
        """Refuse ``Examples.columns`` that are no rows of this table.

        Raises
        ------
        ValueError
            If there are none, or not as many columns.
        """
        if values is None or values.shape[1:] != (len(self.columns),):
            raise ValueError("the task's records have not the columns of its table")


def table_csv(
    table: Table,
    columns: NDArray[np.float64],
    label: NDArray[np.float64],
    *,
    delimiter: str = ",",
    missing: str = "",
    header: Sequence[str] = (),
) -> str:
    """Return rows of a table as the text of a CSV file.

    Parameters
    ----------
    table : Table
        Its label is a class or a number.
    columns : ndarray, float64, shape (n, columns)
        As of ``Examples.columns``.
    label : ndarray, float64, shape (n,)
        The position of the class, or the number in the label's own unit.
    delimiter, missing : str
        Between fields, and in the place of a missing value or column.
    header : sequence of str
        The columns of the file, in order; those of the table and its label if not given.
    """
    fields = {
        one.name: _texts(values, one.categories, missing)
        for one, values in zip(table.columns, columns.T, strict=True)
    }
    fields[table.label.name] = _texts(label, table.classes, missing)
    names = list(header or fields)
    nothing = [missing] * len(columns)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*(fields.get(name, nothing) for name in names), strict=True))
    return text.getvalue()


def _texts(values: NDArray[np.float64], names: Sequence[str], missing: str) -> list[str]:
    if names:
        return [missing if np.isnan(one) else names[int(one)] for one in values]
    # The shortest text that is read as the same number; a whole one without a fraction.
    texts = (repr(float(one)).removesuffix(".0") for one in values)
    return [missing if text == "nan" else text for text in texts]
