"""The total variation distance of releases, against exact laws and integrals."""

import math

import numpy as np
import pytest
from scipy import stats

from privacy.accounting.epsilon import Accountant, accountant
from privacy.accounting.total_variation import total_variation
from tests.privacy.accounting.exact_laws import log_skellam
from tests.privacy.releases import LAPLACE, SKELLAM, fine, release

DELTA = 1e-5


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0, 100.0])
@pytest.mark.parametrize("times", [1, 30])
def test_a_gaussian_has_its_own(sigma, times):
    exact = 2 * stats.norm.cdf(math.sqrt(times) / sigma / 2) - 1
    found = total_variation([(fine(sigma), times)], DELTA)
    assert exact <= found * (1 + 1e-9)
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_a_sampled_gaussian_has_so_much_less():
    exact = 0.3 * (2 * stats.norm.cdf(0.5) - 1)
    found = total_variation([(fine(1.0, sampling_rate=0.3), 1)], DELTA)
    assert exact * (1 - 1e-6) <= found <= 1.001 * exact


def test_two_sampled_gaussians_by_an_integral():
    q, x = 0.4, np.linspace(-9, 10, 2_000)
    without = stats.norm.pdf(x)
    one = (1 - q) * without + q * stats.norm.pdf(x - 1)
    both = np.abs(np.outer(one, one) - np.outer(without, without)) / 2
    exact = both.sum() * (x[1] - x[0]) ** 2
    found = total_variation([(fine(1.0, sampling_rate=q), 2)], DELTA)
    assert exact * (1 - 1e-6) <= found <= 1.002 * exact


def test_laplace_has_its_own():
    exact = 1 - math.exp(-1 / (2 * 2.0))
    found = total_variation([(fine(2.0, LAPLACE), 1)], DELTA)
    assert exact * (1 - 1e-6) <= found <= 1.002 * exact


@pytest.mark.parametrize("variance", [2.0, 9.0, 50.0])
def test_skellam_has_a_bound_by_rdp(variance):
    law = np.exp(log_skellam(variance))
    exact = np.abs(law[1:] - law[:-1]).sum() / 2
    schedule = [(release(SKELLAM, math.sqrt(variance)), 1)]
    assert accountant(schedule) is Accountant.RDP
    assert exact <= total_variation(schedule, DELTA) <= 3 * exact


def test_it_is_never_above_one():
    assert total_variation([(fine(0.01), 10)], DELTA) == 1
