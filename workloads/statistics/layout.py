"""The vector of `statistics`: its parts, what one record adds to each, and how long that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.variables import Places, Variable
from workloads.values import Vector

#: Of 8 bytes each: 32 MB from each node.
MOST_ENTRIES = 4_000_000


class Marks(NamedTuple):
    """A record adds 1 at one place.

    Attributes
    ----------
    first : int
        Where the part begins.
    places : ndarray of int, shape (n,)
        Counted from there.
    """

    first: int
    places: Places


class Numbers(NamedTuple):
    """A record adds numbers within [-1, 1], each at a place of its own.

    Attributes
    ----------
    first : int
        Where the part begins.
    values : ndarray, float64, shape (n, length of the part)
    """

    first: int
    values: Vector


@dataclass(frozen=True)
class Moments:
    """The sums of numbers over some records, in units of half their bounds.

    Attributes
    ----------
    count : float
        The records.
    first, second : ndarray, shape (k,)
        Of the numbers and their squares.
    """

    count: float
    first: Vector
    second: Vector


class Layout:
    """The parts of the vector: the count, cells, moments, tables, moments of complete records.

    Parameters
    ----------
    variables : sequence of Variable
        The label first.
    pairs : sequence of (int, int)
        The two-way tables, by the numbers of their variables.
    correlations : bool
        Whether products of all numbers are summed, over records that miss none of them.

    Raises
    ------
    ValueError
        If the vector is too long, with its length and the mend.
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        pairs: Sequence[tuple[int, int]],
        correlations: bool,
    ) -> None:
        self.variables, self.pairs = tuple(variables), tuple(pairs)
        self.numbers = [i for i, one in enumerate(self.variables) if one.is_number]
        self.correlates = correlations and len(self.numbers) >= 2
        k = len(self.numbers)
        parts = {
            "the count": [1],
            "cells": [one.num_cells for one in self.variables],
            "moments": [2 * k],
            "tables": [self._size(pair) for pair in self.pairs],
            "correlations": [1 + 2 * k, *range(k - 1, 0, -1)] if self.correlates else [],
        }
        _check_length({name: sum(sizes) for name, sizes in parts.items()})
        ends = np.cumsum([0, *(size for sizes in parts.values() for size in sizes)])
        self._length = int(ends[-1])
        begins = iter(map(int, ends))
        self._begins = {name: [next(begins) for _ in sizes] for name, sizes in parts.items()}

    def __len__(self) -> int:
        return self._length

    def _size(self, pair: tuple[int, int]) -> int:
        return self.variables[pair[0]].num_cells * self.variables[pair[1]].num_cells

    @property
    def bound(self) -> float:
        """Return the largest L2 norm of what one record adds, over all records that can be.

        The count is 1; of each variable one cell; of each number u and u^2 at most 1 each; of
        each table one cell; of complete records the mark, u, u^2 and one product for each pair.
        All are within [-1, 1], and a record with each number at a bound has all of them at 1.
        """
        k = len(self.numbers)
        square = 1 + len(self.variables) + 2 * k + len(self.pairs)
        if self.correlates:
            square += 1 + 2 * k + k * (k - 1) // 2
        return sqrt(square)

    @property
    def is_number(self) -> NDArray[np.bool_]:
        """Return which entries are sums of numbers, not of marks, shape (length,)."""
        found = np.zeros(len(self), np.bool_)
        first = self._begins["moments"][0]
        found[first : first + 2 * len(self.numbers)] = True
        for begins in self._begins["correlations"][:1]:
            found[begins:] = True
        return found

    def parts(self, records: Any) -> Iterator[Marks | Numbers]:
        """Yield what each record adds, part by part: elementwise, each record by itself.

        Parameters
        ----------
        records : Examples
            With the table's columns.
        """
        values = [one.values(records) for one in self.variables]
        cells = [one.cells(own) for one, own in zip(self.variables, values, strict=True)]
        yield Marks(0, np.zeros(len(records), np.intp))
        for first, own in zip(self._begins["cells"], cells, strict=True):
            yield Marks(first, own)
        coded = [self.variables[i].coded(values[i]) for i in self.numbers]
        present = [np.where(np.isnan(own), 0.0, own) for own in coded]
        moments = [one for own in present for one in (own, own * own)]
        if moments:
            yield Numbers(self._begins["moments"][0], np.stack(moments, axis=1))
        for first, (row, column) in zip(self._begins["tables"], self.pairs, strict=True):
            yield Marks(first, cells[row] * self.variables[column].num_cells + cells[column])
        if self.correlates:
            yield from self._products(coded)

    def _products(self, coded: list[Vector]) -> Iterator[Numbers]:
        complete = np.ones(len(coded[0]), np.bool_)
        for own in coded:
            complete &= ~np.isnan(own)
        kept = np.stack([np.where(complete, own, 0.0) for own in coded], axis=1)
        first, *others = self._begins["correlations"]
        yield Numbers(first, np.column_stack([complete.astype(np.float64), kept, kept * kept]))
        for number, begin in enumerate(others):
            yield Numbers(begin, kept[:, [number]] * kept[:, number + 1 :])

    def count(self, sums: Vector) -> float:
        """Return the number of records."""
        return float(sums[0])

    def cells(self, sums: Vector, number: int) -> Vector:
        """Return how many records are in each cell of a variable."""
        first = self._begins["cells"][number]
        return sums[first : first + self.variables[number].num_cells]

    def table(self, sums: Vector, number: int) -> Vector:
        """Return how many records are in each cell of a two-way table."""
        row, column = self.pairs[number]
        first, width = self._begins["tables"][number], self.variables[column].num_cells
        size = self.variables[row].num_cells * width
        return sums[first : first + size].reshape(-1, width)

    def moments(self, sums: Vector) -> tuple[Vector, Vector]:
        """Return the sums of numbers, and of their squares, over who does not miss them."""
        first = self._begins["moments"][0]
        both = sums[first : first + 2 * len(self.numbers)]
        return both[::2], both[1::2]

    def complete(self, sums: Vector) -> tuple[Moments, Vector]:
        """Return the moments of who misses no number, and the products (k, k) of the pairs."""
        first, k = self._begins["correlations"][0], len(self.numbers)
        one, other = first + 1 + k, first + 1 + 2 * k
        products = np.zeros((k, k))
        products[np.triu_indices(k, 1)] = sums[other:]
        moments = Moments(float(sums[first]), sums[first + 1 : one], sums[one:other])
        return moments, products + products.T


def _check_length(lengths: dict[str, int]) -> None:
    total = sum(lengths.values())
    if total <= MOST_ENTRIES:
        return
    told = ", ".join(f"{length:,} for {name}" for name, length in lengths.items() if length > 1)
    raise ValueError(
        f"algorithm=statistics: {total:,} numbers to sum ({told}), but at most"
        f" {MOST_ENTRIES:,}; name fewer algorithm.columns or algorithm.tables, lower"
        " algorithm.max_bins, or take algorithm.correlations=false"
    )
