"""Trees as arrays: how a record goes down them, and what a server must not send as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from workloads.histograms.bins import Floats
from workloads.values import Arrays, StateRefusedError

Nodes = NDArray[np.intp]

#: In ``column``: a node that stays a leaf, and one that may still be split.
LEAF, OPEN = -1, -2
_TREES_AT_ONCE = 32
_TYPES = {
    "roots": np.dtype(np.int32),
    "column": np.dtype(np.int16),
    "child": np.dtype(np.int32),
    "left": np.dtype(np.uint8),
    "value": np.dtype(np.float64),
}


@dataclass(frozen=True)
class Trees:
    """Some trees, all their nodes in one list.

    Attributes
    ----------
    roots : ndarray, int32, shape (trees,)
        The node where each tree begins.
    column : ndarray, int16, shape (nodes,)
        What a node is split by, ``LEAF`` or ``OPEN``.
    child : ndarray, int32, shape (nodes,)
        The left child of a node that is split, and the right one is next; else 0.
    left : ndarray, uint8, shape (nodes, bytes)
        Which bins of the column go left, as bits (``numpy.packbits``), that of missing values
        among them; the others go right.
    value : ndarray, float64, shape (nodes, outputs)
        What a record that ends here gets.
    """

    roots: NDArray[np.int32]
    column: NDArray[np.int16]
    child: NDArray[np.int32]
    left: NDArray[np.uint8]
    value: Floats

    @classmethod
    def none(cls, num_bins: int, num_outputs: int) -> Self:
        """Return no tree, for columns of so many bins at most."""
        return cls(
            np.zeros(0, np.int32),
            np.zeros(0, np.int16),
            np.zeros(0, np.int32),
            np.zeros((0, -(-num_bins // 8)), np.uint8),
            np.zeros((0, num_outputs)),
        )

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the trees of a state."""
        return cls(**{name: arrays[name] for name in _TYPES})

    @property
    def arrays(self) -> Arrays:
        """Return the arrays of a state."""
        return {name: getattr(self, name) for name in _TYPES}

    def __len__(self) -> int:
        return len(self.roots)

    @cached_property
    def _goes_left(self) -> NDArray[np.bool_]:
        return np.unpackbits(self.left, axis=1).astype(bool)

    @property
    def open_nodes(self) -> Nodes:
        """Return the nodes that may still be split, ascending."""
        return np.flatnonzero(self.column == OPEN)

    def with_roots(self, num: int) -> Trees:
        """Return these and as many new trees of one open node each."""
        roots = Trees(
            np.arange(num, dtype=np.int32),
            np.full(num, OPEN, np.int16),
            np.zeros(num, np.int32),
            np.zeros((num, self.left.shape[1]), np.uint8),
            np.zeros((num, self.value.shape[1])),
        )
        return self.joined(roots)

    def joined(self, other: Trees) -> Trees:
        """Return these and other trees behind them."""
        first = len(self.column)
        child = np.where(other.column >= 0, other.child + first, 0).astype(np.int32)
        return Trees(
            np.concatenate([self.roots, (other.roots + first).astype(np.int32)]),
            np.concatenate([self.column, other.column]),
            np.concatenate([self.child, child]),
            np.concatenate([self.left, other.left]),
            np.concatenate([self.value, other.value]),
        )

    def first(self, num: int) -> Trees:
        """Return the first trees alone: the nodes of those behind come after all of theirs."""
        if num >= len(self.roots):
            return self
        end = int(self.roots[num])
        return Trees(
            self.roots[:num],
            self.column[:end],
            self.child[:end],
            self.left[:end],
            self.value[:end],
        )

    def nodes_of(self, bins: Nodes, trees: NDArray[np.integer]) -> Nodes:
        """Return where records end in some trees, shape (n, trees).

        Parameters
        ----------
        bins : ndarray of int, shape (n, columns)
            The bin of each value within its column.
        trees : ndarray of int
            Which trees.
        """
        rows = np.arange(len(bins))[:, np.newaxis]
        nodes = np.repeat(self.roots[trees].astype(np.intp)[np.newaxis], len(bins), axis=0)
        while True:
            column = self.column[nodes]
            is_split = column >= 0
            if not is_split.any():
                return nodes
            bin_ = bins[rows, np.maximum(column, 0)]
            below = self.child[nodes] + ~self._goes_left[nodes, bin_]
            nodes = np.where(is_split, below, nodes)

    def owners(self) -> Nodes:
        """Return which tree each node belongs to, shape (nodes,)."""
        found = np.zeros(len(self.column), np.intp)
        nodes, trees = self.roots.astype(np.intp), np.arange(len(self.roots))
        while len(nodes):
            found[nodes] = trees
            is_split = self.column[nodes] >= 0
            first = self.child[nodes[is_split]].astype(np.intp)
            nodes = np.concatenate([first, first + 1])
            trees = np.tile(trees[is_split], 2)
        return found

    def most_leaves(self) -> int:
        """Return how many leaves the largest tree has, the open ones among them."""
        owners = self.owners()[self.column < 0]
        return int(np.bincount(owners, minlength=1).max())

    def check(self, sizes: NDArray[np.integer], num_outputs: int, max_depth: int) -> None:
        """Refuse what are no trees over columns of such sizes, or deeper ones.

        Raises
        ------
        StateRefusedError
            Naming what does not fit.
        """
        num, width = len(self.column), -(-int(sizes.max()) // 8)
        shapes = {
            "roots": (len(self.roots),),
            "column": (num,),
            "child": (num,),
            "left": (num, width),
            "value": (num, num_outputs),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != _TYPES[name]:
                raise StateRefusedError(f"{name} is {array.dtype} of shape {array.shape}")
        if not np.isfinite(self.value).all():
            raise StateRefusedError("value is not finite")
        if ((self.column < OPEN) | (self.column >= len(sizes))).any():
            raise StateRefusedError("column is that of no column")
        self._check_links(max_depth)

    def _check_links(self, max_depth: int) -> None:
        """Refuse nodes with two parents or none, circles, and trees that are too deep."""
        num = len(self.column)
        inner = np.flatnonzero(self.column >= 0)
        first = self.child[inner].astype(np.int64)
        # Below their parents in the list, so there is no circle; each is somebody's only once.
        if (
            (first <= inner).any()
            or (first + 1 >= num).any()
            or self.child[self.column < 0].any()
        ):
            raise StateRefusedError("child is none of the nodes below")
        reached = np.concatenate([self.roots.astype(np.int64), first, first + 1])
        if not np.array_equal(np.sort(reached), np.arange(num)):
            raise StateRefusedError("a node belongs to two trees, or to none")
        level = self.roots.astype(np.int64)
        for _ in range(max_depth + 1):
            level = level[self.column[level] >= 0]
            level = np.concatenate([self.child[level], self.child[level] + 1])
        if len(level):
            raise StateRefusedError(f"a tree is deeper than {max_depth}")


def packed(goes_left: NDArray[np.bool_], width: int) -> NDArray[np.uint8]:
    """Return rows of bits, shape (nodes, bins), as bytes of this width."""
    bits = np.zeros((len(goes_left), 8 * width), bool)
    bits[:, : goes_left.shape[1]] = goes_left
    return np.packbits(bits, axis=1)


def sum_of_values(trees: Trees, bins: Nodes, start: Floats, chosen: range) -> Floats:
    """Return start plus the values of records in some trees, shape (n, outputs).

    Tree by tree, in order: each record's sum is that of its own values alone.
    """
    total = np.repeat(start[np.newaxis], len(bins), axis=0)
    for first in range(0, len(chosen), _TREES_AT_ONCE):
        part = np.array(chosen[first : first + _TREES_AT_ONCE], np.intp)
        for nodes in trees.nodes_of(bins, part).T:
            total += trees.value[nodes]
    return total
