"""Fixed point: float vectors to integers modulo 2^b, and back from a sum.

A value x in [-R, R] becomes the integer nearest to x * L / R, so one step is R / L.
Negative integers are two's complement. The sum of n contributions lies in [-nL, nL] and
fits as nL <= 2^(b-1) - 1: a wrap cannot happen.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.crypto.prg import Vector, reduce_modulus, word_dtype
from strategies.secagg.packing import MAX_BITS, MIN_BITS

_FLOAT_BITS = 53
#: Values that are worked on at a time, so that float64 copies stay small and in the cache.
CHUNK = 1 << 16


@dataclass(frozen=True)
class Quantised:
    """A contribution on the grid.

    Parameters
    ----------
    vector : ndarray of shape (d,), unsigned
        Integers modulo 2^b, ready to be masked.
    num_clipped : int
        Entries out of the clip range. It depends on the data: send it under the mask only.
    """

    vector: Vector
    num_clipped: int


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """The finest fixed-point grid on which the sum of a whole cohort cannot wrap.

    Parameters
    ----------
    modulus_bits : int
        b, from 8 to 64; exactly b bits a parameter travel.
    clip_range : float
        R: entries are clipped to [-R, R].
    num_contributions : int
        n: the most contributions that one sum may hold.

    Raises
    ------
    ValueError
        Where the sum does not fit the modulus; names the values and the mends.
    """

    modulus_bits: int
    clip_range: float
    num_contributions: int

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.modulus_bits <= MAX_BITS:
            raise ValueError(
                f"modulus_bits={self.modulus_bits} is not between {MIN_BITS} and {MAX_BITS}"
            )
        if not (np.isfinite(self.clip_range) and self.clip_range > 0):
            raise ValueError(f"clip_range={self.clip_range} is not positive")
        if self.num_contributions < 1:
            raise ValueError(f"num_contributions={self.num_contributions} must be at least 1")
        if not self.levels:
            bits = self.num_contributions.bit_length() + 1
            raise ValueError(
                f"modulus_bits={self.modulus_bits} holds sums within +-{self._half} steps, but"
                f" num_contributions={self.num_contributions} with one step each need"
                f" +-{self.num_contributions}: take modulus_bits={bits} or more, or fewer"
                " contributions"
            )

    @property
    def _half(self) -> int:
        return 2 ** (self.modulus_bits - 1) - 1

    @property
    def levels(self) -> int:
        """L: the integer that stands for the clip range."""
        most = self._half // self.num_contributions
        # A float64 of more than 53 bits would round up, and the sum could wrap.
        spare = max(0, most.bit_length() - _FLOAT_BITS)
        return most >> spare << spare

    @property
    def step(self) -> float:
        """R / L: the grid step, in units of the update."""
        return self.clip_range / self.levels

    def encode(self, update: NDArray[Any]) -> Quantised:
        """Round one contribution to the nearest steps, halves to even.

        Parameters
        ----------
        update : ndarray of shape (d,), floating
            In units of the update. Entries that are NaN or infinite become 0.

        Returns
        -------
        Quantised
            Float64 scratch is a few chunks of 65,536 values.
        """
        if update.ndim != 1:
            raise ValueError("an update is one-dimensional")
        out = np.empty(len(update), word_dtype(self.modulus_bits))
        # What is rounded fits int32 where a word does, and that cast is much the faster.
        whole = np.int32 if out.itemsize <= 4 else np.int64
        clipped = 0
        for start in range(0, len(update), CHUNK):
            part = slice(start, start + CHUNK)
            x = update[part].astype(np.float64)
            # False for NaN too; mostly nothing is out of range.
            if not -self.clip_range <= x.min() <= x.max() <= self.clip_range:
                x[~np.isfinite(x)] = 0.0
                clipped += int(np.count_nonzero(np.abs(x) > self.clip_range))
            x *= self.levels / self.clip_range
            np.clip(x, -self.levels, self.levels, out=x)
            np.rint(x, out=x)
            out[part] = x.astype(whole).view(f"u{whole().itemsize}")
        reduce_modulus(out, self.modulus_bits)
        return Quantised(out, clipped)

    def decode_sum(self, total: Vector) -> NDArray[np.float64]:
        """Return the sum in units of the update, shape (d,), from integers modulo 2^b."""
        out = np.empty(len(total), np.float64)
        step = np.float64(self.step)
        for start in range(0, len(total), CHUNK):
            part = slice(start, start + CHUNK)
            np.multiply(to_signed(total[part], self.modulus_bits), step, out=out[part])
        return out


def to_signed(vector: Vector, modulus_bits: int) -> NDArray[np.int64]:
    """Return integers modulo 2^b as int64 in [-2^(b-1), 2^(b-1)), shape (d,)."""
    if modulus_bits == 8 * vector.itemsize:
        return vector.view(f"i{vector.itemsize}").astype(np.int64)
    up = np.uint64(64 - modulus_bits)
    shifted = (vector.astype(np.uint64) << up).view(np.int64)
    return shifted >> np.int64(up)


def encode_scalars(values: NDArray[Any], fraction_bits: int) -> NDArray[np.uint64]:
    """Encode float scalars (weights, loss and metric sums) for the segment modulo 2^64.

    Parameters
    ----------
    values : ndarray of shape (k,), floating or integer
        Magnitudes below 2^(52 - fraction_bits): 2,048 of those cannot wrap.
    fraction_bits : int
        Bits after the point; 0 for counts, which are then exact.
    """
    scaled = np.rint(np.asarray(values, np.float64) * 2.0**fraction_bits)
    if not np.all(np.isfinite(scaled)) or np.any(np.abs(scaled) >= 2.0**52):
        raise ValueError(
            f"a scalar is not finite or not below 2^{52 - fraction_bits}: "
            "divide it or take fewer fraction_bits"
        )
    return scaled.astype(np.int64).view(np.uint64)


def decode_scalars(total: NDArray[np.uint64], fraction_bits: int) -> NDArray[np.float64]:
    """Return the sum of scalars, shape (k,), from integers modulo 2^64."""
    return total.view(np.int64).astype(np.float64) / 2.0**fraction_bits
