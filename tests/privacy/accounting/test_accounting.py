"""Epsilon: the check values, and each accountant against an independent one."""

import math

import dp_accounting as dp
import numpy as np
import pytest
from opacus.accountants import PRVAccountant, RDPAccountant

from privacy.accounting.epsilon import (
    Accountant,
    accountant,
    analytic_gaussian,
    epsilon,
    epsilon_at,
    gdp_epsilon,
    gdp_mu,
    renyi_epsilon,
    renyi_total,
)
from privacy.accounting.renyi import ORDERS
from privacy.plan.release import Neighbours
from tests.privacy.releases import DDG, FINE, GAUSSIAN, LAPLACE, SKELLAM, fine, release

# Rate, noise multiplier, steps, epsilon by PLD and by RDP at delta 1e-5. Of the first the RDP
# is 1.03549, here, in dp-accounting and in Opacus alike.
SUBSAMPLED = [(0.01, 4.0, 10_000, 0.947, 1.0355), (256 / 60_000, 1.1, 14_062, 2.382, 2.597)]


@pytest.mark.parametrize(("rate", "sigma", "steps", "by_pld", "by_rdp"), SUBSAMPLED)
def test_subsampled_gaussian(rate, sigma, steps, by_pld, by_rdp):
    schedule = [(fine(sigma, sampling_rate=rate), steps)]
    assert accountant(schedule) is Accountant.PLD
    assert epsilon(schedule, 1e-5) == pytest.approx(by_pld, abs=5e-4)
    assert renyi_epsilon(schedule, 1e-5) == pytest.approx(by_rdp, abs=1e-4)
    # On a coarse grid there is RDP only.
    coarse = [(release(GAUSSIAN, sigma, sampling_rate=rate), steps)]
    assert accountant(coarse) is Accountant.RDP
    assert epsilon(coarse, 1e-5) == pytest.approx(by_rdp, abs=1e-4)


@pytest.mark.filterwarnings("ignore:Optimal order")
@pytest.mark.parametrize(("rate", "sigma", "steps", "by_pld", "by_rdp"), SUBSAMPLED)
def test_subsampled_gaussian_in_opacus(rate, sigma, steps, by_pld, by_rdp):
    prv = PRVAccountant()
    prv.history = [(sigma, rate, steps)]
    # Its default error is 0.01 to either side.
    assert prv.get_epsilon(1e-5) == pytest.approx(by_pld, abs=0.02)
    rdp = RDPAccountant()
    rdp.history = [(sigma, rate, steps)]
    assert rdp.get_epsilon(1e-5, alphas=list(ORDERS[:128])) == pytest.approx(by_rdp, abs=1e-4)


def test_distributed_mechanisms():
    """Norm 1 and grid step 0.1, so 10 in grid steps; d = 256, beta = exp(-1/2), n = 100."""
    l2 = math.sqrt(100 + 256 / 4 + 10 + 16 / 2)
    assert l2 == pytest.approx(13.4907376, abs=1e-7)
    l1 = l2 * min(math.sqrt(256), l2)
    rest = {"l2": l2, "l1": l1, "dimension": 256, "num_shares": 100}
    for deviation, expected in ((10.0, 0.518639), (3.0, 1.929932)):
        schedule = [(release(SKELLAM, deviation / 0.1, **rest), 1)]
        assert accountant(schedule) is Accountant.RDP
        assert epsilon(schedule, 1e-5) == pytest.approx(expected, abs=5e-7)
    shares = [(release(DDG, 1.0 * math.sqrt(100) / 0.1, **rest), 1)]
    assert renyi_epsilon(shares, 1e-5) == pytest.approx(0.518608, abs=5e-7)
    # By a Gaussian of 100^2 - 9/4 steps squared.
    assert accountant(shares) is Accountant.PLD
    assert gaussian_delta(l2 / math.sqrt(10_000 - 9 / 4), epsilon(shares, 1e-5)) == (
        pytest.approx(1e-5, rel=1e-6)
    )


def test_analytic_gaussian():
    assert analytic_gaussian(1.0, 1e-5) == pytest.approx(3.7306316, abs=5e-8)
    assert analytic_gaussian(1.0, 1e-5, 0.5) == pytest.approx(3.7306316 / 2, abs=5e-8)


