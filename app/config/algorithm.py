"""The typed configuration of the algorithms: how the server turns a mean into a model."""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from privacy.mode import Mode
from tasks.schema import require
from workloads.base import WorkloadConfig


class NeuralWorkload(Enum):
    """What the nodes of a neural model sum."""

    auto = "auto"
    model_update = "model_update"
    gradient_sum = "gradient_sum"


@dataclass
class AlgorithmConfig(WorkloadConfig):
    """How the server turns a mean of updates, or a sum of gradients, into the next model.

    Attributes
    ----------
    workload : NeuralWorkload
        What is summed: ``model_update`` (each node trains, updates are averaged) or
        ``gradient_sum`` (one step of DP-SGD over all nodes' records). ``auto`` takes the
        gradient sum under ``example_distributed`` and ``example_central``, else the update.
    average_from : int
        The run gives the mean of the models from this round on, which is steadier under noise;
        0 for the last model. Not given: the second half of the rounds for a gradient sum,
        whose every step has noise, and for updates whose step is settled from the noise;
        else 0.
    """

    workload: NeuralWorkload = NeuralWorkload.auto
    average_from: int | None = None

    def __post_init__(self) -> None:
        require(
            self.average_from is None or self.average_from >= 0,
            f"algorithm.average_from={self.average_from}: must be a round, or 0",
        )

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace ``auto`` and what is not given by what it stands for."""
        if self.workload is NeuralWorkload.auto:
            summed = mode is not None and mode.sums_gradients
            self.workload = (
                NeuralWorkload.gradient_sum if summed else NeuralWorkload.model_update
            )
        if self.average_from is None:
            averages = is_settled or self.workload is NeuralWorkload.gradient_sum
            self.average_from = num_rounds // 2 + 1 if averages else 0

    #: Whether a step goes as far as it is long, and not as far as the optimiser finds fit.
    steps_by_length: ClassVar[bool] = True
    #: Whether the next model is the last one plus the mean, and nothing of earlier rounds.
    steps_by_mean: ClassVar[bool] = False

    def settled_step(self, step: float, num_rounds: int) -> float:
        """Return the step with which so many rounds go as far as with ``step`` alone."""
        return step


@dataclass
class FedAvgConfig(AlgorithmConfig):
    """The mean itself (McMahan et al. 2017, arXiv 1602.05629)."""

    steps_by_mean = True


@dataclass
class FedProxConfig(AlgorithmConfig):
    """FedAvg with a proximal term on the clients (Li et al. 2020, arXiv 1812.06127)."""

    steps_by_mean = True

    proximal_mu: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.proximal_mu > 0,
            f"algorithm.proximal_mu={self.proximal_mu}: must be above 0 (0 is fedavg)",
        )

    def check_one_step(self, why: str) -> None:
        """Refuse: the term pulls towards where the one step begins, so it is 0 there."""
        raise ValueError(
            f"algorithm=fedprox: {why}, and its term is 0 in the first one of a round; take"
            " fedavg, fedavgm, fedadam or fedyogi"
        )


@dataclass
class FedAvgMConfig(AlgorithmConfig):
    """Server momentum (Hsu et al. 2019, arXiv 1909.06335)."""

    server_learning_rate: float = 1.0
    server_momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive("server_learning_rate", self.server_learning_rate)
        require(
            0 < self.server_momentum < 1,
            f"algorithm.server_momentum={self.server_momentum}: must be in (0, 1)",
        )

    def settled_step(self, step: float, num_rounds: int) -> float:
        """Return less: momentum repeats each step, in so many rounds as are left."""
        gain = momentum_gain(self.server_momentum, num_rounds)
        return step / (gain * self.server_learning_rate)


@dataclass
class AdaptiveConfig(AlgorithmConfig):
    """Adaptive server optimisers (Reddi et al. 2021, arXiv 2003.00295), as Flower has them.

    Flower's FedAdam corrects the bias of the first rounds (Kingma and Ba 2015).
    """

    steps_by_length = False

    server_learning_rate: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
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


def momentum_gain(momentum: float, num_steps: int) -> float:
    """Return how much farther so many steps go with momentum, which begins at 0.

    1 / (1 - momentum) in the end, and far less in few steps. Added up, for the closed form is
    no number any more where momentum is next to 1.
    """
    velocity = moved = 0.0
    for _ in range(num_steps):
        velocity = momentum * velocity + 1
        moved += velocity
    return moved / num_steps


def _require_positive(name: str, value: float) -> None:
    require(0 < value < float("inf"), f"algorithm.{name}={value}: must be above 0")
