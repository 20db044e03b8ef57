"""The ring: transforms, products and public polynomials, by their definition."""

import hashlib

import numpy as np
import pytest

from strategies.homomorphic import ring
from strategies.homomorphic.public import public_key, public_polynomial
from tests.strategies.homomorphic import oracle
from tests.strategies.homomorphic.oracle import PRIMES, N

PLAN = hashlib.sha256(b"plan").digest()


def worst(prime: int, kind: str) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(prime))
    if kind == "largest":
        return np.full(N, prime - 1, np.uint32)
    if kind == "alternating":
        return np.where(np.arange(N) % 2, prime - 1, 0).astype(np.uint32)
    return rng.integers(0, prime, N).astype(np.uint32)


@pytest.mark.parametrize("kind", ["random", "largest", "alternating"])
@pytest.mark.parametrize("number", range(7))
def test_a_transform_has_the_values_at_its_points_and_goes_back(number, kind):
    prime = PRIMES[number]
    values = worst(prime, kind)
    found = ring.forward(number, values)
    assert int(found.max()) < prime
    for index in (0, 1, 4097, N - 2):
        place = oracle.point(prime, index)
        assert oracle.value_at(values.tolist(), place, prime) == found[index]
    np.testing.assert_array_equal(ring.backward(number, found), values)
    # Whatever a public polynomial has for a transform goes back and forth, too.
    assert (ring.forward(number, ring.backward(number, values)) == values).all()


def test_products_are_negacyclic():
    """Against the schoolbook's sum, with a key of both signs and the largest of them."""
    rng = np.random.Generator(np.random.PCG64(1))
    key = rng.integers(-100, 101, N).astype(np.int64)
    key[:2] = 32767, -32768
    points = np.stack([worst(prime, "random") for prime in PRIMES])
    found = ring.product(points, ring.prepare(key))
    for number, prime in enumerate(PRIMES):
        a = ring.backward(number, points[number]).tolist()
        for at in (0, 1, 777, N - 1):
            assert oracle.schoolbook(a, key.tolist(), at) % prime == found[number, at]


def test_x_to_the_n_is_minus_one():
    x, last = np.zeros(N, np.int64), np.zeros(N, np.uint32)
    x[1], last[N - 1] = 1, 5
    points = np.stack([ring.forward(i, last) for i in range(7)]).astype(np.uint32)
    found = ring.product(points, ring.prepare(x))
    assert found[:, 0].tolist() == [prime - 5 for prime in PRIMES]
    assert not found[:, 1:].any()


def test_the_oracle_is_the_schoolbook():
    rng, prime = np.random.Generator(np.random.PCG64(2)), PRIMES[0]
    a, b = rng.integers(0, prime, N).tolist(), rng.integers(-5, 6, N).tolist()
    found = oracle.negacyclic(a, b, prime)
    for at in (0, 5, N - 1):
        assert oracle.schoolbook(a, b, at) % prime == found[at]


@pytest.mark.parametrize("number", [0, 1, 2**40])
def test_public_polynomials_are_the_words_of_their_stream(number):
    found = public_polynomial(public_key(PLAN), number)
    assert found.tolist() == oracle.public_points(PLAN, number)


def test_public_polynomials_are_of_one_plan_and_number():
    keys = [public_key(PLAN), public_key(hashlib.sha256(b"another").digest())]
    kinds = {public_polynomial(key, number).tobytes() for key in keys for number in (0, 1)}
    assert len(kinds) == 4


def test_public_polynomials_are_uniform_below_each_prime():
    """And 1 % of the words for the last prime are skipped."""
    found = np.stack([public_polynomial(public_key(PLAN), number) for number in range(8)])
    for number, prime in enumerate(PRIMES):
        values = found[:, number].reshape(-1)
        assert int(values.max()) < prime
        counts = np.bincount((values.astype(np.int64) * 64) // prime, minlength=64)
        expected = len(values) / 64
        # 63 degrees of freedom: above 140 with a chance below 1e-7.
        assert ((counts - expected) ** 2 / expected).sum() < 140


def test_a_stream_is_read_until_it_is_full(monkeypatch):
    """In pieces of any size: the words are the same."""
    expected = public_polynomial(public_key(PLAN), 3)
    public_polynomial.cache_clear()
    monkeypatch.setattr("strategies.homomorphic.public._WORDS", 1000)
    np.testing.assert_array_equal(public_polynomial(public_key(PLAN), 3), expected)
    public_polynomial.cache_clear()
