"""Encrypt an update and scalars under a key, add ciphertexts, open a sum with the sum of keys.

A ciphertext is, for each polynomial j, c_j = a_j s + T e_j + P_j, taken modulo q and X^N + 1:
a_j public, s the node's key of this one attempt, e_j fresh errors, P_j its numbers. The last
polynomial has the scalars. Sums of ciphertexts are ciphertexts of sums, under the sum S of the
keys. What is opened, beside the sums, is S and the sums of errors: see ``docs/homomorphic.md``
for what these tell.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic import ring, scalars
from strategies.homomorphic.arithmetic import Arithmetic, arithmetic_for
from strategies.homomorphic.encrypted_sum import EncryptedSum
from strategies.homomorphic.packing import Places
from strategies.homomorphic.parameters import (
    DEGREE,
    NAME,
    PRIME_BITS,
    PRIMES,
    SCALAR_SUM_BITS,
    SIGMA,
    VERSION,
    Slots,
)
from strategies.homomorphic.public import public_key, public_polynomial
from strategies.homomorphic.sampler import SEED_BYTES, Keystream, sample
from strategies.secagg.crypto.prg import Vector, word_dtype
from strategies.secagg.fields import Buffer
from strategies.secagg.packing import packed_bytes
from strategies.secagg.server.outcome import MismatchError

RandomBytes = Callable[[int], bytes]

_DOMAIN = b"tacet/kahe/v1/scheme"
# The mean square of all errors of an honest sum is out of its range with a chance of 2e-9, by
# twice exp(-x) (Laurent and Massart, Annals of Statistics 28 (2000), lemma 1).
_X = 20.8


def draw_key(random_bytes: RandomBytes = os.urandom) -> NDArray[np.int8]:
    """Draw a key, shape (N,), from bits of the operating system that serve nothing else."""
    return sample(DEGREE, Keystream(random_bytes(SEED_BYTES)))


@dataclass(frozen=True)
class Scheme:
    """The encryption of the contributions of one attempt.

    Attributes
    ----------
    slots : Slots
        How numbers stand in coefficients, and what their sum has room for.
    num_scalars : int
        Beside an update, from 1 to 8,192.

    Raises
    ------
    ValueError
        For another number of scalars.
    """

    slots: Slots
    num_scalars: int

    def __post_init__(self) -> None:
        scalars.num_coefficients(self.num_scalars)

    def describe(self) -> dict[str, object]:
        """Return every number on which an encryption depends."""
        numbers = {"degree": DEGREE, "primes": PRIMES, "sigma": SIGMA}
        numbers |= {"num_scalars": self.num_scalars, "scalar_bits": SCALAR_SUM_BITS}
        return {"name": NAME, "version": VERSION, **numbers, **asdict(self.slots)}

    def bound_to(self, codec: bytes) -> bytes:
        """Return SHA-256 of a codec's hash and this scheme (32 bytes), for the mask binding."""
        text = json.dumps(self.describe(), sort_keys=True).encode()
        return hashlib.sha256(_DOMAIN + codec + text).digest()

    @property
    def num_bytes(self) -> int:
        """Return the bytes of a ciphertext."""
        return self.slots.num_bytes + packed_bytes(
            len(PRIMES) * self._scalar_length, PRIME_BITS
        )

    @property
    def _scalar_length(self) -> int:
        return scalars.num_coefficients(self.num_scalars)

    def encrypt(
        self,
        key: NDArray[np.int8],
        contribution: tuple[Vector, NDArray[np.uint64]],
        plan: bytes,
        random_bytes: RandomBytes = os.urandom,
        arithmetic: Arithmetic | None = None,
    ) -> Buffer:
        """Encrypt a contribution under a key that is used for nothing else.

        Parameters
        ----------
        key : ndarray of shape (N,), int8
            From `draw_key`, for this one attempt.
        contribution : tuple of ndarray
            The update, shape (d,), of `prg.word_dtype(b)`: numbers modulo 2^b, noise included.
            The scalars, uint64.
        plan : bytes
            The hash of the node's own mask binding, of which the public polynomials are made.
        random_bytes : callable
            Uniform secret bytes, of the operating system.
        arithmetic : Arithmetic, optional
            What multiplies; chosen by the length unless given. Either gives the same bytes.

        Returns
        -------
        bytes-like
            The ciphertext.
        """
        slots, (values, words_beside) = self.slots, contribution
        self._require_form(values, words_beside)
        using = arithmetic or arithmetic_for(slots.num_polynomials)
        prepared = self._prepared(key)
        errors_of = Keystream(random_bytes(SEED_BYTES))
        out = bytearray(self.num_bytes)
        *updates, (number, last) = self._polynomials(out)
        for at, part in updates:
            errors = sample(slots.length(at), errors_of)
            public = public_polynomial(public_key(plan), at)
            start = at * slots.values_in_full
            words = values[start : start + slots.values_in_full]
            products = using.product(public, prepared)
            part[:] = using.spread(words, errors, products, Places.of(slots))
            errors[:] = 0
            products[:] = 0
        prepared[:] = 0
        errors = sample(self._scalar_length, errors_of)
        last[:] = scalars.spread_scalars(
            words_beside, errors, self._scalar_products(key, plan, number)
        )
        errors[:] = 0
        return out

    def _require_form(self, values: Vector, words_beside: NDArray[np.uint64]) -> None:
        slots = self.slots
        due = (slots.num_values,), word_dtype(slots.modulus_bits), (self.num_scalars,)
        if (values.shape, values.dtype, words_beside.shape) != due:
            raise ValueError(
                f"{values.dtype} of shape {values.shape} and {len(words_beside)} scalars where"
                f" {slots.num_values} numbers modulo 2^{slots.modulus_bits} and"
                f" {self.num_scalars} scalars belong"
            )

    def _prepared(self, key: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return the transform of a key; without an update there is nothing to multiply."""
        return ring.prepare(key) if self.slots.num_polynomials else np.zeros(0, np.uint64)

    def _scalar_products(
        self, key: NDArray[np.integer], plan: bytes, number: int
    ) -> NDArray[np.int64]:
        public = public_polynomial(public_key(plan), number)
        return scalars.products(public, key, self._scalar_length)

    def new_sum(self, arithmetic: Arithmetic | None = None) -> SchemeSum:
        """Return a sum of no ciphertexts yet."""
        return SchemeSum(self, arithmetic)

    def decrypt(
        self,
        key_sum: NDArray[np.int64],
        total: EncryptedSum,
        plan: bytes,
        arithmetic: Arithmetic | None = None,
    ) -> tuple[Vector, NDArray[np.uint64]]:
        """Open a sum of ciphertexts.

        Parameters
        ----------
        key_sum : ndarray of shape (N,), int64
            The sum of the keys of exactly these ciphertexts.
        total : EncryptedSum
            From `new_sum`, of at least one.
        plan : bytes
            As `encrypt` has it.
        arithmetic : Arithmetic, optional
            As `encrypt` has it.

        Returns
        -------
        ndarray of shape (d,), of `prg.word_dtype(b)`, and ndarray of shape (k,), uint64
            The sums of the numbers modulo 2^b, and of the scalars modulo 2^64.

        Raises
        ------
        MismatchError
            If keys or errors are none that so many honest participants have.
        """
        slots = self.slots
        using = arithmetic or arithmetic_for(slots.num_polynomials)
        _require_small("the sum of the keys", key_sum, slots.largest_sum)
        prepared = self._prepared(key_sum)
        squares = 0
        found = np.empty(
            slots.num_coefficients * slots.num_slots, word_dtype(slots.modulus_bits)
        )
        *updates, last = total.totals
        for number, residues in enumerate(updates):
            products = using.product(public_polynomial(public_key(plan), number), prepared)
            opened = using.collect(residues, products, Places.of(slots))
            if opened is None:
                raise MismatchError("an error has over 32 bits")
            words, errors = opened
            _require_small("a sum of errors", errors, slots.largest_sum)
            squares += int(np.dot(errors, errors))
            start = number * slots.values_in_full
            found[start : start + len(words)] = words
        beside, more = self._open_scalars(key_sum, last, plan)
        self._require_spread(squares + more, total.count)
        return found[: slots.num_values], beside

    def _open_scalars(
        self, key_sum: NDArray[np.int64], total: NDArray[np.uint64], plan: bytes
    ) -> tuple[NDArray[np.uint64], int]:
        """Return the sums of scalars, and the sum of the squares of their errors."""
        products = self._scalar_products(key_sum, plan, self.slots.num_polynomials)
        found, errors = scalars.collect_scalars(total, products)
        largest = max(map(abs, errors), default=0)
        if largest > self.slots.largest_sum:
            raise MismatchError(
                f"a sum of errors is {largest} where {self.slots.largest_sum} is possible"
            )
        return found[: self.num_scalars], sum(error * error for error in errors)

    def _require_spread(self, squares: int, num_ciphertexts: int) -> None:
        """Refuse errors whose mean square is none of so many independent ones."""
        count = self.slots.num_coefficients + self._scalar_length
        ratio = squares / count / (num_ciphertexts * SIGMA**2)
        spread = 2 * sqrt(_X / count)
        if not -spread <= ratio - 1 <= spread + 2 * _X / count:
            raise MismatchError(f"the mean square of the errors is {ratio:.4g} of what is due")

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return the coefficients of each polynomial that travel, the scalars' the last."""
        slots = self.slots
        return (*map(slots.length, range(slots.num_polynomials)), self._scalar_length)

    def _polynomials(self, ciphertext: Buffer) -> list[tuple[int, memoryview]]:
        """Return the parts of a ciphertext, by the number of the polynomial."""
        view, start = memoryview(ciphertext).cast("B"), 0
        found: list[tuple[int, memoryview]] = []
        for number, length in enumerate(self.lengths):
            size = packed_bytes(len(PRIMES) * length, PRIME_BITS)
            found.append((number, view[start : start + size]))
            start += size
        return found


class SchemeSum(EncryptedSum):
    """A sum of ciphertexts that knows their scheme."""

    def __init__(self, scheme: Scheme, arithmetic: Arithmetic | None = None) -> None:
        super().__init__(scheme.lengths, arithmetic)
        self._scheme = scheme

    def opened(
        self, key_sum: NDArray[np.int64], plan: bytes
    ) -> tuple[Vector, NDArray[np.uint64]]:
        """Open the sum; see `Scheme.decrypt`."""
        return self._scheme.decrypt(key_sum, self, plan, self._arithmetic)


def _require_small(what: str, values: NDArray[np.int64], most: int) -> None:
    largest = int(np.abs(values).max())
    if largest > most:
        raise MismatchError(f"{what} is {largest} where {most} is possible")
