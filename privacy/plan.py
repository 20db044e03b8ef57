"""From the terms of a run to its noise, its grid and what every contribution costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2, sqrt

from privacy.calibration import calibrate
from privacy.calibrations import Calibrations
from privacy.modulus import grid_step
from privacy.release import Mechanism, Neighbours, Release, Schedule, Unit
from privacy.rotation import block_size, padded_dimension
from privacy.sensitivity import dithered_l2, rounded_l1, rounded_l2
from privacy.terms import BETA, Place, PrivacyTerms

#: Scalars are integers in steps of 2^-30.
SCALAR_ONE = 2**30
# Steps of the grid in one standard deviation: more would not fit the samplers' integers.
_FINEST = 2.0**34
# The server's noise has so many at least, and is then accounted for as continuous.
_CENTRAL_FINENESS = 30


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """The noise of a run and what it reveals. Everything in it is public.

    Lengths are in clip norms: an update is divided by the clip norm before it is rounded, so
    that an adaptive clip norm changes neither the integers' noise nor what they cost.

    Attributes
    ----------
    terms : PrivacyTerms
        What was asked.
    noise_multiplier : float
        Standard deviation of the promised noise; Laplace's b.
    """

    terms: PrivacyTerms
    noise_multiplier: float

    @property
    def padded_dimension(self) -> int:
        """Entries of a contribution on the wire."""
        terms = self.terms
        return padded_dimension(terms.dimension) if terms.is_rotated else terms.dimension

    @property
    def block(self) -> int:
        """Entries over which a rotation spreads a vector's length; 1 without."""
        return block_size(self.terms.dimension) if self.terms.is_rotated else 1

    @property
    def signal_norm(self) -> float:
        """A bound on the length of the sum: all records or clients pulling one way."""
        terms = self.terms
        if terms.unit is Unit.CLIENT:
            return float(terms.population)
        sampled = terms.sampling_rate < 1
        # Six standard deviations of the Poisson sample's size.
        return terms.batch_size + (6 * sqrt(terms.batch_size) if sampled else 0.0)

    @property
    def share_deviation(self) -> float:
        """Standard deviation of one node's noise; 0 if the server adds it."""
        terms = self.terms
        if terms.place is Place.CENTRAL:
            return 0.0
        # Laplace's standard deviation is b times the root of 2.
        root = sqrt(2) if terms.mechanism is Mechanism.LAPLACE else 1.0
        return root * self.noise_multiplier / sqrt(terms.num_shares)

    @property
    def step(self) -> float:
        """The step of the grid.

        Raises
        ------
        ValueError
            If the sum does not fit the modulus with any step.
        """
        terms = self.terms
        if not terms.is_summed:
            return self.noise_multiplier / _FINEST
        widest = grid_step(
            modulus_bits=terms.modulus_bits,
            deviations=terms.range_deviations,
            signal_norm=self.signal_norm,
            block=self.block,
            num_contributions=terms.population,
            share_deviation=self.share_deviation,
        )
        return max(widest, self.noise_multiplier / _FINEST)

    @property
    def refinement(self) -> int:
        """By how much the grid of the server's noise is finer than that of the sum."""
        if self.terms.place is not Place.CENTRAL:
            return 1
        missing = _CENTRAL_FINENESS - log2(self.noise_multiplier / self.step)
        return 2 ** max(0, ceil(missing))

    @property
    def node_noise_scale(self) -> float:
        """Scale of the noise that a node adds to its integers; 0 for none."""
        terms = self.terms
        if terms.place is Place.CENTRAL or not terms.is_summed:
            return 0.0
        return self.noise_multiplier / self.step / sqrt(terms.num_shares)

    @property
    def max_rounded_norm(self) -> float:
        """What conditional rounding keeps a client's contribution under, in grid steps."""
        return rounded_l2(1.0, self.step, self.padded_dimension, BETA)

    def update_release(self, colluding: int | None = None, sampled: bool = False) -> Release:
        """Return what one contribution's update reveals.

        Parameters
        ----------
        colluding : int, optional
            Participants whose noise the adversary knows; c unless given.
        sampled : bool
            Whether the adversary does not know the cohorts.
        """
        terms, d = self.terms, self.padded_dimension
        fine = self.refinement
        l1, l2 = self._sensitivity()
        scale, num_shares = self._noise(self.noise_multiplier / self.step, colluding)
        return Release(
            unit=terms.unit,
            neighbours=_neighbours(terms),
            mechanism=terms.mechanism,
            l1_sensitivity=fine * l1,
            l2_sensitivity=fine * l2,
            noise_scale=fine * scale,
            num_shares=num_shares,
            dimension=d,
            sampling_rate=self._sampling_rate(sampled),
            num_steps=terms.num_local_steps,
        )

    def clip_bit_release(self, colluding: int | None = None, sampled: bool = False) -> Release:
        """Return what the bit of an adaptive clip norm reveals (Andrew et al. 2021)."""
        sensitivity = SCALAR_ONE * (1.0 if self._is_replaced else 0.5)
        scale = self.terms.clip_bit_noise * SCALAR_ONE
        return self._scalar_release(
            sensitivity, scale, 1, colluding, self._sampling_rate(sampled)
        )

    def metrics_release(self, colluding: int | None = None) -> Release:
        """Return what the metric vector reveals: every entry moves by at most 1."""
        k = self.terms.num_metrics
        # One step more for the rounding of the sum.
        sensitivity = sqrt(k) * (SCALAR_ONE + 1)
        scale = self.terms.metrics_noise_multiplier * sensitivity
        # All that is held out is scored, and of the last model on all nodes.
        return self._scalar_release(sensitivity, scale, k, colluding, 1.0)

    def releases(self, server_round: int, *, training: bool) -> tuple[Release, ...]:
        """Return what one contribution reveals: of a round, or to the last evaluation."""
        terms = self.terms
        if not training:
            return (self.metrics_release(),) if terms.metrics_every else ()
        releases = [self.update_release()]
        if terms.clip_bit_noise:
            releases.append(self.clip_bit_release())
        if self.has_metrics(server_round):
            releases.append(self.metrics_release())
        return tuple(releases)

    def has_metrics(self, server_round: int) -> bool:
        """Whether the metrics of the model that opens this round are released."""
        every = self.terms.metrics_every
        return bool(every) and server_round % every == 0

    def schedule(
        self,
        num_rounds: int | None = None,
        colluding: int | None = None,
        sampled: bool = False,
        num_metrics: int | None = None,
    ) -> Schedule:
        """Return what so many rounds reveal; the whole run unless told otherwise."""
        terms = self.terms
        rounds = terms.num_rounds if num_rounds is None else num_rounds
        releases: list[tuple[Release, int]] = [
            (self.update_release(colluding, sampled), rounds)
        ]
        if terms.clip_bit_noise:
            releases.append((self.clip_bit_release(colluding, sampled), rounds))
        if terms.metrics_every:
            # And once at the end, for the last model.
            times = rounds // terms.metrics_every + 1 if num_metrics is None else num_metrics
            releases.append((self.metrics_release(colluding), times))
        return [(release, times) for release, times in releases if times]

    @property
    def delta_of_models(self) -> float:
        """The delta that is left for those who see models only.

        Amplification by sampling says nothing of a round that was aborted because its cohort
        was drawn under T; the chance of any such is taken off delta (privacy.md, section 4).

        Raises
        ------
        ValueError
            If that chance uses all of delta.
        """
        terms = self.terms
        if terms.unit is Unit.EXAMPLE or terms.cohort_fraction >= 1:
            return terms.delta
        from scipy.stats import binom  # pyright: ignore[reportMissingTypeStubs]

        n, q = terms.population, terms.cohort_fraction
        short = float(binom.cdf(terms.min_survivors - 1, n, q))  # pyright: ignore
        left = terms.delta - terms.num_rounds * short
        if left <= 0:
            raise ValueError(
                f"rounds.cohort_fraction={q}: of privacy.population={n} fewer than"
                f" min_survivors={terms.min_survivors} are drawn in {terms.num_rounds} rounds"
                f" with a chance of {terms.num_rounds * short:.2g}, more than"
                f" delta={terms.delta:g}; draw more, or ask for fewer survivors"
            )
        return left

    @property
    def _is_replaced(self) -> bool:
        return _neighbours(self.terms) is Neighbours.REPLACE

    def _sensitivity(self) -> tuple[float, float]:
        """Return the L1 and L2 sensitivity in grid steps."""
        terms, d = self.terms, self.padded_dimension
        if terms.mechanism is Mechanism.LAPLACE:
            # Clipped in L1, and each entry moves by less than a step when rounded.
            l1 = 1 / self.step + d
            return 2 * l1, 2 * l1
        if terms.unit is Unit.EXAMPLE:
            l2 = dithered_l2(1.0, self.step, d)
        else:
            l2 = self.max_rounded_norm * (2 if self._is_replaced else 1)
        return rounded_l1(l2, d), l2

    def _noise(self, scale: float, colluding: int | None) -> tuple[float, int]:
        """Return the noise that such an adversary does not know, and its shares."""
        terms = self.terms
        if terms.place is not Place.DISTRIBUTED:
            return scale, 1
        known = terms.max_colluding if colluding is None else colluding
        num_shares = terms.min_survivors - known
        return scale * sqrt(num_shares / terms.num_shares), num_shares

    def _sampling_rate(self, sampled: bool) -> float:
        terms = self.terms
        if terms.unit is Unit.EXAMPLE:
            return terms.sampling_rate
        # A local release is seen with its sender.
        hidden = sampled and terms.place is not Place.LOCAL
        return terms.cohort_fraction if hidden else 1.0

    def _scalar_release(
        self,
        l2: float,
        scale: float,
        length: int,
        colluding: int | None,
        sampling_rate: float,
    ) -> Release:
        """Return the release of scalars, whose noise is Gaussian under any mechanism."""
        terms = self.terms
        distributed = terms.place is Place.DISTRIBUTED
        kind = Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN if distributed else Mechanism.GAUSSIAN
        noise, num_shares = self._noise(scale, colluding)
        return Release(
            unit=terms.unit,
            neighbours=_neighbours(terms),
            mechanism=kind,
            l1_sensitivity=sqrt(length) * l2,
            l2_sensitivity=l2,
            noise_scale=noise,
            num_shares=num_shares,
            dimension=length,
            sampling_rate=sampling_rate,
        )


