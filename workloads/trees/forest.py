"""A random forest and a single decision tree, from exact masked counts."""

from __future__ import annotations

from functools import cached_property

from workloads.trees.config import ForestConfig, TreeConfig
from workloads.trees.goals import Averaged
from workloads.trees.greedy import Greedy
from workloads.trees.growth import Growth
from workloads.trees.levels import Settings
from workloads.trees.summed import TreeSum


class Forest(TreeSum):
    """Grow a random forest (Breiman 2001, https://doi.org/10.1023/A:1010933404324).

    A round asks, for each open node of all trees, for the histograms of the label over the
    columns that the node tries. Splits are by the Gini index, or by the variance of a number.
    A tree's bag has a record at most once, by a public hash of the record.

    No privacy unit is served: the norm of a record's term grows with the trees and the columns
    and leaves no signal. Take ``algorithm=gbdt`` or ``ebm`` there.
    """

    Config = ForestConfig

    @cached_property
    def growth(self) -> Growth:
        """Return all trees, level by level."""
        chosen = self.setup.algorithm
        settings = Settings(
            max_depth=chosen.max_depth,
            min_data_in_leaf=chosen.min_data_in_leaf,
            feature_fraction=chosen.feature_fraction,
            by_node=True,
            bagging_fraction=chosen.bagging_fraction,
        )
        goal = Averaged(self.loss, chosen.num_trees)
        return Greedy(self.table, chosen.max_bins, self.task.seed, settings, goal)


class Tree(TreeSum):
    """Grow one decision tree (Breiman et al. 1984), by the Gini index or the variance.

    A round asks, for each open node, for the histograms of the label over all columns. No
    privacy unit is served, see ``Forest``.
    """

    Config = TreeConfig

    @cached_property
    def growth(self) -> Growth:
        """Return one tree of all columns and records."""
        chosen = self.setup.algorithm
        settings = Settings(
            max_depth=chosen.max_depth, min_data_in_leaf=chosen.min_data_in_leaf
        )
        goal = Averaged(self.loss, 1)
        return Greedy(self.table, chosen.max_bins, self.task.seed, settings, goal)
