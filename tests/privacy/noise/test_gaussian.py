"""The exact discrete Gaussian: every decision against arithmetic of 100 digits.

That its law is the right one and no other, 30 % off included, is tested with the other noise
in ``test_samplers``.
"""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from privacy.noise import gaussian
from privacy.noise.gaussian import exact_coin
from privacy.noise.half_gaussian import HalfGaussian
from privacy.noise.words import Words

DEVIATIONS = (2.0**-10, 0.3, 1.0, 2.5, 17.3, 31.99)


class Told(Words):
    """Words that a test chooses; the last one for ever."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def take(self, size):
        given = [self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]]
        return np.array(given * size, dtype=np.uint64)


def guessable(seed=1):
    return np.random.Generator(np.random.PCG64(seed))


def tails(deviation):
    """P(Y > j), each weight by an exponential of its own."""
    with localcontext() as context:
        context.prec = 110
        twice = 2 * Decimal(deviation) ** 2
        weights = [(-Decimal(y * y) / twice).exp() for y in range(int(24 * deviation) + 3)]
        total = sum(weights)
        return [sum(weights[j + 1 :]) / total for j in range(len(weights))]


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_the_table_holds_the_first_64_bits_of_every_tail(deviation):
    with localcontext() as context:
        context.prec = 110
        expected = [int(tail * 2**64) for tail in tails(deviation)]
    found = HalfGaussian(deviation)._thresholds
    assert found.tolist() == sorted(e for e in expected if e)


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_table_and_digits_decide_alike(deviation):
    table = HalfGaussian(deviation)
    words = guessable().integers(0, 2**64, 40, dtype=np.uint64)
    # And the edges of the table's buckets.
    edges = np.arange(1, 2**14, 2**9, dtype=np.uint64) << np.uint64(50)
    for word in [*words.tolist(), *edges.tolist(), *(edges - np.uint64(1)).tolist()]:
        drawn = table.draw(Told(word), 1)
        assert drawn[0] == table.decide(word, Told(0))
        assert drawn.dtype == np.int64


@pytest.mark.parametrize("deviation", [0.3, 2.5, 31.99])
def test_a_tie_is_decided_by_the_bits_that_follow(deviation):
    table, exact = HalfGaussian(deviation), tails(deviation)
    for j in (0, 1, len(table._thresholds) - 1):
        with localcontext() as context:
            context.prec = 110
            whole = int(exact[j] * 2**192)
        first, second, third = whole >> 128, whole >> 64 & (2**64 - 1), whole & (2**64 - 1)
        # Just below the tail, and just above.
        assert table.draw(Told(first, second, third - 1), 1)[0] == j + 1
        assert table.draw(Told(first, second, third + 1), 1)[0] == j
        assert table.draw(Told(first, second - 1), 1)[0] == j + 1
        assert table.draw(Told(first, second + 1), 1)[0] == j


def test_the_far_tail_is_not_cut_off():
    table, exact = HalfGaussian(2.5), tails(2.5)
    whole = int(exact[30] * 2**160)
    assert whole < 2**96
    told = Told(0, *(whole >> shift & (2**64 - 1) for shift in (32,)), 0)
    assert table.draw(told, 1)[0] == 31


def test_a_coin_by_digits_is_the_coin_by_floats():
    words = guessable(2).integers(0, 2**64, 60, dtype=np.uint64)
    for word, cost in zip(words.tolist(), np.linspace(0, 3, 60), strict=True):
        heads = word / 2**64 < np.exp(-cost)
        assert exact_coin(word, Fraction(cost), Told(0)) == heads
    with localcontext() as context:
        context.prec = 110
        chance = int((-Decimal(1) / 3).exp() * 2**128)
    first, second = chance >> 64, chance & (2**64 - 1)
    assert exact_coin(first, Fraction(1, 3), Told(second - 1))
    assert not exact_coin(first, Fraction(1, 3), Told(second + 1))


@pytest.mark.parametrize("sigma", [40.0, 600.5, 2.0**24 + 0.3, 2.0**45])
def test_close_coins_are_left_to_the_digits_and_change_nothing_else(sigma, monkeypatch):
    quick = gaussian.gaussian(sigma, 300, Words(guessable()))
    # All of them are close.
    monkeypatch.setattr(gaussian, "_MARGIN", 2.0)
    assert gaussian.gaussian(sigma, 300, Words(guessable())).tolist() == quick.tolist()


def test_each_stream_has_a_key_of_its_own():
    rng = guessable()
    one, other = Words(rng).take(1000), Words(rng).take(1000)
    assert len({*one.tolist(), *other.tolist()}) == 2000
