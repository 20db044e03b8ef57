"""The codecs without differential privacy: floats, fixed point, whole numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.codec import possible
from strategies.codec.codec import Encoded, hash_numbers
from strategies.codec.fixed_point import decode_scalars, encode_scalars
from strategies.codec.stages import (
    NUM_CLIPPED,
    NUM_DIVERGED,
    NUM_WITHHELD,
    AsFloat,
    CodecStage,
    CountEach,
    Passing,
    Quantise,
    Reduce,
    RoundToWhole,
    SumContext,
    Weigh,
    ZeroIfNotFinite,
    run_backward,
    run_forward,
)
from strategies.secagg.crypto.prg import Vector
from workloads.values import (
    EVAL_PREFIX,
    NUM_EXAMPLES,
    SPREAD_PREFIX,
    Aggregate,
    Contribution,
)

_FRACTION_BITS = 20
# 2,048 scalars below this cannot wrap modulo 2^64.
_SCALAR_LIMIT = 2.0**31


class _ExactCodec(ABC):
    """Codec without noise: stages for the vector, an encoding for the scalars beside it."""

    noise_scale = 0.0
    #: Bits of each number of the vector.
    modulus_bits: int

    def bits(self, num_contributions: int) -> int:
        """Return the bits of each number of the vector: the same for any cohort."""
        return self.modulus_bits

    @property
    @abstractmethod
    def _stages(self) -> tuple[CodecStage, ...]: ...

    def objection(self, found: Aggregate, num_survivors: int) -> str | None:
        """Return None: any sum may be an honest one, unless a codec knows better."""
        return None

    @property
    @abstractmethod
    def scalar_names(self) -> tuple[str, ...]: ...

    def _encode_sums(self, sums: Mapping[str, float]) -> NDArray[Any]:
        """Return the scalars of one contribution, in the order of their names."""
        bounded = np.clip(_in_order(sums, self.scalar_names), -_SCALAR_LIMIT, _SCALAR_LIMIT)
        return encode_scalars(bounded, _FRACTION_BITS)

    def _decode_sums(self, scalars: NDArray[Any]) -> dict[str, float]:
        """Return the sums of the scalars by name."""
        return _by_name(decode_scalars(scalars, _FRACTION_BITS), self.scalar_names)

    def length(self, num_values: int) -> int:
        """Return the length as it is."""
        return num_values

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the mask binding."""
        return hash_numbers(self)

    def encode(self, contribution: Contribution, context: SumContext) -> Encoded:
        """Return the vector and the scalars, ready to add or, if integers, to mask."""
        passing = Passing(contribution.update, contribution.sums)
        found = run_forward(self._stages, passing, context)
        return found.vector, self._encode_sums(found.sums)

    def decode(
        self,
        update: Vector,
        scalars: NDArray[Any],
        context: SumContext,
        *,
        has_metrics: bool = True,
    ) -> Aggregate:
        """Return the aggregate from the two sums; metrics are always in them."""
        passing = Passing(update, self._decode_sums(scalars))
        found = run_backward(self._stages, passing, context)
        return Aggregate(found.vector, found.sums, found.weight)


