"""The typed configuration of privacy: what one contribution may reveal.

Nothing here that a guarantee depends on has a default: what is not given is refused. Noise is
in clip norms, so that no clip norm makes it weaker.
"""

from dataclasses import dataclass, field

from omegaconf import MISSING

from app.config.privacy_parts import (
    AdaptiveClipConfig,
    DistributedNoise,
    LocalNoise,
    MetricsConfig,
    require_positive,
)
from privacy.mode import Mode, Place
from privacy.plan.release import Mechanism
from privacy.unit import Unit
from tasks.schema import TrainingConfig, require

#: No clip norm, configured or adapted, is outside.
SMALLEST_NORM, LARGEST_NORM = 1e-12, 1e12
#: Messages of the protocol count the nodes of a cohort in 16 bits.
MOST_NODES = 2**16 - 1


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
    def stepped(self) -> "SteppedConfig | None":
        """Return what belongs to a step of the server with noise in it; None without one."""
        return None

    @property
    def adaptive(self) -> AdaptiveClipConfig | None:
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
        given: 1 for a record's gradient, half of ``task.training.learning_rate`` for an
        update. Refused where the workload's terms are bounded by what they are.
    population : int
        Nodes of the federation, fixed and public; no cohort may be larger.
    range_deviations : float
        So many standard deviations of the sum fit the modulus; what is beyond wraps.
    spare_attempts : int
        So many attempts at rounds may fail after nodes have charged and are paid for as well:
        the noise is calibrated for ``num-rounds`` and these. An attempt beyond ends the run.
    metrics : MetricsConfig
        Metrics, off by default.
    """

    epsilon: float | None = None
    noise_multiplier: float | None = None
    delta: float = MISSING
    clip_norm: float | None = None
    population: int = MISSING
    range_deviations: float = 8.0
    spare_attempts: int = 0
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    def __post_init__(self) -> None:
        given = f"privacy.epsilon={self.epsilon}, privacy.noise_multiplier"
        require(
            (self.epsilon is None) != (self.noise_multiplier is None),
            f"{given}={self.noise_multiplier}: give one of the two; there is no default",
        )
        if self.epsilon is not None:
            require_positive("privacy.epsilon", self.epsilon)
        if self.noise_multiplier is not None:
            require_positive("privacy.noise_multiplier", self.noise_multiplier)
        require(0 < self.delta < 1, f"privacy.delta={self.delta}: must be in (0, 1)")
        require(
            self.clip_norm is None or SMALLEST_NORM <= self.clip_norm <= LARGEST_NORM,
            f"privacy.clip_norm={self.clip_norm}: must be in [{SMALLEST_NORM:g},"
            f" {LARGEST_NORM:g}]; beyond, floating point would not keep to it",
        )
        require_positive("privacy.range_deviations", self.range_deviations)
        require(
            self.population >= 2,
            f"privacy.population={self.population}: must be the number of all nodes, 2 or more",
        )
        require(
            self.population <= MOST_NODES,
            f"privacy.population={self.population}: must be the number of all nodes, at most"
            f" {MOST_NODES}, which is as far as the protocol's messages count",
        )
        require(
            self.spare_attempts >= 0,
            f"privacy.spare_attempts={self.spare_attempts}: must not be negative",
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
class SteppedConfig(PrivateConfig):
    """In each round the server steps along a sum with noise in it.

    Attributes
    ----------
    learning_rate : float, optional
        Of that step, above 0: what the mean of gradients, or of updates, is multiplied by. Not
        given: worked out from the noise (``app.builders.step``), but for an update with a
        ``clip_norm`` of the user's, which is taken as it is: 1.
    """

    learning_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate is not None:
            require_positive("privacy.learning_rate", self.learning_rate)

    @property
    def stepped(self) -> "SteppedConfig":
        """Return what belongs to a step of the server."""
        return self


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
    fix_model : bool
        Let Opacus replace layers that cannot be trained per record.
    """

    sampling_rate: float = MISSING
    expected_batch_size: float = MISSING
    fix_model: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.sampling_rate <= 1,
            f"privacy.sampling_rate={self.sampling_rate}: must be in (0, 1]",
        )
        require_positive("privacy.expected_batch_size", self.expected_batch_size)

    def num_local_steps(self, training: TrainingConfig) -> int:
        """Return the steps of DP-SGD on a node in a round: public, whatever records it has."""
        # An epoch is as many steps as it takes to see each record once on average.
        return training.num_steps or max(1, round(training.num_epochs / self.sampling_rate))

    @property
    def example(self) -> "ExamplePrivacyConfig":
        """Return what belongs to the example unit."""
        return self


@dataclass
class ExampleLocalConfig(ExamplePrivacyConfig):
    """DP-SGD on each node, with all its noise: trusts nobody."""


@dataclass
class GradientSumConfig(SteppedConfig, ExamplePrivacyConfig):
    """A round is one step of DP-SGD over all nodes' records."""


@dataclass
class ExampleDistributedConfig(GradientSumConfig):
    """One step of DP-SGD over all nodes' records; each node adds a share of the noise.

    Attributes
    ----------
    mechanism : DistributedNoise
        Which noise.
    """

    mechanism: DistributedNoise = DistributedNoise.distributed_discrete_gaussian


@dataclass
class ExampleCentralConfig(GradientSumConfig):
    """The same step; the server adds the noise, and is trusted to."""


@dataclass
class ClientPrivacyConfig(SteppedConfig):
    """The unit is all of one client's data.

    Attributes
    ----------
    adaptive_clip : AdaptiveClipConfig
        Off by default.
    """

    adaptive_clip: AdaptiveClipConfig = field(default_factory=AdaptiveClipConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_norm is not None and self.learning_rate is None:
            self.learning_rate = 1.0

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


_MODES: dict[type, Mode] = {
    ExampleLocalConfig: Mode(Unit.EXAMPLE, Place.LOCAL),
    ExampleDistributedConfig: Mode(Unit.EXAMPLE, Place.DISTRIBUTED),
    ExampleCentralConfig: Mode(Unit.EXAMPLE, Place.CENTRAL),
    ClientLocalConfig: Mode(Unit.CLIENT, Place.LOCAL),
    ClientDistributedConfig: Mode(Unit.CLIENT, Place.DISTRIBUTED),
    ClientCentralConfig: Mode(Unit.CLIENT, Place.CENTRAL),
}
