"""The configuration of the workloads of trees; names are those of LightGBM."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isfinite

from privacy.mode import Mode
from tasks.schema import require
from workloads.early_stopping import EarlyStoppedConfig
from workloads.histograms.config import BinnedConfig
from workloads.record_weights import ClassWeightedConfig

_PRIVATE_BINS, _EXACT_BINS = 32, 255
_MOST_DEPTH = 20


class Structure(Enum):
    """How the splits of boosted trees come about."""

    auto = "auto"
    greedy = "greedy"
    random = "random"


@dataclass
class GbdtConfig(BinnedConfig, EarlyStoppedConfig, ClassWeightedConfig):
    """How boosted trees are grown. What is not given is settled by ``structure``.

    Attributes
    ----------
    structure : Structure
        ``greedy``: each node by its best split, a level of a tree in each round, over exact
        sums. ``random``: splits are drawn, many trees in each round, and only the sums of
        their leaves are asked. ``auto``: random under privacy, else greedy.
    learning_rate : float, optional
        How far a tree, or the mean of a round's random trees, goes; above 0. Not given: 0.3;
        random: 1, and it must be below 2.
    max_depth : int, optional
        Levels of splits, from 1 to 20. Not given: 5.
    max_bins : int, optional
        The most bins of a column of numbers whose edges are not given, at least 2. Not given:
        32 under privacy, else 255.
    lambda_l2 : float
        Added to the curvature of a leaf, at least 0; above 0 for random trees, where the noise
        adds to it.
    lambda_l1 : float, optional
        Greedy: what the sum of a leaf's residuals is drawn to 0 by, at least 0. Not given: 0.
    min_data_in_leaf : int, optional
        Greedy: no leaf has fewer records, over all nodes. Not given: 20.
    min_gain_to_split : float, optional
        Greedy: no split gains less, at least 0. Not given: 0.
    feature_fraction : float, optional
        Greedy: share of the columns that a tree tries, in (0, 1]. Not given: 1.
    bagging_fraction : float, optional
        Greedy: share of the records that a tree is grown on, in (0, 1]. Not given: 1.
    trees_per_round : int, optional
        Random: trees whose leaves are asked at once. Not given: 10.
    """

    structure: Structure = Structure.auto
    learning_rate: float | None = None
    max_depth: int | None = None
    max_bins: int | None = None
    lambda_l2: float = 1.0
    lambda_l1: float | None = None
    min_data_in_leaf: int | None = None
    min_gain_to_split: float | None = None
    feature_fraction: float | None = None
    bagging_fraction: float | None = None
    trees_per_round: int | None = None

    def __post_init__(self) -> None:
        BinnedConfig.__post_init__(self)
        EarlyStoppedConfig.__post_init__(self)
        ClassWeightedConfig.__post_init__(self)
        # A model file has its name.
        self.structure = Structure(self.structure)
        _require_bins(self.max_bins)
        _require_depth(self.max_depth)
        _require_above("learning_rate", self.learning_rate)
        _require_whole("min_data_in_leaf", self.min_data_in_leaf)
        _require_whole("trees_per_round", self.trees_per_round)
        for name in ("lambda_l1", "lambda_l2", "min_gain_to_split"):
            value = getattr(self, name)
            require(
                value is None or (isfinite(value) and value >= 0),
                f"algorithm.{name}={value}: must be finite and not negative",
            )
        _require_fraction("feature_fraction", self.feature_fraction)
        _require_fraction("bagging_fraction", self.bagging_fraction)

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace what is not given by what suits structure and privacy option."""
        if self.structure is Structure.auto:
            self.structure = Structure.greedy if mode is None else Structure.random
        if self.structure is Structure.greedy:
            self._settle_greedy(mode)
        else:
            self._settle_random()
        self.max_depth = self.max_depth or 5
        self.max_bins = self.max_bins or (_EXACT_BINS if mode is None else _PRIVATE_BINS)
        self.settle_binning(mode, num_rounds, self.max_bins)

    def _settle_greedy(self, mode: Mode | None) -> None:
        require(
            mode is None,
            "algorithm.structure=greedy: the norm of its histograms leaves no signal under"
            " privacy; take structure=random, or privacy=none",
        )
        self._refuse("trees_per_round", "grows one tree for each score at a time")
        self.learning_rate = self.learning_rate or 0.3
        self.lambda_l1 = self.lambda_l1 or 0.0
        self.min_data_in_leaf = self.min_data_in_leaf or 20
        self.min_gain_to_split = self.min_gain_to_split or 0.0
        self.feature_fraction = self.feature_fraction or 1.0
        self.bagging_fraction = self.bagging_fraction or 1.0

    def _settle_random(self) -> None:
        for name in ("lambda_l1", "min_data_in_leaf", "min_gain_to_split"):
            self._refuse(name, "draws its splits")
        for name in ("feature_fraction", "bagging_fraction"):
            self._refuse(name, "sums all records over all columns")
        self.learning_rate = self.learning_rate or 1.0
        require(
            self.learning_rate < 2,
            f"algorithm.learning_rate={self.learning_rate}: must be below 2 with"
            " structure=random, whose steps would grow from round to round",
        )
        require(
            self.lambda_l2 > 0,
            f"algorithm.lambda_l2={self.lambda_l2}: must be above 0 with structure=random",
        )
        self.trees_per_round = self.trees_per_round or 10

    def _refuse(self, name: str, why: str) -> None:
        value = getattr(self, name)
        require(
            value is None,
            f"algorithm.{name}={value} has no effect: structure={self.structure.value} {why};"
            " take it out",
        )


