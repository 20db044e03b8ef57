"""The typed configuration of a run. Each option of each group has its own dataclass.

A wrong value fails in ``__post_init__``, that is, when the configuration is composed and before
anything is sent. Tasks keep their own schema beside their code.
"""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath

from omegaconf import MISSING

from tasks.schema import TaskConfig, require


@dataclass
class AlgorithmConfig:
    """How the server turns the mean of the updates into the next global model."""


@dataclass
class FedAvgConfig(AlgorithmConfig):
    """The mean itself (McMahan et al. 2017, arXiv 1602.05629)."""


@dataclass
class FedProxConfig(AlgorithmConfig):
    """FedAvg with a proximal term on the clients (Li et al. 2020, arXiv 1812.06127)."""

    proximal_mu: float = 0.1

    def __post_init__(self) -> None:
        require(
            self.proximal_mu > 0,
            f"algorithm.proximal_mu={self.proximal_mu}: must be above 0 (0 is fedavg)",
        )


@dataclass
class FedAvgMConfig(AlgorithmConfig):
    """Server momentum (Hsu et al. 2019, arXiv 1909.06335)."""

    server_learning_rate: float = 1.0
    server_momentum: float = 0.9

    def __post_init__(self) -> None:
        _require_positive("server_learning_rate", self.server_learning_rate)
        require(
            0 < self.server_momentum < 1,
            f"algorithm.server_momentum={self.server_momentum}: must be in (0, 1)",
        )


@dataclass
class AdaptiveConfig(AlgorithmConfig):
    """Adaptive server optimisers (Reddi et al. 2021, arXiv 2003.00295), as Flower has them.

    Flower's FedAdam corrects the bias of the first rounds (Kingma and Ba 2015).
    """

    server_learning_rate: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 0.001

    def __post_init__(self) -> None:
        _require_positive("server_learning_rate", self.server_learning_rate)
        _require_positive("tau", self.tau)
        for name, value in (("beta_1", self.beta_1), ("beta_2", self.beta_2)):
            require(0 <= value < 1, f"algorithm.{name}={value}: must be in [0, 1)")


@dataclass
class FedAdamConfig(AdaptiveConfig):
    """Adam on the server."""


@dataclass
class FedYogiConfig(AdaptiveConfig):
    """Yogi on the server."""


@dataclass
class AggregationConfig:
    """How the sum of the contributions is computed."""


@dataclass
class CodecConfig:
    """Fixed point: contributions as integers modulo 2^b.

    Attributes
    ----------
    modulus_bits : int
        b: bits for each parameter on the wire, from 8 to 48.
    clip_range : float
        Entries of a weighted update are clipped to +- this, above 0.
    max_weight_examples : int
        A client with more examples than this counts as one with this many, at least 1.
    """

    modulus_bits: int = 32
    clip_range: float = 8.0
    max_weight_examples: int = 10_000

    def __post_init__(self) -> None:
        name = "aggregation.codec"
        require(
            8 <= self.modulus_bits <= 48,
            f"{name}.modulus_bits={self.modulus_bits}: must be from 8 to 48",
        )
        require(
            0 < self.clip_range < float("inf"),
            f"{name}.clip_range={self.clip_range}: must be above 0",
        )
        require(
            self.max_weight_examples >= 1,
            f"{name}.max_weight_examples={self.max_weight_examples}: must be at least 1",
        )


@dataclass
class PlainConfig(AggregationConfig):
    """The server sees every update: a baseline, and for debugging.

    Attributes
    ----------
    through_codec : bool
        Add in fixed point, as ``secagg`` does, so that both give the same model bit for bit.
    codec : CodecConfig
        Used only with ``through_codec``.
    """

    through_codec: bool = False
    codec: CodecConfig = field(default_factory=CodecConfig)


@dataclass
class SecAggConfig(AggregationConfig):
    """The server hears only the sum. See ``docs/secure-aggregation.md``.

    Attributes
    ----------
    codec : CodecConfig
        Fixed point.
    min_survivors : int
        T: a sum over fewer is never opened; 0 for two thirds of the roster, plus one.
    max_colluding : int
        c: so many clients may collude with the server.
    threshold : int
        t: shares that rebuild a seed; 0 for two thirds of the neighbourhood, plus one.
    num_neighbors : int
        Clients that each one masks with; 0 for all up to 32 clients, then as many as keep the
        chance of a failed round below 1e-9.
    max_dropout_fraction : float
        The dropouts for which that number is chosen, in [0, 1).
    consistency_check : bool
        Survivors sign the survivor set before anything is opened; needs identities.
    identities : bool
        Adverts are signed, and checked against each node's own peers file.
    peers_file : str
        The peers file on the server, which then leaves out early what nodes would refuse.
    secrets_seconds : float
        Nodes delete an attempt's secrets so long after its last step.
    """

    codec: CodecConfig = field(default_factory=CodecConfig)
    min_survivors: int = 0
    max_colluding: int = 1
    threshold: int = 0
    num_neighbors: int = 0
    max_dropout_fraction: float = 0.1
    consistency_check: bool = False
    identities: bool = False
    peers_file: str = ""
    secrets_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("min_survivors", "max_colluding", "threshold", "num_neighbors"):
            value = getattr(self, name)
            require(value >= 0, f"aggregation.{name}={value}: must not be negative")
        require(
            self.min_survivors != 1,
            "aggregation.min_survivors=1: one client's sum is its update",
        )
        require(
            0 <= self.max_dropout_fraction < 1,
            f"aggregation.max_dropout_fraction={self.max_dropout_fraction}: must be in [0, 1)",
        )
        require(
            0 < self.secrets_seconds < float("inf"),
            f"aggregation.secrets_seconds={self.secrets_seconds}: must be above 0",
        )
        require(
            self.identities or not self.consistency_check,
            "aggregation.consistency_check=true: signatures need aggregation.identities=true",
        )


