"""The stages that make a contribution short: rotation, ranges, kept entries, coarse rounding.

Each is linear but for the rounding, so that the sum of what went forward, taken backward, is
the sum of the contributions: exactly, or on average over coins that no data has a part in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.projection import kept_entries
from privacy.bounding.rounding import dithered
from privacy.noise.randomness import secure_generator
from strategies.codec.fixed_point import to_signed
from strategies.codec.stages import NUM_CLIPPED, Passing, Rotate, SumContext
from strategies.secagg.crypto.prg import word_dtype

#: The mean square of a part's entries, over survivors, by the number of the part.
SQUARE_PREFIX = "square_"
#: The share of entries that were out of range.
CLIPPED_SHARE = "clipped_share"
# Squares in units of the range travel in steps of 2^-40, beside scalars in steps of 2^-20.
_SQUARE_UNIT = 2.0**20


@dataclass(frozen=True)
class ScaleParts:
    """Divide each part of a vector by its range, and tell under the mask how long it is.

    Unbiased: linear, and undone by a multiplication. The ranges are public and the same for all
    nodes; the mean square of each part is summed beside the vector, for the next ranges.

    Attributes
    ----------
    ranges : tuple of float
        Above 0, one for each part.
    lengths : tuple of int
        Entries of each part.
    """

    ranges: tuple[float, ...]
    lengths: tuple[int, ...]

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the vector in units of its ranges, and the mean square of each part."""
        scaled = passing.vector / np.repeat(self.ranges, self.lengths)
        parts = np.split(scaled, np.cumsum(self.lengths)[:-1])
        squares = [float(np.mean(np.square(part))) * _SQUARE_UNIT for part in parts]
        told = {f"{SQUARE_PREFIX}{i}": square for i, square in enumerate(squares)}
        return replace(passing, vector=scaled, sums=passing.sums | told)

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum in units of the update, and mean squares in theirs."""
        vector = passing.vector * np.repeat(self.ranges, self.lengths)
        return replace(passing, vector=vector, sums=self.squares(passing.sums, context))

    def squares(self, sums: dict[str, float], context: SumContext) -> dict[str, float]:
        """Return the scalars of a sum with mean squares over survivors, in the update's units.

        Parameters
        ----------
        sums : dict
            As they were summed.
        context : SumContext
            The context of this sum.
        """
        found = dict(sums)
        for i, size in enumerate(self.ranges):
            unit = size**2 / _SQUARE_UNIT / max(1, context.num_survivors)
            found[f"{SQUARE_PREFIX}{i}"] = sums.get(f"{SQUARE_PREFIX}{i}", 0.0) * unit
        return found


@dataclass(frozen=True)
class MeasureParts:
    """Tell how long each part of the rotated vector is, and leave the vector as it is.

    Attributes
    ----------
    rotate : Rotate
        What would be done to it.
    scale : ScaleParts
        Its ranges are the units.
    """

    rotate: Rotate
    scale: ScaleParts

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the contribution with the mean square of each part beside it."""
        rotated = self.rotate.forward(Passing(passing.vector), context)
        told = self.scale.forward(rotated, context).sums
        return replace(passing, sums=passing.sums | told)

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum as it is, with the mean squares in units of the update."""
        return replace(passing, sums=self.scale.squares(passing.sums, context))


@dataclass(frozen=True)
class Keep:
    """Keep so many entries, drawn anew for each sum by public coins, the same on all nodes.

    With ``scale`` N / k unbiased: each entry is kept with the chance k / N, and the sum of what
    was kept is multiplied by N / k. Its error has (N / k - 1) times the squared length of the
    *sum*: it is the same entries that all nodes leave out, so more nodes do not average it out.
    With ``scale`` 1 biased, toward zero, by the factor k / N: for error feedback, which adds
    what was left out to the next contribution. A contribution is never multiplied: what comes
    after, noise too, finds it no longer than it was, see ``kept_entries``.

    Attributes
    ----------
    length : int
        N: entries of the vector.
    num_kept : int
        k, from 1 to N.
    scale : float
        What a sum is multiplied by.
    """

    length: int
    num_kept: int
    scale: float

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the entries that are kept, in their order."""
        return replace(passing, vector=passing.vector[self._kept(context)])

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum with zeros where nothing was kept, float64."""
        full = np.zeros(self.length)
        full[self._kept(context)] = passing.vector * self.scale
        return replace(passing, vector=full)

    def _kept(self, context: SumContext) -> NDArray[np.intp]:
        return kept_entries(context.seed, self.length, self.num_kept)


@dataclass(frozen=True)
class RoundAtRandom:
    """Round to one of 2^v - 1 values up or down by secret coins, modulo the fewest bits.

    Unbiased for entries within [-1, 1]: an entry is rounded up with the chance of its distance
    from the value below. Entries beyond are clipped, which is a bias toward zero, and counted.
    The sum of n contributions lies in [-nL, nL], L = 2^(v-1) - 1, and the modulus holds that:
    it cannot wrap.

    Attributes
    ----------
    value_bits : int
        v, from 2 to 8.
    """

    value_bits: int

    @property
    def levels(self) -> int:
        """L: the integer that stands for 1."""
        return 2 ** (self.value_bits - 1) - 1

    def bits(self, num_contributions: int) -> int:
        """Return b: the fewest bits with n L <= 2^(b-1) - 1."""
        return (num_contributions * self.levels).bit_length() + 1

    def forward(self, passing: Passing, context: SumContext) -> Passing:
        """Return integers modulo 2^b in the smallest unsigned type, and count the clipped."""
        within = np.clip(passing.vector, -1.0, 1.0)
        # Floating point gives at most L times 1, and an integer stays what it is.
        rounded = dithered(within * self.levels, secure_generator())
        bits = self.bits(context.num_contributions)
        words = rounded.view(np.uint64) & np.uint64(2**bits - 1)
        clipped = float(np.count_nonzero(np.abs(passing.vector) > 1))
        sums = passing.sums | {NUM_CLIPPED: clipped}
        return replace(passing, vector=words.astype(word_dtype(bits)), sums=sums)

    def backward(self, passing: Passing, context: SumContext) -> Passing:
        """Return the sum in units of the range, and which share of it was clipped."""
        signed = to_signed(passing.vector, self.bits(context.num_contributions))
        entries = max(1, context.num_survivors * len(signed))
        share = passing.sums.get(NUM_CLIPPED, 0.0) / entries
        sums = passing.sums | {CLIPPED_SHARE: share}
        return replace(passing, vector=signed / float(self.levels), sums=sums)
