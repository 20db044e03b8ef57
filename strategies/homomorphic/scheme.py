"""Encrypt an update under a fresh key, add ciphertexts, open a sum with the sum of the keys.

A ciphertext of an update is, for each polynomial j, c_j = a_j s + T e_j + P_j, taken modulo q
and X^N + 1: a_j public, s the node's key of this one attempt, e_j fresh errors, P_j its
numbers. Sums of ciphertexts are ciphertexts of sums, under the sum S of the keys. What is
opened, beside the sum of the updates, is S and the sums of errors: see ``docs/homomorphic.md``
for what these tell.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic import packing, ring
from strategies.homomorphic.arithmetic import Arithmetic, arithmetic_for
from strategies.homomorphic.packing import Places
from strategies.homomorphic.parameters import (
    DEGREE,
    KEY_BITS,
    NAME,
    PRIME_BITS,
    PRIMES,
    SIGMA,
    VERSION,
    Slots,
)
from strategies.homomorphic.public import public_key, public_polynomial
from strategies.homomorphic.sampler import SEED_BYTES, Keystream, sample
from strategies.secagg.crypto.prg import Vector, word_dtype
from strategies.secagg.packing import packed_bytes
from strategies.secagg.server.outcome import MismatchError
from strategies.secagg.wire import Buffer

RandomBytes = Callable[[int], bytes]

_DOMAIN = b"tacet/kahe/v1/scheme"
# Of the mean square of all errors: an honest sum is out of it with a chance of 2e-9.
_DEVIATIONS = 6.0


@dataclass(frozen=True)
class Scheme:
    """The encryption of the updates of one attempt.

    Attributes
    ----------
    slots : Slots
        How numbers stand in coefficients, and what their sum has room for.
    """

    slots: Slots

    def describe(self) -> dict[str, object]:
        """Return every number on which an encryption depends."""
        numbers = {"degree": DEGREE, "primes": PRIMES, "sigma": SIGMA}
        return {"name": NAME, "version": VERSION, **numbers, **asdict(self.slots)}

    def bound_to(self, codec: bytes) -> bytes:
        """Return SHA-256 of a codec's hash and this scheme (32 bytes), for the mask binding."""
        text = json.dumps(self.describe(), sort_keys=True).encode()
        return hashlib.sha256(_DOMAIN + codec + text).digest()

    @property
    def masked_form(self) -> tuple[int, int]:
        """Return the bits of each entry of a key under masks, and how many there are."""
        return KEY_BITS, DEGREE

    @property
    def num_bytes(self) -> int:
        """Return the bytes of a ciphertext."""
        return self.slots.num_bytes

    def encrypt(
        self,
        values: Vector,
        plan: bytes,
        random_bytes: RandomBytes = os.urandom,
        arithmetic: Arithmetic | None = None,
    ) -> tuple[Vector, Buffer]:
        """Encrypt an update under a key that is drawn here and used for nothing else.

        Parameters
        ----------
        values : ndarray of shape (d,), of `prg.word_dtype(b)`
            Numbers modulo 2^b, noise included.
        plan : bytes
            The hash of the node's own mask binding, of which the public polynomials are made.
        random_bytes : callable
            Uniform secret bytes, of the operating system.
        arithmetic : Arithmetic, optional
            What multiplies; chosen by the length unless given. Either gives the same bytes.

        Returns
        -------
        ndarray of shape (N,), uint16, and bytes-like
            The key modulo 2^16, to be masked in place, and the ciphertext. The caller must
            keep neither the key nor a copy of it.
        """
        slots = self.slots
        if values.shape != (slots.num_values,) or values.dtype != word_dtype(
            slots.modulus_bits
        ):
            raise ValueError(
                f"{values.dtype} of shape {values.shape} where {slots.num_values} numbers"
                f" modulo 2^{slots.modulus_bits} belong"
            )
        using = arithmetic or arithmetic_for(slots.num_polynomials)
        key = sample(DEGREE, Keystream(random_bytes(SEED_BYTES)))
        prepared = ring.prepare(key)
        errors_of = Keystream(random_bytes(SEED_BYTES))
        out = bytearray(self.num_bytes)
        for number, part in self._polynomials(out):
            errors = sample(slots.length(number), errors_of)
            public = public_polynomial(public_key(plan), number)
            start = number * slots.values_in_full
            words = values[start : start + slots.values_in_full]
            products = using.product(public, prepared)
            part[:] = using.spread(words, errors, products, Places.of(slots))
            errors[:] = 0
            products[:] = 0
        masked = key.astype(np.int16).view(word_dtype(KEY_BITS))
        key[:] = 0
        prepared[:] = 0
        return masked, out

    def is_sound(self, ciphertext: Buffer) -> bool:
        """Return whether bytes are a ciphertext: by length, and residues below their primes."""
        if len(ciphertext) != self.num_bytes:
            return False
        return all(
            packing.is_reduced(part, self.slots.length(number))
            for number, part in self._polynomials(ciphertext)
        )

    def decrypt(
        self,
        key_sum: Vector,
        ciphertexts: Sequence[Buffer],
        plan: bytes,
        arithmetic: Arithmetic | None = None,
    ) -> Vector:
        """Add ciphertexts and open their sum.

        Parameters
        ----------
        key_sum : ndarray of shape (N,), uint16
            The sum modulo 2^16 of the keys of exactly these ciphertexts.
        ciphertexts : sequence of bytes-like
            At least one, each sound. Read polynomial by polynomial, so that nothing beside
            them is as long.
        plan : bytes
            As `encrypt` has it.
        arithmetic : Arithmetic, optional
            As `encrypt` has it.

        Returns
        -------
        ndarray of shape (d,), of `prg.word_dtype(b)`
            The sum of the numbers modulo 2^b.

        Raises
        ------
        MismatchError
            If keys or errors are none that so many honest participants have.
        """
        slots = self.slots
        using = arithmetic or arithmetic_for(slots.num_polynomials)
        keys = key_sum.view(np.int16).astype(np.int64)
        _require_small("the sum of the keys", keys, slots.largest_sum)
        prepared, squares = ring.prepare(keys), 0
        found = np.empty(
            slots.num_coefficients * slots.num_slots, word_dtype(slots.modulus_bits)
        )
        parts = [dict(self._polynomials(ciphertext)) for ciphertext in ciphertexts]
        for number in range(slots.num_polynomials):
            total = np.zeros((len(PRIMES), slots.length(number)), np.uint64)
            for part in parts:
                using.add(part[number], total)
            products = using.product(public_polynomial(public_key(plan), number), prepared)
            opened = using.collect(total, products, Places.of(slots))
            if opened is None:
                raise MismatchError("an error has over 32 bits")
            words, errors = opened
            _require_small("a sum of errors", errors, slots.largest_sum)
            squares += int(np.dot(errors, errors))
            start = number * slots.values_in_full
            found[start : start + len(words)] = words
        self._require_spread(squares, len(ciphertexts))
        return found[: slots.num_values]

    def _require_spread(self, squares: int, num_ciphertexts: int) -> None:
        """Refuse errors whose mean square is none of so many independent ones."""
        count = self.slots.num_coefficients
        ratio = squares / count / (num_ciphertexts * SIGMA**2)
        if not abs(ratio - 1) <= _DEVIATIONS * sqrt(2 / count):
            raise MismatchError(f"the mean square of the errors is {ratio:.4g} of what is due")

    def _polynomials(self, ciphertext: Buffer) -> list[tuple[int, memoryview]]:
        """Return the parts of a ciphertext, by the number of the polynomial."""
        view, start = memoryview(ciphertext).cast("B"), 0
        found: list[tuple[int, memoryview]] = []
        for number in range(self.slots.num_polynomials):
            size = packed_bytes(len(PRIMES) * self.slots.length(number), PRIME_BITS)
            found.append((number, view[start : start + size]))
            start += size
        return found


def _require_small(what: str, values: NDArray[np.int64], most: int) -> None:
    largest = int(np.abs(values).max())
    if largest > most:
        raise MismatchError(f"{what} is {largest} where {most} is possible")