@dataclass
class TreeConfig(BinnedConfig, ClassWeightedConfig):
    """How one decision tree is grown.

    Attributes
    ----------
    max_depth : int
        Levels of splits, from 1 to 20; a round is one.
    max_bins : int
        The most bins of a column of numbers whose edges are not given, at least 2.
    min_data_in_leaf : int
        No leaf has fewer records, over all nodes; at least 1.
    """

    max_depth: int = 8
    max_bins: int = _EXACT_BINS
    min_data_in_leaf: int = 20

    def __post_init__(self) -> None:
        BinnedConfig.__post_init__(self)
        ClassWeightedConfig.__post_init__(self)
        _require_bins(self.max_bins)
        _require_depth(self.max_depth)
        _require_whole("min_data_in_leaf", self.min_data_in_leaf)

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Refuse edges that leave no round for a level."""
        self.settle_binning(mode, num_rounds, self.max_bins)


@dataclass
class ForestConfig(TreeConfig):
    """How a random forest is grown (Breiman 2001), all trees at once.

    Attributes
    ----------
    num_trees : int
        At least 1.
    feature_fraction : float
        Share of the columns that each node tries, in (0, 1], drawn by the public seed.
    bagging_fraction : float
        Share of the records that each tree is grown on, in (0, 1], by a hash of the record.
    """

    max_depth: int = 10
    min_data_in_leaf: int = 10
    num_trees: int = 30
    feature_fraction: float = 0.3
    bagging_fraction: float = 0.632

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_whole("num_trees", self.num_trees)
        _require_fraction("feature_fraction", self.feature_fraction)
        _require_fraction("bagging_fraction", self.bagging_fraction)


def _require_bins(value: int | None) -> None:
    require(
        value is None or 2 <= value <= 2**16,
        f"algorithm.max_bins={value}: must be from 2 to 65536",
    )


def _require_depth(value: int | None) -> None:
    require(
        value is None or 1 <= value <= _MOST_DEPTH,
        f"algorithm.max_depth={value}: must be from 1 to {_MOST_DEPTH}",
    )


def _require_whole(name: str, value: int | None) -> None:
    require(value is None or value >= 1, f"algorithm.{name}={value}: must be at least 1")


def _require_above(name: str, value: float | None) -> None:
    require(
        value is None or 0 < value < float("inf"), f"algorithm.{name}={value}: must be above 0"
    )


def _require_fraction(name: str, value: float | None) -> None:
    require(value is None or 0 < value <= 1, f"algorithm.{name}={value}: must be in (0, 1]")
