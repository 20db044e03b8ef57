"""Parts of the privacy options: kinds of noise, metrics, the adaptive clip norm."""

from dataclasses import dataclass
from enum import Enum
from math import isfinite

from tasks.schema import require


class LocalNoise(Enum):
    """Noise that one node adds in full."""

    gaussian = "gaussian"
    laplace = "laplace"


class DistributedNoise(Enum):
    """Noise that the nodes add in shares."""

    distributed_discrete_gaussian = "distributed_discrete_gaussian"
    skellam = "skellam"


@dataclass
class MetricsConfig:
    """Metrics of held-out records, which are releases too: noised and paid for.

    Attributes
    ----------
    every : int
        Rounds between two releases; the last model is scored as well. 0: none at all.
    noise_multiplier : float
        Standard deviation of their noise over their sensitivity; above 0 if there are any.
    loss_clip : float
        A record's loss counts as this much at most.
    """

    every: int = 0
    noise_multiplier: float = 0.0
    loss_clip: float = 5.0

    def __post_init__(self) -> None:
        name = "privacy.metrics"
        require(self.every >= 0, f"{name}.every={self.every}: must not be negative")
        require(
            not self.every or 0 < self.noise_multiplier < float("inf"),
            f"{name}.noise_multiplier={self.noise_multiplier}: must be above 0, for metrics"
            f" are released every {self.every} rounds; {name}.every=0 releases none",
        )
        require_positive(f"{name}.loss_clip", self.loss_clip)


@dataclass
class AdaptiveClipConfig:
    """A clip norm that follows a quantile of the updates' norms (Andrew et al. 2021).

    Attributes
    ----------
    bit_noise : float
        Standard deviation of the noise on the number of updates under the clip norm; 0
        keeps the clip norm as it is.
    target_quantile : float
        This share of the updates should be under it, in (0, 1).
    learning_rate : float
        How fast it moves, above 0.
    """

    bit_noise: float = 0.0
    target_quantile: float = 0.5
    learning_rate: float = 0.2

    def __post_init__(self) -> None:
        name = "privacy.adaptive_clip"
        require(
            0 <= self.bit_noise < float("inf"),
            f"{name}.bit_noise={self.bit_noise}: must be finite and not negative",
        )
        require(
            0 < self.target_quantile < 1,
            f"{name}.target_quantile={self.target_quantile}: must be in (0, 1)",
        )
        require_positive(f"{name}.learning_rate", self.learning_rate)


def require_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless a value is finite and above 0."""
    require(isfinite(value) and value > 0, f"{name}={value}: must be finite and above 0")
