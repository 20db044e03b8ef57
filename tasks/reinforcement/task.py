"""The base of the tasks that learn a policy in an environment of gymnasium."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privacy.unit import Unit
from tasks.base import DataSource, Inspection, Task, inspected
from tasks.records import DataError, Examples, LocalData
from tasks.reinforcement.physics import drawn_physics, read_physics
from tasks.reinforcement.schema import PolicyConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.reinforcement.episodes import SideBySide

# Beside the run's seed: where episodes begin.
_STREAM = 8102
_SEEDS = 2**31


class PolicyTask(Task):
    """A policy that is learnt by proximal policy optimisation (Schulman et al. 2017).

    arXiv 1707.06347, with one model for policy and foretold return. A node has no records but
    an environment, whose physics is its own. What stands for a record is an episode to be
    played: its inputs are what is seen first, and its columns are the physics and the seed of
    where it begins. In a round the node takes steps with the policy as it came; these are what
    its model is trained on, by the loss below (``experience``). To score a policy it plays the
    held-out episodes, always by the likeliest action: the metric ``episode_return`` is their
    return as a share, from the least possible (0) to the most possible (1), and the loss that
    is told of them is 1 minus that.
    """

    Config = PolicyConfig
    config: PolicyConfig
    metric = "episode_return"
    is_shared = False
    is_split = False
    #: The environment's name in gymnasium.
    environment: ClassVar[str]
    #: What is different from node to node: each quantity's usual value, by name.
    usual: ClassVar[Mapping[str, float]]
    #: What observations are divided by, from public knowledge.
    scales: ClassVar[tuple[float, ...]]
    #: How many actions there are.
    num_actions: ClassVar[int]
    #: The least and the most that an episode can return.
    returns: ClassVar[tuple[float, float]]

    @abstractmethod
    def set_physics(self, environment: Any, physics: Mapping[str, float]) -> None:
        """Give an environment of gymnasium, without wrappers, its physics."""

    def load(self, source: DataSource) -> LocalData:
        """Return the episodes of this node: first those to train in, then those to score by.

        Raises
        ------
        DataError
            If the file of its physics is wrong, or it has none and is no node of a trial.
        """
        config = self.config
        count = config.num_environments + config.num_test_episodes
        rng = np.random.default_rng([_STREAM, self.seed, source.partition_id])
        seeds = rng.choice(_SEEDS, count, replace=False)
        columns = _episodes(self._physics(source), seeds)
        inputs = self._played(columns).begin(seeds.tolist())
        # Nothing is done yet that could have been good or bad.
        episodes = Examples(inputs, np.zeros((count, 4), np.float32), columns)
        places = np.arange(count)
        return LocalData(
            episodes.take(places[: config.num_environments]),
            episodes.take(places[config.num_environments :]),
        )

    def inspect(self, source: DataSource) -> Inspection:
        """Return the physics, and how many episodes are played in it."""
        try:
            physics, data = self._physics(source), self.load(source)
        except DataError as error:
            return Inspection(objection=str(error))
        lines = (f"{name}: {value:g}" for name, value in physics.items())
        return inspected((f"{self.environment}, an environment with", *lines), data)

    def _physics(self, source: DataSource) -> dict[str, float]:
        if source.data_path is not None:
            file = source.require_data_path("a YAML file of the environment's physics")
            return read_physics(file, self.usual, self.config.most_factor)
        if source.num_partitions == 1:
            raise DataError(
                "this node has no data-path: give a YAML file of its environment's physics,"
                f" such as '{next(iter(self.usual))}: {next(iter(self.usual.values())):g}', in"
                " --node-config; or, in a trial, partition-id and num-partitions, by which one"
                " is drawn"
            )
        return drawn_physics(self.usual, self.config.variation, self.seed, source.partition_id)

    def _played(self, columns: NDArray[np.float64]) -> SideBySide:
        """Return the environments of episodes, given as their columns."""
        from tasks.reinforcement.episodes import SideBySide

        made: list[Any] = []
        for row in columns.tolist():
            environment = make_environment(self.environment)
            # The last column is the seed.
            self.set_physics(environment.unwrapped, dict(zip(self.usual, row, strict=False)))
            made.append(environment)
        return SideBySide(made, np.array(self.scales, np.float32))

    def experience(
        self, model: nn.Module, examples: Examples, rng: np.random.Generator
    ) -> Examples:
        """Take a round's steps with the policy as it came; see ``SideBySide.steps``."""
        from tasks.reinforcement.episodes import Learning

        num_steps = max(1, self.config.num_env_steps // len(examples))
        learning = Learning(self.config.discount, self.config.trace)
        return self._played(_columns(examples)).steps(model, num_steps, learning, rng)

    def score(
        self, model: nn.Module, examples: Examples
    ) -> tuple[Tensor, Mapping[str, Tensor], Tensor]:
        """Play each episode; return 1 minus its share of the return, that, and that again."""
        import torch

        columns, (least, most) = _columns(examples), self.returns
        found = self._played(columns).returns(model, columns[:, -1].astype(int).tolist())
        shares = torch.from_numpy((found - least) / (most - least))
        return 1 - shares, {self.metric: shares}, shares.unsqueeze(1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return how many numbers are seen of a state."""
        return (len(self.scales),)

    def made_up_targets(self, num_records: int) -> NDArray[np.float32]:
        """Return actions in turn, good and bad ones, all of them as likely before."""
        actions = np.arange(num_records) % self.num_actions
        advantages = np.where(np.arange(num_records) % 4 < 2, 1.0, -1.0)
        returns = np.linspace(-1, 1, num_records)
        logs = np.full(num_records, -np.log(self.num_actions))
        return np.stack([actions, advantages, returns, logs], axis=1).astype(np.float32)

    def made_up(self, num_records: int) -> Examples:
        """Return steps of nobody, which begin episodes in the usual physics."""
        columns = _episodes(self.usual, np.arange(num_records))
        inputs, targets = self.made_up_inputs(num_records), self.made_up_targets(num_records)
        return Examples(inputs, targets, columns)

    def build_model(self) -> nn.Module:
        """Return two hidden layers, and an output for each action and for the return."""
        from tasks.models import policy

        return policy(len(self.scales), self.num_actions, self.config.width)

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each step's clipped loss, shape (n,): arXiv 1707.06347, equations 7 and 9."""
        import torch

        config, logs = self.config, torch.log_softmax(outputs[:, :-1], dim=1)
        actions, advantages, returns, before = targets.unbind(1)
        now = logs.gather(1, actions.long().unsqueeze(1)).squeeze(1)
        ratio = (now - before).exp()
        near = ratio.clamp(1 - config.clip_ratio, 1 + config.clip_ratio)
        gain = torch.minimum(ratio * advantages, near * advantages)
        error = (outputs[:, -1] - returns).square()
        entropy = -(logs.exp() * logs).sum(dim=1)
        return config.value_weight * error - gain - config.entropy_weight * entropy

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the metric of played episodes, whose outputs ``score`` gives."""
        return {self.metric: outputs.squeeze(1)}

    def check_private(self, unit: Unit) -> None:
        """Refuse to protect records, of which there are none.

        Raises
        ------
        ValueError
            With the mend.
        """
        if unit is Unit.EXAMPLE:
            raise ValueError(
                f"a node of {self.environment} has an environment and no records, so there is"
                " none to protect by itself; take a privacy of unit client, client_distributed"
                " say, which hides the whole node"
            )


def make_environment(name: str) -> Any:
    """Return an environment of gymnasium, cut off after its usual number of steps.

    Raises
    ------
    DataError
        If gymnasium is not installed.
    """
    try:
        import gymnasium
    except ImportError:
        raise DataError(
            f"{name} needs the package gymnasium, which is not installed here; install it with:"
            " pip install 'gymnasium>=1.0,<2' (it is Tacet's extra `rl`)"
        ) from None
    return gymnasium.make(name, disable_env_checker=True)


def _episodes(physics: Mapping[str, float], seeds: NDArray[Any]) -> NDArray[np.float64]:
    """Return the columns of episodes in one physics: its quantities, and each one's seed."""
    columns = np.empty((len(seeds), len(physics) + 1))
    columns[:, :-1], columns[:, -1] = [*physics.values()], seeds
    return columns


def _columns(examples: Examples) -> NDArray[np.float64]:
    if examples.columns is None:
        raise DataError("these records are no episodes: they have no physics and no seed")
    return examples.columns
