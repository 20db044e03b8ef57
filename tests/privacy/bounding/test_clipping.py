"""Clipping never exceeds its bound, and the adaptive bound moves the right way."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy.bounding.clipping import clip_bit, clip_l1, clip_l2, next_clip_norm

FINITE = arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e308, 1e308))
ORDINARY = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e3, 1e3))
NORMS = st.floats(1e-6, 1e6)


def exact_l2_is_within(x: np.ndarray, bound: float) -> bool:
    return sum(Fraction(float(v)) ** 2 for v in x) <= Fraction(bound) ** 2


def exact_l1_is_within(x: np.ndarray, bound: float) -> bool:
    return sum(abs(Fraction(float(v))) for v in x) <= Fraction(bound)


@settings(deadline=None)
@given(st.one_of(FINITE, ORDINARY), NORMS)
def test_no_norm_exceeds_the_bound_neither_exactly_nor_in_floats(x, bound):
    l2, l1 = clip_l2(x, bound), clip_l1(x, bound)
    assert exact_l2_is_within(l2.vector, bound)
    assert exact_l1_is_within(l1.vector, bound)
    assert np.linalg.norm(l2.vector) <= bound
    assert math.sqrt(sum(v * v for v in l2.vector.tolist())) <= bound
    assert np.abs(l1.vector).sum() <= bound
    assert l2.was_finite
    assert l1.was_finite


@settings(deadline=None)
@given(ORDINARY, NORMS)
def test_direction_is_kept_and_the_norm_is_used_up(x, bound):
    for clip, order in ((clip_l2, 2), (clip_l1, 1)):
        clipped = clip(x, bound)
        norm = np.linalg.norm(x, order)
        assert clipped.norm == pytest.approx(norm, rel=1e-12, abs=1e-150)
        if clipped.was_clipped:
            assert norm > bound * (1 - 1e-12)
            np.testing.assert_allclose(
                clipped.vector, x * (bound / norm), rtol=1e-12, atol=1e-300
            )
        else:
            assert norm <= bound
            np.testing.assert_array_equal(clipped.vector, x)


@pytest.mark.parametrize("clip", [clip_l1, clip_l2])
def test_a_million_coordinates(clip):
    x = np.random.default_rng(3).standard_normal(1_000_000)
    vector = clip(x, 0.1).vector
    norm = np.linalg.norm(vector, 1 if clip is clip_l1 else 2)
    assert 0.1 * (1 - 1e-9) < norm <= 0.1


@pytest.mark.parametrize("clip", [clip_l1, clip_l2])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_zeros(clip, bad):
    clipped = clip(np.array([1.0, bad, 2.0]), 5.0)
    np.testing.assert_array_equal(clipped.vector, np.zeros(3))
    assert clipped.norm == math.inf
    assert clipped.was_clipped
    assert not clipped.was_finite


@pytest.mark.parametrize("clip", [clip_l1, clip_l2])
def test_extremes(clip):
    huge = clip(np.full(4, 1.7e308), 1.0)
    assert huge.was_clipped
    assert huge.was_finite
    assert huge.vector.min() > 0.2
    tiny = clip(np.full(4, 1e-200), 1.0)
    assert not tiny.was_clipped
    assert 1e-200 < tiny.norm < 1e-199
    assert not clip(np.zeros(4), 1.0).was_clipped
    assert clip(np.zeros(0), 1.0).vector.shape == (0,)
    assert clip(np.ones((2, 2), np.float32), 0.5).vector.dtype == np.float64
    assert clip(np.ones((2, 2), np.float32), 0.5).vector.shape == (2, 2)


def test_the_input_is_not_touched():
    x = np.full(4, 3.0)
    for bound in (1.0, 100.0):
        vector = clip_l2(x, bound).vector
        vector[:] = 0
    np.testing.assert_array_equal(x, np.full(4, 3.0))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_bad_norms_are_named(bad):
    with pytest.raises(ValueError, match="norm="):
        clip_l2(np.ones(2), bad)
    with pytest.raises(ValueError, match="norm="):
        clip_l1(np.ones(2), bad)


def test_bit_is_centred():
    assert clip_bit(0.9, 1.0) == 0.5
    assert clip_bit(1.0, 1.0) == 0.5
    assert clip_bit(1.1, 1.0) == -0.5
    assert clip_bit(math.inf, 1.0) == -0.5
    assert clip_bit(math.nan, 1.0) == -0.5


def test_the_norm_shrinks_when_too_many_are_within_it_and_grows_when_too_few():
    # Ten updates, all within: b = 1. Andrew et al.: C exp(-0.2 (1 - 0.5)).
    assert next_clip_norm(2.0, 5.0, 10, 0.5, 0.2) == pytest.approx(2 * math.exp(-0.1))
    assert next_clip_norm(2.0, -5.0, 10, 0.5, 0.2) == pytest.approx(2 * math.exp(0.1))
    assert next_clip_norm(2.0, 0.0, 10, 0.5, 0.2) == 2.0
    assert next_clip_norm(2.0, 3.0, 10, 0.8, 0.2) == pytest.approx(2.0)


def test_noise_cannot_carry_the_mean_beyond_all_or_none():
    assert next_clip_norm(2.0, 1e9, 10, 0.5, 0.2) == next_clip_norm(2.0, 5.0, 10, 0.5, 0.2)
    assert next_clip_norm(2.0, -1e9, 10, 0.5, 0.2) == next_clip_norm(2.0, -5.0, 10, 0.5, 0.2)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("start", [1e-3, 1e3])
def test_it_finds_the_quantile_from_either_side(quantile, start):
    norms = np.linspace(0.01, 1.0, 100)
    clip_norm = start
    for _ in range(800):
        total = sum(clip_bit(norm, clip_norm) for norm in norms)
        clip_norm = next_clip_norm(clip_norm, total, norms.size, quantile, 0.2)
    assert clip_norm == pytest.approx(quantile, rel=0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        (0.0, 1.0, 10, 0.5, 0.2),
        (1.0, math.nan, 10, 0.5, 0.2),
        (1.0, 1.0, 0, 0.5, 0.2),
        (1.0, 1.0, 10, 1.5, 0.2),
        (1.0, 1.0, 10, 0.5, -0.2),
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        next_clip_norm(*arguments)
