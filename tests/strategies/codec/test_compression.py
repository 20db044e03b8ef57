"""The stages of compressed updates, alone, together, and under masks."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from privacy.bounding import projection
from privacy.bounding.rotation import WholeRotation
from strategies.codec.codec import add_up
from strategies.codec.compressed_codec import SHORTEST_PART, CompressedCodec, next_ranges
from strategies.codec.compression import (
    CLIPPED_SHARE,
    Keep,
    MeasureParts,
    RoundAtRandom,
    ScaleParts,
)
from strategies.codec.exact_codecs import FixedPointCodec
from strategies.codec.run_state import CompressedRunState
from strategies.codec.stages import (
    NUM_CLIPPED,
    Passing,
    Rotate,
    SumContext,
    run_backward,
    run_forward,
)
from strategies.masked.opened_sum import report_counts
from strategies.secagg.crypto.prg import apply_masks, reduce_modulus
from strategies.secagg.packing import pack, unpack
from workloads.values import Aggregate, Contribution, State

NUMBERS = {
    "modulus_bits": 32,
    "clip_range": 8.0,
    "max_weight_examples": 100,
    "sum_names": ("num_examples", "train_loss"),
}
STATE = State({"w": np.zeros(1, np.float32)})


def seed(number: int) -> bytes:
    return number.to_bytes(32, "little")


def context(n: int, survivors: int = 0, number: int = 0) -> SumContext:
    return SumContext(seed=seed(number), num_contributions=n, num_survivors=survivors)


def codec(dimension: int, **changes) -> CompressedCodec:
    return CompressedCodec(**{**NUMBERS, "dimension": dimension, **changes})


def contributions(n: int, dimension: int, size: float = 1e-3) -> list[Contribution]:
    rng = np.random.default_rng(n)
    made = rng.normal(0, size, (n, dimension)) + rng.normal(0, size, dimension)
    made[:, : dimension // 3] *= 20
    return [
        Contribution(one.astype(np.float32), {"num_examples": 50.0 + i, "train_loss": 1.0})
        for i, one in enumerate(made)
    ]


def exact_sum(given: list[Contribution]) -> np.ndarray:
    return sum(np.float64(one.sums["num_examples"]) / 100 * one.update for one in given)


def summed(coded: CompressedCodec, given: list[Contribution], number: int = 0) -> Aggregate:
    n = len(given)
    encoded = [coded.encode(one, context(n, number=number)) for one in given]
    return add_up(coded, encoded, context(n, n, number), has_metrics=True)


def with_ranges(coded: CompressedCodec, given: list[Contribution]) -> CompressedCodec:
    return coded.with_ranges(next_ranges(coded, summed(coded, given).sums, 1.0)[0])


@pytest.mark.parametrize("bits", range(2, 9))
def test_rounding_is_unbiased_by_the_exact_chances_of_its_two_values(bits):
    rounding, trials = RoundAtRandom(bits), 2000
    x = np.repeat(np.array([-1.0, -0.73, -0.2, 0.0, 1 / 3, 0.9999, 1.0]), trials)
    passed = rounding.forward(Passing(x), context(1))
    drawn = rounding.backward(passed, context(1, 1)).vector
    below = np.floor(x * rounding.levels) / rounding.levels
    above = np.minimum(below + 1 / rounding.levels, 1.0)
    assert (np.isclose(drawn, below) | np.isclose(drawn, above)).all()
    chance = (x - below) * rounding.levels
    got = np.isclose(drawn, above).reshape(-1, trials).mean(1)
    # A mean of coins is off by six deviations with a chance of 2e-9; and where the two values
    # are one, it is that.
    slack = 6 * np.sqrt(chance * (1 - chance) / trials).reshape(-1, trials)[:, 0]
    due = np.where(above == below, 1.0, chance).reshape(-1, trials)[:, 0]
    assert (np.abs(got - due) <= slack + 1e-9).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_no_sum_of_a_full_cohort_wraps_and_no_fewer_bits_would_do(bits):
    rounding = RoundAtRandom(bits)
    for n in [*range(1, 20), 64, 127, 128, 129, 1000, 65_535]:
        modulus = rounding.bits(n)
        most = n * rounding.levels
        assert most <= 2 ** (modulus - 1) - 1
        assert most > 2 ** (modulus - 2) - 1
        if n > 20:
            continue
        ends = Passing(np.array([1.0, -1.0, 7.0, -np.inf, 0.0]))
        passed = [rounding.forward(ends, context(n)) for _ in range(n)]
        total = np.sum([one.vector for one in passed], axis=0, dtype=passed[0].vector.dtype)
        reduce_modulus(total, modulus)
        found = rounding.backward(Passing(total), context(n, n)).vector
        np.testing.assert_array_equal(found, [n, -n, n, -n, 0])
        assert passed[0].sums[NUM_CLIPPED] == 2


def test_kept_entries_are_a_random_set_of_their_size_and_the_same_for_the_same_seed():
    keep = Keep(40, 15, 40 / 15)
    x = np.arange(1.0, 41.0)
    total = np.zeros(40)
    for number in range(1000):
        sent = keep.forward(Passing(x), context(3, number=number)).vector
        assert len(sent) == 15
        assert (np.diff(sent) > 0).all()
        total += keep.backward(Passing(sent), context(3, 3, number)).vector
    again = keep.forward(Passing(x), context(5, 2, 999)).vector
    np.testing.assert_array_equal(sent, again)
    # Each entry is kept 1000 times with the chance 15 / 40; six deviations.
    kept = total / x * (15 / 40) / 1000
    assert np.abs(kept - 15 / 40).max() < 6 * sqrt(15 / 40 * 25 / 40 / 1000)


def test_equal_words_are_kept_from_the_first_on(monkeypatch):
    class Same:
        def __init__(self, _):
            pass

        def digest(self, length):
            return bytes(length)

    monkeypatch.setattr(projection.hashlib, "shake_256", Same)
    sent = Keep(9, 4, 1.0).forward(Passing(np.arange(9.0)), context(1)).vector
    np.testing.assert_array_equal(sent, [0, 1, 2, 3])


def test_all_but_the_rounding_is_undone_exactly_in_any_composition():
    d = 1000
    x = np.random.default_rng(0).normal(size=d)
    rotate, scale = Rotate(WholeRotation, d), ScaleParts((0.5, 3.0), (488, 512))
    for stages in (
        (rotate, scale, Keep(d, d, 1.0)),
        (rotate, Keep(d, d, 1.0)),
        (MeasureParts(rotate, scale),),
    ):
        sent = run_forward(stages, Passing(x), context(1))
        found = run_backward(stages, sent, context(1, 1))
        np.testing.assert_allclose(found.vector, x, atol=1e-12)


@pytest.mark.parametrize(
    "changes", [{"value_bits": 4}, {"value_bits": 3, "keep_fraction": 0.6}]
)
def test_the_whole_is_unbiased(changes):
    given = contributions(4, 200)
    coded = with_ranges(codec(200, **changes), given)
    # So wide that next to nothing is clipped, which would be a bias.
    coded = coded.with_ranges(tuple(2 * one for one in coded.ranges))
    trials = 200
    found = [summed(coded, given, number) for number in range(trials)]
    assert sum(one.sums[NUM_CLIPPED] for one in found) < 1e-4 * trials * 4 * 200
    totals, due = np.array([one.total for one in found]), exact_sum(given)
    error = totals.mean(0) - due
    spread = totals.std(0) / sqrt(trials)
    assert np.abs(error / spread).max() < 6
    # And it is an estimate: a mean that is 30 % too short would be seen.
    assert np.linalg.norm(error) < 0.15 * np.linalg.norm(due)


def test_kept_parts_alone_go_on_the_grid_of_the_configuration():
    given = contributions(5, 300)
    coded = codec(300, keep_fraction=0.5)
    assert coded.bits(5) == 32
    assert coded.length(300) == coded.num_kept == 150
    totals = [summed(coded, given, number).total for number in range(200)]
    due = exact_sum(given)
    error = np.linalg.norm(np.mean(totals, 0) - due) / np.linalg.norm(due)
    assert error < 0.2
    # (N / k - 1) times the squared length of the sum, whoever many are in it.
    squares = [np.sum((one - due) ** 2) / np.sum(due**2) for one in totals]
    assert abs(np.mean(squares) - 1) < 0.25


def test_the_first_sum_is_that_of_fixed_point_bit_for_bit_and_tells_the_ranges():
    given = contributions(6, 400)
    coded = codec(400, value_bits=4)
    plain = FixedPointCodec(**NUMBERS)
    assert coded.is_whole
    assert (coded.bits(6), coded.length(400)) == (32, 400)
    found = summed(coded, given)
    np.testing.assert_array_equal(found.total, summed(plain, given).total)
    assert found.weight == summed(plain, given).weight
    ranges, margin = next_ranges(coded, found.sums, 1.0)
    turn = WholeRotation(400, seed(0))
    turned = np.array(
        [turn.forward(one.update * (one.sums["num_examples"] / 100)) for one in given]
    )
    due = [4 * np.sqrt(np.mean(turned[:, part] ** 2)) for part in (slice(144), slice(144, 400))]
    np.testing.assert_allclose(ranges, due, rtol=1e-3)
    assert margin == 1.0


def test_ranges_follow_the_parts_and_what_was_clipped():
    coded = codec(400, value_bits=4).settled
    names = ["square_0", "square_1"]
    sums = dict.fromkeys(names, 4.0) | {"clipped_share": 0.0}
    assert next_ranges(coded, sums, 1.0) == ((8.0, 8.0), 1.0)
    longer, margin = next_ranges(coded, sums | {"clipped_share": 0.2}, 1.0)
    assert (longer, margin) == ((12.0, 12.0), 1.5)
    shorter, margin = next_ranges(coded, sums, 1.5)
    assert 8.0 < shorter[0] < 12.0
    # A part of zeros gets a range that can be divided by.
    found, _ = next_ranges(coded, sums | {names[-1]: 0.0}, 1.0)
    assert 0 < found[-1] < 0.01 * found[0]
    for nothing in (0.0, float("inf")):
        assert next_ranges(coded, dict.fromkeys(names, nothing), 4.0) == ((), 1.0)
    assert max(next_ranges(coded, dict.fromkeys(names, 1e300), 64.0)[0]) <= 1e30


@pytest.mark.parametrize("keep_fraction", [1.0, 0.4])
def test_the_sum_under_masks_is_the_sum_in_the_clear_bit_for_bit(keep_fraction):
    given = contributions(7, 400)
    coded = with_ranges(codec(400, value_bits=3, keep_fraction=keep_fraction), given)
    bits, n = coded.bits(7), len(given)
    assert bits == 6
    encoded = [coded.encode(one, context(n)) for one in given]
    total = np.zeros_like(encoded[0][0])
    for i, (vector, _) in enumerate(encoded):
        masked = vector.copy()
        keys = [(bytes(14) + bytes(sorted((i, j))), i < j) for j in range(n) if j != i]
        apply_masks([masked], keys)
        reduce_modulus(masked, bits)
        if i == 0:
            assert (masked != vector).mean() > 0.9
        total += unpack(pack(masked, bits), bits, len(masked))
    reduce_modulus(total, bits)
    scalars = np.sum([one for _, one in encoded], axis=0, dtype=np.uint64)
    under_masks = coded.decode(total, scalars, context(n, n))
    clear = add_up(coded, encoded, context(n, n), has_metrics=True)
    np.testing.assert_array_equal(under_masks.total, clear.total)
    assert under_masks.sums == clear.sums


def test_the_hash_that_masks_are_bound_to_covers_every_number():
    coded = codec(400, value_bits=4).settled
    changes = (
        {"value_bits": 5},
        {"keep_fraction": 0.5},
        {"dimension": 501},
        {"ranges": (*coded.ranges[:-1], 1.5)},
        {"ranges": ()},
    )
    hashes = {replace(coded, **change).hash() for change in changes} | {coded.hash()}
    assert len(hashes) == len(changes) + 1


@pytest.mark.parametrize(
    "ranges",
    [(1.0,), (float("nan"),) * 2, (0.0,) * 2, (1e31,) * 2, (-1.0,) * 2, (1.0,) * 3],
)
def test_ranges_that_are_none_are_refused(ranges):
    coded = codec(400, value_bits=4)
    assert coded.lengths == (144, 256)
    with pytest.raises(ValueError, match="range"):
        coded.with_ranges(ranges)
    with pytest.raises(ValueError, match="ranges"):
        codec(400, keep_fraction=0.5).with_ranges((1.0,) * 2)


def test_a_contribution_that_is_not_finite_goes_as_zeros_and_is_counted():
    given = contributions(3, 100)
    coded = with_ranges(codec(100, value_bits=4), given)
    bad = Contribution(np.full(100, np.nan, np.float32), {"num_examples": 5.0})
    found = summed(coded, [bad, bad])
    assert found.sums["num_diverged"] == 2
    np.testing.assert_array_equal(found.total, np.zeros(100))
    assert found.weight == 0


def test_sums_that_cannot_be_are_told():
    given = contributions(3, 100)
    coded = with_ranges(codec(100, value_bits=4), given)
    found = summed(coded, given)
    assert coded.objection(found, 3) is None
    clipped = replace(found, sums=found.sums | {NUM_CLIPPED: 3.0 * 100 + 1})
    assert "num_clipped" in coded.objection(clipped, 3)
    below = replace(found, sums=found.sums | {"square_0": -1.0})
    assert "mean square" in coded.objection(below, 3)


def test_scores_alone_have_no_vector_in_either_form():
    for coded in (codec(100, value_bits=4), codec(100, value_bits=4).settled):
        vector, scalars = coded.encode(
            Contribution(np.zeros(0), {"train_loss": 2.0}), context(9)
        )
        assert (len(vector), coded.length(0)) == (0, 0)
        found = coded.decode(vector, scalars, context(9, 1))
        assert found.total.size == 0
        assert found.sums["train_loss"] == 2.0


def test_ranges_change_from_sum_to_sum_and_outlive_a_stop():
    given = contributions(5, 400)
    run = CompressedRunState(codec(400, value_bits=4))
    assert "ranges" not in run.request()
    for number in range(3):
        run.take(summed(run.codec, given, number), STATE)
    told = run.request()["ranges"]
    assert told == list(run.codec.ranges)
    resumed = CompressedRunState(codec(400, value_bits=4))
    assert resumed.take_up({**run.export(), "other": np.zeros(1)}).keys() == {"other"}
    assert resumed.codec == run.codec
    # A sum of nothing tells no ranges: the next one goes whole.
    zeros = [replace(one, update=np.zeros(400, np.float32)) for one in given]
    run.take(summed(run.codec, zeros), STATE)
    assert run.codec.is_whole
    with pytest.raises(ValueError, match="range"):
        resumed.take_up({"compression/ranges": np.ones(5)})


def test_error_feedback_sends_in_the_end_what_it_left_out():
    given = contributions(3, 200)
    coded = with_ranges(codec(200, value_bits=4, keep_fraction=0.5, error_feedback=True), given)
    left, total = [np.zeros(200)] * 3, np.zeros(200)
    nothing = [replace(one, update=np.zeros(200, np.float32)) for one in given]
    for number in range(40):
        # One update at first, and none after it.
        encoded = []
        for i, one in enumerate(given if number == 0 else nothing):
            found, left[i] = coded.encode_with(one, left[i], context(3, number=number))
            encoded.append(found)
        shared = context(3, 3, number)
        opened = add_up(coded, encoded, shared, has_metrics=True)
        total += opened.total
        # Sent and left out are all there is, whatever came of the coins.
        np.testing.assert_allclose(total + sum(left), exact_sum(given), atol=1e-9)
    rest = np.linalg.norm(sum(left)) / np.linalg.norm(exact_sum(given))
    # What stays is a step of the rounding, not half of the update.
    assert rest < 0.5


def test_what_was_left_out_and_is_not_finite_is_dropped():
    given = contributions(2, 50)
    coded = with_ranges(codec(50, value_bits=8, error_feedback=True), given)
    _, left = coded.encode_with(given[0], np.full(50, np.inf), context(2))
    assert np.isfinite(left).all()
    assert np.abs(left).max() <= 2 * max(coded.ranges)


@pytest.mark.parametrize("dimension", [17, 31, 65, 4097])
def test_no_mean_square_is_of_so_few_entries_that_it_tells_of_single_nodes(dimension):
    """Sum and sum of squares of one entry are both values where two nodes hide each other."""
    coded = codec(dimension, value_bits=4)
    assert min(coded.lengths) >= SHORTEST_PART
    assert sum(coded.lengths) == dimension
    given = contributions(2, dimension)
    shared = context(2, 2)
    for one in (coded, coded.settled):
        clear = add_up(one, [one.encode(c, shared) for c in given], shared, has_metrics=True)
        assert sum(name.startswith("square_") for name in clear.sums) == len(coded.lengths)
    assert codec(48, value_bits=4).lengths == (16, 32)


def test_an_update_of_few_numbers_has_no_mean_square_at_all():
    with pytest.raises(ValueError, match="value_bits=4 with an update of 15 numbers"):
        codec(SHORTEST_PART - 1, value_bits=4)
    assert codec(SHORTEST_PART, value_bits=4).lengths == (SHORTEST_PART,)
    kept = codec(SHORTEST_PART - 1, keep_fraction=0.5)
    assert not any(name.startswith("square_") for name in kept.scalar_names)


def test_entries_out_of_a_range_are_not_said_to_be_out_of_the_clip_range(caplog):
    total = Aggregate(np.zeros(5), {NUM_CLIPPED: 3.0}, 1.0)
    report_counts(1, total, 2)
    assert "3 of 10 entries out of aggregation.codec.clip_range" in caplog.text
    caplog.clear()
    report_counts(1, replace(total, sums=total.sums | {CLIPPED_SHARE: 0.3}), 2)
    assert not caplog.text


def test_a_checkpoint_with_one_number_has_no_ranges_and_one_without_any_is_refused():
    run = CompressedRunState(codec(400, value_bits=4))
    (name,) = run.export()
    assert run.take_up({name: np.array(1.0)}) == {}
    assert not run.request()
    with pytest.raises(ValueError):
        run.take_up({name: np.zeros(0)})
