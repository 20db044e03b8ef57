"""The lower bound on a mean: seldom above it, and not far below."""

import math

import numpy as np
import pytest
from scipy import stats

from privacy.audit.mean_bound import mean_lower_bound

NUM_TRIALS = 1_000


def bounds(draw, number, confidence):
    rng = np.random.default_rng(7)
    return np.array(
        [mean_lower_bound(draw(rng, number), confidence) for _ in range(NUM_TRIALS)]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng, n: (rng.random(n) < 0.7).astype(float), 0.7),
        (lambda rng, n: (rng.random(n) < 0.02).astype(float), 0.02),
        (lambda rng, n: rng.binomial(8, 0.75, n) / 8, 0.75),
        (lambda rng, n: np.full(n, 0.6), 0.6),
        # All coins of a run hang together.
        (lambda rng, n: np.where(rng.random(n) < 0.5, 1.0, 0.4), 0.7),
    ],
)
def test_it_is_seldom_above_the_mean(draw, mean):
    """False failure under 1e-9: 6.5 deviations above a chance of 0.1."""
    above = np.mean(bounds(draw, 60, 0.9) > mean)
    assert above <= 0.1 + 6.5 * math.sqrt(0.09 / NUM_TRIALS)


def test_it_uses_a_small_variance():
    """Shares of eight guesses are known four times better than the exact bound of one guess."""
    eight = bounds(lambda rng, n: rng.binomial(8, 0.75, n) / 8, 250, 0.995)
    exact = float(stats.beta.ppf(0.005, 187, 64))
    assert 0.75 - eight.mean() < 0.6 * (0.75 - exact)
    # Three deviations of the mean of 250 shares, with all that betting costs.
    assert eight.mean() > 0.75 - 4.5 * math.sqrt(0.75 * 0.25 / 8 / 250)


def test_few_values_prove_little():
    assert mean_lower_bound(np.ones(1), 0.99) < 0.02
    assert mean_lower_bound(np.zeros(50), 0.99) == pytest.approx(0, abs=1e-9)
    assert 0.85 < mean_lower_bound(np.ones(100), 0.99) < 1


def test_what_is_no_share_is_refused():
    for values in (np.zeros(0), np.array([0.5, 1.1]), np.array([np.nan]), np.array([-0.1])):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            mean_lower_bound(values, 0.9)
    for confidence in (0.0, 1.0):
        with pytest.raises(ValueError, match="confidence"):
            mean_lower_bound(np.ones(3), confidence)
