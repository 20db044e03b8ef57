"""Private contributions as integers: clipped, rotated, rounded, with noise, modulo 2^b.

The client's and the server's half of every privacy option stand here together: what one does,
the other undoes in reverse.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.clipping import clip_bit, clip_l1, clip_l2
from privacy.bounding.rotation import Rotation
from privacy.bounding.rounding import conditional, dithered
from privacy.noise.draw import draw
from privacy.noise.randomness import secure_generator
from privacy.plan.plan import SCALAR_ONE, PrivacyPlan
from privacy.plan.release import Mechanism, Unit
from privacy.plan.terms import Place
from strategies.codec.fixed_point import FixedPoint, to_signed
from strategies.contribution import EVAL_PREFIX, NUM_EXAMPLES, Aggregate, Contribution
from strategies.secagg.crypto.prg import Vector, word_dtype

#: The sum of clip bits, each centred to +- 1/2.
CLIP_BITS = "clip_bits"

log = logging.getLogger("flwr.tacet")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PrivateCodec:
    """How contributions become integers that may leave the node, and the sum a step.

    Guarantees
    ----------
    What ``encode`` returns, summed over the survivors and, under central noise, after
    ``decode`` added the server's, is the release that ``plan`` describes: its unit,
    neighbouring relation, sensitivity and noise. Under the example unit the contribution's
    update must be a sum in which each record was clipped to ``clip_norm``; under the client
    unit any vector may come, it is clipped here. Assumes a secure generator and exact
    arithmetic before the rounding.

    Attributes
    ----------
    plan : PrivacyPlan
        Noise and grid.
    clip_norm : float
        C, in units of the update.
    step_size : float
        The aggregate is the released sum times this: minus learning rate over batch, or one
        over the expected cohort.
    metric_names : tuple of str
        The metrics that are released in their rounds, each in [0, 1].
    loss_clip : float
        Losses are clipped to this and released as a fraction of it.
    clip_range : float
        Bounds the entries of an update that is private before it comes here.
    """

    plan: PrivacyPlan
    clip_norm: float
    step_size: float
    metric_names: tuple[str, ...]
    loss_clip: float
    clip_range: float

    @property
    def modulus_bits(self) -> int:
        """Bits for each parameter."""
        return self.plan.terms.modulus_bits

    @property
    def noise_scale(self) -> float:
        """Scale of one node's noise in grid steps, for the protocol's plan; 0 for none."""
        return self.plan.node_noise_scale

    @property
    def released_metrics(self) -> tuple[str, ...]:
        """Names of the metric sums."""
        if not self.plan.terms.metrics_every:
            return ()
        return tuple(EVAL_PREFIX + n for n in (NUM_EXAMPLES, "loss", *self.metric_names))

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the scalars, in order; the same in every round."""
        bits = (CLIP_BITS,) if self.plan.terms.clip_bit_noise else ()
        return (*bits, *self.released_metrics)

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum was not sized for so many contributions."""
        population = self.plan.terms.population
        if num_contributions > population:
            raise ValueError(
                f"privacy.population={population}, but {num_contributions} clients: noise and"
                " modulus were sized for fewer; give the number of all nodes"
            )

    def form(self, num_parameters: int) -> tuple[int, int, int]:
        """Return modulus bits, length and number of scalars of what ``encode`` returns."""
        length = self.plan.padded_dimension if num_parameters else 0
        return self.modulus_bits, length, len(self.scalar_names)

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()

    def nothing(self, server_round: int, *, training: bool) -> Contribution:
        """Return the contribution of a node that has none: zeros, to which its noise comes."""
        size = self.plan.terms.dimension if training else 0
        due = not training or self.plan.has_metrics(server_round)
        return Contribution(
            np.zeros(size), dict.fromkeys(self.released_metrics if due else (), 0.0)
        )

    def encode(
        self, contribution: Contribution, num_contributions: int, seed: bytes
    ) -> tuple[Vector, NDArray[np.uint64]]:
        """Encode one contribution; this node's noise is in it.

        Parameters
        ----------
        contribution : Contribution
            With an empty update when only evaluating, with metrics only in their rounds.
        num_contributions : int
            Size of the cohort.
        seed : bytes
            32 public bytes, the same for the whole cohort.

        Returns
        -------
        ndarray of shape (padded d,), unsigned, and ndarray of shape (k,), uint64
            Modulo 2^b and modulo 2^64, ready to be added or masked.
        """
        self.check_fits(num_contributions)
        sums = dict(contribution.sums)
        vector = np.zeros(0, word_dtype(self.modulus_bits))
        if len(contribution.update):
            vector, bit = self._encode_update(contribution.update, seed)
            if self.plan.terms.clip_bit_noise:
                sums[CLIP_BITS] = bit
        return vector, self._encode_scalars(sums)

    def decode(
        self,
        update: Vector,
        scalars: NDArray[np.uint64],
        seed: bytes,
        *,
        num_contributions: int,
        num_survivors: int,
        has_metrics: bool,
    ) -> Aggregate:
        """Return the aggregate from the two sums; the server's noise, if any, goes in here.

        Parameters
        ----------
        update, scalars : ndarray
            Sums modulo 2^b and 2^64 over the survivors.
        seed : bytes
            As given to ``encode``.
        num_contributions : int
            Not needed: the grid is the same for every cohort.
        num_survivors : int
            How many the survivors are.
        has_metrics : bool
            Whether this is a round in which metrics are released.
        """
        moved = self._decode_update(update, num_survivors, seed)
        sums = self._decode_scalars(scalars, has_metrics=has_metrics)
        return Aggregate(moved.astype(np.float32), sums, float(num_survivors))

    def _encode_update(self, update: NDArray[np.floating], seed: bytes) -> tuple[Vector, float]:
        """Return the update as integers with this node's noise, and the clip bit."""
        plan, terms = self.plan, self.plan.terms
        if not terms.is_summed:
            return self._fixed_point.encode(update).vector, 0.0
        # What an absurd clip norm makes overflow counts as not finite.
        with np.errstate(over="ignore"):
            scaled = update.astype(np.float64) / self.clip_norm
        scaled, bit = self._clipped(scaled)
        if terms.is_rotated:
            scaled = Rotation(terms.dimension, seed).forward(scaled)
        scaled /= plan.step
        rng = secure_generator()
        if terms.unit is Unit.CLIENT and terms.is_rotated:
            integers = conditional(scaled, plan.max_rounded_norm, rng)
        else:
            integers = dithered(scaled, rng)
        if self.noise_scale:
            integers += draw(terms.mechanism, self.noise_scale, len(integers), rng)
        reduced = integers & ((1 << self.modulus_bits) - 1)
        return reduced.astype(word_dtype(self.modulus_bits)), bit

    def _clipped(self, scaled: Floats) -> tuple[Floats, float]:
        """Clip a client's update to norm 1; a sum of clipped gradients stays as it is."""
        terms = self.plan.terms
        if terms.unit is Unit.CLIENT:
            clip = clip_l1 if terms.mechanism is Mechanism.LAPLACE else clip_l2
            clipped = clip(scaled, 1.0)
            if not clipped.was_finite:
                log.warning("training diverged here: this contribution is noise alone")
            return clipped.vector, clip_bit(clipped.norm, 1.0)
        if not np.isfinite(scaled).all():
            log.warning("a gradient sum was not finite: this contribution is noise alone")
            scaled = np.zeros_like(scaled)
        return scaled, 0.0

    def _encode_scalars(self, sums: dict[str, float]) -> NDArray[np.uint64]:
        """Return the scalars that are due with this node's noise, and 0 for the others."""
        rng = secure_generator()
        encoded = np.zeros(len(self.scalar_names), np.int64)
        for position, name in enumerate(self.scalar_names):
            if name in sums:
                exact = np.array([sums[name] * SCALAR_ONE])
                noise = self._scalar_noise(name, share=True)
                encoded[position] = int(dithered(exact, rng)[0]) + noise
        return encoded.view(np.uint64)

    def _scalar_noise(self, name: str, *, share: bool) -> int:
        """Draw the noise of one scalar: a node's share of it, or the server's."""
        terms = self.plan.terms
        if share is (terms.place is Place.CENTRAL):
            return 0
        is_bit = name == CLIP_BITS
        release = self.plan.clip_bit_release() if is_bit else self.plan.metrics_release()
        scale = release.noise_scale / sqrt(terms.num_shares)
        return int(draw(Mechanism.GAUSSIAN, scale, 1, secure_generator())[0])

    def _decode_update(self, update: Vector, num_survivors: int, seed: bytes) -> Floats:
        plan, terms = self.plan, self.plan.terms
        if not len(update):
            return np.zeros(0)
        if not terms.is_summed:
            return self._fixed_point.decode_sum(update) / num_survivors
        signed = to_signed(update, self.modulus_bits)
        if terms.place is Place.CENTRAL:
            values = self._with_server_noise(signed)
        else:
            values = signed.astype(np.float64)
        values *= plan.step
        if terms.is_rotated:
            values = Rotation(terms.dimension, seed).inverse(values)
        return values * (self.clip_norm * self.step_size)

    def _with_server_noise(self, signed: NDArray[np.int64]) -> Floats:
        """Add the server's noise on its finer grid, and reduce modulo 2^b once more.

        Without the last step one unit could move a sum at the edge of the modulus by all of
        it. With it the result is a function of the exact noisy sum modulo 2^b.
        """
        plan, terms = self.plan, self.plan.terms
        fine = plan.refinement
        scale = plan.noise_multiplier / plan.step * fine
        whole, rest = divmod(
            draw(terms.mechanism, scale, len(signed), secure_generator()), fine
        )
        reduced = to_signed((signed + whole).view(np.uint64), self.modulus_bits)
        # Of two exact floats the sum is rounded once: post-processing of the exact integer.
        return reduced.astype(np.float64) + rest / fine

    def _decode_scalars(
        self, scalars: NDArray[np.uint64], *, has_metrics: bool
    ) -> dict[str, float]:
        sums: dict[str, float] = {}
        for name, value in zip(self.scalar_names, scalars.view(np.int64), strict=True):
            if name == CLIP_BITS or has_metrics:
                noisy = int(value) + self._scalar_noise(name, share=False)
                # As for the update: modulo 2^64 again after the noise.
                sums[name] = ((noisy + 2**63) % 2**64 - 2**63) / SCALAR_ONE
        if has_metrics:
            sums[EVAL_PREFIX + "loss"] *= self.loss_clip
        return sums

    @property
    def _fixed_point(self) -> FixedPoint:
        """The grid of updates that are private already: only their sum must fit."""
        return FixedPoint(
            modulus_bits=self.modulus_bits,
            clip_range=self.clip_range,
            num_contributions=self.plan.terms.population,
        )
