"""The codec of updates that are sent in few bits, without differential privacy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.projection import num_kept
from privacy.bounding.rotation import SEED_BYTES, WholeRotation
from strategies.codec.codec import Encoded
from strategies.codec.compression import (
    CLIPPED_SHARE,
    SQUARE_PREFIX,
    Keep,
    MeasureParts,
    RoundAtRandom,
    ScaleParts,
)
from strategies.codec.exact_codecs import FixedPointCodec
from strategies.codec.stages import (
    CodecStage,
    Passing,
    Rotate,
    SumContext,
    run_backward,
    run_forward,
)
from strategies.secagg.crypto.prg import Vector, word_dtype
from workloads.values import Aggregate, Contribution

#: No range of a block is outside.
SMALLEST_RANGE, LARGEST_RANGE = 1e-30, 1e30
# A range in units of the root mean square of a part's entries: coarse values want a short one,
# for the steps' error falls with it, and fine ones a long one, as less is clipped.
_DEVIATIONS = {2: 2.0, 3: 3.0}
_USUAL_DEVIATIONS = 4.0
#: A part with a range of its own has at least so many entries: of one entry the sum and the sum
#: of squares tell both nodes' values where two nodes hide each other.
SHORTEST_PART = 16
# A part that holds next to nothing has a range of its own, lest it be rounded away for ever.
_SMALLEST_PART = 2.0**-10
# More clipped entries than this make the next ranges longer, fewer shorter.
_MOST_CLIPPED = 0.01
_LONGER, _SHORTER = 1.5, 1.1
_LARGEST_MARGIN = 64.0


@dataclass(frozen=True, kw_only=True)
class CompressedCodec(FixedPointCodec):
    """Updates that are rotated, kept in part, and rounded at random to few values.

    The stages, in the order in which a node applies them: the weight; a public random rotation,
    so that entries are alike; division by their range; the entries that are kept; rounding at
    random to 2^v - 1 values, modulo as few bits as hold the sum of the cohort. Each stage says
    what it does to the mean: the whole is unbiased but for entries beyond their range, which
    are clipped and counted, and but for ``error_feedback``.

    Ranges follow from the last sum, in which each node's mean squares are added under the mask.
    As long as none is known, as in the first round, values are rounded as ``FixedPointCodec``
    does: in ``modulus_bits``, whole.

    Attributes
    ----------
    dimension : int
        Of an update.
    value_bits : int
        v; 0 for ``modulus_bits`` and the grid of ``clip_range``.
    keep_fraction : float
        The share of the rotated entries that is kept, in (0, 1].
    error_feedback : bool
        Whether what is kept is summed as it is, which is biased toward zero, and nodes add what
        they have not sent to their next contributions.
    ranges : tuple of float
        One for each part of a rotated update; empty as long as none is known.

    Raises
    ------
    ValueError
        If an update is so short that its mean square would tell of single nodes.
    """

    dimension: int
    value_bits: int = 0
    keep_fraction: float = 1.0
    error_feedback: bool = False
    ranges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.value_bits and self.dimension < SHORTEST_PART:
            raise ValueError(
                f"aggregation.codec.value_bits={self.value_bits} with an update of"
                f" {self.dimension} numbers: the mean square that is summed beside so few tells"
                f" of single nodes; take it out, or a model of at least {SHORTEST_PART} numbers"
            )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return the entries of each part of a rotated update that has a range of its own."""
        found = WholeRotation(self.dimension, bytes(SEED_BYTES)).lengths
        return found if min(found) >= SHORTEST_PART else (self.dimension,)

    @property
    def num_kept(self) -> int:
        """Return how many entries of a rotated update are kept, at least one."""
        return num_kept(self.dimension, self.keep_fraction)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Return the names of the scalars, in order; the same in every round."""
        parts = range(len(self.lengths)) if self.value_bits else ()
        return (*super().scalar_names, *(f"{SQUARE_PREFIX}{part}" for part in parts))

    @property
    def is_whole(self) -> bool:
        """Whether an update goes whole, for no range is known that its values could have."""
        return bool(self.value_bits) and not self.ranges

    @property
    def settled(self) -> Self:
        """Return the codec as it is once ranges are known, whatever they are."""
        return self.with_ranges((1.0,) * len(self.lengths) if self.value_bits else ())

    def with_ranges(self, ranges: tuple[float, ...]) -> Self:
        """Return the codec with other ranges.

        Raises
        ------
        ValueError
            If there are some, and not one for each part, or one is out of bounds.
        """
        if ranges and len(ranges) != len(self.lengths) * bool(self.value_bits):
            raise ValueError(f"{len(ranges)} ranges for {len(self.lengths)} parts")
        if not all(SMALLEST_RANGE <= one <= LARGEST_RANGE for one in ranges):
            raise ValueError("a range is not finite, or none that an update has")
        return replace(self, ranges=ranges)

    def bits(self, num_contributions: int) -> int:
        """Return the bits of each number of the vector of a sum of so many."""
        if self.is_whole or not self.value_bits:
            return self.modulus_bits
        return self._rounding.bits(num_contributions)

    def length(self, num_values: int) -> int:
        """Return how many numbers are sent; 0 when only evaluating."""
        if not num_values or self.is_whole:
            return num_values
        return self.num_kept

    def encode(self, contribution: Contribution, context: SumContext) -> Encoded:
        """Return the vector and the scalars; the vector is empty when only evaluating."""
        if contribution.update.size:
            return super().encode(contribution, context)
        passing = Passing(np.zeros(0), contribution.sums)
        found = run_forward(self._first_stages, passing, context)
        empty = np.zeros(0, word_dtype(self.bits(context.num_contributions)))
        return empty, self._encode_sums(found.sums)

    def encode_with(
        self, contribution: Contribution, left: NDArray[np.float64], context: SumContext
    ) -> tuple[Encoded, NDArray[np.float64]]:
        """Return a contribution with what the last ones left out, and what it leaves out.

        Parameters
        ----------
        contribution : Contribution
            With an update.
        left : ndarray of shape (dimension,)
            What is to be added to the weighted update; not finite counts as zeros.
        context : SumContext
            The context of this sum.

        Returns
        -------
        tuple of ndarray
            As ``encode``.
        ndarray of shape (dimension,)
            The difference of what should be in the sum and what is, in the sum's units.
        """
        passing = Passing(contribution.update, contribution.sums)
        weighed = run_forward(self._first_stages, passing, context)
        left = left if np.isfinite(left).all() else np.zeros_like(left)
        due = replace(weighed, vector=weighed.vector.astype(np.float64) + left)
        rest = self._stages[len(self._first_stages) :]
        found = run_forward(rest, due, context)
        alone = replace(context, num_survivors=1)
        sent = run_backward(rest, Passing(found.vector, dict(found.sums)), alone).vector
        return (found.vector, self._encode_sums(found.sums)), due.vector - sent

    def decode(
        self,
        update: Vector,
        scalars: NDArray[Any],
        context: SumContext,
        *,
        has_metrics: bool = True,
    ) -> Aggregate:
        """Return the aggregate from the two sums; metrics are always in them."""
        if len(update):
            return super().decode(update, scalars, context, has_metrics=has_metrics)
        passing = Passing(np.zeros(0), self._decode_sums(scalars))
        found = run_backward(self._first_stages, passing, context)
        return Aggregate(found.vector, found.sums, found.weight)

    def objection(self, found: Aggregate, num_survivors: int) -> str | None:
        """Return which weight, count, share or square is out of its bounds."""
        squares = (v for k, v in found.sums.items() if k.startswith(SQUARE_PREFIX))
        if any(square < 0 for square in squares):
            return "a mean square below 0"
        return super().objection(found, num_survivors)

    @property
    def _rounding(self) -> RoundAtRandom:
        return RoundAtRandom(self.value_bits)

    @property
    def _stages(self) -> tuple[CodecStage, ...]:
        first, rotate = self._first_stages, Rotate(WholeRotation, self.dimension)
        if self.is_whole:
            units = (self.clip_range,) * len(self.lengths)
            return (*first, MeasureParts(rotate, ScaleParts(units, self.lengths)), self._grid)
        size, kept = self.dimension, self.num_kept
        # What comes back in the next sum counts for itself alone in this one.
        multiple = 1.0 if self.error_feedback else size / kept
        keep = (Keep(size, kept, multiple),) if kept < size else ()
        if not self.value_bits:
            return (*first, rotate, *keep, self._grid)
        scale = ScaleParts(self.ranges, self.lengths)
        return (*first, rotate, scale, *keep, self._rounding)


def next_ranges(
    codec: CompressedCodec, sums: Mapping[str, float], margin: float
) -> tuple[tuple[float, ...], float]:
    """Return the ranges of the next sum, and the margin that is in them.

    Parameters
    ----------
    codec : CompressedCodec
        That of the sum.
    sums : mapping
        The scalars of the sum, decoded.
    margin : float
        What the present ranges are multiplied by, at least 1: nodes differ, and where many
        entries of the longest contributions were clipped the next ranges are longer.

    Returns
    -------
    tuple of float
        One for each part; empty where the sum does not tell, and the next goes whole.
    float
        The next margin.
    """
    parts = range(len(codec.lengths))
    squares = [sums.get(f"{SQUARE_PREFIX}{part}", 0.0) for part in parts]
    if not 0 < max(squares) < float("inf"):
        return (), 1.0
    if not codec.is_whole:
        many = sums.get(CLIPPED_SHARE, 0.0) > _MOST_CLIPPED * (1 + 4 * (codec.value_bits == 2))
        margin = min(_LARGEST_MARGIN, margin * _LONGER) if many else max(1.0, margin / _SHORTER)
    deviations = _DEVIATIONS.get(codec.value_bits, _USUAL_DEVIATIONS)
    roots = [sqrt(max(0.0, square)) for square in squares]
    least = max(roots) * _SMALLEST_PART
    found = [margin * deviations * max(root, least) for root in roots]
    return tuple(min(LARGEST_RANGE, max(SMALLEST_RANGE, one)) for one in found), margin
