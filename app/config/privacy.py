"""The typed configuration of privacy: what one contribution may reveal.

Nothing here that a guarantee depends on has a default: what is not given is refused.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import isfinite

from omegaconf import MISSING

from privacy.mode import Mode, Place
from privacy.plan.release import Mechanism
from privacy.unit import Unit
from tasks.schema import GradSampleMode, require

#: No clip norm, configured or adapted, is outside.
SMALLEST_NORM, LARGEST_NORM = 1e-12, 1e12


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
        _require_positive(f"{name}.loss_clip", self.loss_clip)


@dataclass
class PrivacyConfig:
    """What one contribution may reveal. Others ask it, and nothing branches on its class."""

    @property
    def mode(self) -> Mode | None:
        """Return whose presence is hidden and where the noise is added; None for no privacy."""
        return None

    @property
    def private(self) -> "PrivateConfig | None":
        """Return what all guarantees have in common; None for no privacy."""
        return None

    @property
    def example(self) -> "ExamplePrivacyConfig | None":
        """Return what belongs to the example unit; None for any other."""
        return None

    @property
    def adaptive(self) -> "AdaptiveClipConfig | None":
        """Return how the clip norm follows the updates; None where it is fixed."""
        return None


@dataclass
class NoPrivacyConfig(PrivacyConfig):
    """No differential privacy: the model may reveal anything about a record."""


@dataclass
class PrivateConfig(PrivacyConfig):
    """What all guarantees have in common.

    Attributes
    ----------
    epsilon : float, optional
        What the whole run may spend, at ``delta``, against the server and
        ``aggregation.max_colluding`` participants. The noise is calibrated to it.
    noise_multiplier : float, optional
        Instead of ``epsilon``: standard deviation of the noise over ``clip_norm``.
    delta : float
        Chance that the promise does not hold: well below 1 over the number of records.
    clip_norm : float, optional
        No record (``example``), no update (``client``) counts for more than this length. Not
        given where the workload's terms are bounded by what they are.
    population : int
        Nodes of the federation, fixed and public; no cohort may be larger.
    range_deviations : float
        So many standard deviations of the sum fit the modulus; what is beyond wraps.
    metrics : MetricsConfig
        Metrics, off by default.
    """

    epsilon: float | None = None
    noise_multiplier: float | None = None
    delta: float = MISSING
    clip_norm: float | None = None
    population: int = MISSING
    range_deviations: float = 8.0
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    def __post_init__(self) -> None:
        given = f"privacy.epsilon={self.epsilon}, privacy.noise_multiplier"
        require(
            (self.epsilon is None) != (self.noise_multiplier is None),
            f"{given}={self.noise_multiplier}: give one of the two; there is no default",
        )
        if self.epsilon is not None:
            _require_positive("privacy.epsilon", self.epsilon)
        if self.noise_multiplier is not None:
            _require_positive("privacy.noise_multiplier", self.noise_multiplier)
        require(0 < self.delta < 1, f"privacy.delta={self.delta}: must be in (0, 1)")
        require(
            self.clip_norm is None or SMALLEST_NORM <= self.clip_norm <= LARGEST_NORM,
            f"privacy.clip_norm={self.clip_norm}: must be in [{SMALLEST_NORM:g},"
            f" {LARGEST_NORM:g}]; beyond, floating point would not keep to it",
        )
        _require_positive("privacy.range_deviations", self.range_deviations)
        require(
            self.population >= 2,
            f"privacy.population={self.population}: must be the number of all nodes, 2 or more",
        )

    @property
    def mode(self) -> Mode:
        """Return whose presence is hidden and where the noise is added."""
        return _MODES[type(self)]

    @property
    def private(self) -> "PrivateConfig":
        """Return what all guarantees have in common."""
        return self

    @property
    def noise(self) -> Mechanism:
        """Return the mechanism; an option that leaves no choice has Gaussian noise."""
        chosen = getattr(self, "mechanism", None)
        return Mechanism(chosen.value) if chosen is not None else Mechanism.GAUSSIAN


@dataclass
class ExamplePrivacyConfig(PrivateConfig):
    """The unit is one record.

    Attributes
    ----------
    sampling_rate : float
        q: each step takes each record with this chance, the same on all nodes, in (0, 1].
    expected_batch_size : float
        The public divisor of a step: records that are expected in it, of all nodes together
        (under ``example_local``: of one node). Never a true count.
    grad_sample_mode : GradSampleMode
        How Opacus clips: ``auto``, ``hooks`` or ``ghost``.
    max_physical_batch : int
        So many records are in memory at once, at least 1.
    fix_model : bool
        Let Opacus replace layers that cannot be trained per record.
    """

    sampling_rate: float = MISSING
    expected_batch_size: float = MISSING
    grad_sample_mode: GradSampleMode = GradSampleMode.auto
    max_physical_batch: int = 128
    fix_model: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.sampling_rate <= 1,
            f"privacy.sampling_rate={self.sampling_rate}: must be in (0, 1]",
        )
        _require_positive("privacy.expected_batch_size", self.expected_batch_size)
        require(
            self.max_physical_batch >= 1,
            f"privacy.max_physical_batch={self.max_physical_batch}: must be at least 1",
        )

    @property
    def example(self) -> "ExamplePrivacyConfig":
        """Return what belongs to the example unit."""
        return self


@dataclass
class ExampleLocalConfig(ExamplePrivacyConfig):
    """DP-SGD on each node, with all its noise: trusts nobody."""


@dataclass
class ExampleDistributedConfig(ExamplePrivacyConfig):
    """One step of DP-SGD over all nodes' records; each node adds a share of the noise.

    Attributes
    ----------
    mechanism : DistributedNoise
        Which noise.
    """

    mechanism: DistributedNoise = DistributedNoise.distributed_discrete_gaussian


@dataclass
class ExampleCentralConfig(ExamplePrivacyConfig):
    """The same step; the server adds the noise, and is trusted to."""


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
        _require_positive(f"{name}.learning_rate", self.learning_rate)


@dataclass
class ClientPrivacyConfig(PrivateConfig):
    """The unit is all of one client's data.

    Attributes
    ----------
    adaptive_clip : AdaptiveClipConfig
        Off by default.
    """

    adaptive_clip: AdaptiveClipConfig = field(default_factory=AdaptiveClipConfig)

    @property
    def adaptive(self) -> AdaptiveClipConfig | None:
        """Return how the clip norm follows the updates; None where it is fixed."""
        return self.adaptive_clip if self.adaptive_clip.bit_noise else None


@dataclass
class ClientLocalConfig(ClientPrivacyConfig):
    """Each node adds all its noise to its update: trusts nobody.

    Attributes
    ----------
    mechanism : LocalNoise
        ``laplace`` clips the L1 norm instead of the L2 norm.
    """

    mechanism: LocalNoise = LocalNoise.gaussian


@dataclass
class ClientDistributedConfig(ClientPrivacyConfig):
    """Each node adds a share of the noise to its update.

    Attributes
    ----------
    mechanism : DistributedNoise
        Which noise.
    """

    mechanism: DistributedNoise = DistributedNoise.distributed_discrete_gaussian


@dataclass
class ClientCentralConfig(ClientPrivacyConfig):
    """The server adds the noise, and is trusted to."""


PRIVACY: dict[str, type] = {
    "none": NoPrivacyConfig,
    "example_local": ExampleLocalConfig,
    "example_distributed": ExampleDistributedConfig,
    "example_central": ExampleCentralConfig,
    "client_local": ClientLocalConfig,
    "client_distributed": ClientDistributedConfig,
    "client_central": ClientCentralConfig,
}


def _require_positive(name: str, value: float) -> None:
    require(isfinite(value) and value > 0, f"{name}={value}: must be finite and above 0")


_MODES: dict[type, Mode] = {
    ExampleLocalConfig: Mode(Unit.EXAMPLE, Place.LOCAL),
    ExampleDistributedConfig: Mode(Unit.EXAMPLE, Place.DISTRIBUTED),
    ExampleCentralConfig: Mode(Unit.EXAMPLE, Place.CENTRAL),
    ClientLocalConfig: Mode(Unit.CLIENT, Place.LOCAL),
    ClientDistributedConfig: Mode(Unit.CLIENT, Place.DISTRIBUTED),
    ClientCentralConfig: Mode(Unit.CLIENT, Place.CENTRAL),
}
