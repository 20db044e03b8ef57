"""The public numbers of a private run, checked together, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from privacy.mode import Mode, Place
from privacy.plan.release import Mechanism
from privacy.unit import Unit

#: What the papers use: conditional rounding accepts with probability at least 1 - beta.
BETA = exp(-0.5)
# An accountant's time grows with the steps; a node holds its ledger's lock meanwhile.
_MOST_STEPS = 10**7


_MECHANISMS = {
    Place.LOCAL: (Mechanism.GAUSSIAN, Mechanism.LAPLACE),
    Place.DISTRIBUTED: (Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN, Mechanism.SKELLAM),
    Place.CENTRAL: (Mechanism.GAUSSIAN,),
}


@dataclass(frozen=True, kw_only=True)
class PrivacyTerms:
    """The public numbers of a private run, the same on all nodes.

    Attributes
    ----------
    unit : Unit
        Whose presence is hidden.
    place : Place
        Where the noise is added.
    mechanism : Mechanism
        Which noise.
    epsilon : float or None
        What the whole run may spend, against the server and ``max_colluding`` participants;
        None if ``noise_multiplier`` is given.
    noise_multiplier : float or None
        Standard deviation of the noise over the clip norm (Laplace: its parameter over the
        clip norm); None to calibrate it to ``epsilon``.
    delta : float
        The delta of that epsilon.
    dimension : int
        Parameters of the model.
    population : int
        Nodes of the federation: the most contributions in one sum.
    cohort_fraction : float
        Chance of a node to be in a cohort.
    min_survivors, max_colluding : int
        T and c. With distributed noise, T - c honest shares make up the promised noise.
    min_cohort : int
        The fewest nodes of a cohort: where each is drawn by a coin of its own, smaller ones are
        drawn again before anybody is asked. At least ``min_survivors`` anyway.
    sampling_rate : float
        q of the records; 1 under the client unit.
    batch_size : float
        Records that one sum is expected to hold; unused under the client unit.
    num_rounds : int
        Rounds of the run.
    spare_attempts : int
        Attempts at rounds that may fail after nodes have charged, and are paid for as well.
    num_local_steps : int
        Steps of one contribution of ``example`` x ``local``; else 1.
    modulus_bits : int
        b.
    range_deviations : float
        The number of standard deviations of the rotated sum that fit the modulus.
    num_metrics : int
        Length of the released metric vector, the count included.
    metrics_bound : float
        Largest L2 norm of one unit's term in it, whose entries are within [0, 1].
    metrics_every : int
        Rounds between two releases of metrics; 0 for none.
    metrics_noise_multiplier : float
        Their noise's standard deviation over their sensitivity.
    clip_bit_noise : float
        Standard deviation of the noise on the sum of clip bits; 0 for a fixed clip norm.
    keep_fraction : float
        The share of a contribution's entries, rotated if they are, that is in a sum; in (0, 1].
    """

    unit: Unit
    place: Place
    mechanism: Mechanism
    epsilon: float | None
    noise_multiplier: float | None
    delta: float
    dimension: int
    population: int
    cohort_fraction: float
    min_survivors: int
    max_colluding: int
    sampling_rate: float
    batch_size: float
    num_rounds: int
    num_local_steps: int
    modulus_bits: int
    range_deviations: float
    spare_attempts: int = 0
    min_cohort: int = 0
    num_metrics: int = 0
    metrics_bound: float = 0.0
    metrics_every: int = 0
    metrics_noise_multiplier: float = 0.0
    clip_bit_noise: float = 0.0
    keep_fraction: float = 1.0

    def __post_init__(self) -> None:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError(
                f"epsilon={self.epsilon}, noise_multiplier={self.noise_multiplier}: give one"
            )
        if self.mechanism not in _MECHANISMS[self.place]:
            known = ", ".join(_MECHANISMS[self.place])
            raise ValueError(f"mechanism={self.mechanism}: {self.place} noise has {known}")
        if self.mechanism is Mechanism.LAPLACE and self.unit is Unit.EXAMPLE:
            raise ValueError("mechanism=laplace: it hides clients only; take gaussian")
        steps = self.num_updates * self.num_local_steps
        if steps > _MOST_STEPS:
            raise ValueError(
                f"{self.num_updates} rounds and spare attempts of {self.num_local_steps} steps:"
                f" more than {_MOST_STEPS:.0e} in all cannot be accounted for in time; lower"
                " num-rounds or privacy.spare_attempts"
            )
        distributed = self.place is Place.DISTRIBUTED
        if distributed and not 0 <= self.max_colluding < self.min_survivors:
            raise ValueError(
                f"min_survivors={self.min_survivors}, max_colluding={self.max_colluding}:"
                " distributed noise needs more survivors than colluders"
            )
        if self.min_survivors > self.population:
            raise ValueError(
                f"population={self.population} is under min_survivors={self.min_survivors}"
            )

    @property
    def mode(self) -> Mode:
        """Return unit and place together."""
        return Mode(self.unit, self.place)

    @property
    def num_updates(self) -> int:
        """The sums of updates that the run pays for: one a round, one a spare attempt."""
        return self.num_rounds + self.spare_attempts

    @property
    def num_metric_releases(self) -> int:
        """The releases of metrics that the run pays for: a spare attempt may need one each."""
        _, due = self.releases_from(1)
        return due + self.spare_attempts if self.metrics_every else 0

    def releases_from(self, server_round: int) -> tuple[int, int]:
        """Return the updates and metrics that a round and all after it release, if none fails.

        Parameters
        ----------
        server_round : int
            Counted from 1; one more than the last round for the last model's metrics alone.
        """
        updates = self.num_rounds - server_round + 1
        if not self.metrics_every:
            return updates, 0
        before = (server_round - 1) // self.metrics_every
        # And once at the end, for the last model.
        return updates, self.num_rounds // self.metrics_every - before + 1

    @property
    def num_shares(self) -> int:
        """The noise shares that are certain and unknown to the adversary: T - c, or 1."""
        if self.place is Place.DISTRIBUTED:
            return self.min_survivors - self.max_colluding
        return 1

    @property
    def is_summed(self) -> bool:
        """Whether a contribution is clipped and summed on the grid, not trained privately."""
        return not self.mode.trains_privately

    @property
    def bounds_l1(self) -> bool:
        """Whether the L1 norm of a contribution is bounded, not the L2 norm."""
        return self.mechanism is Mechanism.LAPLACE

    @property
    def is_rotated(self) -> bool:
        """Whether contributions are rotated: a rotation does not keep the L1 norm."""
        return self.is_summed and not self.bounds_l1

    @property
    def is_rounded_in_bounds(self) -> bool:
        """Whether rounding is repeated until the norm is small: for one vector a client."""
        return self.unit is Unit.CLIENT and self.is_rotated
