"""Contributions as integers, so that their sum is exact in any order and can be masked."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from strategies.codec.fixed_point import FixedPoint, decode_scalars, encode_scalars
from strategies.contribution import (
    NUM_EXAMPLES,
    TRAIN_LOSS,
    Aggregate,
    Contribution,
    sum_names,
)
from strategies.secagg.binding import Plan
from strategies.secagg.crypto.prg import Vector
from strategies.secagg.wire import AttemptId

#: Entries of the update that were out of the clip range.
NUM_CLIPPED = "num_clipped"
#: Clients whose contribution was not finite and went in as zero.
NUM_DIVERGED = "num_diverged"

_SEED_DOMAIN = b"tacet/encoding/v1/seed"
_FRACTION_BITS = 20
# 2,048 scalars below this cannot wrap modulo 2^64.
_SCALAR_LIMIT = 2.0**31


class Codec(Protocol):
    """How contributions become integers, and a sum of them an aggregate."""

    @property
    def modulus_bits(self) -> int:
        """Bits for each parameter."""
        ...

    @property
    def noise_scale(self) -> float:
        """Scale of the noise that one node adds, in grid steps; 0 for none."""
        ...

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum of so many does not fit; names the mends."""
        ...

    def form(self, num_parameters: int) -> tuple[int, int, int]:
        """Return modulus bits, length and number of scalars of what ``encode`` returns.

        ``num_parameters`` is 0 when only evaluating.
        """
        ...

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the plan."""
        ...

    def encode(
        self, contribution: Contribution, num_contributions: int, seed: bytes
    ) -> tuple[Vector, NDArray[np.uint64]]:
        """Return the update modulo 2^b and the scalars modulo 2^64.

        ``num_contributions`` is the size of the cohort, ``seed`` 32 public bytes that the
        cohort shares.
        """
        ...

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
        """Return the aggregate of sums modulo 2^b and 2^64.

        ``num_contributions`` and ``seed`` are as given to ``encode``, whoever dropped out
        since; ``has_metrics`` says whether the nodes scored the model.
        """
        ...


def public_seed(attempt: AttemptId) -> bytes:
    """Return the 32 public bytes from which an attempt's rotation is drawn."""
    return hashlib.sha256(_SEED_DOMAIN + attempt.to_bytes()).digest()


def plan_of(codec: Codec, model: bytes, config: bytes) -> Plan:
    """Return what the masks of an attempt are bound to: the same on server and clients.

    Parameters
    ----------
    codec : Codec
        That will be used.
    model, config : bytes
        SHA-256 of the model and of the shared configuration.
    """
    return Plan(model=model, config=config, codec=codec.hash(), noise_scale=codec.noise_scale)


@dataclass(frozen=True, kw_only=True)
class ContributionCodec:
    """Fixed point for the update, weighted under a public cap, and for the sums.

    The update goes in as ``min(n, cap) / cap`` times itself, so that no weight is above 1 and
    the clip range bounds every entry. A contribution that is not finite goes in as zero and is
    counted: to refuse it would tell something of the data.

    Attributes
    ----------
    modulus_bits : int
        b: bits for each parameter.
    clip_range : float
        R: entries of the weighted update are clipped to [-R, R].
    max_weight_examples : int
        The cap: more examples than this count as this many.
    metric_names : tuple of str
        The task's metrics.
    """

    modulus_bits: int
    clip_range: float
    max_weight_examples: int
    metric_names: tuple[str, ...]

    @property
    def noise_scale(self) -> float:
        """0: this codec adds no noise."""
        return 0.0

    @property
    def sum_names(self) -> tuple[str, ...]:
        """Return the names of the scalars, in order."""
        return (*sum_names(self.metric_names, training=True), NUM_CLIPPED, NUM_DIVERGED)

    def fixed_point(self, num_contributions: int) -> FixedPoint:
        """Return the grid on which the sum of so many contributions cannot wrap.

        Raises
        ------
        ValueError
            If the modulus is too small; names the values and the mends.
        """
        return FixedPoint(
            modulus_bits=self.modulus_bits,
            clip_range=self.clip_range,
            num_contributions=num_contributions,
        )

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum of so many does not fit; names the mends."""
        self.fixed_point(num_contributions)

    def form(self, num_parameters: int) -> tuple[int, int, int]:
        """Return modulus bits, length and number of scalars of what ``encode`` returns."""
        return self.modulus_bits, num_parameters, len(self.sum_names)

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()

    def encode(
        self, contribution: Contribution, num_contributions: int, seed: bytes = b""
    ) -> tuple[Vector, NDArray[np.uint64]]:
        """Encode one contribution; nothing here needs the seed.

        Returns
        -------
        ndarray of shape (d,), unsigned, and ndarray of shape (k,), uint64
            The update modulo 2^b and the sums modulo 2^64, ready to be added or masked.
        """
        sums = dict(contribution.sums)
        update = contribution.update
        if not contribution.is_finite():
            sums = {NUM_DIVERGED: 1.0}
            update = np.zeros_like(update)
        examples = sums.get(NUM_EXAMPLES, 0.0)
        weight = min(examples, float(self.max_weight_examples))
        scaled = update.astype(np.float64) * (weight / self.max_weight_examples)
        encoded = self.fixed_point(num_contributions).encode(scaled)
        if examples:
            sums[TRAIN_LOSS] = sums.get(TRAIN_LOSS, 0.0) / examples * weight
        sums |= {NUM_EXAMPLES: weight, NUM_CLIPPED: float(encoded.num_clipped)}
        values = np.array([sums.get(name, 0.0) for name in self.sum_names])
        bounded = np.clip(values, -_SCALAR_LIMIT, _SCALAR_LIMIT)
        return encoded.vector, encode_scalars(bounded, _FRACTION_BITS)

    def decode(
        self,
        update: Vector,
        scalars: NDArray[np.uint64],
        seed: bytes = b"",
        *,
        num_contributions: int,
        num_survivors: int,
        has_metrics: bool = True,
    ) -> Aggregate:
        """Return the aggregate from the two sums.

        Parameters
        ----------
        update, scalars : ndarray
            Sums modulo 2^b and 2^64.
        seed, num_survivors, has_metrics
            Not needed: weights and metrics are always in the sums.
        num_contributions : int
            As given to ``encode``, whoever dropped out since.
        """
        values = decode_scalars(scalars, _FRACTION_BITS)
        sums = dict(zip(self.sum_names, map(float, values), strict=True))
        total = self.fixed_point(num_contributions).decode_sum(update)
        weight = sums[NUM_EXAMPLES] / self.max_weight_examples
        mean = total / weight if weight > 0 else np.zeros_like(total)
        return Aggregate(mean.astype(np.float32), sums, weight)

    def add_up(self, contributions: list[Contribution], num_contributions: int) -> Aggregate:
        """Add contributions through the codec in the clear: what masking must equal."""
        update, scalars = self.encode(contributions[0], num_contributions)
        for contribution in contributions[1:]:
            more, more_scalars = self.encode(contribution, num_contributions)
            update += more
            scalars += more_scalars
        update &= update.dtype.type((1 << self.modulus_bits) - 1)
        return self.decode(
            update,
            scalars,
            num_contributions=num_contributions,
            num_survivors=len(contributions),
        )
