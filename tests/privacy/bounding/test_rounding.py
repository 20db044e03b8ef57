"""Rounding: unbiased, within one step, within its bounds.

The statistical checks can fail by chance, each with probability below 1e-9: seven standard
deviations of a mean of 200 000.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy.bounding.rounding import conditional, dithered
from privacy.bounding.sensitivity import dithered_l2, rounded_l1, rounded_l2
from privacy.noise.randomness import secure_generator

NUM = 200_000
Z_LIMIT = 7.0
BETA = math.exp(-0.5)
VECTORS = arrays(np.float64, st.integers(0, 50), elements=st.floats(-1e6, 1e6))
SEEDS = st.integers(0, 2**32)


@settings(deadline=None)
@given(arrays(np.float64, 20, elements=st.floats(-(2.0**60), 2.0**60)), SEEDS)
def test_dithered_is_the_integer_below_or_above(x, seed):
    rounded = dithered(x, np.random.default_rng(seed))
    assert rounded.dtype == np.int64
    for before, after in zip(x, rounded, strict=True):
        assert int(after) in (math.floor(before), math.ceil(before))


@pytest.mark.parametrize("x", [0.3, -0.3, 0.999, 1e-3, 7.5, -(2.0**40) + 0.25, 2.0**51 + 0.5])
def test_dithered_is_unbiased_and_independent_over_coordinates(x):
    rounded = dithered(np.full(NUM, x), secure_generator())
    # Differences to the floor, exactly: the mean of large numbers would lose the fraction.
    up = rounded - math.floor(x)
    fraction = x - math.floor(x)
    error = math.sqrt(fraction * (1 - fraction) / NUM)
    assert abs(up.mean() - fraction) < Z_LIMIT * error
    # With 30% more or less on the fraction the same check fails, where it can be told at all.
    if 0.1 < fraction < 0.7:
        assert abs(up.mean() - 1.3 * fraction) > Z_LIMIT * error
        assert abs(up.mean() - 0.7 * fraction) > Z_LIMIT * error
    both = np.mean(up[::2] * up[1::2])
    assert abs(both - fraction**2) < 2 * Z_LIMIT * error


@settings(deadline=None)
@given(VECTORS, VECTORS, SEEDS)
def test_with_the_same_dither_one_unit_moves_the_sum_within_the_bound(x, change, seed):
    """The coupling that the sensitivity of a rounded sum rests on."""
    num = min(x.size, change.size)
    x, change = x[:num], change[:num]
    moved = dithered(x + change, np.random.default_rng(seed))
    moved -= dithered(x, np.random.default_rng(seed))
    norm = float(np.linalg.norm(change))
    if num and norm > 0:
        bound = dithered_l2(norm, 1.0, num)
        assert np.linalg.norm(moved) <= bound + 1e-6
        assert np.abs(moved).sum() <= rounded_l1(bound, num) * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2.0**61, -1e300])
def test_what_cannot_be_rounded_is_refused_without_naming_the_data(bad):
    x = np.array([0.5, bad])
    for attempt in (
        lambda: dithered(x, secure_generator()),
        lambda: conditional(x, 10.0, secure_generator()),
    ):
        with pytest.raises(ValueError, match="clip first") as caught:
            attempt()
        assert str(bad) not in str(caught.value)


def test_shapes_are_kept():
    assert dithered(np.zeros((2, 3)), secure_generator()).shape == (2, 3)
    assert dithered(np.zeros(0), secure_generator()).shape == (0,)


@settings(deadline=None)
@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(-1, 1)),
    st.floats(0.01, 100),
    st.sampled_from([0.0, 1e-6, BETA]),
    SEEDS,
)
def test_conditional_stays_within_the_papers_bound(direction, length, beta, seed):
    norm = np.linalg.norm(direction)
    x = direction * (length / norm) if norm > 1e-9 else direction
    bound = rounded_l2(length, 1.0, x.size, beta)
    rounded = conditional(x * (1 - 1e-12), bound, np.random.default_rng(seed))
    assert np.linalg.norm(rounded) <= bound
    assert np.abs(rounded).sum() <= rounded_l1(bound, x.size) * (1 + 1e-12)
    assert np.max(np.abs(rounded - x)) < 1 + 1e-9


def test_one_attempt_succeeds_as_often_as_promised():
    rng = secure_generator()
    x = np.full(256, 10 / 16)
    bound = rounded_l2(10.0, 1.0, 256, BETA)
    successes = 0
    for _ in range(1000):
        try:
            conditional(x, bound, rng, max_attempts=1)
        except ValueError:
            continue
        successes += 1
    promised = 1 - BETA
    assert successes / 1000 > promised - Z_LIMIT * math.sqrt(promised * (1 - promised) / 1000)


def test_conditional_really_rejects():
    """Halves on 64 coordinates: norms spread around sqrt(32), the bound cuts at it."""
    rng = secure_generator()
    norms = [
        np.linalg.norm(conditional(np.full(64, 0.5), math.sqrt(32), rng)) for _ in range(50)
    ]
    free = [np.linalg.norm(dithered(np.full(64, 0.5), rng)) for _ in range(50)]
    assert max(norms) <= math.sqrt(32)
    # One stays within it with probability 0.55, all 50 with less than 1e-12.
    assert max(free) > math.sqrt(32)


def test_a_vector_at_the_bound_passes():
    np.testing.assert_array_equal(
        conditional(np.array([3.0, -4.0]), 5.0, secure_generator()), [3, -4]
    )


def test_a_vector_that_was_not_clipped_is_refused():
    with pytest.raises(ValueError, match=r"max_norm=4\.9"):
        conditional(np.array([3.0, -4.0]), 4.9, secure_generator())
    with pytest.raises(ValueError, match="max_norm=nan"):
        conditional(np.zeros(2), math.nan, secure_generator())
