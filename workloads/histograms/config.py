"""The configuration of boosting from histograms."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Any

from privacy.mode import Mode
from tasks.schema import require
from workloads.base import WorkloadConfig
from workloads.early_stopping import EarlyStoppedConfig
from workloads.histograms.schedule import LEAST_ROUNDS_WITH_PAIRS
from workloads.record_weights import ClassWeightedConfig

_PRIVATE_BINS, _EXACT_BINS = 32, 255
# Fine bins of a column, where edges are found; each has noise of its own under privacy.
_PRIVATE_FINE, _EXACT_FINE = 512, 2048
_MOST_BINS = 2**16
_PRIVATE_PAIR_BINS, _EXACT_PAIR_BINS = 8, 32


class Binning(Enum):
    """Where the edges of columns of numbers come from."""

    public = "public"
    quantile = "quantile"


@dataclass(kw_only=True)
class BinnedConfig(WorkloadConfig):
    """Where the bins of columns of numbers come from, in all workloads of histograms.

    Attributes
    ----------
    binning : Binning
        ``public``: edges are those of the columns' bounds and scales. ``quantile``: the first
        round finds common ones, with about as many records in each bin.
    fine_bins : int, optional
        ``quantile``: the fine bins of a column that the first round counts, from 16 to 65536.
        Not given: 512 under privacy, for each has noise of its own, else 2048.
    """

    binning: Binning = Binning.public
    fine_bins: int | None = None

    def __post_init__(self) -> None:
        # A model file has its name.
        self.binning = Binning(self.binning)
        require(
            self.fine_bins is None or 16 <= self.fine_bins <= _MOST_BINS,
            f"algorithm.fine_bins={self.fine_bins}: must be from 16 to {_MOST_BINS}",
        )
        require(
            self.fine_bins is None or self.binning is Binning.quantile,
            f"algorithm.fine_bins={self.fine_bins} has no effect: binning=public has no fine"
            " bins; take it out, or give algorithm.binning=quantile",
        )

    def settle_binning(self, mode: Mode | None, num_rounds: int, max_bins: int) -> None:
        """Settle the number of fine bins; refuse too few of them or of rounds."""
        if self.binning is Binning.public:
            return
        require(
            num_rounds >= 2,
            f"num-rounds={num_rounds}: algorithm.binning=quantile takes one round for the"
            " edges, and none is left; raise it",
        )
        self.fine_bins = self.fine_bins or (_EXACT_FINE if mode is None else _PRIVATE_FINE)
        require(
            2 * max_bins <= self.fine_bins,
            f"algorithm.max_bins={max_bins}: more than half of algorithm.fine_bins="
            f"{self.fine_bins}, of which bins are made; lower it, or raise fine_bins",
        )


@dataclass
class EbmConfig(BinnedConfig, EarlyStoppedConfig, ClassWeightedConfig):
    """How curves are made from histograms.

    Attributes
    ----------
    max_bins : int, optional
        The most bins of a column of numbers whose edges are not given, at least 2. Not given:
        32 under privacy, for each has noise of its own, else 255.
    learning_rate : float, optional
        How far a round moves each curve towards the best for its column alone, above 0. Not
        given: 1 over the number of columns, as all curves move at once.
    reg_lambda : float
        Ridge on the values of the curves, above 0; the noise adds to it.
    smoothing : float
        Weight of the squared differences between neighbouring bins, at least 0; the noise adds
        to it. Of 32 bins: where there are more, it is as many times larger.
    interactions : list of pairs of str
        Pairs of columns that have a table of their own beside the curves, by name.
    interaction_bins : int, optional
        The most bins of a column of numbers in such a table, at least 2. Not given: 8 under
        privacy, else 32.
    """

    max_bins: int | None = None
    learning_rate: float | None = None
    reg_lambda: float = 0.1
    smoothing: float = 30.0
    interactions: Any = field(default_factory=list[Any])
    interaction_bins: int | None = None

    def __post_init__(self) -> None:
        BinnedConfig.__post_init__(self)
        EarlyStoppedConfig.__post_init__(self)
        ClassWeightedConfig.__post_init__(self)
        name = "algorithm"
        require(
            self.max_bins is None or 2 <= self.max_bins <= _MOST_BINS,
            f"{name}.max_bins={self.max_bins}: must be from 2 to 65536",
        )
        require(
            self.learning_rate is None or 0 < self.learning_rate < float("inf"),
            f"{name}.learning_rate={self.learning_rate}: must be above 0",
        )
        require(
            isfinite(self.reg_lambda) and self.reg_lambda > 0,
            f"{name}.reg_lambda={self.reg_lambda}: must be above 0",
        )
        require(
            0 <= self.smoothing < float("inf"),
            f"{name}.smoothing={self.smoothing}: must be finite and not negative",
        )
        self.interactions = _pairs(self.interactions)
        require(
            self.interaction_bins is None or 2 <= self.interaction_bins <= _MOST_BINS,
            f"{name}.interaction_bins={self.interaction_bins}: must be from 2 to {_MOST_BINS}",
        )
        require(
            self.interaction_bins is None or bool(self.interactions),
            f"{name}.interaction_bins={self.interaction_bins} has no effect: no pair of columns"
            " is given; take it out, or give algorithm.interactions",
        )

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace what is not given by what suits the privacy option."""
        if self.max_bins is None:
            self.max_bins = _EXACT_BINS if mode is None else _PRIVATE_BINS
        self.settle_binning(mode, num_rounds, self.max_bins)
        if self.interactions:
            least = LEAST_ROUNDS_WITH_PAIRS + (self.binning is Binning.quantile)
            require(
                num_rounds >= least,
                f"num-rounds={num_rounds}: algorithm.interactions are asked for when the curves"
                f" have settled; give at least {least} rounds",
            )
            few = _EXACT_PAIR_BINS if mode is None else _PRIVATE_PAIR_BINS
            self.interaction_bins = self.interaction_bins or few


def _pairs(given: Any) -> list[list[str]]:
    """Return pairs of different names, each pair once."""
    key = f"algorithm.interactions={given}"
    require(
        not isinstance(given, int | float),
        f"{key}: to choose pairs by their number takes the joint histograms of all pairs, which"
        " no round asks for; name them, as in algorithm.interactions=[[age,hours-per-week]]",
    )
    form = f"{key}: must be a list of pairs of columns, as in [[age,hours-per-week]]"
    require(isinstance(given, list), form)
    found: list[list[str]] = []
    for pair in given:
        require(isinstance(pair, list) and len(pair) == 2, form)
        require(all(isinstance(name, str) for name in pair), form)
        require(
            pair[0] != pair[1],
            f"{key}: {pair[0]} with itself is no pair; it has a curve already",
        )
        require(
            sorted(pair) not in [sorted(other) for other in found],
            f"{key}: the pair of {pair[0]} and {pair[1]} is there twice; take one out",
        )
        found.append(list(pair))
    return found
