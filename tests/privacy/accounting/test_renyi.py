"""Renyi curves against exact sums over one-dimensional noise, and against other code."""

import math

import dp_accounting as dp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from privacy.accounting.renyi import ORDERS, curve, laplace_loss
from privacy.plan.release import Mechanism, Neighbours
from tests.privacy.releases import DDG, GAUSSIAN, LAPLACE, SKELLAM, release


def discrete_gaussian(sd, size=401):
    k = np.arange(size) - size // 2
    weights = np.exp(-(k**2) / (2 * sd**2))
    return weights / weights.sum()


def pmf(mechanism, scale, num_shares=1, size=401):
    """Probabilities of one number's noise around the middle."""
    k = np.arange(size) - size // 2
    if mechanism is SKELLAM:
        return special.ive(np.abs(k), scale**2)
    if mechanism is LAPLACE:
        return math.tanh(0.5 / scale) * np.exp(-np.abs(k) / scale)
    share = discrete_gaussian(scale / math.sqrt(num_shares), size)
    total = share
    for _ in range(num_shares - 1):
        total = np.convolve(total, share, mode="same")
    return total


def divergence(p, q, order):
    keep = (p > 1e-290) & (q > 1e-290)
    terms = order * np.log(p[keep]) + (1 - order) * np.log(q[keep])
    return special.logsumexp(terms) / (order - 1)


def truth(mechanism, scale, shift, order, rate=1.0, num_shares=1):
    """The exact Renyi divergence of sampled one-dimensional noise, the worse direction."""
    base = pmf(mechanism, scale, num_shares)
    moved = np.roll(base, shift)
    moved[:shift] = 0
    mixed = (1 - rate) * base + rate * moved
    if rate == 1:
        return divergence(moved, base, order)
    return max(divergence(mixed, base, order), divergence(base, mixed, order))


@pytest.mark.parametrize("shift", [1, 2, 7])
@pytest.mark.parametrize("order", [2, 3, 5, 8])
def test_discrete_gaussian_is_exact(shift, order):
    bound = curve(release(GAUSSIAN, 8.0, shift), (order,))[0]
    assert truth(GAUSSIAN, 8.0, shift, order) == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("shift", [1, 2, 7])
@pytest.mark.parametrize("order", [2, 3, 5, 8])
def test_skellam_is_bounded_and_closely(scale, shift, order):
    bound = curve(release(SKELLAM, scale, shift), (order,))[0]
    exact = truth(SKELLAM, scale, shift, order)
    assert exact <= bound * (1 + 1e-9)
    # The bound is close where order times shift is well under the variance.
    if order * shift <= scale**2 / 5:
        assert bound < exact * (1 + 3 / scale**2)


@pytest.mark.parametrize("share", [0.5, 0.6, 0.8, 1.0, 2.0])
@pytest.mark.parametrize("num_shares", [2, 3, 10])
@pytest.mark.parametrize("order", [2, 3, 8])
def test_sum_of_discrete_gaussians_is_bounded(share, num_shares, order):
    scale = share * math.sqrt(num_shares)
    bound = curve(release(DDG, scale, num_shares=num_shares), (order,))[0]
    exact = truth(DDG, scale, 1, order, num_shares=num_shares)
    assert exact <= bound * (1 + 1e-9)
    if share >= 1:
        assert bound < exact * 1.03


@pytest.mark.parametrize("share", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("num_shares", [2, 3, 10, 30])
def test_factor_between_a_sum_and_one_discrete_gaussian(share, num_shares):
    """The inequality that the first of the three bounds rests on, from order 2 up."""
    scale = share * math.sqrt(num_shares)
    total, single = pmf(DDG, scale, num_shares), discrete_gaussian(scale)
    near = np.abs(np.arange(401) - 200) < 6 * scale
    ratios = np.log(total[near] / single[near])
    k = np.arange(1, num_shares)
    tau = 10 * np.exp(-2 * math.pi**2 * share**2 * k / (k + 1)).sum()
    assert max(-ratios.min(), 0) + 2 * max(ratios.max(), 0) <= 0.62 * tau + 1e-9


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0, 12.0])
@pytest.mark.parametrize("shift", [1, 3, 10])
@pytest.mark.parametrize("order", [2, 3, 8])
def test_discrete_laplace_is_bounded(scale, shift, order):
    bound = curve(release(LAPLACE, scale, shift), (order,))[0]
    exact = truth(LAPLACE, scale, shift, order)
    assert exact <= bound * (1 + 1e-9)
    if scale >= 4:
        assert bound < exact * (1 + 1 / scale)


def hockey_stick(p, q, epsilon):
    return np.maximum(p - math.exp(epsilon) * q, 0).sum()


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("shifts", [(1,), (4,), (1, 3), (2, 2), (5, 1)])
def test_laplace_loss_dominates_however_a_shift_is_spread(scale, shifts):
    p, q = np.ones(1), np.ones(1)
    for shift in shifts:
        base = pmf(LAPLACE, scale, size=301)
        p, q = np.outer(p, base).ravel(), np.outer(q, np.roll(base, shift)).ravel()
    loss = laplace_loss(release(LAPLACE, scale, sum(shifts)))
    for epsilon in np.linspace(-loss, loss, 23):
        continuous = -math.expm1((epsilon - loss) / 2)
        assert hockey_stick(p, q, epsilon) <= continuous + 1e-9


def test_fine_laplace_costs_what_continuous_laplace_costs():
    assert laplace_loss(release(LAPLACE, 2.0**21, 2.0**20)) == pytest.approx(0.5, abs=1e-12)


SAMPLED = [(GAUSSIAN, 3.0), (SKELLAM, 3.0), (LAPLACE, 3.0), (DDG, 3.0)]


