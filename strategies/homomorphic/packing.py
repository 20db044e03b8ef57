"""Numbers in coefficients, and coefficients as residues: there and back.

A number w modulo 2^b stands for the signed v, and a coefficient for the integer P = sum of v_s
2^(b s) over its k slots. P goes into Z_q without a reduction modulo T = 2^(b k), so that what a
server sees depends on the sums of the integers alone. A sum is read as k signed digits; what
remains above them is the sum of the errors.

All of it is done with P + H, where H = sum of 2^(b-1) 2^(b s): the digits of that are v +
2^(b-1), which are not negative, and w with its highest bit turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic.parameters import MODULUS, PRIME_BITS, PRIMES, Slots
from strategies.homomorphic.ring import (
    Residues,
    below_prime,
    fields,
    montgomery,
    reduce_whole,
    shoup,
)
from strategies.secagg.crypto.prg import Vector, word_dtype
from strategies.secagg.fields import Buffer
from strategies.secagg.packing import pack, unpack

#: Binary words of a sum, and the bits of each.
LIMBS, LIMB_BITS = 7, 32

_LOW = np.uint64(0xFFFFFFFF)
_WIDTH = np.uint64(LIMB_BITS)
_ERROR_BITS = 32  # of the sum of errors as it is read
_TOTAL_BITS = LIMBS * LIMB_BITS


@dataclass(frozen=True, eq=False)
class Places:
    """What numbers of a sum are multiplied by, for each prime.

    Attributes
    ----------
    slots : Slots
        The layout.
    factors : ndarray of shape (7, m), uint64
        2^(b s) in Montgomery's form; of numbers over 32 bits that of their upper part, too.
    plaintext : ndarray of shape (7,), uint64
        T in Montgomery's form.
    less_offset : ndarray of shape (7,), uint64
        -H.
    half : ndarray of shape (7,), uint64
        floor(q / 2).
    offset : ndarray of shape (7,), uint64
        What is added to a sum in [0, q) + floor(q / 2) to have all digits at or above 0: words
        of H + 2^31 T - floor(q / 2) modulo 2^224.
    """

    slots: Slots
    factors: NDArray[np.uint64]
    plaintext: NDArray[np.uint64]
    less_offset: NDArray[np.uint64]
    half: NDArray[np.uint64]
    offset: NDArray[np.uint64]

    @staticmethod
    @lru_cache(maxsize=8)
    def of(slots: Slots) -> Places:
        """Return the constants of a layout."""
        bits, count = slots.modulus_bits, slots.num_slots
        plaintext = 1 << (bits * count)
        powers = [1 << (bits * s) for s in range(count)]
        if bits > LIMB_BITS:
            powers += [power << LIMB_BITS for power in powers]
        up = sum(1 << (bits * (s + 1) - 1) for s in range(count))
        offset = (up + (plaintext << (_ERROR_BITS - 1)) - MODULUS // 2) % (1 << _TOTAL_BITS)
        return Places(
            slots=slots,
            factors=_modulo_each([power << LIMB_BITS for power in powers]).T.copy(),
            plaintext=_modulo_each([plaintext << LIMB_BITS])[0],
            less_offset=_modulo_each([-up])[0],
            half=_modulo_each([MODULUS // 2])[0],
            offset=_limbs(offset),
        )


def _modulo_each(values: list[int]) -> NDArray[np.uint64]:
    return np.array([[value % prime for prime in PRIMES] for value in values], np.uint64)


def _limbs(value: int) -> NDArray[np.uint64]:
    words = [(value >> (LIMB_BITS * at)) & 0xFFFFFFFF for at in range(LIMBS)]
    return np.array(words, np.uint64)


@dataclass(frozen=True, eq=False)
class MixedRadix:
    """The constants that turn residues into one integer (Garner 1959).

    Attributes
    ----------
    inverses, shoups : ndarray of shape (7, 7), uint64
        1 / p_j modulo p_i, for j < i, and Shoup's of it.
    weights : ndarray of shape (7, 7), uint64
        Words of p_0 ... p_(i-1).
    """

    inverses: NDArray[np.uint64]
    shoups: NDArray[np.uint64]
    weights: NDArray[np.uint64]


@lru_cache(maxsize=1)
def mixed_radix() -> MixedRadix:
    """Return the constants of the primes."""
    count = len(PRIMES)
    inverses, shoups = (np.zeros((count, count), np.uint64) for _ in range(2))
    weights, product = np.zeros((LIMBS, count), np.uint64), 1
    for i, prime in enumerate(PRIMES):
        inverses[i, :i] = [pow(other, -1, prime) for other in PRIMES[:i]]
        shoups[i] = shoup(inverses[i], prime)
        weights[:, i] = _limbs(product)
        product *= prime
    return MixedRadix(inverses, shoups, weights)


def raised(words: Vector, slots: Slots, length: int) -> NDArray[np.uint64]:
    """Return the digits of one polynomial from its numbers modulo 2^b.

    Shape (length, m), where m is k, or twice as much with digits of over 32 bits: their lower
    and then their upper parts, as `Places.factors` has them.
    """
    bits = slots.modulus_bits
    digits = np.full(length * slots.num_slots, 1 << (bits - 1), np.uint64)
    digits[: len(words)] = words.astype(np.uint64) ^ np.uint64(1 << (bits - 1))
    digits = digits.reshape(length, slots.num_slots)
    if bits <= LIMB_BITS:
        return digits
    return np.concatenate([digits & _LOW, digits >> _WIDTH], axis=1)


def spread(words: Vector, errors: NDArray[Any], products: Residues, places: Places) -> Buffer:
    """Return one packed polynomial of a ciphertext: a s + T e + P.

    Parameters
    ----------
    words : ndarray of shape (at most k L,), unsigned
        Numbers modulo 2^b; those that lack are zeros.
    errors : ndarray of shape (L,), int8
        e.
    products : ndarray of shape (7, N), uint64
        a s, below each prime.
    places : Places
        The layout.

    Returns
    -------
    bytes-like
        L residues of 27 bits of each prime.
    """
    length = len(errors)
    digits = raised(words, places.slots, length)
    # At most 22 products of 8 + 27 bits, or 5 of 32 + 27: below 2^62.
    sums = places.factors @ digits.T
    found = np.empty((len(PRIMES), length), np.uint32)
    for number, field in enumerate(fields()):
        residues = (np.where(errors < 0, field.prime, 0) + errors).astype(np.uint64)
        exact = montgomery(sums[number] + residues * places.plaintext[number], field)
        exact += places.less_offset[number] + products[number, :length]
        found[number] = reduce_whole(exact, field)
    return pack(found.reshape(-1), PRIME_BITS)


def residues_of(packed: Buffer, length: int) -> NDArray[np.uint32]:
    """Return the residues of one packed polynomial, shape (7, length)."""
    return unpack(packed, PRIME_BITS, len(PRIMES) * length).reshape(len(PRIMES), length)


def add(packed: Buffer, total: NDArray[np.uint64]) -> bool:
    """Add one packed polynomial to a sum of shape (7, L), which is reduced in the end.

    Returns whether each of its residues is below its prime.
    """
    residues = residues_of(packed, total.shape[1])
    total += residues
    most = residues.max(axis=1).tolist()
    return all(value < prime for value, prime in zip(most, PRIMES, strict=True))


def subtract(packed: Buffer, total: NDArray[np.uint64]) -> None:
    """Undo `add`."""
    total -= residues_of(packed, total.shape[1])


def collect(
    total: NDArray[np.uint64], products: Residues, places: Places
) -> tuple[Vector, NDArray[np.int64]] | None:
    """Return the numbers and errors in one polynomial of a sum.

    Parameters
    ----------
    total : ndarray of shape (7, L), uint64
        A sum of residues, of at most 2^37 ciphertexts.
    products : ndarray of shape (7, N), uint64
        The public polynomial by the sum of the keys, below each prime.
    places : Places
        The layout.

    Returns
    -------
    ndarray of shape (k L,), unsigned, and ndarray of shape (L,), int64
        Numbers modulo 2^b, and the sums of errors; None where an error has over 32 bits.
    """
    slots, length = places.slots, total.shape[1]
    digits = np.empty((len(PRIMES), length), np.uint64)
    radix = mixed_radix()
    for i, field in enumerate(fields()):
        prime = np.uint64(field.prime)
        value = total[i] % prime + prime - products[i, :length] + places.half[i]
        for j in range(i):
            value = value + (prime + prime) - digits[j]
            quotient = (value * radix.shoups[i, j]) >> _WIDTH
            value = value * radix.inverses[i, j] - quotient * prime
        digits[i] = below_prime(value, field) if i else reduce_whole(value, field)
    words = _binary(radix.weights @ digits, places.offset)
    top = slots.modulus_bits * slots.num_slots
    if _any_above(words, top + _ERROR_BITS):
        return None
    errors = _field(words, top, _ERROR_BITS).view(np.int64) - (1 << (_ERROR_BITS - 1))
    found = np.empty((length, slots.num_slots), word_dtype(slots.modulus_bits))
    highest = np.uint64(1 << (slots.modulus_bits - 1))
    for s in range(slots.num_slots):
        found[:, s] = _field(words, slots.modulus_bits * s, slots.modulus_bits) ^ highest
    return found.reshape(-1), errors


def _binary(words: NDArray[np.uint64], offset: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Carry, so that each word has 32 bits; in place."""
    carry = np.uint64(0)
    for word, more in zip(words, offset, strict=True):
        word += more + carry
        carry = word >> _WIDTH
        word &= _LOW
    return words


def _any_above(words: NDArray[np.uint64], start: int) -> bool:
    """Return whether an integer has any bit from one on."""
    at, shift = divmod(start, LIMB_BITS)
    return bool((words[at] >> np.uint64(shift)).any() or words[at + 1 :].any())


def _field(words: NDArray[np.uint64], start: int, num_bits: int) -> NDArray[np.uint64]:
    """Return at most 63 bits of an integer as a number."""
    at, shift = divmod(start, LIMB_BITS)
    found = words[at] >> np.uint64(shift)
    reached = LIMB_BITS - shift
    while reached < num_bits:
        at += 1
        found = found | words[at] << np.uint64(reached)
        reached += LIMB_BITS
    return found & np.uint64((1 << num_bits) - 1)