def resolve(terms: PrivacyTerms, kept: Calibrations | None = None) -> PrivacyPlan:
    """Return the plan: with the given noise, or with as little as keeps to epsilon.

    Parameters
    ----------
    terms : PrivacyTerms
        What is asked.
    kept : Calibrations, optional
        Where a calibration is looked up and kept: it takes seconds.

    Raises
    ------
    ValueError
        If there is no noise with which the sum fits the modulus and epsilon is kept.
    """
    if terms.noise_multiplier is not None:
        return _with_noise(terms, terms.noise_multiplier)
    found = kept.get(terms) if kept is not None else None
    if found is None:
        found = _calibrated(terms)
        if kept is not None:
            kept.put(terms, found)
    return _with_noise(terms, found)


def _with_noise(terms: PrivacyTerms, noise_multiplier: float) -> PrivacyPlan:
    plan = PrivacyPlan(terms=terms, noise_multiplier=noise_multiplier)
    # Raises if the sum does not fit.
    plan.schedule()
    return plan


@lru_cache(maxsize=32)
def _calibrated(terms: PrivacyTerms) -> float:
    assert terms.epsilon is not None  # noqa: S101 - checked by the terms

    def schedule_of(noise_multiplier: float) -> Schedule:
        return PrivacyPlan(terms=terms, noise_multiplier=noise_multiplier).schedule()

    return calibrate(schedule_of, terms.epsilon, terms.delta)


def _neighbours(terms: PrivacyTerms) -> Neighbours:
    if terms.unit is Unit.EXAMPLE:
        return Neighbours.ADD_OR_REMOVE
    return Neighbours.REPLACE if terms.place is Place.LOCAL else Neighbours.ZERO_OUT
