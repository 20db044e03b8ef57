"""Sums of discrete Gaussians against the continuous one that stands for them: exact laws."""

import math

import numpy as np
import pytest

from privacy.accounting.domination import dominating_ratio, kappa, objection, transfer
from privacy.accounting.epsilon import Accountant, accountant, epsilon, renyi_epsilon
from privacy.plan.release import Neighbours
from tests.privacy.accounting.exact_laws import (
    gaussian_deltas,
    hockey_stick,
    log_sum_of_discrete_gaussians,
    mixed,
    product_pair,
)
from tests.privacy.releases import DDG, GAUSSIAN, LAPLACE, SKELLAM, fine, release

RATES = (0.02, 0.2, 0.7, 1.0)
EPSILONS = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
# Of float64's sums.
TINY = 1e-13


def excesses(log_law, shifts, rate, variance):
    """Exact deltas less those of a continuous Gaussian, over these; both directions."""
    without, moved = product_pair(log_law, shifts)
    drawn = mixed(without, moved, rate)
    for eps in EPSILONS:
        exact = hockey_stick(drawn, without, eps), hockey_stick(without, drawn, eps)
        bounds = gaussian_deltas(variance, math.hypot(*shifts), rate, eps)
        for one, bound in zip(exact, bounds, strict=True):
            yield (one - bound - TINY) / max(bound, 1e-9)


@pytest.mark.parametrize("num_shares", [1, 2, 4])
@pytest.mark.parametrize("share_variance", [4.6, 9.0, 25.0])
@pytest.mark.parametrize("shifts", [(1,), (2,), (3,), (5,), (1, 1), (2, 1), (0, 3)])
def test_what_is_released_is_no_more_than_the_continuous_gaussian_reveals(
    num_shares, share_variance, shifts
):
    scale = math.sqrt(num_shares * share_variance)
    length = math.hypot(*shifts)
    ratio = dominating_ratio(release(DDG, scale, length, num_shares=num_shares))
    log_law = log_sum_of_discrete_gaussians(share_variance, num_shares)
    for rate in RATES:
        worst = max(excesses(log_law, shifts, rate, (length / ratio) ** 2))
        # The transfer costs less than these digits.
        assert worst <= 1e-11


def test_equal_variance_is_not_enough():
    """The control: without the 9/4 the exact deltas are above, also where the code serves."""
    assert max(excesses(log_sum_of_discrete_gaussians(1.5, 1), (1,), 0.02, 1.5)) > 0.5
    assert max(excesses(log_sum_of_discrete_gaussians(4.5, 1), (1,), 0.02, 4.5)) > 0.01
    assert max(excesses(log_sum_of_discrete_gaussians(4.5, 2), (2, 1), 0.2, 9.0)) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "delta"), [(0.1, 1e-3), (0.5, 1e-2), (1.0, 1e-4)])
@pytest.mark.parametrize("num_steps", [1, 3])
def test_epsilon_of_several_steps_holds_in_both_directions(rate, delta, num_steps):
    without, moved = product_pair(log_sum_of_discrete_gaussians(12.0, 2)[20:-20], (4,))
    one, other = mixed(without, moved, rate), without
    log_p, log_q = np.zeros(1), np.zeros(1)
    for _ in range(num_steps):
        log_p = np.add.outer(log_p, one).ravel()
        log_q = np.add.outer(log_q, other).ravel()
    described = release(DDG, math.sqrt(24), 4.0, num_shares=2, sampling_rate=rate)
    schedule = [(described, num_steps)]
    assert accountant(schedule) is Accountant.PLD
    found = epsilon(schedule, delta)
    exact = [hockey_stick(log_p, log_q, found), hockey_stick(log_q, log_p, found)]
    assert max(exact) <= delta
    # And it is not much too large.
    assert hockey_stick(log_p, log_q, 0.85 * found) > delta


