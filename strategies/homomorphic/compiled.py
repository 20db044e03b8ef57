"""The same arithmetic as in ``ring`` and ``packing``, compiled by numba: the same bytes.

Imported only where numba is installed (the extra ``numba``). Nothing is cached on disk: machine
code beside the approved code would run without being looked at. So each process compiles anew,
for seconds, which pays for large updates only; see ``backend``.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic import packing, ring
from strategies.homomorphic.packing import LIMBS, Places
from strategies.homomorphic.parameters import DEGREE, PRIME_BITS, PRIMES
from strategies.secagg.crypto.prg import Vector, word_dtype
from strategies.secagg.fields import Buffer

_numba: Any = importlib.import_module("numba")
_compile = _numba.njit(nogil=True)

_WIDTH, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)
_WORD, _BYTE = np.uint64(64), np.uint64(8)
_ERROR_BITS = np.uint64(32)
_PRIMES = np.array(PRIMES, np.uint64)


@_compile
def _back(x: Any, factors: Any, shoups: Any, prime: Any) -> None:
    """Transform x, below p, back in place but for 1 / N; what comes out is below 2p."""
    twice, half = _TWO * prime, 1
    groups = x.shape[0] // 2
    while groups:
        for group in range(groups):
            factor, its_shoup = factors[groups + group], shoups[groups + group]
            start = 2 * group * half
            for at in range(start, start + half):
                even, odd = x[at], x[at + half]
                total = even + odd
                x[at] = min(total, total - twice)
                rest = even + twice - odd
                x[at + half] = rest * factor - ((rest * its_shoup) >> _WIDTH) * prime
        groups //= 2
        half *= 2


@_compile
def _product(public: Any, key: Any, inverse: Any, shoups: Any, numbers: Any, out: Any) -> None:
    for i in range(public.shape[0]):
        prime, negative, last, last_shoup = numbers[i]
        x = out[i]
        for at in range(x.shape[0]):
            value = np.uint64(public[i, at]) * key[i, at]
            value = (value + ((value & _LOW) * negative & _LOW) * prime) >> _WIDTH
            x[at] = min(value, value - prime)
        _back(x, inverse[i], shoups[i], prime)
        for at in range(x.shape[0]):
            value = x[at] * last - ((x[at] * last_shoup) >> _WIDTH) * prime
            x[at] = min(value, value - prime)


@_compile
def _spread(
    digits: Any, errors: Any, products: Any, factors: Any, plain: Any, numbers: Any, out: Any
) -> None:
    """Fill out, bytes, with packed residues; see ``packing.spread``."""
    length, count = digits.shape
    at = 0
    for i in range(products.shape[0]):
        prime, negative, quotient, less_offset = numbers[i]
        held, num_held = _ZERO, _ZERO
        for c in range(length):
            error = np.uint64(errors[c]) if errors[c] >= 0 else prime - np.uint64(-errors[c])
            value = error * plain[i]
            for s in range(count):
                value += digits[c, s] * factors[i, s]
            value = (value + ((value & _LOW) * negative & _LOW) * prime) >> _WIDTH
            value += less_offset + products[i, c]
            value -= ((value * quotient) >> _WIDTH) * prime
            value = min(value, value - prime)
            held |= value << num_held
            num_held += np.uint64(PRIME_BITS)
            while num_held >= _BYTE:
                out[at] = np.uint8(held & np.uint64(255))
                at += 1
                held >>= _BYTE
                num_held -= _BYTE


@_compile
def _add(packed: Any, total: Any, primes: Any) -> bool:
    """Add packed residues to total; a row is a whole number of groups of 27 bytes.

    Return whether each is below its prime.
    """
    mask = np.uint64((1 << PRIME_BITS) - 1)
    at, largest, below = 0, _ZERO, True
    for i in range(total.shape[0]):
        held, num_held, largest = _ZERO, _ZERO, _ZERO
        for c in range(total.shape[1]):
            while num_held < np.uint64(PRIME_BITS):
                held |= np.uint64(packed[at]) << num_held
                at += 1
                num_held += _BYTE
            total[i, c] += held & mask
            largest = max(largest, held & mask)
            held >>= np.uint64(PRIME_BITS)
            num_held -= np.uint64(PRIME_BITS)
        below = below and largest < primes[i]
    return below


@_compile
def _collect(
    total: Any, products: Any, tables: Any, numbers: Any, places: Any, found: Any, errors: Any
) -> bool:
    """Fill found, digits, and errors; return whether each error has 32 bits."""
    inverses, shoups, weights = tables
    half, offset, bits = places
    count = np.uint64(found.shape[1])
    digit, words = np.zeros(total.shape[0], np.uint64), np.zeros(LIMBS + 2, np.uint64)
    mask, highest = (_ONE << bits) - _ONE, _ONE << (bits - _ONE)
    fits = True
    for c in range(total.shape[1]):
        for i in range(total.shape[0]):
            prime, quotient = numbers[i, 0], numbers[i, 1]
            value = total[i, c] % prime + prime - products[i, c] + half[i]
            for j in range(i):
                value += _TWO * prime - digit[j]
                value = value * inverses[i, j] - ((value * shoups[i, j]) >> _WIDTH) * prime
            value -= ((value * quotient) >> _WIDTH) * prime
            digit[i] = min(value, value - prime)
        carry = _ZERO
        for at in range(LIMBS):
            carry += offset[at]
            for i in range(total.shape[0]):
                carry += weights[at, i] * digit[i]
            words[at] = carry & _LOW
            carry >>= _WIDTH
        for s in range(count + _ONE):
            start = np.uint64(s) * bits
            at, shift = start >> np.uint64(5), start & np.uint64(31)
            value = (words[at] >> shift) | (words[at + _ONE] << (_WIDTH - shift))
            if shift:
                value |= words[at + _TWO] << (_WORD - shift)
            if s < count:
                found[c, s] = (value & mask) ^ highest
            else:
                errors[c] = np.int64(value & _LOW) - np.int64(1 << 31)
                fits = fits and not words[at + _ONE] >> shift
                for more in range(at + _TWO, np.uint64(LIMBS)):
                    fits = fits and not words[more]
    return fits


@lru_cache(maxsize=1)
def _of_product() -> tuple[NDArray[np.uint64], ...]:
    inverse = np.stack([field.inverse for field in ring.fields()])
    shoups = np.stack([ring.shoup(field.inverse, field.prime) for field in ring.fields()])
    rows = [
        (f.prime, f.negative_inverse, f.last, (f.last << 32) // f.prime) for f in ring.fields()
    ]
    return inverse, shoups, np.array(rows, np.uint64)


def product(public: NDArray[np.uint32], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the product of a public polynomial and a key, as ``ring.product``."""
    out = np.empty((len(PRIMES), DEGREE), np.uint64)
    _product(public, key, *_of_product(), out)
    return out


