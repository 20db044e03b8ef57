"""Large vectors go through a codec in chunks: bit for bit what whole vectors give."""

import hashlib
import json
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array

from strategies.codec.arrays import BadArrayError, read_array, write_array, write_bytes
from strategies.codec.exact_codecs import ClearCodec, FixedPointCodec, IntegerCodec
from strategies.codec.fixed_point import CHUNK, FixedPoint, to_signed
from strategies.codec.stages import NUM_CLIPPED, NUM_DIVERGED, is_finite
from strategies.secagg.crypto.prg import reduce_modulus, word_dtype
from tests.kits.codec_kit import context
from workloads.model_arrays import hash_state
from workloads.values import NUM_EXAMPLES, TRAIN_LOSS, Contribution, State

LONG = 2 * CHUNK + 37
NAMES = (NUM_EXAMPLES, TRAIN_LOSS)


def numbers(length: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal(length)).astype(np.float32)


def encoded_whole(grid: FixedPoint, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Encode as the formula has it, with whole vectors of float64."""
    x = values.astype(np.float64)
    x[~np.isfinite(x)] = 0.0
    clipped = int(np.count_nonzero(np.abs(x) > grid.clip_range))
    x = np.clip(x * (grid.levels / grid.clip_range), -grid.levels, grid.levels)
    out = np.rint(x).astype(np.int64).astype(word_dtype(grid.modulus_bits))
    reduce_modulus(out, grid.modulus_bits)
    return out, clipped


def signed_whole(total: np.ndarray, bits: int) -> np.ndarray:
    up = np.uint64(64 - bits)
    return (total.astype(np.uint64) << up).view(np.int64) >> np.int64(up)


@pytest.mark.parametrize("bits", [8, 13, 16, 20, 32, 33, 53, 64])
@pytest.mark.parametrize("wild", [False, True])
def test_fixed_point_is_the_formula_on_whole_vectors(bits, wild):
    grid = FixedPoint(modulus_bits=bits, clip_range=2.5, num_contributions=3)
    values = numbers(LONG, bits, 1.0 if wild else 0.2)
    values[:4] = 2.5, -2.5, np.nextafter(np.float32(2.5), np.float32(3)), -0.0
    if wild:
        values[CHUNK : CHUNK + 3] = np.nan, np.inf, -np.inf
    due, clipped = encoded_whole(grid, values)
    found = grid.encode(values)
    np.testing.assert_array_equal(found.vector, due)
    assert found.num_clipped == clipped > 0
    total = 2 * found.vector
    np.testing.assert_array_equal(to_signed(found.vector, bits), signed_whole(due, bits))
    reduce_modulus(total, bits)
    whole = signed_whole(total, bits).astype(np.float64) * np.float64(grid.step)
    np.testing.assert_array_equal(grid.decode_sum(total), whole)


@pytest.mark.parametrize("cap", [None, 50])
@pytest.mark.parametrize("length", [0, 5, CHUNK, CHUNK + 1, LONG])
def test_a_weighted_contribution_is_that_of_whole_vectors(cap, length):
    codec = FixedPointCodec(
        modulus_bits=24, clip_range=2.0, max_weight_examples=cap, sum_names=NAMES
    )
    grid = FixedPoint(modulus_bits=24, clip_range=2.0, num_contributions=4)
    values, sums = numbers(length, 1, 1.5), {NUM_EXAMPLES: 30.0, TRAIN_LOSS: 60.0}
    weighted = values.astype(np.float64) * (1.0 if cap is None else 30 / 50)
    due, clipped = encoded_whole(grid, weighted)
    vector, scalars = codec.encode(Contribution(values, sums), context(4))
    np.testing.assert_array_equal(vector, due)
    found = codec.decode(vector, scalars, context(4, 1))
    assert found.sums[NUM_CLIPPED] == clipped
    assert found.sums[NUM_EXAMPLES] == 30
    assert found.sums[TRAIN_LOSS] == 60
    assert found.weight == (1.0 if cap is None else 30 / 50)
    whole = signed_whole(due, 24).astype(np.float64) * np.float64(grid.step)
    np.testing.assert_array_equal(found.total, whole)


@pytest.mark.parametrize("place", [0, LONG - 1])
def test_one_number_that_is_not_finite_makes_all_of_it_zero(place):
    codec = FixedPointCodec(
        modulus_bits=32, clip_range=2.0, max_weight_examples=9, sum_names=NAMES
    )
    values = numbers(LONG)
    assert is_finite(values)
    values[place] = np.inf
    assert not is_finite(values)
    vector, scalars = codec.encode(
        Contribution(values, {NUM_EXAMPLES: 9.0, TRAIN_LOSS: 1.0}), context(2)
    )
    assert not vector.any()
    assert codec.decode(vector, scalars, context(2, 1)).sums[NUM_DIVERGED] == 1


def test_counts_and_floats_are_those_of_whole_vectors():
    counts = np.arange(-CHUNK, LONG - CHUNK) * 2**40
    codec = IntegerCodec()
    vector, scalars = codec.encode(Contribution(counts, {}), context(2))
    np.testing.assert_array_equal(vector, counts.view(np.uint64))
    found = codec.decode(vector, scalars, context(2, 1))
    np.testing.assert_array_equal(found.total, counts.astype(np.float64))
    clear = ClearCodec(sum_names=NAMES)
    values = numbers(LONG)
    vector, _ = clear.encode(Contribution(values, {NUM_EXAMPLES: 3.0}), context(2))
    np.testing.assert_array_equal(vector, 3.0 * values.astype(np.float64))


def hash_whole(arrays: dict, loaded_as: type) -> bytes:
    digest = hashlib.sha256(b"tacet/model/v2")
    for name, array in sorted(arrays.items()):
        head = f"{len(name)}:{name}:{array.shape}".encode()
        digest.update(len(head).to_bytes(4, "big") + head)
        loaded = np.ascontiguousarray(array, dtype=loaded_as) + loaded_as(0)
        digest.update(loaded.data)
    digest.update(json.dumps([{"x": 1}, {}], sort_keys=True).encode())
    return digest.digest()


@pytest.mark.parametrize("loaded_as", [np.float32, np.float64])
def test_a_state_has_the_hash_of_whole_arrays(loaded_as):
    arrays = {
        "long": numbers(LONG).astype(np.float64),
        "turned": numbers(LONG * 2).reshape(2, LONG).T,
        "one": np.array(-0.0),
        "none": np.zeros((0, 3), np.float32),
        "counts": np.arange(7),
    }
    assert hash_state(State(arrays, {"x": 1}), {}, loaded_as) == hash_whole(arrays, loaded_as)


@pytest.mark.parametrize(
    "values",
    [
        numbers(LONG),
        numbers(6).reshape(2, 3),
        np.asfortranarray(numbers(6).reshape(2, 3)),
        numbers(20)[::2],
        np.array(2.5),
        np.zeros((0, 4), np.int16),
        np.array([True, False]),
    ],
    ids=lambda values: f"{values.dtype}-{values.shape}",
)
def test_an_array_is_written_as_flower_writes_it(values):
    ours, flowers = write_array(values), Array(values)
    assert (ours.dtype, ours.shape, ours.stype) == (flowers.dtype, flowers.shape, flowers.stype)
    assert ours.data == flowers.data
    np.testing.assert_array_equal(read_array(ours), values)


def test_an_array_of_a_size_that_is_no_number_is_refused():
    """numpy reads such a header, and then raises something else."""
    honest = write_array(np.zeros((1, 3), np.float32))
    data = honest.data.replace(b"(1, 3), }   ", b"(True, 3), }")
    assert data != honest.data
    with pytest.raises(BadArrayError, match=r"sizes \(True, 3\)"):
        read_array(Array("float32", (1, 3), "numpy.ndarray", data))


def test_bytes_in_parts_are_written_as_flower_writes_them_whole():
    parts = [b"ab", bytearray(b"c"), numbers(3).data, b""]
    whole = np.frombuffer(b"".join(parts), np.uint8)
    assert write_bytes(parts).data == Array(whole).data


def test_encoding_and_decoding_need_no_second_vector():
    codec = FixedPointCodec(
        modulus_bits=32, clip_range=8.0, max_weight_examples=9, sum_names=NAMES
    )
    length = 40 * CHUNK
    values = numbers(length)
    sums = {NUM_EXAMPLES: 9.0, TRAIN_LOSS: 1.0}
    tracemalloc.start()
    vector, scalars = codec.encode(Contribution(values, sums), context(2))
    encoding = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    total = codec.decode(vector, scalars, context(2, 1)).total
    decoding = tracemalloc.get_traced_memory()[1] - vector.nbytes
    tracemalloc.stop()
    assert encoding < 1.3 * vector.nbytes
    assert decoding < 1.2 * total.nbytes