@pytest.mark.parametrize(
    ("multiplier", "rate", "steps", "delta", "expected"),
    [
        (6.264, 0.0683, 585, 1e-5, 1.0005),
        (2.458, 0.0683, 585, 1e-5, 3.0009),
        (10.05, 0.5, 60, 1e-3, 1.0005),
    ],
)
def test_check_values(multiplier, rate, steps, delta, expected):
    shares = {"num_shares": 9, "dimension": 2**18, "sampling_rate": rate}
    norm = 2.0**20
    for described in (
        release(DDG, multiplier * norm, norm, 512 * norm, **shares),
        fine(multiplier, sampling_rate=rate),
    ):
        assert epsilon([(described, steps)], delta) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("dimension", "share_variance", "num_shares", "expected"),
    [(10**6, 4.5, 2, 8.7e-10), (25 * 10**6, 9.0, 9, 6.2e-9)],
)
def test_what_integers_add_to_epsilon(dimension, share_variance, num_shares, expected):
    scale = math.sqrt(share_variance * num_shares)
    one = release(DDG, scale, num_shares=num_shares, dimension=dimension)
    assert transfer([(one, 600)]) == pytest.approx(expected, rel=0.01)
    assert transfer([(one, 600)]) == pytest.approx(1200 * kappa(one))


def test_the_transfer_is_added_to_epsilon_and_taken_off_delta():
    """So many numbers that it can be seen: 2 K kappa is 8e-4."""
    kept = {"num_shares": 2, "sampling_rate": 1.0}
    few = release(DDG, 30.0, 9.0, dimension=1, **kept)
    many = release(DDG, 30.0, 9.0, dimension=2 * 10**15, **kept)
    cost = transfer([(many, 1)])
    assert 6e-4 < cost < 1e-3
    for delta in (1e-3, 1e-6):
        less = epsilon([(few, 1)], delta * math.exp(-cost / 2))
        assert epsilon([(many, 1)], delta) == pytest.approx(less + cost, rel=1e-9)


def test_where_a_condition_fails_renyi_serves_and_the_mend_is_named():
    coarse = release(DDG, 4.0, num_shares=4)
    assert "share's variance is 4 steps squared: must be at least 4.5" in objection(coarse)
    assert accountant([(coarse, 1)]) is Accountant.RDP
    assert epsilon([(coarse, 1)], 1e-5) == renyi_epsilon([(coarse, 1)], 1e-5)
    long = release(DDG, 3.0, num_shares=2, dimension=6 * 10**14)
    assert accountant([(long, 1)]) is Accountant.PLD
    assert accountant([(long, 2)]) is Accountant.RDP
    for described in (coarse, release(SKELLAM, 500.0), release(LAPLACE, 500.0)):
        with pytest.raises(ValueError, match="; take "):
            dominating_ratio(described)
    assert "take a finer grid" in objection(release(GAUSSIAN, 1000.0))
    assert objection(release(DDG, 3.0, num_shares=2)) == ""
    replaced = release(DDG, 9.0, neighbours=Neighbours.REPLACE, sampling_rate=0.5)
    with pytest.raises(ValueError, match=r"sampling_rate=0\.5"):
        dominating_ratio(replaced)


def test_a_share_that_comes_with_the_coin_is_not_amplified():
    """Why distributed noise is never amplified by client sampling.

    A client that is drawn adds its share too, so its coin shows in the variance. What two
    others add is not enough for the sampled bound with two shares, nor for one with three.
    """
    two, three = (log_sum_of_discrete_gaussians(12.0, n) for n in (2, 3))
    without, _ = product_pair(two, (4,))
    zeroed, moved = product_pair(three, (4,))
    rate = 0.05
    absent, present = mixed(without, zeroed, rate), mixed(without, moved, rate)
    for variance in (24.0, 36.0):
        forward, back = gaussian_deltas(variance - 9 / 4, 4.0, rate, 0.5)
        assert hockey_stick(present, absent, 0.5) > 1.5 * forward
        assert hockey_stick(absent, present, 0.5) > 1e-6 > back
