"""The description of what one contribution reveals, in public numbers.

The plan before a run, the calibration of its noise, the ledger of a node and the report of a
round all speak of the same ``Release``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from privacy.unit import Unit

#: Range of a standard deviation or scale that the samplers draw, in steps of the grid. Below,
#: the noise is always 0; above, it nears int64.
SMALLEST_SCALE = 2.0**-10
LARGEST_SCALE = 2.0**45


class Neighbours(StrEnum):
    """The neighbouring relation (privacy.md, section 1)."""

    ADD_OR_REMOVE = "add or remove one record"
    ZERO_OUT = "one client's contribution replaced by zero"
    REPLACE = "one client's contribution replaced by any other"


class Mechanism(StrEnum):
    """The noise. All of it is integer noise on a public grid.

    ``GAUSSIAN`` is the discrete Gaussian on a grid so fine that it is accounted for as the
    continuous one; ``DISTRIBUTED_DISCRETE_GAUSSIAN`` a sum of shares on any grid.
    """

    GAUSSIAN = "gaussian"
    LAPLACE = "laplace"
    SKELLAM = "skellam"
    DISTRIBUTED_DISCRETE_GAUSSIAN = "distributed_discrete_gaussian"


class ReleaseError(ValueError):
    """Sensitivities or noise that no release can have."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One noisy sum. Immutable and public; lengths are in steps of the grid.

    Attributes
    ----------
    unit : Unit
        Whose presence is hidden.
    neighbours : Neighbours
        The neighbouring relation that the sensitivities are for.
    mechanism : Mechanism
        The noise.
    l1_sensitivity, l2_sensitivity : float
        How far one unit can move the sum of integers.
    noise_scale : float
        Standard deviation of all of the noise that is promised; for Laplace its parameter b.
    num_shares : int
        Independent equal shares that the noise is made of, 1 unless it is distributed.
    dimension : int
        Length of the vector, padding included.
    sampling_rate : float
        Poisson sampling of the unit, unknown to the adversary; 1 for none. In (0, 1].
    num_steps : int
        The number of such sums that leave at once: local steps of one contribution.
    """

    unit: Unit
    neighbours: Neighbours
    mechanism: Mechanism
    l1_sensitivity: float
    l2_sensitivity: float
    noise_scale: float
    num_shares: int
    dimension: int
    sampling_rate: float = 1.0
    num_steps: int = 1

    def __post_init__(self) -> None:
        lengths = (self.l1_sensitivity, self.l2_sensitivity, self.noise_scale)
        if not all(0 < value < float("inf") for value in lengths):
            raise ReleaseError(f"{self}: sensitivities and noise must be finite and above 0")
        if min(self.num_shares, self.dimension, self.num_steps) < 1:
            raise ValueError(f"{self}: counts must be at least 1")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate={self.sampling_rate}: must be in (0, 1]")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {k: str(v) if isinstance(v, StrEnum) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Release:
        """Return the release that ``to_dict`` described.

        Raises
        ------
        ValueError
            If it is not one.
        """
        try:
            named: dict[str, Any] = {
                "unit": Unit(values["unit"]),
                "neighbours": Neighbours(values["neighbours"]),
                "mechanism": Mechanism(values["mechanism"]),
            }
            return cls(**(values | named))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a release: {error}") from None


#: Releases and how often each is made: what a run, or a part of one, reveals.
Schedule = Sequence[tuple[Release, int]]
