"""The configuration of a GAN: how its two networks play."""

from dataclasses import dataclass
from math import isfinite

from privacy.mode import Mode
from tasks.schema import require
from workloads.base import WorkloadConfig


@dataclass
class GanConfig(WorkloadConfig):
    """How discriminator and generator play against each other.

    Attributes
    ----------
    sampling_rate : float, optional
        Without privacy: the chance of each record to count in a round. Not given: 1, all
        records. Under privacy it is ``privacy.sampling_rate``, and this is refused.
    discriminator_learning_rate, generator_learning_rate : float
        Of Adam, on the server.
    generator_steps : int
        Steps of the generator after each round's one step of the discriminator.
    made_up_batch : int
        Images that the server makes up for each step.
    diversity : float
        Weight of what keeps the images of a class from being alike; 0 for none.
    latent_size : int
        Random numbers that the generator makes an image of.
    """

    sampling_rate: float | None = None
    discriminator_learning_rate: float = 0.02
    generator_learning_rate: float = 0.001
    generator_steps: int = 2
    made_up_batch: int = 200
    diversity: float = 0.1
    latent_size: int = 16

    def __post_init__(self) -> None:
        name, rate = "algorithm", self.sampling_rate
        require(
            rate is None or 0 < rate <= 1,
            f"{name}.sampling_rate={rate}: must be in (0, 1]",
        )
        for key in ("discriminator_learning_rate", "generator_learning_rate"):
            value = getattr(self, key)
            require(
                isfinite(value) and value > 0, f"{name}.{key}={value}: must be finite, above 0"
            )
        for key, most in (("generator_steps", 100), ("made_up_batch", 10_000)):
            value = getattr(self, key)
            require(1 <= value <= most, f"{name}.{key}={value}: must be from 1 to {most}")
        require(
            0 <= self.diversity < float("inf"),
            f"{name}.diversity={self.diversity}: must be finite, at least 0",
        )
        require(
            1 <= self.latent_size <= 1024,
            f"{name}.latent_size={self.latent_size}: must be from 1 to 1024",
        )

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Count all records where nothing is given; refuse a second rate under privacy."""
        if mode is None:
            self.sampling_rate = self.sampling_rate or 1.0
            return
        require(
            self.sampling_rate is None,
            f"algorithm.sampling_rate={self.sampling_rate}: under privacy each record is drawn"
            " by privacy.sampling_rate; take this out",
        )