def gaussian_delta(mu, eps):
    """Balle and Wang's curve, written out."""

    def phi(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    return phi(mu / 2 - eps / mu) - math.exp(eps) * phi(-mu / 2 - eps / mu)


@pytest.mark.parametrize("mu", [0.05, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_gaussian_dp_there_and_back(mu, delta):
    eps = gdp_epsilon(mu, delta)
    assert gaussian_delta(mu, eps) == pytest.approx(delta, rel=1e-6)
    assert gdp_mu(eps, delta) == pytest.approx(mu, rel=1e-8)
    assert analytic_gaussian(eps, delta) == pytest.approx(1 / mu, rel=1e-8)


@pytest.mark.parametrize("mu", [9_999.0, 10_001.0, 1e7])
def test_gaussian_dp_of_next_to_no_noise(mu):
    # The deviation of the loss is mu and its mean mu^2 / 2; 4.26 deviations hold 1 - 1e-5.
    assert gdp_epsilon(mu, 1e-5) == pytest.approx(mu**2 / 2 + 4.26 * mu, rel=2e-4)


def test_unsampled_gaussians_are_one():
    schedule = [(fine(5.0), 3), (fine(2.0, num_steps=2), 4)]
    mu = math.sqrt(3 / 25 + 8 / 4)
    assert epsilon(schedule, 1e-6) == pytest.approx(gdp_epsilon(mu, 1e-6), rel=1e-12)
    # Replacement is a doubled sensitivity, nothing else.
    replaced = [(release(GAUSSIAN, FINE, 2 * FINE, neighbours=Neighbours.REPLACE), 1)]
    assert epsilon(replaced, 1e-6) == pytest.approx(gdp_epsilon(2.0, 1e-6), rel=1e-12)


def test_pld_rdp_and_closed_form_agree():
    """A rate of almost 1, so that the library composes what has a closed form."""
    schedule = [(fine(30.0, sampling_rate=1 - 1e-9), 500)]
    exact = gdp_epsilon(math.sqrt(500) / 30, 1e-6)
    assert exact <= epsilon(schedule, 1e-6) <= exact * (1 + 3e-4)
    assert exact < renyi_epsilon(schedule, 1e-6) < exact * 1.1


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(1.5, 1e-3, 5000), (2.0, 0.05, 200)])
def test_pld_is_close_to_a_much_finer_one(sigma, rate, steps):
    found = epsilon([(fine(sigma, sampling_rate=rate), steps)], 1e-5)
    other = dp.pld.PLDAccountant(value_discretization_interval=3e-5)
    other.compose(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(sigma)), steps)
    assert found == pytest.approx(other.get_epsilon(1e-5), rel=1e-3)


def test_laplace():
    # One release: delta(e) = 1 - exp((e - x)/2).
    exact = 0.5 + 2 * math.log1p(-1e-3)
    assert epsilon([(fine(2.0, LAPLACE), 1)], 1e-3) == pytest.approx(exact, abs=1e-4)
    assert accountant([(fine(2.0, LAPLACE), 1)]) is Accountant.PLD
    # Pure privacy adds up; many releases cost less.
    many = epsilon([(fine(20.0, LAPLACE), 100)], 1e-6)
    assert many < 100 / 20
    assert epsilon([(fine(20.0, LAPLACE, num_steps=10), 10)], 1e-6) == pytest.approx(many)
    other = dp.pld.PLDAccountant()
    other.compose(dp.PoissonSampledDpEvent(0.1, dp.LaplaceDpEvent(2.0)), 50)
    sampled = epsilon([(fine(2.0, LAPLACE, sampling_rate=0.1), 50)], 1e-6)
    assert sampled == pytest.approx(other.get_epsilon(1e-6), rel=1e-3)


def test_coarse_laplace_pays_for_its_grid():
    """Against the exact discrete mechanism, composed by the library."""
    exact = dp.pld.PLDAccountant()
    exact.compose(dp.dp_event.DiscreteLaplaceDpEvent(1 / 3.0, 2), 10)
    found = epsilon([(release(LAPLACE, 3.0, 2.0), 10)], 1e-5)
    assert exact.get_epsilon(1e-5) <= found < exact.get_epsilon(1e-5) * 1.1


@pytest.mark.parametrize("centre", [0, 3])
@pytest.mark.parametrize("scale", [2.5, 6.0])
def test_a_discrete_gaussian_is_a_rounded_continuous_one(scale, centre):
    """The identity that lets PLD serve: variance less 4, then a random move to an integer."""
    y = np.linspace(centre - 60, centre + 60, 12_001)
    spread = math.sqrt(scale**2 - 4)
    density = np.exp(-((y - centre) ** 2) / (2 * spread**2))
    density /= density.sum()
    k = np.arange(-100, 101)
    sums = sum(np.exp(-((j - y) ** 2) / 8) for j in k)
    near = range(centre - 12, centre + 13)
    moved = np.array([(density * np.exp(-((j - y) ** 2) / 8) / sums).sum() for j in near])
    exact = np.exp(-((k - centre) ** 2) / (2 * scale**2))
    exact = (exact / exact.sum())[centre + 88 : centre + 113]
    assert moved == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("order", [2, 9, 100])
def test_conversion_at_one_order_is_dp_accountings(order):
    other = dp.rdp.RdpAccountant([order])
    other.compose(dp.GaussianDpEvent(3.0), 20)
    schedule = [(release(GAUSSIAN, 3.0), 20)]
    total = renyi_total(schedule, order)
    assert total == pytest.approx(20 * order / 18)
    found = epsilon_at(order, total, 1e-6)
    assert found == pytest.approx(other.get_epsilon(1e-6), rel=1e-12)
    assert renyi_epsilon(schedule, 1e-6) <= found


def test_rdp_is_dp_accountings_over_all_orders():
    other = dp.rdp.RdpAccountant(ORDERS)
    other.compose(dp.GaussianDpEvent(3.0), 20)
    other.compose(dp.LaplaceDpEvent(7.0), 5)
    schedule = [(fine(3.0), 20), (fine(7.0, LAPLACE), 5)]
    assert renyi_epsilon(schedule, 1e-6) == pytest.approx(other.get_epsilon(1e-6), rel=1e-9)
