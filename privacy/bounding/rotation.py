"""A public random rotation, so that no coordinate of a clipped vector is large.

Rounding and the modulus are paid for by the largest coordinate, the noise by the norm. A
rotation keeps the norm and makes the coordinates alike.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEED_BYTES = 32
_SMALLEST_BLOCK = 16
# Padding is noise and traffic for nothing: at most one part in so many.
_PADDING_PARTS = 8
# Factors of up to 2**6 cost the fewest multiplications for what a matrix product's start costs.
_FACTOR_BITS = 6
_DOMAIN = b"tacet: signs of the rotation, version 1\0"
_WHOLE_DOMAIN = b"tacet: signs of the whole rotation, version 1\0"


def block_size(dimension: int) -> int:
    """Return the largest power of two that pads ``dimension`` by at most one eighth.

    At least 16. A larger block spreads one large coordinate over more of them.

    Raises
    ------
    ValueError
        If the dimension is below 1.
    """
    if dimension < 1:
        raise ValueError(f"dimension={dimension}: must be at least 1")
    block = _SMALLEST_BLOCK
    candidate = 2 * block
    # A longer block would be padding for more than an eighth all by itself.
    while _PADDING_PARTS * candidate <= (_PADDING_PARTS + 1) * dimension:
        if _PADDING_PARTS * (-dimension % candidate) <= dimension:
            block = candidate
        candidate *= 2
    return block


def padded_dimension(dimension: int) -> int:
    """Return the length of a rotated vector: ``dimension`` up to whole blocks.

    Raises
    ------
    ValueError
        If the dimension is below 1.
    """
    return dimension + -dimension % block_size(dimension)


@dataclass(frozen=True)
class Rotation:
    """H D on each block: random signs, then a normalised Walsh-Hadamard matrix.

    Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), section 5 and algorithm 1, there with one
    block; Agarwal, Kairouz, Liu 2021 (arXiv 2110.04995). Orthonormal, so the L2 norm, hence the
    sensitivity, is kept, up to a relative 1e-13 of floating point: who needs the bound to the
    last bit clips *after* ``forward``. The signs hide nothing: seed and rotation are public.

    Attributes
    ----------
    dimension : int
        Length of the vectors, at least 1.
    seed : bytes
        32 bytes, the same on all nodes. The signs are SHAKE256 of it, so they are the same on
        every machine and under every version of numpy.

    Raises
    ------
    ValueError
        If the dimension is below 1 or the seed has another length.
    """

    dimension: int
    seed: bytes

    def __post_init__(self) -> None:
        block_size(self.dimension)
        if len(self.seed) != SEED_BYTES:
            raise ValueError(f"seed has {len(self.seed)} bytes: must be {SEED_BYTES}")

    @property
    def padded(self) -> int:
        """Length of a rotated vector."""
        return padded_dimension(self.dimension)

    def forward(self, x: Floats) -> Floats:
        """Return the rotated vector, shape (padded,), of ``x``, shape (dimension,).

        Raises
        ------
        ValueError
            If the shape is another.
        """
        self._check(x, self.dimension)
        signed = np.zeros(self.padded)
        signed[: self.dimension] = x
        signed *= self._signs()
        return _hadamard_blocks(signed, block_size(self.dimension))

    def inverse(self, y: Floats) -> Floats:
        """Return the vector, shape (dimension,), that ``forward`` turns into ``y``, (padded,).

        What ``y`` has in the padding, as noise has, is dropped.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        self._check(y, self.padded)
        signed = _hadamard_blocks(y, block_size(self.dimension))
        return (signed * self._signs())[: self.dimension]

    def _check(self, vector: Floats, length: int) -> None:
        if vector.shape != (length,):
            raise ValueError(f"shape {vector.shape}: must be ({length},)")

    def _signs(self) -> Floats:
        return _signs_of(_DOMAIN + self.seed, self.padded)


@dataclass(frozen=True)
class WholeRotation:
    """Two overlapping blocks H D, the first and the last entries, with no padding.

    Each is as long as the largest power of two that the vector holds, so together they cover
    it; one alone where that is all of it. Orthonormal, as a product of such. What the first
    block leaves alone before the last one is ``lengths[0]`` entries, alike among themselves,
    and so are the rest. For bytes that count, not for a bound: no accountant knows it.

    Attributes
    ----------
    dimension, seed
        As of ``Rotation``.

    Raises
    ------
    ValueError
        As of ``Rotation``.
    """

    dimension: int
    seed: bytes

    def __post_init__(self) -> None:
        Rotation(self.dimension, self.seed)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return how many entries each part of a rotated vector has that is alike in itself."""
        block = self._block
        return (self.dimension - block, block) if block < self.dimension else (block,)

    def forward(self, x: Floats) -> Floats:
        """Return the rotated vector, shape (dimension,), of one of the same shape."""
        y = x.astype(np.float64)
        for i, span in enumerate(self._spans()):
            y[span] = _hadamard_blocks(y[span] * self._signs(i), self._block)
        return y

    def inverse(self, y: Floats) -> Floats:
        """Return the vector that ``forward`` turns into ``y``, of the same shape."""
        x = y.astype(np.float64)
        for i, span in reversed([*enumerate(self._spans())]):
            x[span] = _hadamard_blocks(x[span], self._block) * self._signs(i)
        return x

    @property
    def _block(self) -> int:
        return 1 << (self.dimension.bit_length() - 1)

    def _spans(self) -> list[slice]:
        block = self._block
        starts = [0, self.dimension - block][: len(self.lengths)]
        return [slice(start, start + block) for start in starts]

    def _signs(self, number: int) -> Floats:
        return _signs_of(_WHOLE_DOMAIN + bytes([number]) + self.seed, self._block)


def _signs_of(seed: bytes, length: int) -> Floats:
    """Return so many signs, drawn from the seed alone."""
    digest = hashlib.shake_256(seed).digest(-(-length // 8))
    bits = np.unpackbits(np.frombuffer(digest, np.uint8), count=length, bitorder="little")
    return (1.0 - 2.0 * bits).astype(np.float64)


def _hadamard_blocks(x: Floats, block: int) -> Floats:
    """Multiply each block by the symmetric matrix H / sqrt(block), its own inverse.

    H is the Kronecker product of smaller ones. Each pass transforms the leading factor's axis
    and moves it to the end; after the last pass all are back in their places.
    """
    num_bits = block.bit_length() - 1
    num_factors = math.ceil(num_bits / _FACTOR_BITS)
    y = x.astype(np.float64)
    for i in range(num_factors):
        factor = 1 << (num_bits + i) // num_factors
        axes = y.reshape(-1, factor, block // factor).swapaxes(1, 2)
        y = axes.reshape(-1, factor) @ _hadamard(factor)
    return y.reshape(-1) / math.sqrt(block)


def _hadamard(order: int) -> Floats:
    """Return Sylvester's matrix: the sign of entry (i, j) is the parity of i AND j."""
    index = np.arange(order)
    parity = np.bitwise_count(index[:, None] & index) & 1
    return (1.0 - 2.0 * parity).astype(np.float64)
