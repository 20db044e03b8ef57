"""One number with Laplace noise: its scale, its range and its cost."""

import math

import numpy as np
import pytest

from privacy.accounting.epsilon import epsilon
from privacy.noise.bounded_value import bounded_release, noised, scale_of
from privacy.plan.release import Neighbours
from privacy.unit import Unit

BOUND = 0.25
NUM = 20_000
# The mean of so many |Laplace| has a relative deviation of 1 / sqrt(20,000) = 0.7 %. 6 % is 8.5
# deviations: 2e-17 for each of the figures.
WITHIN = 0.06


def released(epsilon_of_one, value=0.1):
    release = bounded_release(epsilon_of_one, Unit.EXAMPLE, Neighbours.ADD_OR_REMOVE)
    return np.array([noised(value, BOUND, release) for _ in range(NUM)]), release


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [0.5, 2.0])
def test_the_noise_has_the_scale_of_the_whole_range_over_epsilon(wanted):
    found, release = released(wanted)
    scale = 2 * BOUND / wanted
    assert scale_of(BOUND, release) == pytest.approx(scale)
    measured = np.abs(found - 0.1).mean()
    assert abs(measured / scale - 1) < WITHIN
    # 30 % too small, or too large, would be seen.
    assert abs(measured / (0.7 * scale) - 1) > WITHIN
    assert abs(measured / (1.3 * scale) - 1) > WITHIN
    assert abs(found.mean() - 0.1) < 8 * scale * math.sqrt(2 / NUM)


@pytest.mark.slow
def test_outputs_are_as_likely_as_epsilon_says():
    # The ratio of the chances of an event under the two values that are farthest apart.
    low, release = released(1.0, value=-5.0)
    high, _ = released(1.0, value=math.inf)
    zero, _ = released(1.0, value=0.0)
    assert release.l1_sensitivity * (BOUND / 2**18) == pytest.approx(2 * BOUND)
    below = (low < -BOUND).mean(), (high < -BOUND).mean()
    # A half and a half of exp(-1/2): not a number counts as 0, half the range away.
    assert below[0] == pytest.approx(0.5, abs=0.03)
    assert below[1] == pytest.approx(0.5 * math.exp(-0.5), abs=0.03)
    assert (zero < -BOUND).mean() == pytest.approx(below[1], abs=0.04)
    most, _ = released(1.0, value=BOUND)
    assert (most < -BOUND).mean() == pytest.approx(0.5 * math.exp(-1), abs=0.03)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, 0.25, -0.25, 0.0])
def test_whatever_the_number_is_something_within_the_range_is_noised(value, monkeypatch):
    import privacy.noise.bounded_value as module

    monkeypatch.setattr(module, "draw", lambda *_: np.zeros(1, np.int64))
    release = bounded_release(1.0, Unit.CLIENT, Neighbours.ZERO_OUT)
    found = noised(value, BOUND, release)
    assert -BOUND <= found <= BOUND
    expected = 0.0 if not math.isfinite(value) else max(-BOUND, min(BOUND, value))
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("wanted", [0.01, 0.5, 5.0])
def test_it_costs_what_it_says(wanted):
    release = bounded_release(wanted, Unit.EXAMPLE, Neighbours.ADD_OR_REMOVE)
    assert epsilon([(release, 1)], 1e-9) <= wanted * (1 + 1e-4)
    assert epsilon([(release, 1)], 1e-9) > 0.9 * wanted
