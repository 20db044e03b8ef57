"""The typed configuration of a run. Each option of each group has its own dataclass.

A wrong value fails in ``__post_init__``, that is, when the configuration is composed and before
anything is sent. Tasks keep their own schema beside their code.
"""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath

from omegaconf import MISSING

from app.config.algorithm import (
    FedAdamConfig,
    FedAvgConfig,
    FedAvgMConfig,
    FedProxConfig,
    FedYogiConfig,
)
from app.config.privacy import MOST_NODES, PRIVACY, PrivacyConfig
from app.config.rules import (
    check_one_step,
    check_personal,
    check_privacy,
    check_same_cohort,
    check_spread,
)
from app.config.tracking import TRACKING, TrackingConfig
from app.config.workload import (
    check_initial_model,
    check_workload,
    exact_workload,
    workload_name,
)
from strategies.aggregation import AggregationConfig
from strategies.registry import AGGREGATIONS
from strategies.rounds.synchronisation import Delta
from tasks.schema import TaskConfig, require
from workloads.base import WorkloadConfig
from workloads.early_stopping import EarlyStoppedConfig
from workloads.registry import WORKLOADS


class OnClientFailure(Enum):
    """What a round does when a client fails but enough others answered."""

    proceed = "proceed"
    stop = "stop"


