"""The partial likelihood from risk sets, and the concordance, against the definitions."""

import numpy as np
import pytest

from tests.kits import survival as kit
from workloads.survival.efron import RiskSets, concordance


@pytest.mark.parametrize("scale", [0.0, 0.02, 1.0, 5.0])
@pytest.mark.parametrize("whole", [True, False])
def test_it_is_the_definition_and_its_derivatives(scale, whole):
    records = kit.made_up(80, whole=whole)
    x = (records.columns - records.columns.mean(axis=0)) / records.columns.std(axis=0)
    time, event = records.targets.T
    beta = np.array([1.0, -0.7, 0.3]) * scale
    found = RiskSets(time, event == 1, x @ beta + 123.0).likelihood(x)
    log, score, information = kit.partial_likelihood(x, time, event, beta)
    assert found.log == pytest.approx(float(log), rel=1e-12)
    np.testing.assert_allclose(found.score, score.astype(float), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.information, information.astype(float), atol=1e-10)


def test_predictors_that_overflow_make_finite_numbers():
    records = kit.made_up(50)
    time, event = records.targets.T
    for size in (1e3, 1e6, 3e6):
        predictor = np.linspace(-size, size, 50)
        found = RiskSets(time, event == 1, predictor).likelihood(records.columns / 100)
        numbers = [found.log, *found.score, *found.information.ravel()]
        assert np.isfinite(numbers).all()
        # What is coded fits: see FRACTION_BITS of the stratified sum.
        assert abs(found.log) <= 2**11 * event.sum()
        assert np.abs(numbers[1:]).max() <= 2 * event.sum()


def test_expected_events_add_up_to_the_events_and_tell_who_carries_them():
    records = kit.made_up(100)
    time, event = records.targets.T
    even = RiskSets(time, event == 1, np.zeros(100)).expected()
    assert even.sum() == pytest.approx(event.sum())
    assert even.min() >= 0
    # A predictor that singles one record out gives it all.
    one = np.zeros(100)
    one[np.argmax(time)] = 30.0
    found = RiskSets(time, event == 1, one).expected()
    assert found.max() > 0.95 * found.sum()


def test_the_concordance_counts_pairs_one_by_one():
    rng = np.random.default_rng(0)
    time = rng.integers(1, 9, 60).astype(float)
    event = rng.random(60) < 0.6
    predictor = rng.integers(0, 6, 60).astype(float)
    pairs = twice = 0
    for i in range(60):
        for j in range(60):
            if event[i] and (time[j] > time[i] or (time[j] == time[i] and not event[j])):
                pairs += 1
                twice += 2 * (predictor[i] > predictor[j]) + (predictor[i] == predictor[j])
    assert concordance(time, event, predictor) == (pairs, twice)