def spread(
    words: Vector, errors: NDArray[Any], products: NDArray[np.uint64], places: Places
) -> Buffer:
    """Return one packed polynomial of a ciphertext, as ``packing.spread``."""
    digits = packing.raised(words, places.slots, len(errors))
    rows = [
        (f.prime, f.negative_inverse, f.quotient, int(less))
        for f, less in zip(ring.fields(), places.less_offset, strict=True)
    ]
    out = np.empty(len(PRIMES) * len(errors) * PRIME_BITS // 8, np.uint8)
    numbers = np.array(rows, np.uint64)
    _spread(digits, errors, products, places.factors, places.plaintext, numbers, out)
    return out.data


def add(packed: Buffer, total: NDArray[np.uint64]) -> bool:
    """Add one packed polynomial to a sum, as ``packing.add``."""
    return bool(_add(np.frombuffer(packed, np.uint8), total, _PRIMES))


def collect(
    total: NDArray[np.uint64], products: NDArray[np.uint64], places: Places
) -> tuple[Vector, NDArray[np.int64]] | None:
    """Return the numbers and errors in one polynomial of a sum, as ``packing.collect``."""
    slots, radix, length = places.slots, packing.mixed_radix(), total.shape[1]
    found = np.empty((length, slots.num_slots), word_dtype(slots.modulus_bits))
    errors = np.empty(length, np.int64)
    numbers = np.array([(f.prime, f.quotient) for f in ring.fields()], np.uint64)
    fits = _collect(
        total,
        products,
        (radix.inverses, radix.shoups, radix.weights),
        numbers,
        (places.half, places.offset, np.uint64(slots.modulus_bits)),
        found,
        errors,
    )
    return (found.reshape(-1), errors) if fits else None
