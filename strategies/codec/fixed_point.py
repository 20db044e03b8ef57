"""Fixed point: float vectors to integers modulo 2^b, and back from a sum.

A value x in [-R, R] becomes the integer nearest to x * L / R, so the resolution is R / L.
Negative integers are two's complement. The sum of n contributions lies in [-nL, nL] and
fits as nL <= 2^(b-1) - 1: without noise a wrap cannot happen. Noise on the grid needs room
of its own; `headroom` reserves that many steps of the sum.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.crypto.prg import Vector, word_dtype
from strategies.secagg.packing import MAX_BITS, MIN_BITS

_FLOAT_BITS = 53
_CHUNK = 1 << 16  # values encoded at a time, so that the float64 copies stay small


@dataclass(frozen=True)
class Encoded:
    """An encoded contribution.

    Parameters
    ----------
    vector : ndarray of shape (d,), unsigned
        Integers modulo 2^b, ready to be masked.
    num_clipped, num_nonfinite : int
        Entries out of the clip range, and entries that were NaN or infinite and became 0.
        Both depend on the data: send them under the mask only.
    """

    vector: Vector
    num_clipped: int
    num_nonfinite: int


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """A fixed-point grid on which the sum of a whole cohort cannot wrap.

    Parameters
    ----------
    modulus_bits : int
        b, from 8 to 64; exactly b bits a parameter travel.
    clip_range : float
        R: entries are clipped to [-R, R].
    num_contributions : int
        n: the most contributions that one sum may hold.
    resolution : float or None
        The coarsest grid step wanted, in units of the update; None takes the finest that fits.
    headroom : int
        Steps of the sum kept free for noise on either side.

    Raises
    ------
    ValueError
        Where the sum does not fit the modulus; names the values and the mends.
    """

    modulus_bits: int
    clip_range: float
    num_contributions: int
    resolution: float | None = None
    headroom: int = 0

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.modulus_bits <= MAX_BITS:
            raise ValueError(
                f"modulus_bits={self.modulus_bits} is not between {MIN_BITS} and {MAX_BITS}"
            )
        if not (np.isfinite(self.clip_range) and self.clip_range > 0):
            raise ValueError(f"clip_range={self.clip_range} is not positive")
        if self.num_contributions < 1 or self.headroom < 0:
            raise ValueError(
                f"num_contributions={self.num_contributions} must be at least 1 and "
                f"headroom={self.headroom} at least 0"
            )
        if self.resolution is not None and not 0 < self.resolution <= self.clip_range:
            raise ValueError(
                f"resolution={self.resolution} is not in (0, clip_range={self.clip_range}]"
            )
        self._check_fit()

    def _check_fit(self) -> None:
        half = 2 ** (self.modulus_bits - 1) - 1
        need = self.num_contributions * self.levels + self.headroom
        if self.levels >= 1 and need <= half:
            return
        wanted = max(1, self.levels) * self.num_contributions + self.headroom
        bits = wanted.bit_length() + 1
        grid = f"at resolution {self.step:g}" if self.levels else "with one step each"
        raise ValueError(
            f"modulus_bits={self.modulus_bits} holds sums within +-{half} steps, but "
            f"num_contributions={self.num_contributions} in +-clip_range={self.clip_range:g} "
            f"{grid} and headroom={self.headroom} need +-{wanted}: take modulus_bits={bits} or "
            "more, a coarser resolution, a smaller clip_range or fewer contributions"
        )

    @property
    def levels(self) -> int:
        """L: the integer that stands for the clip range."""
        if self.resolution is not None:
            return ceil(self.clip_range / self.resolution)
        half = 2 ** (self.modulus_bits - 1) - 1
        most = max(0, (half - self.headroom) // self.num_contributions)
        # A float64 of more than 53 bits would round up, and the sum could wrap.
        spare = max(0, most.bit_length() - _FLOAT_BITS)
        return most >> spare << spare

    @property
    def step(self) -> float:
        """R / L: the grid step, in units of the update."""
        return self.clip_range / self.levels

    def encode(self, update: NDArray[Any], dither: NDArray[Any] | None = None) -> Encoded:
        """Encode one contribution.

        Parameters
        ----------
        update : ndarray of shape (d,), floating
            In units of the update.
        dither : ndarray of shape (d,), floating, optional
            Uniform in [0, 1) and independent of the data: rounds down after adding it, which
            is unbiased. None rounds to the nearest step, halves to even.

        Returns
        -------
        Encoded
            Float64 scratch is one chunk of 65,536 values.
        """
        if update.ndim != 1 or (dither is not None and dither.shape != update.shape):
            raise ValueError("update and dither are one-dimensional and of one length")
        out = np.empty(len(update), word_dtype(self.modulus_bits))
        clipped = nonfinite = 0
        for start in range(0, len(update), _CHUNK):
            part = slice(start, start + _CHUNK)
            x = update[part].astype(np.float64)
            finite = np.isfinite(x)
            x[~finite] = 0.0
            nonfinite += x.size - int(np.count_nonzero(finite))
            clipped += int(np.count_nonzero(np.abs(x) > self.clip_range))
            x *= self.levels / self.clip_range
            np.clip(x, -self.levels, self.levels, out=x)
            rounded = np.rint(x) if dither is None else np.floor(x + dither[part])
            np.clip(rounded, -self.levels, self.levels, out=rounded)
            out[part] = rounded.astype(np.int64).astype(out.dtype)
        _reduce(out, self.modulus_bits)
        return Encoded(out, clipped, nonfinite)

    def decode_sum(self, total: Vector) -> NDArray[np.float64]:
        """Return the sum in units of the update, shape (d,), from integers modulo 2^b."""
        return to_signed(total, self.modulus_bits).astype(np.float64) * np.float64(self.step)


def _reduce(vector: Vector, modulus_bits: int) -> None:
    vector &= vector.dtype.type((1 << modulus_bits) - 1)


def to_signed(vector: Vector, modulus_bits: int) -> NDArray[np.int64]:
    """Return integers modulo 2^b as int64 in [-2^(b-1), 2^(b-1)), shape (d,)."""
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
