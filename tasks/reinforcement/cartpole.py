"""A pole on a cart that is pushed left or right, and must stay upright for 500 steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tasks.reinforcement.schema import PolicyConfig
from tasks.reinforcement.task import PolicyTask


@dataclass
class CartPoleConfig(PolicyConfig):
    """The keys of every policy."""


class CartPole(PolicyTask):
    """gymnasium's CartPole-v1 (Barto, Sutton and Anderson 1983), 1 for each step."""

    Config = CartPoleConfig
    environment = "CartPole-v1"
    usual: ClassVar[Mapping[str, float]] = {
        "gravity": 9.8,
        "cart_mass": 1.0,
        "pole_mass": 0.1,
        # Half the pole's, as in gymnasium.
        "length": 0.5,
        "force": 10.0,
    }
    # Where an episode ends, of place and angle; and speeds that a good policy keeps to.
    scales = (2.4, 3.0, 0.21, 3.0)
    num_actions = 2
    returns = (0.0, 500.0)

    def set_physics(self, environment: Any, physics: Mapping[str, float]) -> None:
        """Set gravity, masses, half the pole's length and the force of a push."""
        environment.gravity = physics["gravity"]
        environment.masscart, environment.masspole = physics["cart_mass"], physics["pole_mass"]
        environment.length, environment.force_mag = physics["length"], physics["force"]
        # gymnasium keeps what follows from these beside them.
        environment.total_mass = environment.masscart + environment.masspole
        environment.polemass_length = environment.masspole * environment.length
