"""Fixed point and packing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.codec import fixed_point as codec
from strategies.codec.fixed_point import FixedPoint
from strategies.secagg import packing
from strategies.secagg.crypto.prg import reduce_modulus, word_dtype

BITS = range(packing.MIN_BITS, packing.MAX_BITS + 1)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 65_535, 65_537])
def test_pack_unpack_for_each_width(bits, size):
    rng = np.random.Generator(np.random.PCG64(size))
    values = rng.integers(0, 1 << bits, size, dtype=np.uint64).astype(word_dtype(bits))
    packed = packing.pack(values, bits)
    assert len(packed) == packing.packed_bytes(size, bits) == -(-size * bits // 8)
    np.testing.assert_array_equal(packing.unpack(packed, bits, size), values)
    total = values.copy()
    packing.add_packed(memoryview(packed), bits, total)
    reduce_modulus(total, bits)
    twice = (values.astype(np.uint64) * np.uint64(2)) & np.uint64((1 << bits) - 1)
    np.testing.assert_array_equal(total, twice)


@given(st.sampled_from(BITS), st.data())
def test_packing_is_the_little_endian_bit_stream(bits, data):
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=20))
    number = sum(value << (i * bits) for i, value in enumerate(values))
    expected = number.to_bytes(-(-len(values) * bits // 8), "little")
    assert bytes(packing.pack(np.array(values, word_dtype(bits)), bits)) == expected


def test_packing_refuses_other_types_widths_and_lengths():
    with pytest.raises(ValueError, match="uint32"):
        packing.pack(np.zeros(3, np.uint64), 24)
    with pytest.raises(ValueError, match="modulus_bits=1 "):
        packing.pack(np.zeros(3, np.uint8), 1)
    with pytest.raises(ValueError, match="10 bytes given"):
        packing.unpack(bytes(10), 24, 3)
    with pytest.raises(ValueError, match="not between 1 and 64"):
        word_dtype(65)


@settings(deadline=None)
@given(
    st.sampled_from([8, 12, 16, 20, 24, 32, 40, 48, 57, 63, 64]),
    st.integers(1, 60),
    st.floats(1e-3, 1e3),
    st.integers(0, 2**32),
)
def test_sum_is_within_half_a_step_each_and_never_wraps(bits, n, clip, seed):
    grid = FixedPoint(modulus_bits=bits, clip_range=clip, num_contributions=n)
    rng = np.random.Generator(np.random.PCG64(seed))
    updates = rng.uniform(-clip, clip, (n, 50))
    updates[:, 0], updates[:, 1] = clip, -clip
    total = np.zeros(50, word_dtype(bits))
    for update in updates:
        encoded = grid.encode(update)
        assert encoded.num_clipped == 0
        total += encoded.vector
    reduce_modulus(total, bits)
    error = np.abs(grid.decode_sum(total) - updates.sum(0))
    assert error.max() <= n * grid.step * 0.5 + 1e-12 * n * clip


def test_clipping_is_counted_and_what_is_not_finite_is_zero():
    grid = FixedPoint(modulus_bits=16, clip_range=1.0, num_contributions=4)
    update = np.array([0.5, 1.0, -1.0, 1.5, -9.0, np.nan, np.inf], np.float32)
    encoded = grid.encode(update)
    assert encoded.num_clipped == 2
    back = grid.decode_sum(encoded.vector)
    np.testing.assert_allclose(back, [0.5, 1, -1, 1, -1, 0, 0], atol=grid.step)


def test_a_modulus_too_small_names_values_and_mend():
    with pytest.raises(ValueError, match=r"modulus_bits=8.*200.*modulus_bits=9 or more"):
        FixedPoint(modulus_bits=8, clip_range=1.0, num_contributions=200)
    assert FixedPoint(modulus_bits=9, clip_range=1.0, num_contributions=200).levels == 1
    assert FixedPoint(modulus_bits=8, clip_range=1.0, num_contributions=127).levels == 1


@pytest.mark.parametrize(
    "change",
    [
        {"modulus_bits": 1},
        {"modulus_bits": 65},
        {"clip_range": 0.0},
        {"clip_range": float("nan")},
        {"num_contributions": 0},
    ],
)
def test_senseless_grids_are_refused(change):
    with pytest.raises(ValueError):
        FixedPoint(**({"modulus_bits": 24, "clip_range": 1.0, "num_contributions": 3} | change))


def test_encode_refuses_other_shapes():
    grid = FixedPoint(modulus_bits=24, clip_range=1.0, num_contributions=3)
    with pytest.raises(ValueError):
        grid.encode(np.zeros((2, 2)))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_scalars_round_trip_under_wrapping(values):
    total = np.zeros(1, np.uint64)
    for value in values:
        total += codec.encode_scalars(np.array([value]), 20)
    assert abs(codec.decode_scalars(total, 20)[0] - sum(values)) <= len(values) * 2.0**-20


def test_scalars_out_of_range_are_refused():
    for bad in (np.nan, 2.0**33):
        with pytest.raises(ValueError, match="fraction_bits"):
            codec.encode_scalars(np.array([bad]), 20)
