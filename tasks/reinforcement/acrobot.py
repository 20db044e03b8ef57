"""Two links that hang, driven at the joint between them, and must swing up within 500 steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tasks.reinforcement.schema import PolicyConfig
from tasks.reinforcement.task import PolicyTask


@dataclass
class AcrobotConfig(PolicyConfig):
    """The keys of every policy, with defaults of its own."""

    num_env_steps: int = 4096
    num_environments: int = 8
    variation: float = 1.25
    entropy_weight: float = 0.01
    #: Beyond, links may turn so fast that gymnasium, whose steps are of 0.2 s, counts their
    #: turns for seconds in each.
    most_factor: ClassVar[float] = 3.0


class Acrobot(PolicyTask):
    """gymnasium's Acrobot-v1 (Sutton 1996), a reward of -1 for each step until it is up.

    How high its end is, gymnasium counts by the angles alone, as if links had the length 1.
    """

    Config = AcrobotConfig
    environment = "Acrobot-v1"
    usual: ClassVar[Mapping[str, float]] = {
        "length_1": 1.0,
        "length_2": 1.0,
        "mass_1": 1.0,
        "mass_2": 1.0,
        "torque": 1.0,
    }
    # Sines and cosines, and a third of the most that either joint turns at.
    scales = (1.0, 1.0, 1.0, 1.0, 4.0, 9.0)
    num_actions = 3
    returns = (-500.0, 0.0)

    def set_physics(self, environment: Any, physics: Mapping[str, float]) -> None:
        """Set lengths, with the centres in their middles, masses and the torque."""
        environment.LINK_LENGTH_1 = physics["length_1"]
        environment.LINK_LENGTH_2 = physics["length_2"]
        environment.LINK_COM_POS_1 = physics["length_1"] / 2
        environment.LINK_COM_POS_2 = physics["length_2"] / 2
        environment.LINK_MASS_1 = physics["mass_1"]
        environment.LINK_MASS_2 = physics["mass_2"]
        torque = physics["torque"]
        environment.AVAIL_TORQUE = [-torque, 0.0, torque]
