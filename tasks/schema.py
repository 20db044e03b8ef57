"""The configuration that all tasks share. Plain dataclasses: no torch, no Hydra."""

import re
from dataclasses import dataclass, field
from enum import Enum


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless the condition holds.

    The message names the key, the value and what would be right.
    """
    if not condition:
        raise ValueError(message)


def require_sha256(group: str, value: str, key: str, file: str) -> None:
    """Raise ``ValueError`` unless a value can be the SHA-256 of a file.

    Parameters
    ----------
    group : str
        The group of keys, of which ``sha256`` has the value.
    value : str
        64 hexadecimal digits, in small letters.
    key, file : str
        The key of the same group that names the file, and its value.
    """
    require(
        re.fullmatch("[0-9a-f]{64}", value) is not None,
        f"{group}.sha256={value!r}: give the SHA-256 of {group}.{key}, as `sha256sum {file}`"
        " prints it",
    )


class Optimizer(Enum):
    """The local optimiser."""

    sgd = "sgd"
    adam = "adam"


class Device(Enum):
    """Where neural models are trained and scored."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


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
    device : Device
        ``auto``: on a GPU where torch sees one, else on the CPU. ``cuda``: on a GPU, and a node
        without one refuses. See ``tasks.training.device``.
    """

    optimizer: Optimizer = Optimizer.sgd
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 32
    num_epochs: int = 1
    num_steps: int = 0
    device: Device = Device.auto

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
class AdaptersConfig:
    """Low-rank adapters on a trained model that stays as it is: ``tasks.training.adapters``.

    Attributes
    ----------
    rank : int
        Rows and columns of what is trained for each matrix of the base; 0 to train the model
        itself.
    base : str
        The file of the base's parameters on the server's machine and in a simulation: the
        ``model.safetensors`` of a run of this task. In a deployment each node names its own
        copy, as ``base-model`` in its node config.
    sha256 : str
        SHA-256 of that file in 64 hexadecimal digits, so that all have the same base.
    """

    rank: int = 0
    base: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        name = "task.adapters"
        require(self.rank >= 0, f"{name}.rank={self.rank}: must be 0 (no adapters) or above")
        for key, value in (("base", self.base), ("sha256", self.sha256)):
            require(
                bool(self.rank) or not value,
                f"{name}.{key}={value} has no effect with {name}.rank=0; give a rank, 64 say",
            )
        if not self.rank:
            return
        require(bool(self.base), f"{name}.base: give the model.safetensors that they stand on")
        require_sha256(name, self.sha256, "base", self.base)


@dataclass
class TaskConfig:
    """The part of a task's configuration that is the same for all tasks.

    Attributes
    ----------
    training : TrainingConfig
        Local training.
    adapters : AdaptersConfig
        Low-rank adapters in place of the whole model.
    personal : list of str
        Parameters that stay on each node, by name or by what names begin with up to a dot, as
        ``classifier``; the rest is shared. See ``tasks.training.personal``.
    partition : PartitionConfig
        How one data set is split over simulated clients.
    test_fraction : float
        Chance of each record to be held out for evaluation, in [0, 1).
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    adapters: AdaptersConfig = field(default_factory=AdaptersConfig)
    personal: list[str] = field(default_factory=list[str])
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        require(
            0 <= self.test_fraction < 1,
            f"task.test_fraction={self.test_fraction}: must be in [0, 1)",
        )
        given = f"task.personal=[{', '.join(self.personal)}]"
        require(
            len(set(self.personal)) == len(self.personal) and all(self.personal),
            f"{given}: give each name once, and none that is empty",
        )
        require(
            not (self.personal and self.adapters.rank),
            f"{given} with task.adapters.rank={self.adapters.rank}: adapters are exchanged, and"
            " their base stays as it is, so that nothing is left to be a node's own; take one"
            " of the two out",
        )

    def idle_keys(self) -> dict[str, str]:
        """Return the keys without effect beside the others' values, and why, with the mend."""
        return {}
