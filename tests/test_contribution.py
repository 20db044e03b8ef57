import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strategies.contribution import (
    Contribution,
    MalformedReplyError,
    add_to,
    add_up,
    flatten,
    to_arrays,
    to_parameters,
)

shapes = st.lists(hnp.array_shapes(max_dims=3, max_side=4), min_size=1, max_size=4)
floats = st.floats(-1e3, 1e3, width=32)


def record(update, **sums) -> RecordDict:
    return RecordDict(
        {"update": ArrayRecord({"update": Array(update)}), "sums": MetricRecord(sums)}
    )


ONES = np.ones(3, dtype=np.float32)


def test_a_contribution_survives_its_record():
    contribution = Contribution(ONES, {"num_examples": 4.0, "train_loss": 1.5})
    read = Contribution.from_record(contribution.to_record(), 3)
    np.testing.assert_array_equal(read.update, ONES)
    assert read.sums == contribution.sums


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (RecordDict({}), "KeyError"),
        (RecordDict({"update": ConfigRecord({"a": 1})}), "KeyError"),
        (record(ONES.astype(np.float64), num_examples=1.0), "update is float64"),
        (record(np.ones((3, 1), np.float32), num_examples=1.0), "(3, 1)"),
        (record(np.ones(2, np.float32), num_examples=1.0), "(2,)"),
        (record(ONES * np.nan, num_examples=1.0), "update is not finite"),
        (record(ONES * np.inf, num_examples=1.0), "update is not finite"),
        (record(ONES, num_examples=1.0, train_loss=float("nan")), "train_loss"),
        (record(ONES, num_examples=[1.0]), "num_examples is not a finite number"),
        (record(ONES, num_examples=0.0), "num_examples must be above 0"),
        (record(ONES, num_examples=-5.0), "num_examples must be above 0"),
        (record(ONES), "num_examples must be above 0"),
    ],
)
def test_a_malformed_reply_is_refused(content, expected):
    with pytest.raises(MalformedReplyError) as info:
        Contribution.from_record(content, 3)
    assert expected in str(info.value)


@given(
    updates=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=floats
    ),
    data=st.data(),
)
def test_the_sum_is_the_weighted_mean(updates, data):
    counts = st.lists(st.integers(1, 1000), min_size=len(updates), max_size=len(updates))
    weights = np.array(data.draw(counts), dtype=np.float64)
    aggregate = add_up(
        [Contribution(u, {"num_examples": w}) for u, w in zip(updates, weights, strict=True)]
    )
    expected = np.average(updates.astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(aggregate.mean_update, expected, rtol=1e-6, atol=1e-6)
    assert aggregate.sums["num_examples"] == weights.sum()


def test_means_are_per_example():
    aggregate = add_up(
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
        ]
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


def test_parameters_keep_their_order_in_flowers_record():
    parameters = {name: np.full(2, i, np.float32) for i, name in enumerate("zxya")}
    assert list(to_parameters(to_arrays(parameters))) == list("zxya")