class Synchronisation(Enum):
    """What a node is sent of a model when it holds the last one."""

    full = "full"
    incremental = "incremental"


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
    max_silent : int
        A client that gave no answer in so many attempts in a row is left out until it is
        started again or comes back online.
    on_client_failure : OnClientFailure
        ``proceed`` without a client that failed, or ``stop`` the run.
    deadline_seconds : float
        A trip goes on without the clients that have not answered by then, or earlier once
        enough have: after four times the slowest answer so far, though not before a minute.
    participant_spread : bool
        Whether the participants' own accuracies are counted in bins, so that the worst tenth
        is known. Without privacy each node's policy must list ``spread`` under ``exact``.
    synchronisation : Synchronisation
        ``full``: each node is sent the whole model each time. ``incremental``: one that holds
        the last model, as it answered to that, is sent what has changed.
    delta : Delta
        ``exact``: the change bit for bit, compressed. ``int8``: the server rounds its step at
        random to 255 values an array, without bias, and sends eight bits a number.
    """

    cohort_fraction: float = 1.0
    min_clients: int = 2
    min_replies: int = 2
    max_attempts: int = 3
    max_silent: int = 3
    on_client_failure: OnClientFailure = OnClientFailure.proceed
    deadline_seconds: float = 600.0
    participant_spread: bool = False
    synchronisation: Synchronisation = Synchronisation.full
    delta: Delta = Delta.exact

    def __post_init__(self) -> None:
        require(
            0 < self.cohort_fraction <= 1,
            f"rounds.cohort_fraction={self.cohort_fraction}: must be in (0, 1]",
        )
        require(
            0 < self.deadline_seconds < float("inf"),
            f"rounds.deadline_seconds={self.deadline_seconds}: must be above 0",
        )
        for name in ("min_clients", "min_replies", "max_attempts", "max_silent"):
            value = getattr(self, name)
            require(value >= 1, f"rounds.{name}={value}: must be at least 1")
        for name in ("min_clients", "min_replies"):
            value = getattr(self, name)
            require(value <= MOST_NODES, f"rounds.{name}={value}: must be at most {MOST_NODES}")

    @property
    def is_incremental(self) -> bool:
        """Return whether a node is sent what has changed of a model that it holds."""
        return self.synchronisation is Synchronisation.incremental


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


# Compared and hashed by identity, so that a cache may have a configuration for its key.
@dataclass(eq=False)
class AppConfig:
    """Everything that server and clients agree on for one run.

    Attributes
    ----------
    num_rounds : int
        Rounds in all, those before a resume included; no more than the workload has use for.
    seed : int
        Public: initial model, simulated partition, held-out split.
    deterministic : bool
        Simulation only: batch order and cohorts follow the seed too, so that a run repeats.
    output_dir : str
        The run folder; empty for ``~/.tacet/runs/<run id>``.
    resume_from : str
        A run folder to continue.
    initial_model : str
        The folder of another run, or of a registry's entry: the run begins with its model.
    data_dir : str
        Simulation only: the data path of every node.
    simulation_nodes : str
        Simulation only: a YAML list with one node config for each client.
    """

    task: TaskConfig = MISSING
    algorithm: WorkloadConfig = MISSING
    aggregation: AggregationConfig = MISSING
    privacy: PrivacyConfig = MISSING
    tracking: TrackingConfig = MISSING
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    num_rounds: int = 10
    seed: int = 0
    deterministic: bool = False
    output_dir: str = ""
    resume_from: str = ""
    initial_model: str = ""
    data_dir: str = ""
    simulation_nodes: str = ""

    def __post_init__(self) -> None:
        require(self.num_rounds >= 1, f"num-rounds={self.num_rounds}: must be at least 1")
        require(0 <= self.seed < 2**63, f"seed={self.seed}: must be in [0, 2^63)")
        self.aggregation.check_deadline(self.rounds.deadline_seconds)
        stepped = self.privacy.stepped
        self.algorithm.settle(
            self.privacy.mode,
            self.num_rounds,
            is_settled=stepped is not None and stepped.learning_rate is None,
        )
        most = WORKLOADS[workload_name(self.algorithm)].most_rounds
        self.num_rounds = min(self.num_rounds, most or self.num_rounds)
        require(
            self.average_from <= self.num_rounds,
            f"algorithm.average_from={self.average_from}: must be one of the"
            f" num-rounds={self.num_rounds}, or 0",
        )
        check_workload(self.algorithm, self.privacy, self.task.training)
        self._check_early_stopping()
        check_privacy(self.privacy, self.aggregation, self._waits_for_loss)
        check_personal(self.task.personal, self.privacy)
        if self.rounds.participant_spread:
            check_spread(self.privacy, self.aggregation, self.rounds.min_replies)
        check_same_cohort(
            self.aggregation, self.rounds.cohort_fraction, self.num_rounds, self._exact
        )
        check_one_step(self.algorithm, self.privacy, self.task.training)
        held_out = self.task.test_fraction or "test_fraction" in self.task.idle_keys()
        require(
            bool(held_out) or not self._waits_for_loss,
            f"{self._waits_for_loss}: test_fraction=0 holds no records out, so there is no loss"
            " to look at; raise it, or take this out",
        )
        private = self.privacy.private
        require(
            bool(held_out) or private is None or not private.metrics.every,
            "privacy.metrics.every: task.test_fraction=0 holds no records out, and each node"
            " would pay for scores of nobody; raise it, or take privacy.metrics.every=0",
        )
        for name in (
            "output_dir",
            "resume_from",
            "initial_model",
            "data_dir",
            "simulation_nodes",
        ):
            _require_absolute(name.replace("_", "-"), getattr(self, name))
        require(
            not (self.output_dir and self.resume_from),
            "a resumed run goes on in resume-from; leave output-dir empty",
        )
        if self.initial_model:
            check_initial_model(self.initial_model, self.resume_from, self.algorithm)

    @property
    def _waits_for_loss(self) -> str:
        """The key that ends the run by a held-out loss, and its value; empty if none does."""
        if isinstance(self.algorithm, EarlyStoppedConfig):
            rounds = self.algorithm.early_stopping_rounds
            return f"algorithm.early_stopping_rounds={rounds}" if rounds else ""
        patience = self.early_stopping.patience
        return f"early_stopping.patience={patience}" if patience else ""

    def _check_early_stopping(self) -> None:
        """Refuse the key of neural models where the algorithm has one of its own."""
        patience = self.early_stopping.patience
        require(
            not (patience and isinstance(self.algorithm, EarlyStoppedConfig)),
            f"early_stopping.patience={patience}: {workload_name(self.algorithm)} counts"
            " iterations and leaves the best model; give"
            f" algorithm.early_stopping_rounds={patience} instead",
        )

    @property
    def _exact(self) -> str:
        """Return what of the run a node opens over groups of nodes only; empty for nothing."""
        if self.rounds.participant_spread and self.privacy.mode is None:
            return "rounds.participant_spread=true"
        found = exact_workload(self.algorithm, self.privacy)
        return f"algorithm={found}" if found else ""

    @property
    def has_own_parts(self) -> bool:
        """Return whether a part of the model stays on each node."""
        return bool(self.task.personal) and WORKLOADS[workload_name(self.algorithm)].has_model

    @property
    def average_from(self) -> int:
        """The round from which models are averaged; 0 for none."""
        return getattr(self.algorithm, "average_from", None) or 0


#: group -> option -> dataclass; the tasks come from their own registry.
GROUPS: dict[str, dict[str, type]] = {
    "algorithm": {
        "fedavg": FedAvgConfig,
        "fedprox": FedProxConfig,
        "fedavgm": FedAvgMConfig,
        "fedadam": FedAdamConfig,
        "fedyogi": FedYogiConfig,
        **{name: cls.Config for name, cls in WORKLOADS.items() if cls.Config is not None},
    },
    "aggregation": {name: one.config for name, one in AGGREGATIONS.items()},
    "privacy": PRIVACY,
    "tracking": TRACKING,
}


def _require_absolute(key: str, path: str) -> None:
    """Refuse a relative path: the SuperLink's working directory is not the user's."""
    require(
        not path or path.startswith(("/", "~")) or PurePath(path).is_absolute(),
        f"{key}={path!r} is relative, but the SuperLink runs elsewhere; give an absolute path,"
        f' e.g. {key}="/path/to/{path}"',
    )
