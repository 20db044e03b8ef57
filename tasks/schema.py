"""The configuration that all tasks share. Plain dataclasses: no torch, no Hydra."""

from dataclasses import dataclass, field
from enum import Enum


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless the condition holds.

    The message names the key, the value and what would be right.
    """
    if not condition:
        raise ValueError(message)


class Optimizer(Enum):
    """The local optimiser."""

    sgd = "sgd"
    adam = "adam"


class Scheme(Enum):
    """How one data set is split over simulated clients."""

    iid = "iid"
    dirichlet = "dirichlet"
    size_skew = "size_skew"
    natural = "natural"


@dataclass
class PartitionConfig:
    """How one data set is split over simulated clients.

    Attributes
    ----------
    scheme : Scheme
        ``iid``: equal random parts. ``dirichlet``: each class is spread by a Dirichlet draw, so
        labels are skewed (Yurochkin et al. 2019, arXiv 1905.12022, section 4). ``size_skew``:
        the sizes follow a Dirichlet draw, labels stay mixed. ``natural``: as the data set
        came, one client for each of its own groups.
    alpha : float
        Concentration of the Dirichlet draws, above 0; smaller is more skewed.
    min_examples : int
        No client gets fewer examples than this, at least 1.
    """

    scheme: Scheme = Scheme.iid
    alpha: float = 0.5
    min_examples: int = 10

    def __post_init__(self) -> None:
        name = "task.partition"
        require(0 < self.alpha < float("inf"), f"{name}.alpha={self.alpha}: must be above 0")
        require(
            self.min_examples >= 1,
            f"{name}.min_examples={self.min_examples}: must be at least 1",
        )


@dataclass
class TrainingConfig:
    """How a client trains in one round.

    Attributes
    ----------
    optimizer : Optimizer
        ``sgd`` or ``adam``, fresh in every round.
    learning_rate : float
        Step size, above 0.
    momentum : float
        SGD momentum in [0, 1).
    weight_decay : float
        L2 coefficient, at least 0.
    batch_size : int
        Examples a step, at least 1.
    num_epochs : int
        Passes over the local training part in one round. Ignored if ``num_steps`` is set.
    num_steps : int
        If above 0: steps in one round, the batches going on where an epoch ends.
    """

    optimizer: Optimizer = Optimizer.sgd
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 32
    num_epochs: int = 1
    num_steps: int = 0

    def __post_init__(self) -> None:
        name = "task.training"
        require(
            0 < self.learning_rate < float("inf"),
            f"{name}.learning_rate={self.learning_rate}: must be above 0",
        )
        require(0 <= self.momentum < 1, f"{name}.momentum={self.momentum}: must be in [0, 1)")
        require(
            0 <= self.weight_decay < float("inf"),
            f"{name}.weight_decay={self.weight_decay}: must be finite and not negative",
        )
        require(
            self.batch_size >= 1, f"{name}.batch_size={self.batch_size}: must be at least 1"
        )
        require(
            self.num_epochs >= 1, f"{name}.num_epochs={self.num_epochs}: must be at least 1"
        )
        require(
            self.num_steps >= 0,
            f"{name}.num_steps={self.num_steps}: must be 0 (count epochs) or above",
        )


@dataclass
class TaskConfig:
    """The part of a task's configuration that is the same for all tasks.

    Attributes
    ----------
    training : TrainingConfig
        Local training.
    partition : PartitionConfig
        How one data set is split over simulated clients.
    test_fraction : float
        Chance of each record to be held out for evaluation, in [0, 1).
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        require(
            0 <= self.test_fraction < 1,
            f"task.test_fraction={self.test_fraction}: must be in [0, 1)",
        )

    def idle_keys(self) -> dict[str, str]:
        """Return the keys without effect beside the others' values, and why, with the mend."""
        return {}
