"""The configuration of the tasks that learn a policy: how it is played, and learnt from."""

from dataclasses import dataclass
from typing import ClassVar

from tasks.schema import TaskConfig, require

#: A round of more would last for hours, or not fit into a node's memory: the server chooses.
_MOST = {
    "num_env_steps": 1_000_000,
    "num_environments": 1_000,
    "num_test_episodes": 10_000,
    "width": 4_096,
}


@dataclass
class PolicyConfig(TaskConfig):
    """The keys of a policy's training. ``training`` says how the steps of a round are learnt.

    ``partition`` and ``test_fraction`` are not used: a node has an environment, and no records.

    Attributes
    ----------
    num_env_steps : int
        Steps of the environment that a node takes in a round, with the policy as it came; at
        most 1,000,000.
    num_environments : int
        Copies of the environment that take them side by side, from 1 to 1,000: the node's
        training records. Each begins anew in every round.
    num_test_episodes : int
        Episodes that the policy is scored by, from 1 to 10,000: the node's held-out records.
    variation : float
        The physics of a node without a file of its own is drawn between the usual values
        over this and times this, from 1 (the usual physics) to ``most_factor``.
    discount : float
        Of a reward, a step later, in [0, 1).
    trace : float
        Lambda of the advantages' estimate, in [0, 1].
    clip_ratio : float
        How far a step of training gains by making an action more or less likely, above 0.
    value_weight : float
        Of the squared error of the foretold return, at least 0.
    entropy_weight : float
        Of the policy's entropy, at least 0.
    width : int
        Of the two hidden layers, from 1 to 4,096.
    """

    #: A quantity is at most so many times its usual value, and at least one such part of it.
    most_factor: ClassVar[float] = 10.0

    num_env_steps: int = 2048
    num_environments: int = 4
    num_test_episodes: int = 20
    variation: float = 2.0
    discount: float = 0.99
    trace: float = 0.95
    clip_ratio: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_environments", "num_test_episodes", "width"):
            value = getattr(self, name)
            require(value >= 1, f"task.{name}={value}: must be at least 1")
        for name, most in _MOST.items():
            value = getattr(self, name)
            require(value <= most, f"task.{name}={value}: must be at most {most}")
        require(
            self.num_env_steps >= self.num_environments,
            f"task.num_env_steps={self.num_env_steps}: must be at least"
            f" task.num_environments={self.num_environments}, which share them",
        )
        require(
            1 <= self.variation <= self.most_factor,
            f"task.variation={self.variation}: must be in [1, {self.most_factor:g}]; 1 is the"
            " usual physics",
        )
        require(0 <= self.discount < 1, f"task.discount={self.discount}: must be in [0, 1)")
        require(0 <= self.trace <= 1, f"task.trace={self.trace}: must be in [0, 1]")
        require(
            0 < self.clip_ratio < float("inf"),
            f"task.clip_ratio={self.clip_ratio}: must be above 0, 0.2 say",
        )
        for name in ("value_weight", "entropy_weight"):
            value = getattr(self, name)
            require(
                0 <= value < float("inf"),
                f"task.{name}={value}: must be finite and not negative",
            )

    def idle_keys(self) -> dict[str, str]:
        """Return ``test_fraction``."""
        return {
            "test_fraction": "an environment has no records to hold out; give"
            " task.num_test_episodes"
        }
