"""The least noise: the check values, that it suffices, and that less does not."""

import math
import time
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.calibration import SMALLEST, CalibrationError, calibrate
from privacy.accounting.epsilon import Accountant, accountant, analytic_gaussian, epsilon
from privacy.bounding.modulus import grid_step
from privacy.plan.release import Mechanism, Neighbours, Release
from privacy.unit import Unit
from tests.privacy import releases
from tests.privacy.releases import DDG, FINE, GAUSSIAN, LAPLACE, SKELLAM

release = partial(releases.release, unit=Unit.CLIENT, neighbours=Neighbours.ZERO_OUT)


def fine(rate, steps, mechanism=GAUSSIAN, scale=FINE):
    return lambda z: [(release(mechanism, z * scale, scale, sampling_rate=rate), steps)]


# The settings of Agarwal et al. 2021 for federated EMNIST, in clip norms.
CLIENTS, COHORT, ROUNDS, PADDED = 3_400, 100, 1_500, 2**20


def emnist(bits, mechanism=SKELLAM):
    """The papers' sensitivities and step, all clients pulling one way."""

    def schedule_of(z):
        norm = 1 / grid_step(bits, 4.0, COHORT, PADDED, COHORT, z / math.sqrt(COHORT))
        root = math.sqrt(PADDED)
        # beta = exp(-1/2), so the root of 2 ln(1/beta) is 1.
        l2 = min(norm + root, math.sqrt(norm**2 + PADDED / 4 + norm + root / 2))
        rest = {"num_shares": COHORT, "dimension": PADDED, "sampling_rate": COHORT / CLIENTS}
        one = release(mechanism, z * norm, l2, l2 * min(root, l2), **rest)
        return [(one, ROUNDS)]

    return schedule_of


def check(schedule_of, eps, delta, tolerance=1e-4):
    """Calibrate; what is found must do and a little less must not."""
    found = calibrate(schedule_of, eps, delta, relative_tolerance=tolerance)
    assert epsilon(schedule_of(found), delta) <= eps
    assert epsilon(schedule_of(found * (1 - 1.01 * tolerance)), delta) > eps
    return found


@pytest.mark.parametrize(("bits", "expected"), [(16, 0.8492), (14, 0.8682)])
def test_emnist_skellam(bits, expected):
    assert check(emnist(bits), 10.0, 1 / CLIENTS) == pytest.approx(expected, abs=5e-4)


def test_emnist_gaussian():
    """The papers' figure is RDP's, which is what serves on a coarse grid; PLD needs less."""
    rate = COHORT / CLIENTS
    found = check(fine(rate, ROUNDS, scale=1000.0), 10.0, 1 / CLIENTS)
    assert found == pytest.approx(0.848, abs=5e-4)
    started = time.monotonic()
    by_pld = check(fine(rate, ROUNDS), 10.0, 1 / CLIENTS)
    assert by_pld == pytest.approx(0.7913, abs=5e-4)
    assert time.monotonic() - started < 20


def test_emnist_with_too_few_bits():
    with pytest.raises(CalibrationError) as refusal:
        calibrate(emnist(12), 6.0, 1 / CLIENTS)
    text = str(refusal.value)
    assert "epsilon=6" in text
    assert "delta=0.000294118" in text
    assert all(mend in text for mend in ("more modulus bits", "larger epsilon", "fewer rounds"))
    assert "least that any noise spends is 6.7" in text
    # It is the grid that costs, not the number of bits as such.
    assert check(emnist(12), 10.0, 1 / CLIENTS) == pytest.approx(1.614, abs=1e-3)


def test_one_gaussian_is_the_analytic_one():
    for eps, delta in ((1.0, 1e-5), (0.01, 1e-6), (50.0, 1e-5)):
        found = check(fine(1.0, 1), eps, delta)
        least = analytic_gaussian(eps, delta)
        assert least * (1 - 1e-9) <= found <= least * (1 + 1.1e-4)


def test_laplace():
    found = check(fine(1.0, 1, LAPLACE), 1.0, 1e-5)
    assert found == pytest.approx(1 / (1 - 2 * math.log1p(-1e-5)), rel=2e-4)


@given(
    mechanism=st.sampled_from([SKELLAM, GAUSSIAN]),
    eps=st.floats(0.05, 30),
    delta=st.floats(1e-9, 1e-3),
    rate=st.floats(0.005, 1),
    steps=st.integers(1, 3000),
)
@settings(max_examples=15, deadline=None)
def test_by_rdp(mechanism, eps, delta, rate, steps):
    schedule_of = fine(rate, steps, mechanism, scale=100.0)
    assert accountant(schedule_of(1.0)) is Accountant.RDP
    check(schedule_of, eps, delta, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("eps", "rate", "steps", "delta", "most", "skellam"),
    [
        (1.0, 0.0683, 585, 1e-5, 6.4, 6.9),
        (3.0, 0.0683, 585, 1e-5, 2.55, 2.7),
        (1.0, 0.5, 60, 1e-3, 10.3, 11.4),
    ],
)
def test_sampled_sums_need_no_more_noise_than_this(eps, rate, steps, delta, most, skellam):
    """MNIST's and heart's: with a factor of 3 in the sum it was up to 9.6 times as much."""
    started = time.monotonic()
    by_shares = check(fine(rate, steps, DDG), eps, delta)
    assert 0.95 * most < by_shares < most
    assert 0.95 * skellam < check(fine(rate, steps, SKELLAM), eps, delta) < skellam
    assert time.monotonic() - started < 30


