"""Arithmetic in Z_q[X] / (X^N + 1) with numpy: one row of residues for each prime of q.

The transform is the negacyclic NTT of Longa and Naehrig (CANS 2016): value i is the polynomial
at psi^(2 rev(i) + 1), where rev turns the 13 bits of i around and psi is, for each prime, the
first of 2^((p-1)/2N), 3^((p-1)/2N), ... that is a primitive 2N-th root of one. Its stages have
constant geometry (Pease 1968), so that each is a few operations on whole rows. Products by
constants are Shoup's, others Montgomery's with R = 2^32, both with residues that are reduced
late: what is said to be below 2p or 27p is so for every input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic.parameters import DEGREE, PRIMES

Residues = NDArray[Any]

#: log2 N.
STAGES = DEGREE.bit_length() - 1
_HALF = DEGREE // 2
_R_BITS = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_TWO = np.uint64(2)


def root_of(prime: int) -> int:
    """Return psi, a primitive 2N-th root of one modulo a prime."""
    for base in range(2, prime):
        psi = pow(base, (prime - 1) // (2 * DEGREE), prime)
        if pow(psi, DEGREE, prime) == prime - 1:
            return psi
    raise AssertionError(f"{prime} is not 1 modulo 2N")


def reversed_bits(index: int, num_bits: int) -> int:
    """Return an index with its bits in the other order."""
    return int(f"{index:0{num_bits}b}"[::-1], 2) if num_bits else 0


def shoup(factors: NDArray[np.uint64], prime: int) -> NDArray[np.uint64]:
    """Return floor(w 2^32 / p) of factors below p: with it a product is reduced by one more."""
    return (factors << _R_BITS) // np.uint64(prime)


@dataclass(frozen=True)
class Field:
    """The constants of one prime p.

    Attributes
    ----------
    prime : int
        p.
    negative_inverse : int
        -1 / p modulo 2^32, for Montgomery's reduction.
    square : int
        R^2 modulo p, for R = 2^32: with it a number comes into Montgomery's form.
    quotient : int
        floor(2^32 / p), for the reduction of what is below 2^32.
    twiddles, inverse : ndarray of shape (N,), uint64
        psi^rev(i), and its inverse; what belongs to stage s begins at 2^s.
    last : int
        1 / N.
    """

    prime: int
    negative_inverse: int
    square: int
    quotient: int
    twiddles: NDArray[np.uint64]
    inverse: NDArray[np.uint64]
    last: int


@lru_cache(maxsize=1)
def fields() -> tuple[Field, ...]:
    """Return the constants of all primes."""
    return tuple(map(_field, PRIMES))


def _field(prime: int) -> Field:
    powers = _powers(root_of(prime), prime)
    order = np.array([reversed_bits(i, STAGES) for i in range(DEGREE)])
    twiddles, inverse = powers[order], powers[-order % (2 * DEGREE)]
    return Field(
        prime=prime,
        negative_inverse=-pow(prime, -1, 1 << 32) % (1 << 32),
        square=(1 << 64) % prime,
        quotient=(1 << 32) // prime,
        twiddles=twiddles,
        inverse=inverse,
        last=pow(DEGREE, -1, prime),
    )


def _powers(psi: int, prime: int) -> NDArray[np.uint64]:
    """Return psi^0 to psi^(2N - 1) modulo a prime."""
    found = np.ones(2 * DEGREE, np.uint64)
    for stage in range(STAGES + 1):
        known = 1 << stage
        factor = np.uint64(pow(psi, known, prime))
        found[known : 2 * known] = found[:known] * factor % np.uint64(prime)
    return found


@lru_cache(maxsize=1)
def _tables() -> tuple[tuple[NDArray[np.uint64], ...], ...]:
    """Return for each prime the factors of all stages, repeated to whole rows.

    Each of shape (13, N / 2): forward, Shoup's of it, inverse, Shoup's of it. 12 MB in all.
    """
    found: list[tuple[NDArray[np.uint64], ...]] = []
    for field in fields():
        parts: list[NDArray[np.uint64]] = []
        for factors in (field.twiddles, field.inverse):
            rows = [np.tile(factors[1 << s : 2 << s], _HALF >> s) for s in range(STAGES)]
            table = np.stack(rows)
            parts += [table, shoup(table, field.prime)]
        found.append(tuple(parts))
    return tuple(found)


def reduce_late(values: Residues, field: Field) -> Residues:
    """Return values below 2^32 as residues below 2p."""
    return values - ((values * np.uint64(field.quotient)) >> _R_BITS) * np.uint64(field.prime)


def reduce_whole(values: Residues, field: Field) -> Residues:
    """Return values below 2^32 as residues below p."""
    return below_prime(reduce_late(values, field), field)


def below_prime(values: Residues, field: Field) -> Residues:
    """Return values below 2p as residues below p."""
    # Of what is below p already, the difference wraps to something large.
    return np.minimum(values, values - np.uint64(field.prime))


def montgomery(values: Residues, field: Field) -> Residues:
    """Return values below 2^64 - 2^59, divided by 2^32 modulo p: below 2^-32 x + p."""
    factors = (values & _LOW) * np.uint64(field.negative_inverse) & _LOW
    return (values + factors * np.uint64(field.prime)) >> _R_BITS


def forward(number: int, values: Residues) -> Residues:
    """Return the transform of one prime's residues.

    Parameters
    ----------
    number : int
        Of the prime.
    values : ndarray of shape (N,), unsigned
        Below p.

    Returns
    -------
    ndarray of shape (N,), uint64
        Below p.
    """
    field, (factors, shoups, _, _) = fields()[number], _tables()[number]
    prime, x = np.uint64(field.prime), values.astype(np.uint64)
    y = np.empty_like(x)
    # From below p each stage adds 2p at most: 27p after 13, which is below 2^32.
    for factor, its_shoup in zip(factors, shoups, strict=True):
        right = x[_HALF:]
        product = right * factor - ((right * its_shoup) >> _R_BITS) * prime
        np.add(x[:_HALF], product, out=y[0::2])
        np.subtract(x[:_HALF] + _TWO * prime, product, out=y[1::2])
        x, y = y, x
    return reduce_whole(x, field)


def backward(number: int, values: Residues) -> Residues:
    """Return what has this transform; both below p, as `forward` says."""
    field, (_, _, factors, shoups) = fields()[number], _tables()[number]
    prime, x = np.uint64(field.prime), values.astype(np.uint64)
    y = np.empty_like(x)
    bound = 1  # all of x is below bound p, which doubles: 32p is too much
    for factor, its_shoup in zip(factors[::-1], shoups[::-1], strict=True):
        even, odd = x[0::2], x[1::2]
        total = even + odd
        bound *= 2
        if bound == 32:
            total, bound = reduce_late(total, field), 2
            rest = even + np.uint64(16) * prime - odd
        else:
            rest = even + np.uint64(bound // 2) * prime - odd
        y[:_HALF] = total
        product = rest * factor
        np.subtract(product, ((rest * its_shoup) >> _R_BITS) * prime, out=y[_HALF:])
        x, y = y, x
    last = np.array([field.last], np.uint64)
    scaled = x * last - ((x * shoup(last, field.prime)) >> _R_BITS) * prime
    return below_prime(scaled, field)


def prepare(key: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the transform of a key for `product`: modulo each prime, in Montgomery's form.

    Parameters
    ----------
    key : ndarray of shape (N,), signed
        Each entry far below 2^26 in magnitude.

    Returns
    -------
    ndarray of shape (7, N), uint64
        Below each prime.
    """
    found = np.empty((len(PRIMES), DEGREE), np.uint64)
    for number, field in enumerate(fields()):
        residues = np.where(key < 0, field.prime, 0) + key.astype(np.int64)
        values = forward(number, residues) * np.uint64(field.square)
        found[number] = below_prime(montgomery(values, field), field)
    return found


def product(public: NDArray[np.uint32], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the product of a public polynomial and a key.

    Parameters
    ----------
    public : ndarray of shape (7, N), uint32
        The polynomial's transform, below each prime.
    key : ndarray of shape (7, N), uint64
        From `prepare`.

    Returns
    -------
    ndarray of shape (7, N), uint64
        The coefficients, below each prime.
    """
    found = np.empty((len(PRIMES), DEGREE), np.uint64)
    for number, field in enumerate(fields()):
        values = montgomery(public[number] * key[number], field)
        found[number] = backward(number, below_prime(values, field))
    return found
