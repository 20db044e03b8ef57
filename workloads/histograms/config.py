"""The configuration of boosting from histograms."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from privacy.mode import Mode
from tasks.schema import require
from workloads.early_stopping import EarlyStoppedConfig
from workloads.record_weights import ClassWeightedConfig

_PRIVATE_BINS, _EXACT_BINS = 32, 255


@dataclass
class EbmConfig(EarlyStoppedConfig, ClassWeightedConfig):
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
    """

    max_bins: int | None = None
    learning_rate: float | None = None
    reg_lambda: float = 0.1
    smoothing: float = 30.0

    def __post_init__(self) -> None:
        EarlyStoppedConfig.__post_init__(self)
        ClassWeightedConfig.__post_init__(self)
        name = "algorithm"
        require(
            self.max_bins is None or 2 <= self.max_bins <= 2**16,
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

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace what is not given by what suits the privacy option."""
        if self.max_bins is None:
            self.max_bins = _EXACT_BINS if mode is None else _PRIVATE_BINS
