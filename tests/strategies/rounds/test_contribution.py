from io import BytesIO

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strategies.codec.codec import add_up
from strategies.codec.exact_codecs import ClearCodec
from strategies.rounds.records import (
    MalformedReplyError,
    from_record,
    sums_key,
    to_arrays,
    to_parameters,
    to_record,
)
from tests.kits.codec_kit import context
from workloads.model_arrays import add_to, flatten, hash_state
from workloads.values import Contribution, State, names_of_scores

shapes = st.lists(hnp.array_shapes(max_dims=3, max_side=4), min_size=1, max_size=4)
floats = st.floats(-1e3, 1e3, width=32)


def record(update, **sums) -> RecordDict:
    names = tuple(sorted(sums))
    values = Array(np.array([sums[name] for name in names], np.float64))
    return of_arrays(Array(update), ArrayRecord({sums_key(names): values}))


def of_arrays(update: Array, sums) -> RecordDict:
    return RecordDict({"update": ArrayRecord({"update": update}), "sums": sums})


def of_values(values) -> RecordDict:
    """Return a reply with the right names, whatever it has in the place of their sums."""
    return of_arrays(Array(ONES), ArrayRecord({sums_key(NAMES): Array(values)}))


ONES = np.ones(3, dtype=np.float32)
NAMES = ("num_examples", "train_loss")


def raw(data: bytes, shape=(3,), dtype="float32", stype="numpy.ndarray") -> RecordDict:
    """Return a reply whose array is these bytes, whatever it says of itself."""
    array = Array(dtype=dtype, shape=shape, stype=stype, data=data)
    return of_arrays(array, ArrayRecord({sums_key(NAMES): Array(np.ones(2))}))


def npy(values) -> bytes:
    buffer = BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def archive(values) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, values)
    return buffer.getvalue()


def added(contributions, *names):
    codec = ClearCodec(sum_names=names)
    shared = context(len(contributions), len(contributions))
    encoded = [codec.encode(one, shared) for one in contributions]
    return add_up(codec, encoded, shared, has_metrics=True)


def test_a_contribution_survives_its_record():
    contribution = Contribution(ONES, {"num_examples": 4.0, "train_loss": 1.5})
    read = from_record(to_record(contribution), 3, NAMES)
    np.testing.assert_array_equal(read.update, ONES)
    assert read.sums == contribution.sums


MORE = {sums_key(NAMES): Array(np.ones(2)), "more": Array(ONES)}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (RecordDict({}), "KeyError"),
        (RecordDict({"update": ConfigRecord({"a": 1})}), "KeyError"),
        (record(ONES.astype(np.float64), num_examples=1.0, train_loss=0.0), "float64"),
        (record(np.ones((3, 1), np.float32), num_examples=1.0, train_loss=0.0), "(3, 1)"),
        (record(np.ones(2, np.float32), num_examples=1.0, train_loss=0.0), "(2,)"),
        (record(ONES * np.nan, num_examples=1.0, train_loss=0.0), "update is not finite"),
        (record(ONES * np.inf, num_examples=1.0, train_loss=0.0), "update is not finite"),
        (record(ONES, num_examples=1.0, train_loss=float("nan")), "train_loss is not"),
        (record(ONES, num_examples=1.0, train_loss=1e16), "train_loss is not"),
        (record(ONES, num_examples=1.7e308, train_loss=0.0), "num_examples is not"),
        (of_values(np.ones(2, np.float32)), "float32"),
        (of_values(np.ones((2, 1))), "(2, 1)"),
        (of_values(np.ones(3)), "(3,)"),
        (of_arrays(Array(ONES), ArrayRecord(MORE)), "2 arrays of sums"),
        (of_arrays(Array(ONES), MetricRecord({"num_examples": 1.0})), "KeyError"),
        (record(ONES, num_examples=0.0, train_loss=0.0), "num_examples is under 1"),
        (record(ONES, num_examples=-5.0, train_loss=0.0), "num_examples is under 1"),
        (record(ONES), "with other names"),
        (record(ONES, num_examples=1.0), "with other names"),
        (record(ONES, num_examples=1.0, other=0.0), "with other names"),
        (record(ONES, num_examples=1.0, train_loss=0.0, more=0.0), "with other names"),
        (raw(b""), "BadArrayError"),
        (raw(npy(ONES)[:-1]), "BadArrayError"),
        (raw(npy(ONES)[:20]), "BadArrayError"),
        (raw(npy(np.array([object()] * 3))), "BadArrayError"),
        (raw(npy(ONES.astype(">f4"))), "BadArrayError"),
        (raw(archive(ONES)), "BadArrayError"),
        (raw(b"PK\x03\x04" + bytes(100)), "BadArrayError"),
        (raw(npy(ONES).replace(b"(3,)", b"(9,)")), "BadArrayError"),
        (raw(npy(ONES).replace(b"(3,), }      ", b"(10000000000,), }"[:13])), "BadArrayError"),
        (raw(npy(ONES), stype="torch"), "BadArrayError"),
        (raw(npy(ONES), shape=(4,)), "BadArrayError"),
    ],
)
def test_a_malformed_reply_is_refused(content, expected):
    with pytest.raises(MalformedReplyError) as info:
        from_record(content, 3, NAMES)
    assert expected in str(info.value)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data):
    for content in (raw(data), raw(npy(ONES)[:10] + data)):
        with pytest.raises(MalformedReplyError):
            from_record(content, 3, NAMES)