@pytest.mark.parametrize(("mechanism", "scale"), SAMPLED)
@pytest.mark.parametrize("rate", [0.001, 0.1, 0.7])
@pytest.mark.parametrize("shift", [1, 4])
@pytest.mark.parametrize("order", [2, 3, 5, 8])
def test_sampled_noise_is_bounded_in_both_directions(mechanism, scale, rate, shift, order):
    num_shares = 4 if mechanism is DDG else 1
    described = release(mechanism, scale, shift, sampling_rate=rate, num_shares=num_shares)
    bound = curve(described, (order,))[0]
    exact = truth(mechanism, scale, shift, order, rate, num_shares)
    assert exact <= bound * (1 + 1e-7)
    if mechanism is GAUSSIAN:
        assert bound == pytest.approx(exact, rel=1e-6)
    # Within what the unsampled bound is too large by.
    if order * shift <= scale**2:
        assert bound < exact * 1.7


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.3])
@pytest.mark.parametrize("sigma", [0.6, 2.0, 20.0])
def test_sampled_gaussian_equals_dp_accounting(rate, sigma):
    delta = 1e-7
    for order in (2, 5, 32, 256):
        other = dp.rdp.RdpAccountant([order])
        event = dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(sigma))
        other.compose(dp.SelfComposedDpEvent(event, 10_000_000))
        # Their conversion at one order, undone; what it clips at 0 is not compared.
        epsilon = other.get_epsilon(delta)
        if epsilon == 0:
            continue
        constant = math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
        found = curve(release(GAUSSIAN, sigma, sampling_rate=rate), (order,))[0] * 1e7
        assert found == pytest.approx(min(epsilon - constant, 1e7 * order / 2 / sigma**2), 1e-6)


def binomial_sum(order, rate, divergences):
    """The sum over how often the unit is drawn, written out."""
    total = (1 - rate) ** (order - 1) * (order * rate - rate + 1)
    for count in range(2, order + 1):
        weight = math.comb(order, count) * (1 - rate) ** (order - count) * rate**count
        total += weight * math.exp((count - 1) * divergences[count])
    return math.log(total) / (order - 1)


@pytest.mark.parametrize("mechanism", list(Mechanism))
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_sampling_is_the_binomial_sum(mechanism, rate):
    plain = release(mechanism, 30.0, 10.0, 40.0, dimension=50)
    sampled = release(mechanism, 30.0, 10.0, 40.0, dimension=50, sampling_rate=rate)
    orders = tuple(range(2, 40))
    divergences = dict(zip(orders, curve(plain, orders), strict=True))
    expected = [min(binomial_sum(a, rate, divergences), divergences[a]) for a in orders]
    assert curve(sampled, orders) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mechanism", list(Mechanism))
@pytest.mark.parametrize("rate", [1e-7, 1e-12])
def test_a_tiny_rate_loses_no_digits(mechanism, rate):
    """At order 2 the curve is ln(1 + q^2 (e^D - 1)): the 1 must not swallow the rest."""
    plain = curve(release(mechanism, 5.0), (2,))[0]
    sampled = curve(release(mechanism, 5.0, sampling_rate=rate), (2, 3))[0]
    assert sampled == pytest.approx(rate**2 * math.expm1(plain), rel=1e-9)


@pytest.mark.parametrize("mechanism", list(Mechanism))
@given(
    scale=st.floats(2, 1e6),
    factor=st.floats(1, 5),
    rate=st.floats(1e-4, 1),
    steps=st.integers(1, 1000),
)
@settings(max_examples=15, deadline=None)
def test_curves_behave(mechanism, scale, factor, rate, steps):
    orders = (2, 3, 7, 40)

    def of(scale, rate, steps):
        described = release(
            mechanism, scale, 2.0, 3.0, sampling_rate=rate, num_steps=steps, dimension=5
        )
        return curve(described, orders)

    start = of(scale, rate, steps)
    tiny = 1 + 1e-9
    assert np.all(start > 0)
    assert np.all(of(scale * factor, rate, steps) <= start * tiny)
    assert np.all(of(scale, rate / factor, steps) <= start * tiny)
    assert start == pytest.approx(steps * of(scale, rate, 1))
    # Renyi divergences do not fall with the order.
    assert np.all(np.diff(of(scale, 1.0, steps)) >= 0)


def test_no_promise_is_infinite():
    # Shares of under half a step.
    assert np.all(np.isinf(curve(release(DDG, 0.9, num_shares=4))))
    assert np.all(np.isinf(curve(release(DDG, 0.9, num_shares=4, sampling_rate=0.1))))
    assert np.all(np.isfinite(curve(release(DDG, 0.9, num_shares=1))))
    for mechanism in Mechanism:
        assert np.all(np.isinf(curve(release(mechanism, 1e-300))))
        assert not np.any(np.isnan(curve(release(mechanism, 1e-29, sampling_rate=0.1))))
        assert not np.any(np.isnan(curve(release(mechanism, 1e200, sampling_rate=0.1))))


def test_orders():
    assert ORDERS[0] == 2
    assert list(ORDERS) == sorted(set(ORDERS))
    assert set(range(2, 129)) | {256, 8192} - {256} <= set(ORDERS)


@pytest.mark.parametrize("orders", [(1,), (2, 2.5), (0,)])
def test_orders_that_no_theorem_covers(orders):
    with pytest.raises(ValueError, match=r"orders=.*from 2 up"):
        curve(release(SKELLAM, 5.0), orders)


def test_replacement_is_not_amplified():
    with pytest.raises(ValueError, match=r"sampling_rate=0\.5"):
        curve(release(GAUSSIAN, 5.0, neighbours=Neighbours.REPLACE, sampling_rate=0.5))
