"""Poisson sampling of symmetric integer noise: exact divergences in both directions."""

import math

import pytest
from scipy import special

from privacy.accounting.renyi import curve
from tests.privacy.accounting.exact_laws import (
    log_difference_of_poissons,
    log_discrete_gaussian,
    log_discrete_laplace,
    log_skellam,
    log_sum_of_discrete_gaussians,
    mixed,
    product_pair,
    renyi,
)
from tests.privacy.releases import DDG, LAPLACE, SKELLAM, release

RATES = (0.01, 0.1, 0.5, 0.9)
SHIFTS = [(1,), (3,), (6,), (1, 1), (2, -1), (3, 1)]
ORDERS = (1.1, 1.5, 2.0, 2.7, 4.0, 7.3, 16.0)
LAWS = {
    "skellam of variance 2": log_skellam(2.0),
    "skellam of variance 12": log_skellam(12.0),
    "discrete gaussian": log_discrete_gaussian(4.0),
    "two shares": log_sum_of_discrete_gaussians(1.5, 2),
    "discrete laplace": log_discrete_laplace(2.0),
}


def directions(log_law, shifts, rate, order):
    """Return the divergence of with from without the coin, and the reverse."""
    without, moved = product_pair(log_law, shifts)
    drawn = mixed(without, moved, rate)
    return renyi(drawn, without, order), renyi(without, drawn, order)


def is_reversed(log_law, shifts, rate, order):
    forward, back = directions(log_law, shifts, rate, order)
    return back > forward * (1 + 1e-9) + 1e-13


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shifts", SHIFTS)
def test_no_symmetric_noise_is_worse_in_the_reverse_direction(law, shifts):
    assert not any(
        is_reversed(LAWS[law], shifts, rate, order) for rate in RATES for order in ORDERS
    )


def test_noise_that_is_not_symmetric_is():
    """The control: the same functions, and noise for which the theorem is not meant."""
    law = log_difference_of_poissons(6.0, 0.05)
    assert special.logsumexp(law) == pytest.approx(0, abs=1e-9)
    found = [
        is_reversed(law, (shift,), rate, order)
        for shift in (1, 2, 3)
        for rate in RATES
        for order in ORDERS
    ]
    assert sum(found) > 5


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shifts", SHIFTS)
@pytest.mark.parametrize("order", [2, 3, 8])
def test_the_binomial_sum_is_the_divergence(law, shifts, order):
    without, moved = product_pair(LAWS[law], shifts)
    for rate in RATES:
        total = sum(
            math.comb(order, count)
            * (1 - rate) ** (order - count)
            * rate**count
            * (math.exp((count - 1) * renyi(moved, without, count)) if count > 1 else 1)
            for count in range(order + 1)
        )
        drawn = mixed(without, moved, rate)
        exact = renyi(drawn, without, order)
        assert math.log(total) / (order - 1) == pytest.approx(exact, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("mechanism", "law", "scale", "num_shares"),
    [
        (SKELLAM, "skellam of variance 2", math.sqrt(2), 1),
        (SKELLAM, "skellam of variance 12", math.sqrt(12), 1),
        (DDG, "discrete gaussian", 2.0, 1),
        (DDG, "two shares", math.sqrt(3), 2),
        (LAPLACE, "discrete laplace", 2.0, 1),
    ],
)
@pytest.mark.parametrize("shifts", SHIFTS)
def test_the_accountants_curve_bounds_both_directions(
    mechanism, law, scale, num_shares, shifts
):
    l1, l2 = sum(map(abs, shifts)), math.hypot(*shifts)
    for rate in RATES:
        described = release(
            mechanism,
            scale,
            l2,
            l1,
            num_shares=num_shares,
            dimension=len(shifts),
            sampling_rate=rate,
        )
        for order in (2, 3, 8, 16):
            bound = curve(described, (order,))[0]
            exact = max(directions(LAWS[law], shifts, rate, order))
            assert exact <= bound * (1 + 1e-9)
