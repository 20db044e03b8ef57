"""What one unit can move a bounded sum by: never more than it says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privacy.bounding.bounded_sum import (
    FINENESS,
    BoundedSum,
    clipped_delta2,
    no_terms,
    one_term,
    sum_of_clipped,
    sum_of_terms,
)
from privacy.unit import Unit

numbers = st.floats(-1e6, 1e6) | st.sampled_from([0.0, np.inf, -np.inf, np.nan, 1e300, 5e-324])
rows = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=numbers)
bounds = st.floats(1e-6, 1e6)


def square_length(integers: np.ndarray) -> int:
    """Return the squared length, exactly."""
    return sum(int(value) ** 2 for value in integers)


@given(rows, bounds, st.data())
def test_one_record_more_moves_the_sum_by_its_term_alone(terms, bound, data):
    """Exactly, in integers, in any order, whatever stands beside it."""
    left_out = data.draw(st.integers(0, len(terms) - 1))
    whole = sum_of_terms(terms, bound)
    rest = sum_of_terms(np.delete(terms, left_out, axis=0), bound)
    alone = sum_of_terms(terms[left_out : left_out + 1], bound)
    np.testing.assert_array_equal(whole.integers - rest.integers, alone.integers)
    assert square_length(alone.integers) <= int(whole.delta2) ** 2
    shuffled = sum_of_terms(terms[::-1], bound)
    np.testing.assert_array_equal(whole.integers, shuffled.integers)
    assert whole.delta2 * whole.grid == pytest.approx(bound)
    assert np.abs(alone.integers).sum() <= whole.delta1


@given(hnp.arrays(np.float64, st.integers(1, 6), elements=numbers), bounds, st.booleans())
def test_a_clients_term_is_within_its_bound(vector, bound, l1):
    term = one_term(vector, bound, l1=l1)
    integers = term.bounded.integers
    if l1:
        assert np.abs(integers).sum() <= FINENESS
    assert square_length(integers) <= int(FINENESS) ** 2
    assert term.was_finite == bool(np.isfinite(vector / bound).all())
    if not term.was_finite:
        assert not integers.any()
    assert term.bounded.unit is Unit.CLIENT


def test_a_sum_that_was_clipped_before_moves_by_a_step_an_entry_more():
    rng = np.random.default_rng(0)
    dimension = 500
    worst = 0.0
    for _ in range(200):
        others = rng.normal(size=dimension)
        own = rng.normal(size=dimension)
        own /= np.linalg.norm(own)
        both = sum_of_clipped(others + own, 1.0)
        moved = both.integers - sum_of_clipped(others, 1.0).integers
        worst = max(worst, square_length(moved) ** 0.5 / FINENESS)
    assert 1 - 1e-9 < worst <= clipped_delta2(1.0, dimension)
    assert sum_of_clipped(others, 1.0).delta2 == clipped_delta2(1.0, dimension) * FINENESS


def test_a_short_term_keeps_its_value_and_a_long_one_its_direction():
    short, long = np.array([0.3, -0.4]), np.array([30.0, -40.0])
    np.testing.assert_allclose(
        sum_of_terms(short[None], 1.0).in_units_of(1.0), short, rtol=0, atol=2 / FINENESS
    )
    found = sum_of_terms(long[None], 2.0).in_units_of(2.0)
    np.testing.assert_allclose(found, [0.6, -0.8], rtol=1e-10)
    np.testing.assert_allclose(
        one_term(long, 2.0).bounded.in_units_of(1.0), [1.2, -1.6], rtol=1e-10
    )


def test_a_huge_sum_saturates_and_does_not_wrap():
    found = sum_of_clipped(np.array([1e30, -1e30, 0.0]), 1.0)
    assert found.integers.tolist() == [2**62, -(2**62), 0]


def test_nobodys_sum_is_zero_with_the_same_bounds():
    nothing = no_terms(4, 2.0, Unit.EXAMPLE)
    assert not nothing.integers.any()
    assert nothing.delta2 * nothing.grid == 2.0


def test_nobody_else_makes_one():
    with pytest.raises(TypeError, match="sum_of_terms"):
        BoundedSum()


def test_a_term_in_l1_says_how_far_it_moves_in_l1():
    vector = np.full(100, 1.0)
    assert one_term(vector, 2.0, l1=True).bounded.delta1 == FINENESS
    assert one_term(vector, 2.0).bounded.delta1 == pytest.approx(10 * FINENESS)


def test_what_was_bounded_cannot_be_changed():
    bounded = one_term(np.ones(3), 1.0).bounded
    with pytest.raises(ValueError, match="read-only"):
        bounded.integers[0] = 2**40


def test_more_records_than_fit_do_not_wrap(monkeypatch):
    """With the largest terms that the arithmetic knows: each is worth 2^61 steps here."""
    monkeypatch.setattr("privacy.bounding.bounded_sum.FINENESS", 2.0**61)
    monkeypatch.setattr("privacy.bounding.bounded_sum._MOST_ROWS", 1)
    totals = [int(sum_of_terms(np.ones((n, 1)), 1.0).integers[0]) for n in range(1, 9)]
    assert totals[0] == pytest.approx(2**61)
    assert totals[-1] == 2**62
    # One record more or less moves none of them by more than its bound.
    assert all(0 <= after - before <= 2**61 for before, after in pairwise(totals))


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, np.inf])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    for make in (
        lambda: one_term(np.ones(2), bound),
        lambda: sum_of_terms(np.ones((1, 2)), bound),
        lambda: sum_of_clipped(np.ones(2), bound),
        lambda: no_terms(2, bound, Unit.CLIENT),
    ):
        with pytest.raises(ValueError, match="must be"), np.errstate(all="ignore"):
            make()