@dataclass(frozen=True, kw_only=True)
class ClearCodec(_ExactCodec):
    """Floats as they are, weighted: for sums that nobody masks.

    Attributes
    ----------
    sum_names : tuple of str
        Names of the workload's scalars.
    is_weighted : bool
        Whether an update counts in proportion to its records.
    """

    sum_names: tuple[str, ...]
    is_weighted: bool = True

    modulus_bits = 32

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the scalars, in order."""
        return self.sum_names

    @property
    def _stages(self) -> tuple[CodecStage, ...]:
        return (AsFloat(), Weigh(None) if self.is_weighted else CountEach())

    def check_fits(self, num_contributions: int) -> None:
        """Do nothing: floats always fit."""

    def _encode_sums(self, sums: Mapping[str, float]) -> NDArray[Any]:
        return _in_order(sums, self.scalar_names)

    def _decode_sums(self, scalars: NDArray[Any]) -> dict[str, float]:
        return _by_name(scalars, self.scalar_names)


@dataclass(frozen=True, kw_only=True)
class FixedPointCodec(_ExactCodec):
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
    share_names : tuple of str
        Those among them that are sums of numbers from 0 to 1 over the scored records.
    """

    modulus_bits: int
    clip_range: float
    max_weight_examples: int | None
    sum_names: tuple[str, ...]
    share_names: tuple[str, ...] = ()

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the scalars, in order."""
        return (*self.sum_names, NUM_CLIPPED, NUM_DIVERGED)

    def lost_below(self, num_contributions: int, num_examples: int) -> float:
        """Return how small an entry of a client's update is rounded to zero.

        Parameters
        ----------
        num_contributions : int
            Clients in the sum.
        num_examples : int
            The client's records: its update is weighted by them.
        """
        cap = self.max_weight_examples
        weight = 1.0 if cap is None else min(1.0, num_examples / cap)
        return self._grid.fixed_point(num_contributions).step / 2 / weight

    @property
    def _grid(self) -> Quantise:
        return Quantise(self.modulus_bits, self.clip_range)

    @property
    def _stages(self) -> tuple[CodecStage, ...]:
        return (*self._first_stages, self._grid)

    @property
    def _first_stages(self) -> tuple[CodecStage, ...]:
        cap = self.max_weight_examples
        return (ZeroIfNotFinite(), CountEach() if cap is None else Weigh(cap))

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum of so many does not fit; names the mends."""
        self._grid.fixed_point(num_contributions)

    def objection(self, found: Aggregate, num_survivors: int) -> str | None:
        """Return which weight, count or share is out of its bounds, see `possible`."""
        sums, slack = found.sums, (num_survivors + 1) * 2.0**-_FRACTION_BITS
        diverged = round(sums.get(NUM_DIVERGED, 0.0))
        trains, entries = found.total.size > 0, num_survivors * found.total.size
        scored = EVAL_PREFIX + NUM_EXAMPLES
        return (
            possible.wrong_count(sums, NUM_DIVERGED, num_survivors, slack)
            or possible.wrong_count(sums, NUM_CLIPPED, entries, slack)
            or possible.wrong_count(sums, scored, num_survivors * _SCALAR_LIMIT, slack)
            or possible.wrong_share(sums, self.share_names, scored, slack)
            or _wrong_spread(sums, num_survivors, slack)
            or (
                possible.wrong_weight(found.weight, num_survivors, slack)
                if trains and diverged < num_survivors
                else None
            )
        )


@dataclass(frozen=True, kw_only=True)
class IntegerCodec(_ExactCodec):
    """Whole numbers modulo 2^64: the masked sum equals the pooled one bit for bit.

    A count is secret, so a node cannot refuse for having too many: the ring holds any. A
    decoded sum is exact below 2^53.

    Attributes
    ----------
    sum_names : tuple of str
        Names of the workload's scalars; beside them the nodes are counted that kept their
        records back.
    share_names : tuple of str
        Those among them that are sums of numbers from 0 to 1 over the scored records.
    """

    sum_names: tuple[str, ...] = ()
    share_names: tuple[str, ...] = ()

    modulus_bits = 64

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the scalars, in order."""
        return (*self.sum_names, NUM_WITHHELD)

    @property
    def _stages(self) -> tuple[CodecStage, ...]:
        return (RoundToWhole(), ZeroIfNotFinite(), CountEach(), Reduce(self.modulus_bits))

    def check_fits(self, num_contributions: int) -> None:
        """Do nothing: 2^63 counts fit."""

    def objection(self, found: Aggregate, num_survivors: int) -> str | None:
        """Return which count or share is out of its bounds, see `possible`."""
        sums, slack = found.sums, (num_survivors + 1) * 2.0**-_FRACTION_BITS
        scored = EVAL_PREFIX + NUM_EXAMPLES
        return (
            possible.wrong_count(sums, NUM_WITHHELD, num_survivors, slack)
            or possible.wrong_count(sums, scored, num_survivors * _SCALAR_LIMIT, slack)
            or possible.wrong_share(sums, self.share_names, scored, slack)
            or _wrong_spread(sums, num_survivors, slack)
        )


def _wrong_spread(sums: Mapping[str, float], num_survivors: int, slack: float) -> str | None:
    """Return which count of participants is none of so many."""
    names = (name for name in sums if name.startswith(SPREAD_PREFIX))
    wrong = (possible.wrong_count(sums, name, num_survivors, slack) for name in names)
    return next(filter(None, wrong), None)


def _in_order(sums: Mapping[str, float], names: Sequence[str]) -> NDArray[np.float64]:
    # Of curves there are thousands.
    return np.fromiter(map(sums.get, names, repeat(0.0)), np.float64, len(names))


def _by_name(values: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))
