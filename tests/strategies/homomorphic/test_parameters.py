"""The numbers: security by the tables, and what a sum has room for."""

from math import ceil, log, log2, prod, sqrt

import pytest

from strategies.homomorphic import parameters
from strategies.homomorphic.parameters import Slots, largest_sum
from tests.strategies.homomorphic import oracle


def test_the_modulus_keeps_to_the_table_against_a_quantum_computer():
    """Of the homomorphic encryption standard, for 128 bits and errors of deviation 3.2."""
    assert parameters.DEGREE == 8192
    assert log2(prod(parameters.PRIMES)) <= 202 == parameters.MOST_MODULUS_BITS[8192]
    assert parameters.SIGMA / 2 >= 3.2 == parameters.TABLE_SIGMA
    assert parameters.PRIMES == oracle.PRIMES


def test_an_estimate_of_the_lattice_attack_is_recorded():
    """The primal attack by uSVP (Alkim et al. 2016): core-SVP 0.292 beta, over 118 bits.

    The least block size that finds the short vector in the lattice of m samples, at the
    deviation 3.2 that hints leave. The same formula gives 118 bits for ML-KEM-512.
    """

    def root(beta: float) -> float:
        pi, e = 3.141592653589793, 2.718281828459045
        return (beta / (2 * pi * e) * (pi * beta) ** (1 / beta)) ** (1 / (2 * (beta - 1)))

    def succeeds(beta: int, n: int, log2_q: float, sigma: float) -> bool:
        for m in range(n // 2, 3 * n, n // 64):
            dim = n + m + 1
            found = (2 * beta - dim) * log2(root(beta)) + m / dim * log2_q
            if log2(sigma) + log2(beta) / 2 <= found:
                return True
        return False

    log2_q = log2(oracle.Q)
    beta = next(b for b in range(50, 1000) if succeeds(b, 8192, log2_q, 3.2))
    assert 0.292 * beta == pytest.approx(118.6, abs=1.5)


def test_primes_are_the_largest_with_a_transform():
    def is_prime(n: int) -> bool:
        odd = (n - 1) // ((n - 1) & (1 - n))
        powers = [[pow(base, odd << k, n) for k in range(30)] for base in (2, 3, 5, 7)]
        # Miller and Rabin: these bases decide below 3,215,031,751.
        return all(p[0] == 1 or n - 1 in p[: (n - 1).bit_length()] for p in powers)

    largest = 1 + 2 * 8192 * (2**27 // 16384 - 1)
    found = [p for p in range(largest, 2**27 - 2**22, -16384) if is_prime(p)]
    assert tuple(found[:7]) == parameters.PRIMES


@pytest.mark.parametrize(("num", "most"), [(1000, 1930), (10_000, 6103)])
def test_the_largest_sum_is_that_of_the_tail_bound(num, most):
    assert largest_sum(25_000_000, num) == most
    assert most == ceil(6.4 * sqrt(2 * num * log(2**41 * 25_000_000)))
    assert most < 2**15


@pytest.mark.parametrize(
    ("bits", "num", "slots", "size"),
    [
        (16, 1000, 11, 2.15),
        (24, 1000, 7, 3.38),
        (32, 1000, 5, 4.725),
        (16, 10_000, 10, 2.36),
        (24, 10_000, 7, 3.38),
        (32, 10_000, 5, 4.725),
        (8, 1000, 22, 1.07),
        (31, 1000, 5, 4.725),
        (48, 1000, 3, 7.88),
        (63, 1000, 2, 11.81),
    ],
)
def test_coefficients_are_as_full_as_the_modulus_allows(bits, num, slots, size):
    found = Slots.of(25_000_000, bits, num)
    assert found.num_slots == slots
    assert found.num_bytes / 25_000_000 == pytest.approx(size, abs=0.005)


@pytest.mark.parametrize("bits", [8, 9, 16, 17, 24, 31, 32, 33, 47, 48, 62, 63])
@pytest.mark.parametrize("num", [1, 57, 10_000])
def test_what_is_chosen_fits_and_one_more_does_not(bits, num):
    found = Slots.of(1_000_000, bits, num)

    def fits(slots: int, most: int, bits: int = bits) -> bool:
        lowest = sum(2 ** (bits - 1) << (bits * s) for s in range(slots))
        return most * 2 ** (bits * slots) + lowest < oracle.Q / 2

    assert fits(found.num_slots, found.largest_sum)
    assert not fits(found.num_slots + 1, found.largest_sum - 1)
    assert found.widest_bits >= bits
    assert fits(found.num_slots, found.largest_sum, found.widest_bits)
    if found.widest_bits < 63:
        assert not fits(found.num_slots, found.largest_sum, found.widest_bits + 1)


@pytest.mark.parametrize(
    ("values", "bits", "num", "named"),
    [
        (5, 7, 3, "modulus_bits=7"),
        (5, 64, 3, "modulus_bits=64"),
        (-1, 16, 3, "num_values=-1"),
        (5, 16, 0, "0 contributions"),
        (5, 16, 10_001, "10001 contributions"),
    ],
)
def test_numbers_that_are_none_of_it_are_refused(values, bits, num, named):
    with pytest.raises(ValueError, match=named):
        Slots.of(values, bits, num)


def test_only_coefficients_in_use_travel():
    full = Slots.of(11 * 8192, 16, 50)
    assert (full.num_polynomials, full.num_coefficients) == (1, 8192)
    more = Slots.of(11 * 8192 + 1, 16, 50)
    assert (more.num_polynomials, more.num_coefficients, more.length(1)) == (2, 8200, 8)
    assert more.num_bytes - full.num_bytes == 8 * 7 * 27 // 8
    assert more.values_in_full == 11 * 8192
