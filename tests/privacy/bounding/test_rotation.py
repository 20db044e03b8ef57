"""Rotation: an isometry, undone by its inverse, the same everywhere. Nothing here is random."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import hadamard

from privacy.bounding.rotation import Rotation, WholeRotation, block_size, padded_dimension

SEED = bytes(range(32))
GOLDEN = "--+-+---+++++----++---+--++++++-"
VECTORS = st.integers(1, 700).flatmap(
    lambda d: arrays(np.float64, d, elements=st.floats(-1e6, 1e6))
)


@pytest.mark.parametrize(
    ("dimension", "block", "padded"),
    [
        (1, 16, 16),
        (15, 16, 16),
        (17, 16, 32),
        (50, 16, 64),
        (57, 64, 64),
        (250, 256, 256),
        (256, 256, 256),
        (257, 32, 288),
        (4097, 512, 4608),
        (600_000, 131_072, 655_360),
        (1_000_000, 1_048_576, 1_048_576),
    ],
)
def test_blocks(dimension, block, padded):
    assert block_size(dimension) == block
    assert padded_dimension(dimension) == padded
    assert Rotation(dimension, SEED).padded == padded


@settings(deadline=None)
@given(st.integers(1, 10**9))
def test_padding_is_at_most_an_eighth_and_no_larger_block_would_do(dimension):
    block, padding = block_size(dimension), padded_dimension(dimension) - dimension
    assert block >= 16
    assert (dimension + padding) % block == 0
    assert 8 * padding <= dimension or block == 16
    for k in range(1, 34):
        assert 8 * (-dimension % (block << k)) > dimension


@settings(deadline=None)
@given(VECTORS, st.binary(min_size=32, max_size=32))
def test_norm_is_kept_and_the_inverse_undoes(x, seed):
    rotation = Rotation(x.size, seed)
    y = rotation.forward(x)
    assert y.shape == (rotation.padded,)
    # numpy's norm squares tiny numbers away.
    norm = math.hypot(*x)
    assert math.hypot(*y) == pytest.approx(norm, rel=1e-12, abs=1e-300)
    np.testing.assert_allclose(rotation.inverse(y), x, atol=1e-12 * max(norm, 1e-300))


@settings(deadline=None)
@given(VECTORS)
def test_linear(x):
    rotation = Rotation(x.size, SEED)
    both = rotation.forward(x) + rotation.forward(x[::-1])
    np.testing.assert_allclose(rotation.forward(x + x[::-1]), both, atol=1e-6)


@pytest.mark.parametrize("block", [16, 32, 64, 128, 512, 2048])
def test_is_signs_then_sylvesters_matrix(block):
    rng = np.random.default_rng(1)
    rotation = Rotation(block, SEED)
    x = rng.standard_normal(block)
    wanted = hadamard(block) @ (signs_of(rotation) * x) / math.sqrt(block)
    np.testing.assert_allclose(rotation.forward(x), wanted, atol=1e-12)


def signs_of(rotation: Rotation) -> np.ndarray:
    """Row 0 of the matrix is all ones, so e_0 goes back to the signs over sqrt(block)."""
    first = np.zeros(rotation.padded)
    first[0] = math.sqrt(rotation.padded)
    return np.round(rotation.inverse(first))


def test_blocks_do_not_mix():
    rotation = Rotation(257, SEED)
    x = np.zeros(257)
    x[40] = 1
    y = rotation.forward(x)
    np.testing.assert_allclose(np.abs(y[32:64]), 1 / math.sqrt(32))
    assert not np.any(y[:32])
    assert not np.any(y[64:])


def test_signs_never_change_from_one_version_to_the_next():
    signs = signs_of(Rotation(32, SEED))
    assert "".join("+-"[int(s < 0)] for s in signs) == GOLDEN


def test_signs_are_those_of_the_seed():
    signs = signs_of(Rotation(4096, SEED))
    others = signs_of(Rotation(4096, bytes(32)))
    assert set(signs) == {-1.0, 1.0}
    # 64 is one standard deviation. The seeds are fixed: this holds or does not.
    assert abs(signs.sum()) < 300
    assert abs(signs @ others) < 300


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="dimension=0"):
        Rotation(0, SEED)
    with pytest.raises(ValueError, match="31 bytes"):
        Rotation(4, SEED[1:])
    with pytest.raises(ValueError, match=r"\(5,\)"):
        Rotation(4, SEED).forward(np.zeros(5))
    with pytest.raises(ValueError, match=r"\(4,\)"):
        Rotation(4, SEED).inverse(np.zeros(4))


@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 16, 17, 100, 255, 256, 1000])
def test_the_whole_rotation_is_orthonormal_without_padding_and_its_parts_cover_it(dimension):
    turn = WholeRotation(dimension, bytes(range(32)))
    matrix = np.array([turn.forward(row) for row in np.eye(dimension)])
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dimension), atol=1e-12)
    back = np.array([turn.inverse(row) for row in matrix])
    np.testing.assert_allclose(back, np.eye(dimension), atol=1e-12)
    assert sum(turn.lengths) == dimension
    assert min(turn.lengths) >= 1


def test_the_whole_rotation_spreads_an_entry_and_changes_with_the_seed():
    x = np.zeros(1000)
    x[3] = 1.0
    found = [WholeRotation(1000, bytes([i] * 32)).forward(x) for i in range(2)]
    assert np.abs(found[0]).max() < 0.2
    assert not np.allclose(found[0], found[1])
    with pytest.raises(ValueError):
        WholeRotation(0, bytes(32))
    with pytest.raises(ValueError):
        WholeRotation(5, bytes(31))
