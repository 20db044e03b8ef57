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
    no_terms,
    one_term,
    sum_of_sparse_terms,
    sum_of_terms,
)
from privacy.bounding.clipping import Clipped
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
    whole = sum_of_terms(terms, terms.shape[1], bound)
    rest = sum_of_terms(np.delete(terms, left_out, axis=0), terms.shape[1], bound)
    alone = sum_of_terms(terms[left_out : left_out + 1], terms.shape[1], bound)
    np.testing.assert_array_equal(whole.integers - rest.integers, alone.integers)
    assert square_length(alone.integers) <= int(whole.delta2) ** 2
    shuffled = sum_of_terms(terms[::-1], terms.shape[1], bound)
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


def test_a_short_term_keeps_its_value_and_a_long_one_its_direction():
    short, long = np.array([0.3, -0.4]), np.array([30.0, -40.0])
    np.testing.assert_allclose(
        sum_of_terms([short], 2, 1.0).in_units_of(1.0), short, rtol=0, atol=2 / FINENESS
    )
    found = sum_of_terms([long], 2, 2.0).in_units_of(2.0)
    np.testing.assert_allclose(found, [0.6, -0.8], rtol=1e-8)
    np.testing.assert_allclose(
        one_term(long, 2.0).bounded.in_units_of(1.0), [1.2, -1.6], rtol=1e-8
    )


def test_terms_may_share_their_memory():
    def terms():
        buffer = np.empty(2)
        for value in (0.25, 0.5):
            buffer[:] = value
            yield buffer

    found = sum_of_terms(terms(), 2, 1.0)
    assert found.integers.tolist() == [0.75 * FINENESS] * 2


def test_what_is_measured_is_what_is_added(monkeypatch):
    """A term that is too long after clipping is left out: no other formula decides."""
    module = "privacy.bounding.bounded_sum"
    monkeypatch.setattr(f"{module}.clip_l2", lambda term, bound: Clipped(term, 0, False, True))
    found = sum_of_terms([np.array([3.0, 0.0]), np.array([0.5, 0.0])], 2, 1.0)
    assert found.integers.tolist() == [0.5 * FINENESS, 0]


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
    """With the largest terms that the arithmetic knows: each is worth 2^51 steps here."""
    monkeypatch.setattr("privacy.bounding.bounded_sum.FINENESS", 2.0**51)
    monkeypatch.setattr("privacy.bounding.bounded_sum._MOST_TERMS", 1)
    totals = [int(sum_of_terms(np.ones((n, 1)), 1, 1.0).integers[0]) for n in range(1, 9)]
    assert totals[0] == pytest.approx(2**51)
    assert totals[-1] == 2**52
    # One record more or less moves none of them by more than its bound.
    assert all(0 <= after - before <= 2**51 for before, after in pairwise(totals))


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, np.inf])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    for make in (
        lambda: one_term(np.ones(2), bound),
        lambda: sum_of_terms(np.ones((1, 2)), 2, bound),
        lambda: no_terms(2, bound, Unit.CLIENT),
    ):
        with pytest.raises(ValueError, match="must be"), np.errstate(all="ignore"):
            make()


def sparse(draws: np.random.Generator, num_records: int, width: int = 3):
    """Return entries of records with a place in each of `width` columns of 4 bins."""
    places = draws.integers(4, size=(num_records, width)) + 4 * np.arange(width)
    return places, draws.normal(size=(num_records, width))


@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([0.5, 1.7, 30.0]))
def test_a_sparse_record_moves_the_sum_by_its_term_alone(seed, num_records, bound):
    """Exactly, in any order, and by no more than it says; too long a term is none."""
    draws = np.random.default_rng(seed)
    places, values = sparse(draws, num_records)
    values[0, 0] = draws.choice([np.nan, np.inf, 1e300, 0.0])
    left_out = int(draws.integers(num_records))

    def total(chosen):
        return sum_of_sparse_terms(places[chosen], values[chosen], 12, bound).integers

    everyone = np.arange(num_records)
    alone = total(everyone[[left_out]])
    np.testing.assert_array_equal(total(everyone) - total(np.delete(everyone, left_out)), alone)
    np.testing.assert_array_equal(total(everyone), total(draws.permutation(everyone)))
    assert square_length(alone) <= int(FINENESS) ** 2
    with np.errstate(over="ignore", invalid="ignore"):
        fits = np.linalg.norm(values[left_out]) <= bound
    assert alone.any() == fits


@pytest.mark.parametrize("width", [1, 2, 3, 7, 13])
def test_a_sparse_term_of_just_the_bound_counts_whole(width):
    """Counts over the columns, whose length is the bound itself."""
    places, _ = sparse(np.random.default_rng(0), 500, width)
    counted = sum_of_sparse_terms(places, np.ones(places.shape), 4 * width, width**0.5)
    np.testing.assert_allclose(
        counted.in_units_of(1.0), np.bincount(places.ravel(), minlength=4 * width), rtol=1e-8
    )


def test_sparse_and_full_terms_add_up_to_the_same_but_for_rounding():
    places, values = sparse(np.random.default_rng(1), 200)
    full = np.zeros((200, 12))
    np.put_along_axis(full, places, values, axis=1)
    kept = np.linalg.norm(values, axis=1) <= 2.0
    one = sum_of_sparse_terms(places, values, 12, 2.0).integers
    two = sum_of_terms(full[kept], 12, 2.0).integers
    assert np.abs(one - two).max() <= kept.sum()


def test_two_entries_at_one_place_are_refused():
    with pytest.raises(ValueError, match="at the same place"):
        sum_of_sparse_terms(np.array([[1, 1]]), np.ones((1, 2)), 3, 2.0)
