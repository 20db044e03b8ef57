"""The two vectors of `marginals`: each column by the label, then each pair of columns by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.layout import MOST_ENTRIES
from workloads.statistics.variables import Places, Variable
from workloads.values import Vector


class Layout:
    """The cells of all tables, one table after the other.

    A value falls into one cell of its variable, see ``Variable``. The first round counts the
    cells of the label by those of each column. For pairs of columns the cells are put into
    groups, which are chosen from those counts, so that a table has fewer cells. A table of a
    pair has room for as many groups as there may be: its place depends on no state.

    Parameters
    ----------
    variables : sequence of Variable
        The label first.
    max_groups : int
        The most groups of a number, without that of its missing values.

    Raises
    ------
    ValueError
        If a vector is too long, with its length and the mend.
    """

    def __init__(self, variables: Sequence[Variable], max_groups: int) -> None:
        self.label, *self.columns = variables
        self.max_groups = max_groups
        self.pairs = list(combinations(range(len(self.columns)), 2))
        sizes = [self.most_groups(column) for column in self.columns]
        num_labels = self.most_groups(self.label)
        self.single_shapes = [(self.label.num_cells, one.num_cells) for one in self.columns]
        self.pair_shapes = [(num_labels, sizes[one], sizes[two]) for one, two in self.pairs]
        self.single_firsts = _firsts(self.single_shapes)
        self.pair_firsts = _firsts(self.pair_shapes)
        longest = max(self.num_singles, self.num_pairs)
        if longest > MOST_ENTRIES:
            raise ValueError(
                f"algorithm=marginals: {longest:,} cells to count, but at most"
                f" {MOST_ENTRIES:,}; lower algorithm.max_groups={max_groups} or"
                " algorithm.max_bins, or take columns out of the task"
            )

    @property
    def variables(self) -> list[Variable]:
        """Return the label and the columns."""
        return [self.label, *self.columns]

    @property
    def num_singles(self) -> int:
        """Return the length of the first round's vector."""
        return self.single_firsts[-1]

    @property
    def num_pairs(self) -> int:
        """Return the length of the other rounds' vector; 0 where there is one column."""
        return self.pair_firsts[-1]

    @property
    def num_cells(self) -> int:
        """Return the number of cells of all variables, each of which is in a group."""
        return sum(one.num_cells for one in self.variables)

    def most_groups(self, variable: Variable) -> int:
        """Return the most groups of a variable: a category may be one of its own."""
        if not variable.is_number:
            return variable.num_cells
        return min(self.max_groups, variable.num_cells - 1) + 1

    def by_variable(self, groups: Vector) -> list[Places]:
        """Return the group of each cell, for the label and each column.

        Parameters
        ----------
        groups : ndarray, shape (num_cells,)
            Of a state.
        """
        ends = np.cumsum([one.num_cells for one in self.variables])[:-1]
        return [own.astype(np.intp) for own in np.split(groups, ends)]

    def single_places(self, records: Any) -> Places:
        """Return each record's cell in the table of each column, shape (n, columns).

        By comparisons only, so a record's places depend on that record alone.
        """
        label, columns = self._cells(records)
        found = [
            first + label * width + own
            for first, (_, width), own in zip(
                self.single_firsts, self.single_shapes, columns, strict=False
            )
        ]
        return np.stack(found, axis=1)

    def pair_places(self, records: Any, groups: Vector) -> Places:
        """Return each record's cell in the table of each pair, shape (n, pairs)."""
        label, columns = self._cells(records)
        own = self.by_variable(groups)
        label = own[0][label]
        columns = [group[cells] for group, cells in zip(own[1:], columns, strict=True)]
        found = [
            first + (label * rows + columns[one]) * width + columns[two]
            for first, (_, rows, width), (one, two) in zip(
                self.pair_firsts, self.pair_shapes, self.pairs, strict=False
            )
        ]
        return np.stack(found, axis=1)

    def singles(self, counts: Vector) -> Iterator[Vector]:
        """Yield the table of the label and each column."""
        for first, shape in zip(self.single_firsts, self.single_shapes, strict=False):
            yield counts[first : first + shape[0] * shape[1]].reshape(shape)

    def tables(self, counts: Vector) -> Iterator[tuple[int, int, Vector]]:
        """Yield each pair of columns with its table, shape (labels, groups, groups)."""
        for first, shape, (one, two) in zip(
            self.pair_firsts, self.pair_shapes, self.pairs, strict=False
        ):
            size = shape[0] * shape[1] * shape[2]
            yield one, two, counts[first : first + size].reshape(shape)

    def _cells(self, records: Any) -> tuple[Places, list[Places]]:
        label, *columns = (one.cells(one.values(records)) for one in self.variables)
        return label, columns


def _firsts(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Return where each table begins, and where the last one ends."""
    sizes = [int(np.prod(shape, dtype=np.int64)) for shape in shapes]
    return [0, *map(int, np.cumsum(sizes, dtype=np.int64))]


def group_sums(counts: NDArray[Any], groups: Places, num_groups: int, axis: int) -> Vector:
    """Return the sums of the cells of each group along an axis."""
    moved = np.moveaxis(np.asarray(counts, np.float64), axis, 0)
    found = np.zeros((num_groups, *moved.shape[1:]))
    np.add.at(found, groups, moved)
    return np.moveaxis(found, 0, axis)
