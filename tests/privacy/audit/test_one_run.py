"""The bounds by guesses about coins, against mechanisms whose epsilon is known."""

import math

import numpy as np
import pytest
from scipy import stats

from privacy.audit.one_run import epsilon_of_share, one_run_epsilon, one_run_p_value


def by_a_loop(m, r, v, epsilon, delta):
    """The p-value, written out number by number."""
    likely = math.exp(epsilon) / (1 + math.exp(epsilon))
    law = [math.comb(r, k) * likely**k * (1 - likely) ** (r - k) for k in range(r + 1)]
    steepest = max((sum(law[v - i : v]) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, sum(law[v:]) + 2 * m * delta * steepest)


@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize(("m", "r", "v"), [(1, 1, 1), (9, 5, 0), (40, 30, 17), (40, 30, 30)])
def test_the_p_value_is_that_of_the_theorem(m, r, v, epsilon, delta):
    found = one_run_p_value(m, r, v, epsilon, delta)
    assert found == pytest.approx(by_a_loop(m, r, v, epsilon, delta), rel=1e-9)


def test_known_bounds():
    # Without delta it is the tail of a binomial: 100 of 100 with a chance of 0.05 at 0.97049.
    likely = 0.05 ** (1 / 100)
    expected = math.log(likely / (1 - likely))
    assert one_run_epsilon(100, 100, 100, 0.0, 0.95) == pytest.approx(expected, rel=1e-6)
    assert one_run_epsilon(100, 100, 50, 0.0, 0.95) == 0
    assert one_run_epsilon(100, 100, 100, 1e-3, 0.95) < expected
    assert one_run_epsilon(100, 100, 100, 1.0, 0.95) == 0


def shares_above(epsilon, delta, m, r, confidence, num_trials, rng):
    """How often the bound, with delta and without, is above epsilon for the worst mechanism.

    It randomises each coin with e^epsilon, and with chance delta shows all of them; r are
    guessed.
    """
    likely = 1 / (1 + math.exp(-epsilon))
    right = rng.binomial(r, likely, num_trials)
    right[rng.random(num_trials) < delta] = r
    values, counts = np.unique(right, return_counts=True)

    def above(known_delta):
        wrong = [one_run_epsilon(m, r, v, known_delta, confidence) > epsilon for v in values]
        return counts[wrong].sum() / num_trials

    return above(delta), above(0.0)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("r", [20, 200])
def test_a_true_epsilon_is_seldom_refuted(epsilon, r):
    """False failure under 1e-9: 20,000 trials, 6.5 deviations above a chance of 0.1."""
    rng = np.random.default_rng(5)
    above, _ = shares_above(epsilon, 0.0, 200, r, 0.9, 20_000, rng)
    assert above <= 0.1 + 6.5 * math.sqrt(0.09 / 20_000)
    # And the bound is sharp: a binomial has steps, or it would be 0.1.
    assert r == 20 or above >= 0.02


def test_a_true_delta_is_seldom_refuted_and_would_be_if_it_were_left_out():
    rng = np.random.default_rng(6)
    above, without = shares_above(1.0, 0.2, 200, 200, 0.9, 20_000, rng)
    assert above <= 0.1 + 6.5 * math.sqrt(0.09 / 20_000)
    assert without > 0.2


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("delta", [0.0, 0.01])
def test_the_epsilon_of_a_share_is_that_of_the_mechanism_that_has_it(epsilon, delta):
    # Shows the coin with chance delta, else randomises it.
    likely = 1 / (1 + math.exp(-epsilon))
    assert epsilon_of_share(delta + (1 - delta) * likely, delta) == pytest.approx(epsilon)
    assert epsilon_of_share(0.5 + delta / 2, delta) == 0
    assert epsilon_of_share(0.3, delta) == 0


def test_the_epsilon_of_a_share_is_below_that_of_a_gaussian():
    for mu in (0.3, 1.0, 3.0):
        share, delta = stats.norm.cdf(mu / 2), 1e-5
        epsilon = epsilon_of_share(float(share), delta)
        true_delta = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(
            -mu / 2 - epsilon / mu
        )
        assert true_delta > delta


def test_numbers_that_no_audit_has_are_refused():
    for m, r, v in ((10, 11, 5), (10, 5, 6), (0, 0, 0), (10, 5, -1)):
        with pytest.raises(ValueError, match="counts"):
            one_run_p_value(m, r, v, 1.0, 0.0)
    with pytest.raises(ValueError, match="delta"):
        one_run_p_value(10, 5, 5, 1.0, 1.5)
    with pytest.raises(ValueError, match="epsilon"):
        one_run_p_value(10, 5, 5, -1.0, 0.0)
    with pytest.raises(ValueError, match="confidence"):
        one_run_epsilon(10, 5, 5, 0.0, 1.0)
    with pytest.raises(ValueError, match="share"):
        epsilon_of_share(1.0, 0.0)
