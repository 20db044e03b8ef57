"""The stages of a codec: each does one thing to a vector, and undoes it to a sum of vectors.

A codec is a tuple of stages. A node goes through them forward, the server through the same ones
in reverse, over the sum. Stages are frozen and hold public numbers only.

A stage with ``by_entry`` true does the same to each entry, whatever the others are. Such stages
in a row are gone through together, a chunk of the vector at a time, so that what is between
two of them is never a whole vector of float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.rotation import Rotation, WholeRotation
from strategies.codec.fixed_point import CHUNK, FixedPoint, to_signed
from strategies.secagg.crypto.prg import word_dtype
from workloads.values import NUM_EXAMPLES, TRAIN_LOSS

#: Entries of the update that were out of the clip range.
NUM_CLIPPED = "num_clipped"
#: Clients whose contribution was not finite and went in as zero.
NUM_DIVERGED = "num_diverged"
#: Clients that added zeros, for a few of their records would have carried the sum.
NUM_WITHHELD = "num_withheld"


@dataclass(frozen=True, kw_only=True)
class SumContext:
    """The public numbers of one sum, known to all nodes and the server.

    Attributes
    ----------
    seed : bytes
        32 public bytes that the cohort shares.
    num_contributions : int
        Size of the cohort, whoever drops out later.
    num_survivors : int
        How many are in the sum; 0 on the nodes, which do not know it yet.
    """

    seed: bytes
    num_contributions: int
    num_survivors: int = 0


@dataclass(frozen=True)
class Passing:
    """A value between two stages: the vector, its scalars and the weight of the sum."""

    vector: NDArray[Any]
    sums: dict[str, float] = field(default_factory=dict[str, float])
    weight: float = 0.0


class CodecStage(Protocol):
    """One step of a codec."""

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return one contribution after this stage."""
        ...

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum with this stage undone."""
        ...


@dataclass(frozen=True)
class ZeroIfNotFinite:
    """Let a contribution that is not finite go in as zero.

    Refusing it would reveal something about the data. The codec that sums scalars counts it.
    """

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return zeros and a count of one where any number is not finite."""
        numbers = np.array([*passing.sums.values()])
        if is_finite(passing.vector) and np.isfinite(numbers).all():
            return passing
        return Passing(np.zeros_like(passing.vector), {NUM_DIVERGED: 1.0})

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum as it is."""
        return passing


@dataclass(frozen=True)
class AsFloat:
    """Take a contribution as float64, so that a sum in the clear is one of doubles."""

    by_entry: ClassVar[bool] = True

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the vector as float64."""
        return replace(passing, vector=passing.vector.astype(np.float64))

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum as it is."""
        return passing


@dataclass(frozen=True)
class RoundToWhole:
    """Round to whole numbers; what is int64 already keeps all its digits."""

    by_entry: ClassVar[bool] = True

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the nearest whole numbers."""
        is_whole = passing.vector.dtype.kind == "i"
        return passing if is_whole else replace(passing, vector=np.rint(passing.vector))

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum as float64, exact below 2^53."""
        return replace(passing, vector=passing.vector.astype(np.float64))


@dataclass(frozen=True)
class Weigh:
    """Multiply a contribution by its number of records, under a public cap.

    Attributes
    ----------
    cap : int or None
        More records than this count as this many, and weights are fractions of it, so that
        none is above 1; None for the plain number.
    """

    by_entry: ClassVar[bool] = True

    cap: int | None

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Multiply the vector by its weight, and scale the training loss accordingly."""
        sums = dict(passing.sums)
        examples = sums.get(NUM_EXAMPLES, 0.0)
        if self.cap is None:
            return replace(passing, vector=np.float64(examples) * passing.vector)
        weight = min(examples, float(self.cap))
        if examples:
            sums[TRAIN_LOSS] = sums.get(TRAIN_LOSS, 0.0) / examples * weight
        sums[NUM_EXAMPLES] = weight
        return Passing(passing.vector.astype(np.float64) * (weight / self.cap), sums)

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Take the weight of the sum from the scalars."""
        weight = passing.sums.get(NUM_EXAMPLES, 0.0)
        return replace(passing, weight=weight if self.cap is None else weight / self.cap)


@dataclass(frozen=True)
class CountEach:
    """Give each survivor the weight 1."""

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the contribution as it is."""
        return passing

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Take the number of survivors for the weight of the sum."""
        return replace(passing, weight=float(context.num_survivors))


@dataclass(frozen=True)
class Rotate:
    """Spread a vector's length over its entries by a public random rotation.

    Unbiased: orthonormal, and undone on the sum.

    Attributes
    ----------
    kind : type of Rotation or WholeRotation
        The rotation, with padding or without.
    dimension : int
        Length of the vector, before padding.
    """

    kind: type[Rotation] | type[WholeRotation]
    dimension: int

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the rotated vector."""
        found = self.kind(self.dimension, context.seed).forward(passing.vector)
        return replace(passing, vector=found)

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum with the rotation undone, and padding removed."""
        found = self.kind(self.dimension, context.seed).inverse(passing.vector)
        return replace(passing, vector=found)


@dataclass(frozen=True)
class Quantise:
    """Round to a fixed-point grid on which the sum cannot wrap, modulo 2^b.

    Attributes
    ----------
    modulus_bits : int
        b.
    clip_range : float
        R: entries are clipped to [-R, R].
    num_contributions : int or None
        How many must fit; None for the size of the cohort.
    """

    by_entry: ClassVar[bool] = True

    modulus_bits: int
    clip_range: float
    num_contributions: int | None = None

    def fixed_point(self, num_contributions: int) -> FixedPoint:
        """Return the grid.

        Raises
        ------
        ValueError
            If the modulus is too small; names the values and the mends.
        """
        return FixedPoint(
            modulus_bits=self.modulus_bits,
            clip_range=self.clip_range,
            num_contributions=self.num_contributions or num_contributions,
        )

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Round to the nearest step and count what was clipped."""
        encoded = self.fixed_point(context.num_contributions).encode(passing.vector)
        clipped = passing.sums.get(NUM_CLIPPED, 0.0) + encoded.num_clipped
        sums = passing.sums | {NUM_CLIPPED: clipped}
        return replace(passing, vector=encoded.vector, sums=sums)

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum in units of the update, float64."""
        grid = self.fixed_point(context.num_contributions)
        return replace(passing, vector=grid.decode_sum(passing.vector))


@dataclass(frozen=True)
class Reduce:
    """Take whole numbers modulo 2^b, and read a sum of them as signed again.

    Attributes
    ----------
    modulus_bits : int
        b.
    """

    by_entry: ClassVar[bool] = True

    modulus_bits: int

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the residues in the smallest unsigned type."""
        words = passing.vector.astype(np.int64).view(np.uint64)
        residues = words & np.uint64(2**self.modulus_bits - 1)
        return replace(passing, vector=residues.astype(word_dtype(self.modulus_bits)))

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return int64 in [-2^(b-1), 2^(b-1))."""
        return replace(passing, vector=to_signed(passing.vector, self.modulus_bits))


def is_finite(vector: NDArray[Any]) -> bool:
    """Return whether all numbers of a vector are finite."""
    starts = range(0, len(vector), CHUNK)
    return all(np.isfinite(vector[start : start + CHUNK]).all() for start in starts)


def run_forward(
    stages: tuple[CodecStage, ...], passing: Passing, context: SumContext
) -> Passing:
    """Take one contribution through all stages."""

    def through(part: tuple[CodecStage, ...], passing: Passing) -> Passing:
        for stage in part:
            passing = stage.forward(passing, context)
        return passing

    return _run(stages, passing, through)


def run_backward(
    stages: tuple[CodecStage, ...], passing: Passing, context: SumContext
) -> Passing:
    """Take a sum back through all stages."""

    def through(part: tuple[CodecStage, ...], passing: Passing) -> Passing:
        for stage in part:
            passing = stage.backward(passing, context)
        return passing

    return _run(stages[::-1], passing, through)


_Through = Callable[[tuple[CodecStage, ...], Passing], Passing]


def _run(stages: tuple[CodecStage, ...], passing: Passing, through: _Through) -> Passing:
    """Go through stages in this order, by chunks where entries do not depend on each other."""
    for by_entry, part in groupby(stages, lambda stage: getattr(stage, "by_entry", False)):
        row = tuple(part)
        passing = _by_chunks(row, passing, through) if by_entry else through(row, passing)
    return passing


def _by_chunks(stages: tuple[CodecStage, ...], passing: Passing, through: _Through) -> Passing:
    """Go through stages with one chunk after the other; counts of entries add up."""
    given = passing.vector
    first = through(stages, replace(passing, vector=given[:CHUNK]))
    if len(given) <= CHUNK:
        return first
    out = np.empty(len(given), first.vector.dtype)
    out[:CHUNK] = first.vector
    clipped = first.sums.get(NUM_CLIPPED, 0.0)
    for start in range(CHUNK, len(given), CHUNK):
        found = through(stages, replace(passing, vector=given[start : start + CHUNK]))
        out[start : start + CHUNK] = found.vector
        clipped += found.sums.get(NUM_CLIPPED, 0.0) - passing.sums.get(NUM_CLIPPED, 0.0)
    sums = first.sums | ({NUM_CLIPPED: clipped} if NUM_CLIPPED in first.sums else {})
    return replace(first, vector=out, sums=sums)
