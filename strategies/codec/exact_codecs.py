"""The codecs without differential privacy: floats, fixed point, whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.codec.codec import Encoded, hash_numbers
from strategies.codec.fixed_point import decode_scalars, encode_scalars
from strategies.codec.stages import (
    NUM_CLIPPED,
    NUM_DIVERGED,
    CodecStage,
    CountEach,
    Passing,
    Quantise,
    Reduce,
    SumContext,
    Weigh,
    ZeroIfNotFinite,
    run_backward,
    run_forward,
)
from strategies.secagg.crypto.prg import Vector
from workloads.values import Aggregate, Contribution

_FRACTION_BITS = 20
# 2,048 scalars below this cannot wrap modulo 2^64.
_SCALAR_LIMIT = 2.0**31


@dataclass(frozen=True, kw_only=True)
class ClearCodec:
    """Floats as they are, weighted: for sums that nobody masks.

    Attributes
    ----------
    scalar_names : tuple of str
        Names of the scalars, in order.
    is_weighted : bool
        Whether an update counts in proportion to its records.
    """

    scalar_names: tuple[str, ...]
    is_weighted: bool = True

    modulus_bits = 32
    noise_scale = 0.0

    @property
    def _stages(self) -> tuple[CodecStage, ...]:
        return (Weigh(None) if self.is_weighted else CountEach(),)

    def check_fits(self, num_contributions: int) -> None:
        """Do nothing: floats always fit."""

    def length(self, num_values: int) -> int:
        """Return the length as it is."""
        return num_values

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes)."""
        return hash_numbers(self)

    def encode(self, contribution: Contribution, context: SumContext) -> Encoded:
        """Return the weighted update, float64, and the scalars, float64."""
        passing = Passing(contribution.update, contribution.sums)
        found = run_forward(self._stages, passing, context)
        scalars = np.array([found.sums.get(name, 0.0) for name in self.scalar_names])
        return found.vector.astype(np.float64), scalars

    def decode(
        self,
        update: Vector,
        scalars: NDArray[Any],
        context: SumContext,
        *,
        has_metrics: bool = True,
    ) -> Aggregate:
        """Return the aggregate from the two sums."""
        sums = dict(zip(self.scalar_names, map(float, scalars), strict=True))
        found = run_backward(self._stages, Passing(update, sums), context)
        return Aggregate(found.vector, found.sums, found.weight)


@dataclass(frozen=True, kw_only=True)
class FixedPointCodec:
    """Integers on a public grid, so that their sum is exact in any order and can be masked.

    Attributes
    ----------
    modulus_bits : int
        b: bits for each number.
    clip_range : float
        R: entries of the weighted update are clipped to [-R, R].
    max_weight_examples : int or None
        The cap on weights: more records than this count as this many; None for no weights.
    sum_names : tuple of str
        Names of the workload's scalars.
    """

    modulus_bits: int
    clip_range: float
    max_weight_examples: int | None
    sum_names: tuple[str, ...]

    noise_scale = 0.0

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the scalars, in order."""
        return (*self.sum_names, NUM_CLIPPED, NUM_DIVERGED)

    @property
    def _grid(self) -> Quantise:
        return Quantise(self.modulus_bits, self.clip_range)

    @property
    def _stages(self) -> tuple[CodecStage, ...]:
        cap = self.max_weight_examples
        return (ZeroIfNotFinite(), CountEach() if cap is None else Weigh(cap), self._grid)

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum of so many does not fit; names the mends."""
        self._grid.fixed_point(num_contributions)

    def length(self, num_values: int) -> int:
        """Return the length as it is."""
        return num_values

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the plan."""
        return hash_numbers(self)

    def encode(self, contribution: Contribution, context: SumContext) -> Encoded:
        """Return the update modulo 2^b and the sums modulo 2^64, ready to add or to mask."""
        passing = Passing(contribution.update, contribution.sums)
        found = run_forward(self._stages, passing, context)
        values = np.array([found.sums.get(name, 0.0) for name in self.scalar_names])
        bounded = np.clip(values, -_SCALAR_LIMIT, _SCALAR_LIMIT)
        return found.vector, encode_scalars(bounded, _FRACTION_BITS)

    def decode(
        self,
        update: Vector,
        scalars: NDArray[Any],
        context: SumContext,
        *,
        has_metrics: bool = True,
    ) -> Aggregate:
        """Return the aggregate from sums modulo 2^b and 2^64; metrics are always in them."""
        values = decode_scalars(scalars, _FRACTION_BITS)
        sums = dict(zip(self.scalar_names, map(float, values), strict=True))
        found = run_backward(self._stages, Passing(update, sums), context)
        return Aggregate(found.vector, found.sums, found.weight)


@dataclass(frozen=True, kw_only=True)
class IntegerCodec:
    """Whole numbers modulo 2^64: the masked sum equals the pooled one bit for bit.

    A count is secret, so a node cannot refuse for having too many: the ring holds any.
    """

    modulus_bits = 64
    noise_scale = 0.0
    scalar_names: tuple[str, ...] = ()

    @property
    def _stages(self) -> tuple[CodecStage, ...]:
        return (ZeroIfNotFinite(), CountEach(), Reduce(self.modulus_bits))

    def check_fits(self, num_contributions: int) -> None:
        """Do nothing: 2^63 counts fit."""

    def length(self, num_values: int) -> int:
        """Return the length as it is."""
        return num_values

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the plan."""
        return hash_numbers(self)

    def encode(self, contribution: Contribution, context: SumContext) -> Encoded:
        """Return the whole numbers modulo 2^64; there are no scalars."""
        passing = Passing(np.rint(contribution.update))
        found = run_forward(self._stages, passing, context)
        return found.vector, np.zeros(0, np.uint64)

    def decode(
        self,
        update: Vector,
        scalars: NDArray[Any],
        context: SumContext,
        *,
        has_metrics: bool = True,
    ) -> Aggregate:
        """Return the aggregate; exact below 2^53."""
        found = run_backward(self._stages, Passing(update), context)
        return Aggregate(found.vector.astype(np.float64), {}, found.weight)
