"""Times of events, merged until no sum is of fewer records than the public minimum."""

import numpy as np
import pytest

from workloads.survival.cells import merged


def draw(seed: int, num: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    events = rng.poisson(rng.uniform(0.2, 2), num).astype(float)
    events[-1] = 0
    return events, events + rng.poisson(rng.uniform(0.1, 2), num)


@pytest.mark.parametrize("least", [1, 2, 3, 10])
@pytest.mark.parametrize("seed", range(30))
def test_no_sum_is_of_fewer(least, seed):
    events, leaving = draw(seed)
    cells = merged(events, leaving, least)
    assert (np.diff(cells.starts) > 0).all()
    assert (events[cells.starts] > 0).all()
    own, leave = cells.sums(events), cells.sums(leaving)
    assert (leave >= least).all()
    # One event needs no sum of its own.
    assert ((own == 1) | (own >= least)).all()
    if len(cells):
        assert own.sum() == events.sum()
        assert leave.sum() == leaving[cells.starts[0] :].sum()


@pytest.mark.parametrize("seed", range(10))
def test_a_minimum_of_one_merges_nothing(seed):
    events, leaving = draw(seed)
    np.testing.assert_array_equal(merged(events, leaving, 1).starts, np.flatnonzero(events))


def test_neighbours_are_merged_and_the_rest_joins_the_last():
    events = np.array([0, 1, 1, 0, 4, 0, 1, 0.0])
    leaving = np.array([5, 1, 1, 2, 4, 0, 1, 0.0])
    # 1 and 2 have two events together, which is too few for sums of them: 4 joins them.
    np.testing.assert_array_equal(merged(events, leaving, 3).starts, [1])
    np.testing.assert_array_equal(merged(events, leaving, 2).starts, [1, 4])
    assert len(merged(events, leaving, 100)) == 0
    assert len(merged(events * 0, leaving, 1)) == 0


def test_a_record_is_at_risk_up_to_the_stretch_in_which_it_leaves():
    cells = merged(np.array([0, 2, 0, 2, 0.0]), np.array([1, 2, 3, 2, 4.0]), 2)
    np.testing.assert_array_equal(cells.of(np.arange(5)), [-1, 0, 0, 1, 1])
    np.testing.assert_array_equal(cells.sums(np.array([1, 2, 3, 2, 4.0])), [5, 6])
