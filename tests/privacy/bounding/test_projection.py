"""Kept entries: so many as are said, the same everywhere, and no further apart than all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.bounding.projection import kept_entries, num_kept


def test_check_values_that_every_machine_draws():
    # By hashlib alone: the five smallest of twelve little-endian words.
    assert kept_entries(bytes(32), 12, 5).tolist() == [0, 1, 8, 9, 10]
    assert kept_entries(bytes(32), 12, 12).tolist() == [*range(12)]


@pytest.mark.parametrize(
    ("length", "fraction", "number"),
    [(10, 1.0, 10), (10, 0.5, 5), (11, 0.5, 6), (3, 1e-9, 1), (1, 0.5, 1)],
)
def test_so_many_are_kept_and_never_none(length, fraction, number):
    assert num_kept(length, fraction) == number
    kept = kept_entries(b"seed", length, number)
    assert len({*kept.tolist()}) == number
    assert ((kept >= 0) & (kept < length)).all()


WHOLE = st.lists(st.integers(-(2**20), 2**20), min_size=8, max_size=8)


@settings(deadline=None)
@given(WHOLE, WHOLE, st.binary(min_size=1, max_size=32), st.integers(1, 8))
def test_kept_entries_are_no_further_apart_than_the_vectors(one, other, seed, number):
    """In integers, so that there is no rounding; whoever has chosen the seed."""
    apart = np.array(one) - np.array(other)
    kept = apart[kept_entries(seed, 8, number)]
    assert (kept**2).sum() <= (apart**2).sum()
    assert np.abs(kept).sum() <= np.abs(apart).sum()
