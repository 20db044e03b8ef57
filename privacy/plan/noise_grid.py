"""The grid on which contributions become integers, sized so that their noisy sum fits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, log2, sqrt

from privacy.bounding.modulus import grid_step, wrap_probability
from privacy.bounding.projection import num_kept
from privacy.bounding.rotation import block_size, padded_dimension
from privacy.bounding.sensitivity import rounded_l2
from privacy.mode import Place
from privacy.plan.release import Mechanism
from privacy.plan.terms import BETA, PrivacyTerms
from privacy.unit import Unit

# Steps of the grid in one standard deviation: more would not fit the samplers' integers.
_FINEST = 2.0**34
#: A sum's length in steps, at most: what float64 rotates to within 2^-10 of a step.
MOST_STEPS = 2.0**36
# The server's noise has so many at least, and is then accounted for as continuous.
_CENTRAL_FINENESS = 30


@dataclass(frozen=True, kw_only=True)
class NoiseGrid:
    """Steps and scales of a run's noise. Everything in it is public.

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
        """N: entries of a contribution, rotated if it is, before some are left out."""
        terms = self.terms
        return padded_dimension(terms.dimension) if terms.is_rotated else terms.dimension

    @property
    def num_kept(self) -> int:
        """k: entries of a contribution on the wire, see ``projection.kept_entries``."""
        return num_kept(self.padded_dimension, self.terms.keep_fraction)

    @property
    def kept_scale(self) -> float:
        """N / k: what kept entries are multiplied by once their noise is in them.

        On average over what is kept, so much larger is the squared error of a sum by its noise,
        and N / k - 1 times the sum's squared length comes to it by what is left out.
        """
        return self.padded_dimension / self.num_kept

    @property
    def num_noised(self) -> int:
        """Entries that are rounded and noised: what is kept of a sum, all of a local step."""
        return self.num_kept if self.terms.is_summed else self.terms.dimension

    @property
    def block(self) -> int:
        """Entries over which a rotation spreads a vector's length; 1 without."""
        return block_size(self.terms.dimension) if self.terms.is_rotated else 1

    @property
    def wrap_probability(self) -> float | None:
        """The chance that a sum passes the modulus; None for L1-bounded sums, which cannot."""
        if self.terms.bounds_l1:
            return None
        return wrap_probability(
            modulus_bits=self.terms.modulus_bits,
            step=self.step,
            signal_norm=self.signal_norm,
            block=self.block,
            dimension=self.num_kept,
            num_contributions=self.terms.population,
            share_deviation=self.share_deviation,
        )

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
        """Standard deviation of one node's part of the noise that must fit the modulus.

        Under central noise no node adds any: the server's counts as coming from all alike.
        """
        terms = self.terms
        if terms.place is Place.CENTRAL:
            return self.noise_multiplier / sqrt(terms.population)
        # Laplace's standard deviation is b times the root of 2.
        root = sqrt(2) if terms.mechanism is Mechanism.LAPLACE else 1.0
        return root * self.noise_multiplier / sqrt(terms.num_shares)

    @property
    def sum_deviation(self) -> float:
        """Standard deviation of the noise in a kept entry, at least: that of T survivors."""
        terms = self.terms
        if terms.place is Place.CENTRAL:
            return self.noise_multiplier
        return self.share_deviation * sqrt(terms.min_survivors)

    @cached_property
    def step(self) -> float:
        """The step of the grid.

        Raises
        ------
        ValueError
            If the sum does not fit the modulus with any step.
        """
        terms = self.terms
        if not terms.is_summed:
            # A power of 2, by which float64 scales a sum exactly, however long it is.
            return 2.0 ** (floor(log2(self.noise_multiplier)) + 1) / _FINEST
        widest = grid_step(
            modulus_bits=terms.modulus_bits,
            deviations=terms.range_deviations,
            signal_norm=self.signal_norm,
            block=self.block,
            num_contributions=terms.population,
            share_deviation=self.share_deviation,
        )
        return max(widest, self.noise_multiplier / _FINEST, self.signal_norm / MOST_STEPS)

    @property
    def refinement(self) -> int:
        """The ratio of the sum's grid step to that of the server's finer noise."""
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
        """The norm bound that conditional rounding keeps, in grid steps."""
        return rounded_l2(1.0, self.step, self.num_noised, BETA)
