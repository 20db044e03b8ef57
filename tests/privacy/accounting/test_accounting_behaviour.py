"""Epsilon: which accountant serves, the ends of the ranges, and how inputs move it."""

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.domination import FINE_SCALE
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
from privacy.plan.release import Mechanism, Neighbours
from tests.privacy.releases import DDG, GAUSSIAN, LAPLACE, SKELLAM, fine, release


def test_a_mixture():
    parts = [
        (fine(3.0), 2),
        (fine(1.5, sampling_rate=0.02), 300),
        (fine(8.0, LAPLACE), 4),
        (fine(1.0, sampling_rate=0.001), 0),
    ]
    whole = epsilon(parts, 1e-5)
    assert accountant(parts) is Accountant.PLD
    assert whole <= renyi_epsilon(parts, 1e-5)
    assert all(epsilon([part], 1e-5) < whole for part in parts)
    assert whole == pytest.approx(epsilon(parts[::-1], 1e-5), rel=1e-3)
    with_integers = [*parts, (release(SKELLAM, 500.0), 1)]
    assert accountant(with_integers) is Accountant.RDP
    assert epsilon(with_integers, 1e-5) > renyi_epsilon(parts, 1e-5)


def test_grids_that_are_fine_enough():
    assert accountant([(release(GAUSSIAN, FINE_SCALE), 1)]) is Accountant.PLD
    assert accountant([(release(GAUSSIAN, FINE_SCALE * 0.999), 1)]) is Accountant.RDP
    assert accountant([(release(LAPLACE, 1.0), 1)]) is Accountant.PLD
    assert accountant([(release(DDG, 3.0), 1)]) is Accountant.PLD
    assert accountant([(release(SKELLAM, FINE_SCALE), 1)]) is Accountant.RDP
    assert accountant([]) is Accountant.PLD


def test_a_tiny_delta_is_left_to_rdp():
    """The transform's rounding errors are charged to delta; where they fill it, RDP serves."""
    schedule = [(fine(2.0, sampling_rate=0.01), 10_000)]
    assert epsilon(schedule, 1e-12) == renyi_epsilon(schedule, 1e-12)
    assert epsilon(schedule, 1e-9) < renyi_epsilon(schedule, 1e-9)


def test_nothing_costs_nothing():
    assert epsilon([], 1e-5) == 0
    assert epsilon([(fine(1.0), 0)], 1e-5) == 0
    assert renyi_total([], 5) == 0
    # Less than delta in total variation.
    assert epsilon([(fine(1e6), 1)], 1e-3) == 0
    assert epsilon_at(3, 1e-9, 1e-3) == 0


def test_no_promise_is_infinite():
    assert math.isinf(epsilon([(release(DDG, 0.9, num_shares=4), 1)], 1e-5))
    assert math.isinf(epsilon([(release(GAUSSIAN, 1e-200), 1)], 1e-5))
    assert math.isinf(epsilon([(release(LAPLACE, 1e-200), 1)], 1e-5))


def test_little_noise_is_answered_in_time():
    """Losses in the thousands must not fill the memory."""
    found = epsilon([(fine(0.02, sampling_rate=0.5), 100)], 1e-5)
    assert 1e4 < found < renyi_epsilon([(fine(0.02), 100)], 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_deltas_out_of_range(delta):
    for call in (
        lambda: epsilon([], delta),
        lambda: renyi_epsilon([(fine(1.0), 1)], delta),
        lambda: epsilon_at(2, 1.0, delta),
        lambda: analytic_gaussian(1.0, delta),
        lambda: gdp_epsilon(1.0, delta),
        lambda: gdp_mu(1.0, delta),
    ):
        with pytest.raises(ValueError, match=f"delta={delta}"):
            call()


def test_other_values_out_of_range():
    with pytest.raises(ValueError, match="epsilon=0"):
        gdp_mu(0, 1e-5)
    with pytest.raises(ValueError, match="epsilon=inf"):
        analytic_gaussian(math.inf, 1e-5)
    with pytest.raises(ValueError, match="sensitivity=-1"):
        analytic_gaussian(1.0, 1e-5, -1)
    with pytest.raises(ValueError, match=r"mu=0\.0"):
        gdp_epsilon(0.0, 1e-5)
    with pytest.raises(ValueError, match="order=1"):
        epsilon_at(1, 1.0, 1e-5)
    with pytest.raises(ValueError, match="total=nan"):
        epsilon_at(2, math.nan, 1e-5)
    with pytest.raises(ValueError, match="-1 times"):
        epsilon([(fine(1.0), -1)], 1e-5)
    sampled = fine(1.0, neighbours=Neighbours.REPLACE, sampling_rate=0.1)
    with pytest.raises(ValueError, match=r"sampling_rate=0\.1"):
        epsilon([(sampled, 1)], 1e-5)


@given(
    mechanism=st.sampled_from(list(Mechanism)),
    scale=st.floats(3, 1e4),
    factor=st.floats(1.01, 4),
    rate=st.floats(1e-4, 1),
    times=st.integers(1, 10_000),
    delta=st.floats(1e-9, 1e-2),
)
@settings(max_examples=25, deadline=None)
def test_rdp_behaves(mechanism, scale, factor, rate, times, delta):
    def of(scale=scale, rate=rate, times=times, delta=delta):
        described = release(mechanism, scale, 2.0, 3.0, dimension=5, sampling_rate=rate)
        return renyi_epsilon([(described, times)], delta)

    start = of() * (1 + 1e-9)
    assert 0 <= of(scale=scale * factor) <= start
    assert of(rate=rate / factor) <= start
    assert of(delta=delta * factor) <= start
    assert of(times=2 * times) >= of() * (1 - 1e-9)


@pytest.mark.slow
@given(sigma=st.floats(0.9, 5), rate=st.floats(1e-3, 0.5), steps=st.integers(1, 500))
@settings(max_examples=2, deadline=None)
def test_pld_behaves(sigma, rate, steps):
    def of(sigma=sigma, rate=rate, steps=steps, delta=1e-5):
        return epsilon([(fine(sigma, sampling_rate=rate), steps)], delta)

    # The grid of losses changes with its input and costs up to some parts in 10,000.
    start = of() * 1.002
    assert of(sigma=sigma * 1.2) <= start
    assert of(rate=rate / 1.2) <= start
    assert of(delta=1e-4) <= start
    assert of(steps=2 * steps) * 1.002 >= of()


def test_import_is_light():
    """A node's process charges its ledger by RDP and must not wait for the library."""
    code = (
        "import sys; from privacy.accounting.epsilon import renyi_total;"
        "from privacy.plan.release import *;"
        "assert 'dp_accounting' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
