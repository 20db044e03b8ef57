"""Trees of random structure: one record's term, whatever trees and curves a server sends."""

from itertools import product

import numpy as np
import pytest

from privacy.bounding.bounded_sum import FINENESS
from tests.workloads.histograms.tables import records
from tests.workloads.histograms.test_bound import (
    KINDS,
    LABELS,
    adversarial,
    squares,
    summed,
)
from tests.workloads.trees.tables import NUM_AT_ONCE, random_states, random_trees
from workloads.values import Query, State

ASKED = Query(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.0, 0.5, 3.0, 1e3, 1e30])
def test_no_record_is_longer_than_the_bound(kind, size):
    workload, worst = random_trees(kind), adversarial(kind)
    for state in random_states(workload, size).values():
        workload.check(state)
        found = squares(workload, state, ASKED, worst)
        assert np.isfinite(found).all()
        assert found.max() <= workload.bound() ** 2 + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_search_finds_none_that_is_longer_and_comes_near(kind):
    workload, worst = random_trees(kind), adversarial(kind)
    draws, longest = np.random.default_rng(1), {}
    for size, seed in product((0.5, 2.0, 20.0), range(4)):
        for step, state in random_states(workload, size, seed).items():
            for _ in range(8):
                moved = dict(state.arrays)
                for name in ("curves", "base", "intercepts", "value"):
                    change = draws.normal(scale=0.3 * size, size=moved[name].shape)
                    moved[name] = moved[name] + change
                tried = State(moved, state.header)
                found = squares(workload, tried, ASKED, worst).max()
                assert found <= 1 + 1e-12
                if found > longest.get(step, 0.0):
                    longest[step], state = found, tried
    assert longest["counts"] == pytest.approx(1, abs=1e-9)
    # Half of a round is counts, which are as long as they may be.
    assert longest["leaves"] > 0.5 + 0.5 * 0.95
    assert longest["scalars"] > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_residual_and_second_derivative_together_are_within_their_bound(kind):
    """A grid over all probabilities of up to three classes that matter."""
    loss = random_trees(kind).loss
    if kind == "squared":
        predicted = np.linspace(-3, 3, 601)[:, np.newaxis]
    elif kind == "binary":
        predicted = np.linspace(0, 1, 10_001)[:, np.newaxis]
    else:
        shares = np.array([s for s in product(range(31), repeat=4) if sum(s) == 30]) / 30
        predicted = shares
    longest = 0.0
    for label in LABELS[kind][:2]:
        targets = np.full(len(predicted), label)
        residuals = loss.residuals(targets, predicted)
        hessians = loss.hessian_weight * loss.hessians(predicted)
        square = (residuals**2).sum(axis=1) + (hessians**2).sum(axis=1)
        longest = max(longest, square.max())
    assert longest == pytest.approx(loss.pair_bound**2, rel=1e-12)


def test_the_worst_record_is_as_long_as_the_bound():
    """It is sure of the wrong class in a round of leaves."""
    workload = random_trees("binary")
    state = random_states(workload, 0.0)["leaves"]
    state.arrays["intercepts"] = np.array([-800.0])
    one = records("binary", 1)
    one.targets[:] = 1
    assert squares(workload, state, ASKED, one) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_one_record_moves_the_real_sum_by_no_more_than_the_bound(kind):
    workload, examples = random_trees(kind), adversarial(kind)
    everyone = np.arange(len(examples))
    for state in random_states(workload, 1.5).values():
        whole = summed(workload, state, ASKED, examples).integers
        assert len(whole) == workload.length(state)
        for left_out in everyone[:: len(everyone) // 5]:
            rest = examples.take(np.delete(everyone, left_out))
            change = whole - summed(workload, state, ASKED, rest).integers
            alone = summed(workload, state, ASKED, examples.take(everyone[[left_out]]))
            np.testing.assert_array_equal(change, alone.integers)
            assert sum(int(value) ** 2 for value in change) <= int(FINENESS) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_records_term_does_not_depend_on_its_place(kind):
    workload, examples = random_trees(kind), records(kind, 67)
    for state in random_states(workload, 2.0).values():
        rows = workload.terms(state, ASKED, examples)
        for first in (0, 1, 3, 8, 31):
            part = examples.take(np.arange(first, len(examples)))
            np.testing.assert_array_equal(rows[first:], workload.terms(state, ASKED, part))
        for number in range(0, len(examples), 7):
            one = examples.take(np.array([number]))
            np.testing.assert_array_equal(rows[[number]], workload.terms(state, ASKED, one))


def test_a_record_is_in_one_leaf_of_each_tree():
    workload, examples = random_trees("binary", mode=None), records("binary", 50)
    state = random_states(workload, 0.5)["leaves"]
    rows = workload.terms(state, ASKED, examples)
    hessians = rows[:, -NUM_AT_ONCE * 2**3 :].reshape(50, NUM_AT_ONCE, -1)
    np.testing.assert_array_equal((hessians > 0).sum(axis=2), 1)
    # The least uncertain has the same in each.
    np.testing.assert_array_equal(hessians.max(axis=2).std(axis=1), 0)
