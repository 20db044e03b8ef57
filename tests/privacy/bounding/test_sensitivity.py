"""The formulas against numbers worked out by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.bounding.sensitivity import dithered_l2, rounded_l1, rounded_l2

BETA = math.exp(-0.5)
LENGTHS = st.floats(1e-3, 1e9)
DIMENSIONS = st.integers(1, 10**9)


def test_check_values_of_the_papers_bound():
    # (10)^2 + 256/4 + 1 * (10 + 16/2) = 182, below (10 + 16)^2.
    l2 = rounded_l2(10.0, 1.0, 256, BETA)
    assert l2 == pytest.approx(13.4907376, abs=5e-8)
    assert rounded_l1(l2, 256) == pytest.approx(182.0, rel=1e-12)


def test_only_the_length_in_steps_counts():
    assert rounded_l2(1.0, 0.1, 256, BETA) == pytest.approx(math.sqrt(182))
    assert dithered_l2(1.0, 0.1, 256) == pytest.approx(26.0 + 16 / 1024)
    # Of 256 entries 64 are kept, and all of what float64 loses may be in them.
    assert dithered_l2(1.0, 0.1, 64, 256) == pytest.approx(18.0 + 16 / 1024)


def test_each_branch_of_the_minima():
    # A beta of almost 0 costs more than rounding every coordinate the wrong way.
    assert rounded_l2(10.0, 1.0, 4, 1e-300) == pytest.approx(12.0)
    assert rounded_l2(10.0, 1.0, 4, 0.0) == pytest.approx(12.0)
    assert rounded_l1(5.0, 9) == pytest.approx(15.0)
    assert rounded_l1(5.0, 100) == pytest.approx(25.0)


@settings(deadline=None)
@given(LENGTHS, DIMENSIONS, st.floats(0, 0.99))
def test_the_conditional_bound_is_between_the_clip_norm_and_the_dithered_one(c, d, beta):
    bound = rounded_l2(c, 1.0, d, beta)
    assert c <= bound * (1 + 1e-12)
    assert bound <= dithered_l2(c, 1.0, d) * (1 + 1e-12)


@settings(deadline=None)
@given(LENGTHS, DIMENSIONS)
def test_a_smaller_beta_never_gives_a_smaller_bound(c, d):
    assert rounded_l2(c, 1.0, d, 0.9) <= rounded_l2(c, 1.0, d, 0.1)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_arguments_out_of_range_are_named(bad):
    with pytest.raises(ValueError, match="norm="):
        rounded_l2(bad, 1.0, 4, 0.5)
    with pytest.raises(ValueError, match="step="):
        dithered_l2(1.0, bad, 4)
    with pytest.raises(ValueError, match="l2="):
        rounded_l1(bad, 4)
    with pytest.raises(ValueError, match="dimension="):
        dithered_l2(1.0, 1.0, 0)
    with pytest.raises(ValueError, match="beta="):
        rounded_l2(1.0, 1.0, 4, 1.0 if bad in (0.0, math.inf) else bad)