def test_tolerance():
    tight = check(fine(0.05, 100, SKELLAM, 1000.0), 2.0, 1e-5, 1e-7)
    loose = check(fine(0.05, 100, SKELLAM, 1000.0), 2.0, 1e-5, 0.1)
    assert tight <= loose <= tight * 1.1


def test_a_narrow_range_is_found():
    """The grid gets coarser so fast that only a sliver of multipliers will do."""

    def schedule_of(z):
        return [(release(GAUSSIAN, 100 * z, 100 * (1 + (z / 3.3) ** 4)), 1)]

    spent = [epsilon(schedule_of(2 + i / 1000), 1e-5) for i in range(1000)]
    target = min(spent) * 1.001
    found = calibrate(schedule_of, target, 1e-5)
    assert epsilon(schedule_of(found), 1e-5) <= target
    with pytest.raises(CalibrationError, match="least that any noise spends"):
        calibrate(schedule_of, min(spent) * 0.999, 1e-5)


def test_multipliers_that_do_not_fit_are_passed_over():
    def schedule_of(z):
        if z > 5 or z < 0.3:
            raise ValueError("the modulus is full")
        return [(release(SKELLAM, 100 * z, 100.0), 1)]

    assert check(schedule_of, 2.0, 1e-5) == pytest.approx(2.15, abs=0.01)
    # Far more epsilon than the least that fits spends.
    least = calibrate(schedule_of, 1000.0, 1e-5)
    assert 0.3 <= least <= 0.3 * 1.0001
    with pytest.raises(CalibrationError, match="least that any noise spends"):
        calibrate(schedule_of, 0.1, 1e-5)

    def never(z):
        raise ValueError("the modulus is full")

    with pytest.raises(
        CalibrationError, match=r"no noise fits \(the modulus is full\)"
    ) as info:
        calibrate(never, 1.0, 1e-5)
    assert isinstance(info.value.__cause__, ValueError)


def test_a_cost_that_noise_does_not_change():
    """Metrics have noise of their own: they leave less for the rest, or nothing."""
    metrics = (release(GAUSSIAN, 5 * FINE, FINE), 1)
    alone = epsilon([metrics], 1e-5)

    def schedule_of(z):
        return [*fine(1.0, 1)(z), metrics]

    with pytest.raises(CalibrationError, match="less frequent metrics"):
        calibrate(schedule_of, alone * 0.99, 1e-5)
    assert check(schedule_of, 1.0, 1e-5) > analytic_gaussian(1.0, 1e-5)
    # Between what PLD and what RDP make of the metrics alone.
    check(schedule_of, alone * 1.01, 1e-5)


def test_nothing_to_hide_needs_no_noise():
    assert calibrate(lambda z: [], 1.0, 1e-5) == SMALLEST


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon", 0.0), ("epsilon", math.inf), ("delta", 1.0), ("delta", 0.0)],
)
def test_values_out_of_range(name, value):
    good = {"epsilon": 1.0, "delta": 1e-5}
    with pytest.raises(ValueError, match=f"{name}={value}"):
        calibrate(fine(1.0, 1), **good | {name: value})
    with pytest.raises(ValueError, match="relative_tolerance=0"):
        calibrate(fine(1.0, 1), 1.0, 1e-5, relative_tolerance=0)


def test_errors_of_the_accountant_are_not_swallowed():
    """A schedule that cannot be accounted for is a mistake, not a multiplier that is unfit."""
    wrong = {"sampling_rate": 0.5, "neighbours": Neighbours.REPLACE}
    with pytest.raises(ValueError, match=r"sampling_rate=0\.5"):
        calibrate(lambda z: [(release(GAUSSIAN, z, **wrong), 1)], 1.0, 1e-5)


def test_noise_for_which_nothing_is_promised_is_passed_over():
    """A sum of discrete Gaussians of under half a step each has an infinite curve."""

    def schedule_of(multiplier):
        release = Release(
            unit=Unit.CLIENT,
            neighbours=Neighbours.ZERO_OUT,
            mechanism=Mechanism.DISTRIBUTED_DISCRETE_GAUSSIAN,
            l1_sensitivity=20.0,
            l2_sensitivity=10.0,
            noise_scale=10 * multiplier,
            num_shares=1000,
            dimension=256,
        )
        return [(release, 1)]

    found = calibrate(schedule_of, 3.0, 1e-5)
    # Under 0.5 steps a share there is nothing to calibrate.
    assert found * 10 / 1000**0.5 > 0.5