def test_sums_travel_in_the_order_of_their_names():
    sums = {f"n{number}": float(number) for number in (10, 9, 2, 100)}
    record = to_record(Contribution(ONES, sums))
    (values,) = record.array_records["sums"].values()
    assert values.numpy().tolist() == [10, 100, 2, 9]
    assert from_record(record, len(ONES), tuple(sums)).sums == sums


def test_counts_of_an_evaluation_may_be_zero_but_not_below():
    names = names_of_scores(("accuracy",))
    assert names == ("eval_num_examples", "eval_loss", "eval_accuracy")
    empty = np.zeros(0, np.float32)
    good = record(empty, eval_num_examples=0.0, eval_loss=0.0, eval_accuracy=0.0)
    assert from_record(good, 0, names).sums["eval_num_examples"] == 0
    bad = record(empty, eval_num_examples=-1e9, eval_loss=0.0, eval_accuracy=0.0)
    with pytest.raises(MalformedReplyError, match="eval_num_examples is under 0"):
        from_record(bad, 0, names)


@given(
    updates=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=floats
    ),
    data=st.data(),
)
def test_the_sum_is_the_weighted_mean(updates, data):
    counts = st.lists(st.integers(1, 1000), min_size=len(updates), max_size=len(updates))
    weights = np.array(data.draw(counts), dtype=np.float64)
    aggregate = added(
        [Contribution(u, {"num_examples": w}) for u, w in zip(updates, weights, strict=True)],
        "num_examples",
    )
    expected = np.average(updates.astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(aggregate.mean(), expected, rtol=1e-6, atol=1e-6)
    assert aggregate.sums["num_examples"] == weights.sum()


def test_means_are_per_example():
    aggregate = added(
        [
            Contribution(
                ONES,
                {
                    "num_examples": 10.0,
                    "train_loss": 5.0,
                    "eval_num_examples": 4.0,
                    "eval_loss": 2.0,
                    "eval_accuracy": 3.0,
                },
            ),
            Contribution(ONES, {"num_examples": 30.0, "train_loss": 5.0}),
        ],
        "num_examples",
        "train_loss",
        "eval_num_examples",
        "eval_loss",
        "eval_accuracy",
    )
    assert aggregate.means() == {"train_loss": 0.25, "eval_loss": 0.5, "eval_accuracy": 0.75}


@given(shapes=shapes, data=st.data())
def test_flatten_and_add_to_are_inverse(shapes, data):
    parameters = {
        f"p{i}": data.draw(hnp.arrays(np.float32, shape, elements=floats))
        for i, shape in enumerate(shapes)
    }
    zeros = {name: np.zeros_like(values) for name, values in parameters.items()}
    restored = add_to(zeros, flatten(parameters))
    for name, values in parameters.items():
        assert restored[name].dtype == values.dtype
        np.testing.assert_array_equal(restored[name], values)


def test_the_hash_of_a_question_tells_other_names_shapes_and_values_apart():
    asked = [
        ({"a": np.zeros(6, np.float32)}, {}),
        ({"b": np.zeros(6, np.float32)}, {}),
        ({"a": np.zeros((2, 3), np.float32)}, {}),
        ({"a": np.zeros((3, 2), np.float32)}, {}),
        ({"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}, {}),
        ({"a": np.full(6, 2.0**-149, np.float32)}, {}),
        ({"a": np.zeros(6, np.float32)}, {"at": 1}),
    ]
    assert len({hash_state(State(arrays), values) for arrays, values in asked}) == len(asked)


def test_parameters_keep_their_order_in_flowers_record():
    parameters = {name: np.full(2, i, np.float32) for i, name in enumerate("zxya")}
    assert list(to_parameters(to_arrays(parameters))) == list("zxya")
