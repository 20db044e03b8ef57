"""The running sum of ciphertexts: each is checked and added as it comes, in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic.arithmetic import Arithmetic, arithmetic_for
from strategies.homomorphic.packing import subtract
from strategies.homomorphic.parameters import PRIME_BITS, PRIMES
from strategies.secagg.fields import Buffer
from strategies.secagg.packing import packed_bytes
from strategies.secagg.server.masked_sum import Kept


class EncryptedSum:
    """The sum of one attempt's ciphertexts.

    Who sits out is known only once all have come. So each is kept as it was sent, in memory or
    on the disk: see `Kept`.

    Parameters
    ----------
    lengths : tuple of int
        Coefficients of each polynomial.
    arithmetic : Arithmetic, optional
        What adds; chosen by the length unless given.
    """

    def __init__(self, lengths: tuple[int, ...], arithmetic: Arithmetic | None = None) -> None:
        self._arithmetic = arithmetic
        self._sizes = [packed_bytes(len(PRIMES) * length, PRIME_BITS) for length in lengths]
        self._kept = Kept(sum(self._sizes))
        #: Residues of each polynomial, shape (7, L), uint64: not reduced.
        self.totals: list[NDArray[np.uint64]] = [
            np.zeros((len(PRIMES), length), np.uint64) for length in lengths
        ]
        #: How many ciphertexts are in it.
        self.count = 0

    def add(self, node: int, ciphertext: Buffer) -> bool:
        """Add a node's ciphertext, or say that it is none: by length, and by its residues.

        Raises
        ------
        OSError
            If it cannot be kept; then it is not in the sum either.
        """
        if len(ciphertext) != sum(self._sizes):
            return False
        using = self._arithmetic or arithmetic_for(len(self._sizes))
        parts = self._parts(ciphertext)
        for done, (part, total) in enumerate(zip(parts, self.totals, strict=True)):
            if not using.add(part, total):
                self._undo(parts[: done + 1])
                return False
        try:
            self._kept.add(node, ciphertext)
        except OSError:
            self._undo(parts)
            raise
        self.count += 1
        return True

    def _undo(self, parts: list[memoryview]) -> None:
        """Take out the polynomials that are in already."""
        for part, total in zip(parts, self.totals, strict=False):
            subtract(part, total)

    def take_out(self, node: int) -> None:
        """Subtract the ciphertext of a node again."""
        read = self._kept.reader(node)
        for size, total in zip(self._sizes, self.totals, strict=True):
            subtract(read(size), total)
        self.count -= 1

    def close(self) -> None:
        """Drop what was kept; the sum stays."""
        self._kept.close()

    def _parts(self, ciphertext: Buffer) -> list[memoryview]:
        view, start = memoryview(ciphertext).cast("B"), 0
        parts: list[memoryview] = []
        for size in self._sizes:
            parts.append(view[start : start + size])
            start += size
        return parts
