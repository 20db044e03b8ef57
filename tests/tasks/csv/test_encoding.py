"""How the values of a participant's own CSV are encoded, and what is counted on the way."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.csv.encoding import encode
from tasks.csv.scaling import scale, unscale
from tasks.csv.schema import NumericConfig
from tasks.csv.task import Csv
from tasks.training.local import initial_model
from tests.kits.csv_kit import GOOD, HEADER, KEYS, config_with, make, write


def test_encoding(tmp_path):
    config = make(KEYS)
    assert config.features() == [
        "age",
        "bmi",
        "sex=f",
        "sex=m",
        "ward=a",
        "ward=b",
        "ward=other",
    ]
    rows = ["1,0,50,f,a,no", "2, 75 ,10, m ,b,yes", "3,120,?,f,,no", "4,5e1,-1,m,x,yes"]
    examples, _ = encode(write(tmp_path, *rows), config)
    assert examples.inputs.dtype == np.float32
    assert examples.targets.dtype == np.int64
    np.testing.assert_allclose(
        examples.inputs,
        [
            [-1, 1, 1, 0, 1, 0, 0],
            [0.5, -1, 0, 1, 0, 1, 0],
            [1, -0.5, 1, 0, 0, 0, 1],
            [0, -1, 0, 1, 0, 0, 1],
        ],
    )
    assert examples.targets.tolist() == [0, 1, 0, 1]


def test_layout_depends_on_the_yaml_alone(tmp_path):
    first = write(tmp_path, GOOD, "2,20,40,f,a,no", name="one.csv")
    # Other column order, other values, a byte order mark, and no identifier at all.
    second = tmp_path / "two.csv"
    second.write_text("ill,ward,sex,bmi,age\nno,a,f,30,50\nyes,b,m,12,99", encoding="utf-8-sig")
    config = make(KEYS)
    (one, _), (two, _) = encode(first, config), encode(second, config)
    np.testing.assert_array_equal(one.inputs[0], two.inputs[0])
    assert one.inputs.shape[1] == two.inputs.shape[1] == len(config.features())
    # The server builds the model with no data; all fit it.
    model = initial_model(Csv(config, seed=0))
    assert model(torch.from_numpy(two.inputs)).shape == (2, 1)


def test_summary_counts(tmp_path):
    rows = [
        "1,NA,30,f,a,no",
        "2,NA,30,?,a,no",
        "3,50,,f,a,no",
        "4,150,60,f,z,yes",
        "5,50,30,f,,null",
        "6,50,30,m,a,no",
    ]
    file = write(tmp_path, *rows)
    examples, summary = encode(file, make(KEYS))
    assert (summary.rows, summary.used, len(examples)) == (6, 3, 3)
    assert summary.missing == {"age": 2, "sex": 1, "ill": 1}
    assert summary.filled == {"bmi": 1, "ward": 1}
    assert summary.clipped == {"age": 1, "bmi": 1}
    assert summary.unknown == {"ward": 1}
    assert summary.classes == {"no": 2, "yes": 1}
    assert str(summary).splitlines() == [
        f"{file}: 6 rows, 3 used, 3 left out",
        "  missing, so the row was left out: age 2, sex 1, ill 1",
        "  missing, filled in: bmi 1, ward 1",
        "  outside the bounds, clipped: age 1, bmi 1",
        "  not a listed category: ward 1",
        "  rows used of each class: no 2, yes 1",
    ]


def test_other_delimiter_and_missing_values(tmp_path):
    config = config_with(delimiter=";", missing_values=["-9"])
    rows = ["1;-9;30;f;a;no", "2;50;30;f;a;no"]
    examples, summary = encode(write(tmp_path, *rows, header=HEADER.replace(",", ";")), config)
    assert len(examples) == 1
    assert summary.missing == {"age": 1}


BOUNDS = st.floats(-1e9, 1e9)


@given(low=BOUNDS, width=st.floats(1e-3, 1e9), shares=st.lists(st.floats(0, 1), min_size=2))
def test_values_in_bounds_keep_order_and_come_back(low, width, shares):
    bounds = NumericConfig(low, low + width)
    if bounds.min == bounds.max:
        return  # the width is lost in rounding; the configuration refuses such bounds
    values = sorted(min(low + share * width, bounds.max) for share in shares)
    encoded = [scale(value, bounds) for value in values]
    assert all(-1 <= value <= 1 for value in encoded)
    assert encoded == sorted(encoded)
    np.testing.assert_allclose(
        unscale(np.array(encoded), bounds), values, atol=1e-9 * max(1, abs(low), width)
    )


@given(value=st.floats(allow_nan=False))
def test_any_number_encodes_into_the_bounds(value):
    assert -1 <= scale(value, NumericConfig(-1e308, 7e307)) <= 1
