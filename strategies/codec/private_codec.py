"""Bounded sums as integers with noise, modulo 2^b, and a sum of them as an aggregate."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import BoundedSum, no_terms, one_term
from privacy.bounding.clipping import clip_l2
from privacy.bounding.rotation import Rotation
from privacy.bounding.rounding import dithered
from privacy.noise.draw import draw
from privacy.noise.randomness import secure_generator
from privacy.plan.plan import MOST_SCALAR, SCALAR_ONE, PrivacyPlan
from privacy.plan.release import Mechanism
from privacy.unit import Unit
from strategies.codec import possible
from strategies.codec.codec import hash_numbers
from strategies.codec.compression import Keep
from strategies.codec.private_stages import RoundWithNoise
from strategies.codec.stages import (
    CodecStage,
    CountEach,
    Passing,
    Quantise,
    Reduce,
    Rotate,
    SumContext,
    run_backward,
    run_forward,
)
from strategies.secagg.crypto.prg import Vector, word_dtype
from workloads.values import (
    EVAL_PREFIX,
    Aggregate,
    NoisedUpdate,
    PrivateContribution,
)

#: The sum of clip bits, each centred to +- 1/2.
CLIP_BITS = "clip_bits"
# Floating point's share of a bound.
_SLACK = 1 + 1e-12

Scalars = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class PrivateCodec:
    """Codec that adds noise to bounded sums, and decodes a sum of them.

    Guarantees
    ----------
    What ``encode`` returns, summed over the survivors and, under central noise, after
    ``decode`` added the server's, is the release that ``plan`` describes: its unit,
    neighbouring relation, sensitivity and noise. A sum that one unit moves by more than the
    plan says is refused. Assumes a secure generator and exact arithmetic before the rounding.

    Attributes
    ----------
    plan : PrivacyPlan
        Noise and grid.
    clip_norm : float
        C, in units of the update.
    score_names : tuple of str
        The sums over scored records that are released in their rounds: the count first, then
        the loss and others, each in [0, 1] for a record.
    loss_clip : float
        Losses are clipped to this and released as a fraction of it.
    clip_range : float
        Bounds the entries of an update that is private before it comes here.
    """

    plan: PrivacyPlan
    clip_norm: float
    score_names: tuple[str, ...]
    loss_clip: float
    clip_range: float

    @property
    def modulus_bits(self) -> int:
        """Bits for each number."""
        return self.plan.terms.modulus_bits

    def bits(self, num_contributions: int) -> int:
        """Return the bits of each number, sized for all nodes."""
        return self.modulus_bits

    @property
    def noise_scale(self) -> float:
        """Scale of one node's noise in grid steps, for the mask binding; 0 for none."""
        return self.plan.node_noise_scale

    @property
    def stages(self) -> tuple[CodecStage, ...]:
        """Return the stages of an update, in the order in which a node applies them."""
        terms = self.plan.terms
        if not terms.is_summed:
            # Private already: only the sum must fit.
            grid = Quantise(self.modulus_bits, self.clip_range, terms.population)
            return (CountEach(), *self._linear_stages, grid)
        noise = RoundWithNoise(self.plan)
        return (CountEach(), *self._linear_stages, noise, Reduce(self.modulus_bits))

    @property
    def _linear_stages(self) -> tuple[CodecStage, ...]:
        """Return what comes before the noise, and on a sum after it: no two sums move apart."""
        plan, terms = self.plan, self.plan.terms
        rotate = (Rotate(Rotation, terms.dimension),) if terms.is_rotated else ()
        size, kept = plan.padded_dimension, plan.num_kept
        keep = (Keep(size, kept, plan.kept_scale),) if kept < size else ()
        return (*rotate, *keep)

    @property
    def released_scores(self) -> tuple[str, ...]:
        """Names of the sums over scored records; none where no metrics are released."""
        return self.score_names if self.plan.terms.metrics_every else ()

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the scalars, in order; the same in every round."""
        bits = (CLIP_BITS,) if self.plan.terms.clip_bit_noise else ()
        return (*bits, *self.released_scores)

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum was not sized for so many contributions."""
        population = self.plan.terms.population
        if num_contributions > population:
            raise ValueError(
                f"privacy.population={population}, but {num_contributions} clients: noise and"
                " modulus were sized for fewer; give the number of all nodes"
            )

    def length(self, num_values: int) -> int:
        """Return how many entries of a padded update are sent; 0 when only evaluating."""
        return self.plan.num_kept if num_values else 0

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the mask binding."""
        return hash_numbers(self)

    def nothing(self, server_round: int, *, training: bool) -> PrivateContribution:
        """Return the contribution of a node that has none: zeros, to be encoded with noise."""
        terms = self.plan.terms
        due = self.plan.has_metrics(server_round, training)
        num_scores = len(self.released_scores)
        metrics = no_terms(num_scores, terms.metrics_bound, terms.unit) if due else None
        if not training:
            return PrivateContribution(None, metrics)
        if not terms.is_summed:
            return PrivateContribution(NoisedUpdate(np.zeros(terms.dimension)), metrics)
        update = no_terms(terms.dimension, self.clip_norm, terms.unit)
        # Zero is within any norm.
        bit = one_term(np.array([0.5]), 0.5).bounded if terms.clip_bit_noise else None
        return PrivateContribution(update, metrics, bit)

    def encode(
        self, contribution: PrivateContribution, context: SumContext
    ) -> tuple[Vector, Scalars]:
        """Encode one contribution; this node's noise is in it.

        Parameters
        ----------
        contribution : PrivateContribution
            Without an update when only evaluating, with metrics only in their rounds.
        context : SumContext
            The context of this sum.

        Returns
        -------
        ndarray of shape (length,), unsigned, and ndarray of shape (number of scalars,), uint64
            Modulo 2^b and modulo 2^64, ready to be added or masked.

        Raises
        ------
        ValueError
            If one unit can move a sum by more than the plan promises, or the plan is for
            another unit, or for fewer contributions.
        """
        self.check_fits(context.num_contributions)
        return self._encode_update(contribution, context), self._encode_scalars(contribution)

    def decode(
        self, update: Vector, scalars: Scalars, context: SumContext, *, has_metrics: bool
    ) -> Aggregate:
        """Return the aggregate from the two sums, with the server's noise if it has any.

        Parameters
        ----------
        update, scalars : ndarray
            Sums modulo 2^b and 2^64 over the survivors.
        context : SumContext
            The context of this sum.
        has_metrics : bool
            Whether this is a round in which metrics are released.
        """
        sums = self._decode_scalars(scalars, has_metrics=has_metrics)
        of_scores = self._scalar_deviation(context.num_survivors) if has_metrics else 0.0
        of_loss = of_scores * self.loss_clip
        if not len(update):
            weight = float(context.num_survivors)
            return Aggregate(np.zeros(0), sums, weight, 0.0, of_scores, of_loss)
        found = run_backward(self.stages, Passing(update), context)
        unit = self.clip_norm if self.plan.terms.is_summed else 1.0
        noise = unit * self._deviation(context.num_survivors)
        noise *= sqrt(self.plan.kept_scale)
        return Aggregate(found.vector * unit, sums, found.weight, noise, of_scores, of_loss)

    def objection(self, found: Aggregate, num_survivors: int) -> str | None:
        """Return which sum is out of its bounds by more than noise explains, see `possible`.

        A noised sum may be negative or no whole number. Only a client's update has a bound of
        its own; a gradient sum has one for each record, and how many there are is secret.
        """
        terms, z = self.plan.terms, possible.deviations(len(self.scalar_names) + 1)
        count, *others = self.released_scores or ("",)
        if others and count in found.sums:
            slack = 2 * z * self._scalar_deviation(num_survivors) * max(1.0, self.loss_clip)
            if why := possible.wrong_share(found.sums, others[1:], count, slack):
                return why
        if not (len(found.total) and terms.is_summed and terms.mode.hides_clients):
            return None
        noise = self.clip_norm * self._deviation(num_survivors)
        num_noises = min(len(found.total), self.plan.num_kept)
        kept = num_survivors * self.clip_norm + noise * (sqrt(num_noises) + z)
        most = self.plan.kept_scale * kept
        return possible.wrong_norm(float(np.linalg.norm(found.total)), most)

    def part_of(self, update: NDArray[np.float64], context: SumContext) -> Vector:
        """Return what of one bounded update is in a decoded sum, float64, its noise left out.

        Parameters
        ----------
        update : ndarray of shape (dimension,)
            In any units, which are the result's too.
        context : SumContext
            The context of this sum.
        """
        if self.plan.kept_scale == 1:
            return update
        sent = run_forward(self._linear_stages, Passing(update), context)
        return run_backward(self._linear_stages, sent, context).vector

    def _deviation(self, num_survivors: int) -> float:
        """Bound the standard deviation of a kept entry of the sum, in clip norms.

        Each node rounds, by at most half a step, and adds its noise; a central server its own.
        Laplace noise of scale b has the deviation sqrt(2) b, and longer tails: 2 b allows them.
        """
        plan, steep = self.plan, self.plan.terms.mechanism is Mechanism.LAPLACE
        node = plan.node_noise_scale * (2 if steep else 1)
        rounded = num_survivors * (node**2 + 0.25) * plan.step**2
        return sqrt(rounded + plan.noise_multiplier**2 * plan.terms.mode.is_central)

    def _scalar_deviation(self, num_survivors: int) -> float:
        """Return the standard deviation of the noise on a metric's sum."""
        shares = 1 if self.plan.terms.mode.is_central else num_survivors
        return self.plan.share_scale(self.plan.metrics_release()) * sqrt(shares) / SCALAR_ONE

    def _encode_update(self, contribution: PrivateContribution, context: SumContext) -> Vector:
        update = contribution.update
        if update is None:
            return np.zeros(0, word_dtype(self.modulus_bits))
        if isinstance(update, NoisedUpdate) is self.plan.terms.is_summed:
            raise ValueError("a noised update belongs to example x local noise, and only there")
        if isinstance(update, NoisedUpdate):
            values = update.update
        else:
            self._check_bound(update, self.clip_norm, l1=self.plan.terms.bounds_l1)
            values = self._projected(update.in_units_of(self.clip_norm))
        _check_length("update", values, self.plan.terms.dimension)
        return run_forward(self.stages, Passing(values), context).vector

    def _projected(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what records add up to, no longer than all records were expected to make it.

        A node may have far more records than the plan reckons with: to refuse them would tell,
        and a longer sum would pass the modulus, or be rotated less exactly than is accounted
        for. A projection moves no two sums apart. One client's term is shorter anyway.
        """
        if self.plan.terms.unit is not Unit.EXAMPLE:
            return values
        return clip_l2(values, self.plan.signal_norm).vector

    def _check_bound(self, bounded: BoundedSum, most: float, *, l1: bool = False) -> None:
        terms = self.plan.terms
        moved = (bounded.delta1 if l1 else bounded.delta2) * bounded.grid
        if bounded.unit is not terms.unit or not moved <= most * _SLACK:
            raise ValueError(
                f"one {bounded.unit} moves a sum by {moved:g}, but the plan is for {most:g} and"
                f" the unit {terms.unit}"
            )

    def _encode_scalars(self, contribution: PrivateContribution) -> Scalars:
        """Return the scalars that are due with this node's noise, and 0 for the others."""
        due: dict[str, float] = {}
        if contribution.clip_bit is not None:
            self._check_bound(contribution.clip_bit, 0.5)
            values = contribution.clip_bit.in_units_of(SCALAR_ONE**-1)
            _check_length(CLIP_BITS, values, 1)
            due[CLIP_BITS] = float(values[0])
        if contribution.metrics is not None:
            names = self.released_scores
            self._check_bound(contribution.metrics, self.plan.terms.metrics_bound)
            values = contribution.metrics.in_units_of(SCALAR_ONE**-1)
            # Each by itself, so it moves no two sums apart; beyond, float64 has no half steps.
            values = np.clip(values, -MOST_SCALAR, MOST_SCALAR)
            _check_length("metrics", values, len(names))
            due |= dict(zip(names, map(float, values), strict=True))
        encoded = np.zeros(len(self.scalar_names), np.int64)
        for names in self._noised_alike(has_metrics=contribution.metrics is not None):
            if names and names[0] in due:
                steps = dithered(np.array([due[name] for name in names]), secure_generator())
                where = self.scalar_names.index(names[0])
                noise = self._scalar_noise(names, share=True)
                encoded[where : where + len(names)] = steps.astype(np.int64) + noise
        return encoded.view(np.uint64)

    def _noised_alike(self, *, has_metrics: bool) -> list[tuple[str, ...]]:
        """Return the scalars that are due by the release that they are part of."""
        bits = (CLIP_BITS,) if self.plan.terms.clip_bit_noise else ()
        return [bits, self.released_scores if has_metrics else ()]

    def _scalar_noise(self, names: tuple[str, ...], *, share: bool) -> NDArray[np.int64]:
        """Draw the noise of the scalars of a release: a node's share of it, or the server's."""
        if share is self.plan.terms.mode.is_central:
            return np.zeros(len(names), np.int64)
        is_bit = names == (CLIP_BITS,)
        release = self.plan.clip_bit_release() if is_bit else self.plan.metrics_release()
        scale = self.plan.share_scale(release)
        return draw(Mechanism.GAUSSIAN, scale, len(names), secure_generator())

    def _decode_scalars(self, scalars: Scalars, *, has_metrics: bool) -> dict[str, float]:
        sums: dict[str, float] = {}
        for names in self._noised_alike(has_metrics=has_metrics):
            if names:
                where = self.scalar_names.index(names[0])
                # As for the update: modulo 2^64 again after the noise.
                noise = self._scalar_noise(names, share=False).view(np.uint64)
                noisy = (scalars[where : where + len(names)] + noise).view(np.int64)
                sums |= dict(zip(names, (noisy / SCALAR_ONE).tolist(), strict=True))
        if has_metrics:
            sums[EVAL_PREFIX + "loss"] *= self.loss_clip
        return sums


def _check_length(what: str, values: NDArray[Any], planned: int) -> None:
    """Refuse a vector that the plan was not made for: its noise is accounted by length."""
    if values.shape != (planned,):
        raise ValueError(f"{what}: {values.shape} numbers, but the plan is for {planned}")
