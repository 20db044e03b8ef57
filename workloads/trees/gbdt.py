"""Gradient-boosted trees from masked sums: by best splits, or of random structure."""

from __future__ import annotations

from functools import cached_property

from privacy.mode import Place
from privacy.unit import Unit
from workloads.trees.config import GbdtConfig, Structure
from workloads.trees.criteria import Gain
from workloads.trees.goals import Boosted
from workloads.trees.greedy import Greedy
from workloads.trees.growth import Growth
from workloads.trees.levels import Settings
from workloads.trees.random_trees import RandomTrees
from workloads.trees.summed import TreeSum


class Gbdt(TreeSum):
    """Boost trees with the logistic, softmax or squared loss (Friedman 2001).

    With ``structure=greedy`` a round asks, for each open node of the trees that grow, for the
    histograms of residuals, second derivatives and counts over all columns (as LightGBM and
    XGBoost find splits). These sums are exact, without privacy. With ``structure=random`` see
    ``RandomTrees``.

    Guarantees
    ----------
    Of ``structure=random``. Unit: one record, of whichever node. Its term has an L2 norm of 1
    at most, in every round, times how often the record counts: the bound is that of the largest
    weight, which is public. The parts of a round's vector have these norms: histograms of the
    label over k columns sqrt(k) times 1 for classes, sqrt 2 for a number; scalars as of
    ``ebm``; the sums of leaves of T trees sqrt(T) times the norm of a record's residuals and
    weighted second derivatives together, which is 1 for two classes, sqrt 2 for more and
    sqrt 1.25 for a number: a record is in one leaf of each tree, whatever the trees are. Each
    part is divided by its norm and times the root of its share; the shares of a round add up
    to 1. Assumes nothing of the trees and curves, which the server chooses. Of the client unit
    see ``TableSum``.
    """

    Config = GbdtConfig
    serves = frozenset(
        (unit, place) for unit in Unit for place in (Place.DISTRIBUTED, Place.CENTRAL)
    )

    @cached_property
    def growth(self) -> Growth:
        """Return what ``algorithm.structure`` says."""
        chosen, task = self.setup.algorithm, self.task
        if chosen.structure is Structure.random:
            return RandomTrees(
                self.table,
                chosen.max_bins,
                task.seed,
                depth=chosen.max_depth,
                num_at_once=chosen.trees_per_round,
                learning_rate=chosen.learning_rate,
                lambda_l2=chosen.lambda_l2,
                is_private=self.setup.mode is not None,
                noise=self.setup.noise,
            )
        settings = Settings(
            max_depth=chosen.max_depth,
            min_data_in_leaf=chosen.min_data_in_leaf,
            min_gain=chosen.min_gain_to_split,
            feature_fraction=chosen.feature_fraction,
            bagging_fraction=chosen.bagging_fraction,
        )
        gain = Gain(chosen.lambda_l1, chosen.lambda_l2)
        goal = Boosted(self.loss, chosen.learning_rate, gain)
        return Greedy(self.table, chosen.max_bins, task.seed, settings, goal)
