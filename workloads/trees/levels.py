"""One level of trees: the server's half of growing them by their best splits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workloads.histograms.bins import Bins, Floats
from workloads.trees.ensemble import LEAF, OPEN, Trees, packed
from workloads.trees.goals import Goal
from workloads.trees.splits import Asked, Splits, Splitter


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How trees are grown.

    Attributes
    ----------
    max_depth : int
        Levels of splits.
    min_data_in_leaf : int
        No leaf has fewer records, over all nodes.
    min_gain : float
        No split gains less.
    feature_fraction : float
        Share of the columns that are tried, in (0, 1].
    by_node : bool
        Whether each node tries columns of its own, or all that grow at once the same.
    bagging_fraction : float
        See ``in_bags``.
    """

    max_depth: int
    min_data_in_leaf: int
    min_gain: float = 0.0
    feature_fraction: float = 1.0
    by_node: bool = False
    bagging_fraction: float = 1.0


@dataclass(frozen=True)
class Level:
    """The splits of a level.

    Attributes
    ----------
    bins : Bins
    goal : Goal
    settings : Settings
    """

    bins: Bins
    goal: Goal
    settings: Settings

    def split(self, total: Floats, asked: Asked) -> Splits:
        """Return the best split of each open node, by the sums of shape (stats, bins)."""
        least = self.settings.min_data_in_leaf
        return Splitter(self.bins, self.goal.criterion, least).best(total, asked)

    def is_split(self, splits: Splits) -> NDArray[np.bool_]:
        """Return which splits gain enough."""
        return splits.gain > self.settings.min_gain

    def with_values(self, trees: Trees, total: Floats, asked: Asked, complete: int) -> Trees:
        """Return the trees with values in the open nodes: roots have none of a parent."""
        nodes, value = trees.open_nodes, trees.value.copy()
        sums = self._sums_of_nodes(total, asked)
        if not self.goal.goes_on:
            # Equal records share their bags, so a bag may be empty: its tree says what all say.
            is_empty = self.goal.criterion.counts(sums) <= 0
            sums[is_empty] = sums.sum(axis=0)
        value[nodes] = self.goal.values(sums, trees.owners()[nodes] - complete)
        return replace(trees, value=value)

    def grown(self, trees: Trees, splits: Splits, complete: int, depth: int) -> Trees:
        """Return the trees with one more level.

        Parameters
        ----------
        trees : Trees
            Of which the open nodes are at a depth.
        splits : Splits
            Of them.
        complete : int
            The first of the trees that grow.
        depth : int
            That depth.
        """
        nodes, owners = trees.open_nodes, trees.owners()
        column, child, left = trees.column.copy(), trees.child.copy(), trees.left.copy()
        is_split = self.is_split(splits)
        inner, first = nodes[is_split], len(column)
        column[nodes] = LEAF
        column[inner] = splits.column[is_split]
        child[inner] = first + 2 * np.arange(len(inner))
        left[inner] = packed(splits.goes_left[is_split], left.shape[1])
        both = np.stack([splits.left[is_split], splits.right[is_split]], axis=1)
        both = both.reshape(-1, both.shape[-1])
        owner = np.repeat(owners[inner] - complete, 2)
        return Trees(
            trees.roots,
            np.concatenate([column, self._kinds(both, depth + 1)]),
            np.concatenate([child, np.zeros(len(both), np.int32)]),
            np.concatenate([left, np.zeros((len(both), left.shape[1]), np.uint8)]),
            np.concatenate([trees.value, self.goal.values(both, owner)]),
        )

    def _kinds(self, stats: Floats, depth: int) -> NDArray[np.int16]:
        """Return whether new nodes may be split in their turn."""
        criterion, least = self.goal.criterion, 2 * self.settings.min_data_in_leaf
        can = (criterion.counts(stats) >= least) & ~criterion.is_pure(stats)
        can &= depth < self.settings.max_depth
        return np.where(can, OPEN, LEAF).astype(np.int16)

    def _sums_of_nodes(self, total: Floats, asked: Asked) -> Floats:
        """Return the sums of the open nodes, shape (nodes, stats): those of one column each."""
        starts = asked.firsts[:, 0]
        ends = starts + self.bins.sizes[asked.columns[:, 0]]
        before = np.concatenate([np.zeros((len(total), 1)), np.cumsum(total, axis=1)], axis=1)
        return (before[:, ends] - before[:, starts]).T
