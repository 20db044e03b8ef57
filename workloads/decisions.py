"""A model of a table as a sum of decision trees, or of curves: what other tools can read.

It is the same model as the state it was made from, in a form that does not depend on how it
came about: `app.export` writes it in the formats of other tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from tasks.table import Table

Floats = NDArray[np.float64]


class NotExportedError(ValueError):
    """A model that is more than a sum of trees or curves. One line, with what to do."""


Flags = NDArray[np.bool_]


class Link(Enum):
    """What the sums of all trees become.

    ``logistic``: one sum, the log-odds of the second of two classes. ``softmax``: a sum for
    each class. ``shares``: a sum for each class, which is its probability. ``number``: one sum,
    cut to [-1, 1], which are the bounds of the label.
    """

    logistic = "logistic"
    softmax = "softmax"
    shares = "shares"
    number = "number"


@dataclass(frozen=True)
class Leaf:
    """What a record that ends here gets, shape (outputs,)."""

    values: Floats


@dataclass(frozen=True)
class Split:
    """A node that sends some bins of a column left and the others right.

    Attributes
    ----------
    column : int
        By what it is split.
    goes_left : ndarray of bool, shape (bins,)
        Which bins go left; the last is that of missing values.
    reached : ndarray of bool, shape (bins,)
        Which bins come here at all, for the splits above; some go left, and some right.
    left, right : Node
        Where they go.
    """

    column: int
    goes_left: Flags
    reached: Flags
    left: Node
    right: Node


Node = Leaf | Split


@dataclass(frozen=True)
class Decisions:
    """A sum of decision trees.

    Attributes
    ----------
    table : Table
        The columns and the label.
    cuts : tuple of ndarray
        Where one bin of each column ends and the next begins, see ``Column.cuts``.
    trees : tuple of Node
        The roots.
    start : ndarray, float64, shape (outputs,)
        What is added to the sum of the trees.
    link : Link
        What the sums become.
    """

    table: Table
    cuts: tuple[Floats, ...]
    trees: tuple[Node, ...]
    start: Floats
    link: Link


@dataclass(frozen=True)
class Curves:
    """A sum of one curve for each column.

    Attributes
    ----------
    table : Table
        The columns and the label.
    cuts : tuple of ndarray
        As of ``Decisions``.
    curves : tuple of ndarray, float64, shape (outputs, bins) each
        What each bin of a column adds; the last is that of missing values.
    counts : tuple of ndarray, float64, shape (bins,) each
        Records in each bin, about.
    start : ndarray, float64, shape (outputs,)
        What is added to the sum.
    link : Link
        What the sums become.
    """

    table: Table
    cuts: tuple[Floats, ...]
    curves: tuple[Floats, ...]
    counts: tuple[Floats, ...]
    start: Floats
    link: Link

    def as_trees(self) -> tuple[Node, ...]:
        """Return one balanced tree for each column, with a leaf for each bin."""
        return tuple(
            _balanced(number, curve, 0, curve.shape[1])
            for number, curve in enumerate(self.curves)
        )


def split_of(column: int, goes_left: Flags, reached: Flags, left: Node, right: Node) -> Node:
    """Return a split, or the only side that is reached."""
    if not (goes_left & reached).any():
        return right
    return (
        left if (goes_left | ~reached).all() else Split(column, goes_left, reached, left, right)
    )


def outputs_of(node: Node) -> Flags:
    """Return which outputs a tree says anything about, shape (outputs,)."""
    if isinstance(node, Leaf):
        return node.values != 0
    return outputs_of(node.left) | outputs_of(node.right)


def _balanced(column: int, curve: Floats, first: int, last: int) -> Node:
    """Return the tree of the bins of a curve from first to last, the latter not included."""
    if last - first == 1:
        return Leaf(curve[:, first])
    middle = (first + last) // 2
    bins = np.arange(curve.shape[1])
    return Split(
        column,
        bins < middle,
        (first <= bins) & (bins < last),
        _balanced(column, curve, first, middle),
        _balanced(column, curve, middle, last),
    )
