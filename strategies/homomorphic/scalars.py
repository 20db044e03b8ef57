"""Scalars in a ciphertext: weights, losses and counts, one in each coefficient.

They are words modulo 2^64, and stand for signed integers as the numbers of an update do. Each
has a coefficient for itself with room for 80 bits, so that no sum of 10,000 of them wraps or
touches another: the sum is that of the integers, and modulo 2^64 it is always exact. They are a
polynomial of their own, a s + T e + P with T = 2^80, under the same key. Few of its places are
in use, so that these are dot products, with the public polynomial taken as coefficients; the
transform would work on all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from strategies.homomorphic.parameters import (
    DEGREE,
    MODULUS,
    PRIME_BITS,
    PRIMES,
    SCALAR_SUM_BITS,
    grouped,
)
from strategies.secagg.fields import Buffer
from strategies.secagg.packing import pack

_T = 1 << SCALAR_SUM_BITS
_PRIMES = np.array(PRIMES, np.int64)[:, None]
_T_OF = np.array([_T % prime for prime in PRIMES], np.int64)[:, None]
# With which residues become one integer (the Chinese remainder theorem).
_WEIGHTS = tuple(
    MODULUS // prime * pow(MODULUS // prime, -1, prime) % MODULUS for prime in PRIMES
)


def products(
    public: NDArray[np.uint32], key: NDArray[np.integer], length: int
) -> NDArray[np.int64]:
    """Return the first coefficients of the product of a public polynomial and a key.

    Parameters
    ----------
    public : ndarray of shape (7, N), uint32
        Its coefficients, below each prime.
    key : ndarray of shape (N,), signed
        Below 2^15 in magnitude, so that each sum is below 2^55 and exact.
    length : int
        How many.

    Returns
    -------
    ndarray of shape (7, length), int64
        Below each prime.
    """
    found = np.empty((len(PRIMES), length), np.int64)
    turned = key[::-1].astype(np.int64)
    for row, part, prime in zip(found, public.astype(np.int64), PRIMES, strict=True):
        # X^N is -1: what comes in from above changes its sign.
        windows = sliding_window_view(np.concatenate([-part[1:], part[:length]]), DEGREE)
        row[:] = (windows @ turned) % prime
    turned[:] = 0
    return found


def spread_scalars(
    scalars: NDArray[np.uint64], errors: NDArray[np.integer], product: NDArray[np.int64]
) -> Buffer:
    """Return the packed polynomial of scalars.

    Parameters
    ----------
    scalars : ndarray of shape (at most L,), uint64
        Words modulo 2^64.
    errors : ndarray of shape (L,), signed
        e.
    product : ndarray of shape (7, L), int64
        From `products`.
    """
    signed = np.zeros(len(errors), np.int64)
    signed[: len(scalars)] = scalars.view(np.int64)
    wide = errors.astype(np.int64)
    found = (signed % _PRIMES + wide % _PRIMES * _T_OF % _PRIMES + product) % _PRIMES
    return pack(found.astype(np.uint32).reshape(-1), PRIME_BITS)


def collect_scalars(
    total: NDArray[np.uint64], product: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], list[int]]:
    """Return the sums of scalars modulo 2^64, and the sums of errors, of L coefficients.

    In Python's integers, for there are few.
    """
    residues = (total % _PRIMES.astype(np.uint64)).astype(np.int64) - product
    sums: list[int] = []
    errors: list[int] = []
    for column in residues.T.tolist():
        value = sum(r * w for r, w in zip(column, _WEIGHTS, strict=True)) % MODULUS
        value -= MODULUS if value > MODULUS // 2 else 0
        low = (value + _T // 2) % _T - _T // 2
        sums.append(low % (1 << 64))
        errors.append((value - low) // _T)
    return np.array(sums, np.uint64), errors


def num_coefficients(num_scalars: int) -> int:
    """Return the coefficients that scalars take, in whole groups.

    Raises
    ------
    ValueError
        If there is none, or more than one polynomial has room for.
    """
    if not 1 <= num_scalars <= DEGREE:
        raise ValueError(f"{num_scalars} scalars: a polynomial has from 1 to {DEGREE}")
    return grouped(num_scalars)