@dataclass
class PrivacyConfig:
    """What one contribution may reveal."""


@dataclass
class NoPrivacyConfig(PrivacyConfig):
    """No differential privacy: the model may reveal anything about a record."""


class OnClientFailure(Enum):
    """What a round does when a client fails but enough others answered."""

    proceed = "proceed"
    stop = "stop"


@dataclass
class RoundsConfig:
    """How a round treats its clients.

    Attributes
    ----------
    cohort_fraction : float
        Share of the connected clients that is drawn for a round, in (0, 1].
    min_clients : int
        The run waits until so many clients are connected.
    min_replies : int
        A round with fewer good replies changes nothing and is tried again.
    max_attempts : int
        So many attempts for one round, then the run stops (and can be resumed).
    on_client_failure : OnClientFailure
        ``proceed`` without a client that failed, or ``stop`` the run.
    deadline_seconds : float
        A trip goes on without the clients that have not answered by then.
    """

    cohort_fraction: float = 1.0
    min_clients: int = 2
    min_replies: int = 2
    max_attempts: int = 3
    on_client_failure: OnClientFailure = OnClientFailure.proceed
    deadline_seconds: float = 600.0

    def __post_init__(self) -> None:
        require(
            0 < self.cohort_fraction <= 1,
            f"rounds.cohort_fraction={self.cohort_fraction}: must be in (0, 1]",
        )
        require(
            0 < self.deadline_seconds < float("inf"),
            f"rounds.deadline_seconds={self.deadline_seconds}: must be above 0",
        )
        for name in ("min_clients", "min_replies", "max_attempts"):
            value = getattr(self, name)
            require(value >= 1, f"rounds.{name}={value}: must be at least 1")


@dataclass
class EarlyStoppingConfig:
    """Stop when the evaluation loss has stopped falling.

    Attributes
    ----------
    patience : int
        Stop after so many rounds without improvement; 0 for never.
    min_delta : float
        What counts as an improvement of the loss, at least 0.
    """

    patience: int = 0
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        require(
            self.patience >= 0, f"early_stopping.patience={self.patience}: must not be negative"
        )
        require(
            0 <= self.min_delta < float("inf"),
            f"early_stopping.min_delta={self.min_delta}: must be finite and not negative",
        )


@dataclass
class AppConfig:
    """Everything that server and clients agree on for one run.

    Attributes
    ----------
    num_rounds : int
        Rounds in all, those before a resume included.
    seed : int
        Public: initial model, simulated partition, held-out split.
    deterministic : bool
        Simulation only: batch order and cohorts follow the seed too, so that a run repeats.
    output_dir : str
        The run folder; empty for ``~/.tacet/runs/<run id>``.
    resume_from : str
        A run folder to continue.
    data_dir : str
        Simulation only: the data path of every node.
    simulation_nodes : str
        Simulation only: a YAML list with one node config for each client.
    """

    task: TaskConfig = MISSING
    algorithm: AlgorithmConfig = MISSING
    aggregation: AggregationConfig = MISSING
    privacy: PrivacyConfig = MISSING
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    num_rounds: int = 10
    seed: int = 0
    deterministic: bool = False
    output_dir: str = ""
    resume_from: str = ""
    data_dir: str = ""
    simulation_nodes: str = ""

    def __post_init__(self) -> None:
        require(self.num_rounds >= 1, f"num-rounds={self.num_rounds}: must be at least 1")
        require(0 <= self.seed < 2**63, f"seed={self.seed}: must be in [0, 2^63)")
        if isinstance(self.aggregation, SecAggConfig):
            seconds, deadline = self.aggregation.secrets_seconds, self.rounds.deadline_seconds
            require(
                seconds >= 2 * deadline,
                f"aggregation.secrets_seconds={seconds}: must be at least twice"
                f" rounds.deadline_seconds={deadline}, or a slow trip finds the secrets gone",
            )
        for name in ("output_dir", "resume_from", "data_dir", "simulation_nodes"):
            _require_absolute(name.replace("_", "-"), getattr(self, name))
        require(
            not (self.output_dir and self.resume_from),
            "a resumed run goes on in resume-from; leave output-dir empty",
        )


#: group -> option -> dataclass; the tasks come from their own registry.
GROUPS: dict[str, dict[str, type]] = {
    "algorithm": {
        "fedavg": FedAvgConfig,
        "fedprox": FedProxConfig,
        "fedavgm": FedAvgMConfig,
        "fedadam": FedAdamConfig,
        "fedyogi": FedYogiConfig,
    },
    "aggregation": {"plain": PlainConfig, "secagg": SecAggConfig},
    "privacy": {"none": NoPrivacyConfig},
}


def _require_absolute(key: str, path: str) -> None:
    """Refuse a relative path: the SuperLink's working directory is not the user's."""
    require(
        not path or path.startswith(("/", "~")) or PurePath(path).is_absolute(),
        f"{key}={path!r} is relative, but the SuperLink runs elsewhere; give an absolute path,"
        f' e.g. {key}="/path/to/{path}"',
    )


def _require_positive(name: str, value: float) -> None:
    require(0 < value < float("inf"), f"algorithm.{name}={value}: must be above 0")
