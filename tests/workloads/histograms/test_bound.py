"""One record's term: within the bound, whatever the record and whatever is asked about."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from privacy.bounding.bounded_sum import FINENESS
from tasks.records import Examples, LocalData
from tests.workloads.histograms.tables import ebm, queries, records, some_state, targets
from workloads.values import State

KINDS = ("binary", "softmax", "squared")
PLAN = SimpleNamespace(terms=SimpleNamespace(sampling_rate=1.0))
WEIRD = [np.nan, -np.inf, np.inf, -1e300, 1e300, -1.0, 0.0, 1e-300, 5.0, 90.0, 1e4, 7.5]
LABELS = {
    "binary": np.arange(2),
    "softmax": np.arange(4),
    "squared": np.array([-1, 1, 0, np.float32(-1.5), 1e30], np.float32),
}


def adversarial(kind: str) -> Examples:
    """Return records at every edge, out of range and missing, of every class."""
    labels = LABELS[kind]
    places = [ebm(kind).bins.columns[0].cuts(32), WEIRD]
    values = np.concatenate(places)
    columns = np.stack([np.roll(values, shift) for shift in range(4)], axis=1)
    rows = np.repeat(columns, len(labels), axis=0)
    return Examples(np.zeros((len(rows), 1), np.float32), np.tile(labels, len(columns)), rows)


def summed(workload, state, query, examples: Examples):
    nobody = examples.take(np.zeros(0, np.intp))
    rng = np.random.default_rng(0)
    data = LocalData(examples, nobody)
    privacy = SimpleNamespace(plan=PLAN, mode=workload.setup.mode)
    return workload.bounded(state, query, data, rng, privacy).update


def squares(workload, state, query, examples: Examples) -> np.ndarray:
    """Return the squared length of each record's term."""
    return (workload.terms(state, query, examples) ** 2).sum(axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.0, 0.3, 3.0, 1e3, 1e30])
def test_no_record_is_longer_than_the_bound(kind, size):
    workload, worst = ebm(kind), adversarial(kind)
    for query in queries():
        state = some_state(workload, size)
        found = squares(workload, state, query, worst)
        assert np.isfinite(found).all()
        assert found.max() <= workload.bound() ** 2 + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_search_finds_none_that_is_longer_and_comes_near(kind):
    """Climb from random states and records to the longest term that there is."""
    workload = ebm(kind)
    draws = np.random.default_rng(0)
    longest = dict.fromkeys(range(1, 7), 0.0)
    for query, size in product(queries(), (0.5, 1.0, 2.0, 20.0)):
        state = some_state(workload, size)
        for _ in range(30):
            moved = {
                n: a + draws.normal(scale=0.3, size=a.shape) * size
                for n, a in state.arrays.items()
            }
            tried = State(moved)
            found = squares(workload, tried, query, adversarial(kind)).max()
            assert found <= 1 + 1e-12
            if found > longest[query.server_round]:
                longest[query.server_round], state = found, tried
    # Counts of classes are as long as the bound itself in every record; residuals nearly.
    assert longest[1] == pytest.approx(1, abs=1e-9)
    assert longest[3] > 0.97
    assert longest[2] > 0.8


def test_the_worst_record_is_as_long_as_the_bound():
    """It is sure of the wrong class; its curves are of the greatest length that counts."""
    workload = ebm("binary")
    one = records("binary", 1)
    one.columns[:] = 1.0
    one.targets[:] = 1
    state = workload.initial_state()
    state.arrays["intercepts"] = np.array([-800.0])
    assert squares(workload, state, queries()[2], one) == pytest.approx(1, abs=1e-12)
    # Even odds are where the curvature is largest, and a residual is 1/2 there.
    state = workload.initial_state()
    longest = workload.loss.longest
    state.arrays["base"] = np.full_like(state.arrays["base"], longest)
    found = squares(workload, state, queries()[1], one)
    gradient, curvature, bound = (0.5 * longest) ** 2, (longest**2 / 4) ** 2, 5.0
    assert found == pytest.approx(0.5 + 0.5 * (gradient + curvature) / bound, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_one_record_moves_the_real_sum_by_no_more_than_the_bound(kind):
    """Through ``bounded``: in whole numbers, any record, in any round, any place."""
    workload, examples = ebm(kind), adversarial(kind)
    everyone = np.arange(len(examples))
    for query in queries():
        state = some_state(workload, 1.5, seed=query.server_round)
        whole = summed(workload, state, query, examples).integers
        for left_out in everyone[:: len(everyone) // 7]:
            rest = examples.take(np.delete(everyone, left_out))
            change = whole - summed(workload, state, query, rest).integers
            alone = summed(workload, state, query, examples.take(everyone[[left_out]]))
            np.testing.assert_array_equal(change, alone.integers)
            assert sum(int(value) ** 2 for value in change) <= int(FINENESS) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_terms_and_bounded_agree(kind):
    workload, examples = ebm(kind), records(kind, 60)
    for query in queries():
        state = some_state(workload, 0.7)
        rows = [
            workload.terms(state, query, one)[0]
            for one in examples.one_by_one(np.arange(len(examples)))
        ]
        found = summed(workload, state, query, examples)
        assert len(found) == workload.length(state)
        np.testing.assert_allclose(
            found.in_units_of(1.0), np.sum(rows, axis=0), rtol=0, atol=len(rows) * 2e-9
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_records_term_does_not_depend_on_its_place(kind):
    """Bit for bit: alone, at every offset, beside huge neighbours."""
    workload, examples = ebm(kind), records(kind, 67)
    for query in queries():
        state = some_state(workload, 2.0)
        rows = workload.terms(state, query, examples)
        for first in (0, 1, 2, 3, 5, 8, 31):
            part = examples.take(np.arange(first, len(examples)))
            np.testing.assert_array_equal(rows[first:], workload.terms(state, query, part))
        for number in range(0, len(examples), 5):
            one = examples.take(np.array([number]))
            np.testing.assert_array_equal(rows[[number]], workload.terms(state, query, one))


def test_the_logistic_function_is_free_of_place():
    from scipy.special import exp2, expit

    values = np.random.default_rng(0).normal(scale=20, size=4099)
    for function in (expit, exp2):
        whole = function(values)
        for first in range(9):
            np.testing.assert_array_equal(whole[first:], function(values[first:].copy()))
            np.testing.assert_array_equal(whole[first::7], function(values[first::7]))
        alone = np.array([function(np.array([value]))[0] for value in values[:500]])
        np.testing.assert_array_equal(whole[:500], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_of_no_class_has_a_term_within_the_bound(kind):
    """No task gives one; a fault in one must not break the promise."""
    workload = ebm(kind)
    examples = records(kind, 3)
    strange = Examples(
        examples.inputs,
        np.array([-5, 99, 2**40]).astype(targets(kind, 1).dtype),
        examples.columns,
    )
    for query in queries():
        found = squares(workload, some_state(workload, 1.0), query, strange)
        assert found.max() <= 1 + 1e-12
