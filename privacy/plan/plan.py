"""The plan of a private run: what each contribution reveals, from its terms and noise."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt

from privacy.bounding.sensitivity import dithered_l2, rounded_l1
from privacy.mode import Place
from privacy.plan.noise_grid import NoiseGrid
from privacy.plan.release import Mechanism, Neighbours, Release, Schedule
from privacy.plan.terms import PrivacyTerms
from privacy.unit import Unit

#: Scalars are integers in steps of 2^-30.
SCALAR_ONE = 2**30
SCALAR_BITS = 64
#: A node's sum of a scalar in steps, at most: scaled by float64 it is off by a quarter step.
MOST_SCALAR = 2.0**52


@dataclass(frozen=True, kw_only=True)
class PlannedRelease:
    """One kind of sum that a run releases: a plan is a list of these.

    Attributes
    ----------
    name : str
        ``update``, ``clip_bits`` or ``metrics``.
    release : Release
        What one of them reveals, in steps of its grid.
    bound : float
        Largest norm of one unit's term, in units of the sum: clip norms for the update. Where a
        neighbour has another term in its place, the sum moves by twice that.
    noise_multiplier : float
        Standard deviation of its noise over ``bound``; Laplace's b over the clip norm.
    times : int
        How often the run releases it.
    modulus_bits : int
        Bits of each of its numbers.
    """

    name: str
    release: Release
    bound: float
    noise_multiplier: float
    times: int
    modulus_bits: int


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan(NoiseGrid):
    """The noise of a run and what it reveals, as it is planned, charged and reported."""

    def update_release(self, colluding: int | None = None, sampled: bool = False) -> Release:
        """Return what one contribution's update reveals.

        Parameters
        ----------
        colluding : int, optional
            Participants whose noise the adversary knows; c unless given.
        sampled : bool
            Whether the adversary does not know the cohorts.
        """
        terms, d = self.terms, self.num_noised
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

    def clip_bit_release(self, colluding: int | None = None) -> Release:
        """Return what the bit of an adaptive clip norm reveals (Andrew et al. 2021).

        Never amplified by sampling: one coin draws a client for its update and for its bit, and
        the two would be accounted as if each had a coin of its own.
        """
        sensitivity = SCALAR_ONE * (1.0 if self._is_replaced else 0.5)
        scale = self.terms.clip_bit_noise * SCALAR_ONE
        return self._scalar_release(sensitivity, scale, 1, colluding, 1.0)

    def metrics_release(self, colluding: int | None = None) -> Release:
        """Return what the metric vector reveals: one unit moves it by ``metrics_bound``."""
        k, bound = self.terms.num_metrics, self.terms.metrics_bound
        if self._is_replaced:
            # Entries are within [0, 1], so two vectors enclose a right angle at most.
            bound = min(sqrt(2) * bound, sqrt(k))
        # For each entry a step for the rounding of the sum, and one for what float64 loses.
        sensitivity = bound * SCALAR_ONE + 2 * sqrt(k)
        scale = self.terms.metrics_noise_multiplier * sensitivity
        # All that is held out is scored, and of the last model on all nodes.
        return self._scalar_release(sensitivity, scale, k, colluding, 1.0)

    def releases(self, server_round: int, *, training: bool) -> tuple[Release, ...]:
        """Return what one contribution reveals: of a round, or to the last evaluation."""
        terms = self.terms
        if not training:
            return (self.metrics_release(),) if self.has_metrics(server_round, training) else ()
        releases = [self.update_release()]
        if terms.clip_bit_noise:
            releases.append(self.clip_bit_release())
        if self.has_metrics(server_round, training):
            releases.append(self.metrics_release())
        return tuple(releases)

    def has_metrics(self, server_round: int, training: bool) -> bool:
        """Whether a trip releases metrics: of the model that opens a round, or of the last."""
        every = self.terms.metrics_every
        return bool(every) and (not training or server_round % every == 0)

    def planned(
        self,
        num_updates: int | None = None,
        colluding: int | None = None,
        sampled: bool = False,
        num_metrics: int | None = None,
    ) -> list[PlannedRelease]:
        """Return every kind of sum that so many updates release; the whole run by default.

        Parameters
        ----------
        num_updates : int, optional
            All that the run pays for, spare attempts included, unless given.
        colluding, sampled
            See ``update_release``.
        num_metrics : int, optional
            Releases of metrics. Unless given, all that the run pays for; with ``num_updates``
            given, those of so many rounds of which no attempt fails.
        """
        terms = self.terms
        updates = terms.num_updates if num_updates is None else num_updates
        planned = [
            PlannedRelease(
                name="update",
                release=self.update_release(colluding, sampled),
                bound=1.0,
                noise_multiplier=self.noise_multiplier,
                times=updates,
                modulus_bits=terms.modulus_bits,
            )
        ]
        if terms.clip_bit_noise:
            planned.append(
                PlannedRelease(
                    name="clip_bits",
                    release=self.clip_bit_release(colluding),
                    bound=0.5,
                    noise_multiplier=2 * terms.clip_bit_noise,
                    times=updates,
                    modulus_bits=SCALAR_BITS,
                )
            )
        if terms.metrics_every:
            if num_metrics is not None:
                times = num_metrics
            elif num_updates is not None:
                # And once at the end, for the last model.
                times = num_updates // terms.metrics_every + 1
            else:
                times = terms.num_metric_releases
            planned.append(
                PlannedRelease(
                    name="metrics",
                    release=self.metrics_release(colluding),
                    bound=terms.metrics_bound,
                    noise_multiplier=terms.metrics_noise_multiplier,
                    times=times,
                    modulus_bits=SCALAR_BITS,
                )
            )
        return [one for one in planned if one.times]

    def schedule(
        self,
        num_updates: int | None = None,
        colluding: int | None = None,
        sampled: bool = False,
        num_metrics: int | None = None,
    ) -> Schedule:
        """Return the releases of ``planned`` and how often each is made."""
        planned = self.planned(num_updates, colluding, sampled, num_metrics)
        return [(one.release, one.times) for one in planned]

    def share_scale(self, release: Release) -> float:
        """Return the scale of one share of a release's noise, as it is drawn."""
        return release.noise_scale / sqrt(self.terms.num_shares)

    @property
    def least_noise_multiplier(self) -> float:
        """Return the noise of the least noisy release, over what one unit can move in it."""
        return min(one.noise_multiplier for one in self.planned())

    def delta_of_models(self, epsilon: float, num_drawable: int) -> float:
        """Return the delta left for those who see models only, if cohorts amplify.

        A cohort that is too small is drawn again: what is used is the Poisson sample given its
        size. With s the chance of such a draw, the conditional distribution is within s of the
        sample's for one data set and within e^epsilon s for its neighbour, so s (1 + e^epsilon)
        is taken off for every cohort that is paid for (privacy.md, section 4, says s).

        Parameters
        ----------
        epsilon : float
            At least what those adversaries learn, e.g. without amplification.
        num_drawable : int
            The fewest nodes that a cohort is drawn among.

        Returns
        -------
        float
            0 or less if nothing is left: then there is no amplification to speak of.
        """
        terms = self.terms
        if terms.unit is Unit.EXAMPLE or terms.cohort_fraction >= 1:
            return terms.delta
        from scipy.stats import binom  # pyright: ignore[reportMissingTypeStubs]

        least, q = max(terms.min_survivors, terms.min_cohort), terms.cohort_fraction
        short = float(binom.cdf(least - 1, num_drawable, q))  # pyright: ignore
        return terms.delta - terms.num_updates * short * (1 + exp(min(epsilon, 700.0)))

    @property
    def _is_replaced(self) -> bool:
        return _neighbours(self.terms) is Neighbours.REPLACE

    def _sensitivity(self) -> tuple[float, float]:
        """Return the L1 and L2 sensitivity in grid steps."""
        terms, d = self.terms, self.num_noised
        if terms.mechanism is Mechanism.LAPLACE:
            # Clipped in L1, and each entry moves by less than a step when rounded.
            l1 = 1 / self.step + d
            return 2 * l1, 2 * l1
        if terms.unit is Unit.EXAMPLE:
            l2 = dithered_l2(1.0, self.step, d, self.padded_dimension)
        else:
            l2 = self.max_rounded_norm * (2 if self._is_replaced else 1)
        return rounded_l1(l2, d), l2

    def _noise(self, scale: float, colluding: int | None) -> tuple[float, int]:
        """Return the noise that the adversary does not know, and the number of its shares."""
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
        # A local release is seen with its sender. And who is in a cohort adds a share of
        # distributed noise: its variance tells of the coin, which no theorem here allows.
        hidden = sampled and terms.place is Place.CENTRAL
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


def _neighbours(terms: PrivacyTerms) -> Neighbours:
    if terms.unit is Unit.EXAMPLE:
        return Neighbours.ADD_OR_REMOVE
    return Neighbours.REPLACE if terms.place is Place.LOCAL else Neighbours.ZERO_OUT
