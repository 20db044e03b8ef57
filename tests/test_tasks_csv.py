"""A participant's own CSV: what is refused, how values are encoded, what stays on the node."""

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sklearn.datasets import load_breast_cancer

from tasks.base import Classification, DataError, Examples, LocalData, Node, Regression
from tasks.csv_encoding import encode, scale, unscale
from tasks.csv_schema import CsvConfig, NumericConfig
from tasks.csv_table import Csv, CsvClassification, CsvRegression
from tasks.registry import TASKS
from tasks.training import evaluate, get_parameters, initial_model, set_parameters, train

CONF = Path(__file__).parents[1] / "conf" / "task"
NAMES = ["radius", "texture", "area", "smoothness", "compactness", "concavity", "symmetry"]

KEYS: dict[str, Any] = {
    "label": {"column": "ill", "classes": ["no", "yes"]},
    "numeric": {"age": {"min": 0, "max": 100}, "bmi": {"min": 10, "max": 50, "fill": 20}},
    "categorical": {
        "sex": {"categories": ["f", "m"]},
        "ward": {"categories": ["a", "b", "other"], "fill": "other", "unknown": "other"},
    },
    "drop": ["id"],
}
HEADER = "id,age,bmi,sex,ward,ill"
REGRESSION: dict[str, Any] = {
    "label": {"column": "days", "min": 0, "max": 80},
    "numeric": {"age": {"min": 0, "max": 100}},
    "model": "linear",
}


def make(keys: dict[str, Any]) -> CsvConfig:
    """Build the configuration as the app does: a wrong type or an unknown key is an error."""
    merged = OmegaConf.merge(OmegaConf.structured(CsvConfig), OmegaConf.create(keys))
    return OmegaConf.to_object(merged)


def config_with(**keys: Any) -> CsvConfig:
    return make({**KEYS, **keys})


def from_yaml(name: str, keys: dict[str, Any] | None = None) -> CsvConfig:
    values = OmegaConf.load(CONF / f"{name}.yaml")
    assert values.pop("defaults") == ["csv_schema", "_self_"]
    return make(OmegaConf.merge(values, keys or {}))


def write(directory: Path, *rows: str, header: str = HEADER, name: str = "p.csv") -> Path:
    file = directory / name
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", newline="")
    return file


def tiny_csv(directory: Path) -> tuple[Path, dict[str, Any]]:
    """Return a file of 40 different rows and the keys that conf/task/csv.yaml lacks for it."""
    rows = [
        f"{i},{20 + i},{18 + i / 4},{'fm'[i % 2]},{'ab'[i % 2]},{('no', 'yes')[i >= 20]}"
        for i in range(40)
    ]
    return write(directory, *rows), KEYS


def refusal(file: Path, config: CsvConfig) -> str:
    """Return the message that the file is refused with, without the path it begins with."""
    with pytest.raises(DataError) as caught:
        Csv(config, seed=0).load(Node(data_path=file))
    message = str(caught.value)
    assert message.startswith(str(file))
    return message.removeprefix(str(file))


GOOD = "1,50,30,f,a,no"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("2,old,30,f,a,no", ", line 3, column age: 'old' is no finite number"),
        ("2,inf,30,f,a,no", ", line 3, column age: 'inf' is no finite number"),
        ("2,1_0,30,f,a,no", ", line 3, column age: '1_0' is no finite number"),
        ('2,50,"30,5",f,a,no', ", line 3, column bmi: '30,5' is no finite number"),
        ("2,50,30,F,a,no", ", line 3, column sex: 'F' is none of the categories f, m;"),
        ("2,50,30,f,a,maybe", ", line 3, column ill: 'maybe' is none of the classes no, yes"),
        # A row that is left out anyway is checked too.
        ("2,NA,30,x,a,no", ", line 3, column sex: 'x' is none of the categories f, m;"),
        ("2,50,30,f,a", ", line 3: 5 fields, but the header has 6"),
        ("2,50,30,f,a,no,", ", line 3: 7 fields, but the header has 6"),
        ('2,50,30,f,"a,no', ", line 3: unexpected end of data; mend the quotes"),
        ('2,50,30,f,"a"b,no', ", line 3: ',' expected after '\"'; mend the quotes"),
    ],
)
def test_wrong_row_is_refused_with_its_place(tmp_path, row, expected):
    assert refusal(write(tmp_path, GOOD, row), make(KEYS)).startswith(expected)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("id,age,bmi,sex,ward", ", line 1, column ill: it is missing; the header has 'id',"),
        ("id,Age,bmi,sex,ward,ill", ", line 1, column age: it is missing; the header has"),
        ("id;age;bmi;sex;ward;ill", ", line 1, column ill: it is missing; the header has 'id;"),
        ("id,age,bmi,sex,ward,ill,age", ", line 1, column age: it is there twice"),
        ("id,id,age,bmi,sex,ward,ill", ", line 1, column id: it is there twice"),
        (
            "id,name,age,bmi,sex,ward,ill",
            ", line 1, column name: the configuration does not name it; list it under",
        ),
    ],
)
def test_wrong_header_is_refused(tmp_path, header, expected):
    assert refusal(write(tmp_path, header=header), make(KEYS)).startswith(expected)


def test_names_that_yaml_takes_for_booleans_are_pointed_out(tmp_path):
    values = OmegaConf.create("{column: ill, classes: [no, yes]}")
    config = make({**KEYS, "label": values})
    message = refusal(write(tmp_path, GOOD), config)
    assert message.startswith(", line 2, column ill: 'no' is none of the classes False, True")
    assert "unless they are in quotes" in message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file_is_refused(tmp_path, content):
    file = tmp_path / "empty.csv"
    file.write_bytes(content)
    assert refusal(file, make(KEYS)).startswith(": the file is empty")


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    file = write(tmp_path, GOOD)
    file.write_bytes(file.read_bytes() + "7,50,30,f,ä,no\n".encode("latin-1"))
    assert refusal(file, make(KEYS)) == (
        ", line 3: byte 0xe4 is not UTF-8; save the file as UTF-8"
    )


@pytest.mark.parametrize(
    ("rows", "count"), [([], "0 rows, 0 used"), (["1,NA,1,f,a,no"], "1 rows, 0 used")]
)
def test_file_without_a_usable_row_is_refused(tmp_path, rows, count):
    with pytest.raises(DataError, match="no row can be used") as caught:
        encode(write(tmp_path, *rows), make(KEYS))
    assert f"p.csv: {count}" in str(caught.value)


def test_data_path_must_be_a_file(tmp_path):
    task = Csv(make(KEYS), seed=0)
    with pytest.raises(DataError, match=r"data-path.*a CSV file"):
        task.load(Node())
    with pytest.raises(DataError, match=r"nothing is there; it must be a CSV file"):
        task.load(Node(data_path=tmp_path / "none.csv"))
    with pytest.raises(DataError, match=r"Is a directory; it must be a CSV file"):
        task.load(Node(data_path=tmp_path))


def test_line_numbers_count_line_breaks_in_quotes(tmp_path):
    note = "id,age,bmi,sex,ward,ill,note"
    rows = ['1,50,30,f,a,no,"two\nlines"', "", '2,50,30,f,a,no,"x\n\ny"', "3,50,30,f,a,what,z"]
    message = refusal(
        write(tmp_path, *rows, header=note), config_with(drop=["id", "note", "absent"])
    )
    assert message.startswith(", line 8, column ill: 'what'")
    crlf = tmp_path / "crlf.csv"
    crlf.write_bytes("\r\n".join([note, *rows]).encode())
    assert refusal(crlf, config_with(drop=["id", "note"])).startswith(", line 8, column ill:")
    # A row with a break is named by the line that it begins on.
    rows[2] = '2,old,30,f,a,no,"x\n\ny"'
    message = refusal(write(tmp_path, *rows, header=note), config_with(drop=["id", "note"]))
    assert message.startswith(", line 5, column age: 'old'")


def test_encoding(tmp_path):
    config = make(KEYS)
    assert config.features() == [
        *("age", "bmi", "sex=f", "sex=m", "ward=a", "ward=b", "ward=other")
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


@pytest.fixture
def logged() -> Any:
    """Collect what the node logs; Flower's logger may not propagate to pytest's."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("flwr.tacet")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_summary_is_logged_once_and_not_returned(tmp_path, logged):
    file, _ = tiny_csv(tmp_path)
    data = [Csv(make(KEYS), seed=0).load(Node(data_path=file)) for _ in range(3)]
    assert [record.getMessage().splitlines()[0] for record in logged] == [
        f"{file}: 40 rows, 40 used, 0 left out"
    ]
    assert type(data[0]) is LocalData
    assert set(vars(data[0])) == {"train", "test"}
    for part in (data[0].train, data[0].test):
        assert type(part) is Examples
        assert set(vars(part)) == {"inputs", "targets"}


def test_changed_file_and_changed_configuration_are_read_again(tmp_path):
    file, _ = tiny_csv(tmp_path)
    config = make(KEYS)
    before = Csv(config, seed=0).load(Node(data_path=file))
    config.numeric["age"].max = 200
    wider = Csv(config, seed=0).load(Node(data_path=file))
    assert not np.array_equal(before.train.inputs, wider.train.inputs)
    write(tmp_path, *[GOOD] * 10)
    again = Csv(config, seed=0).load(Node(data_path=file))
    # Equal rows lie on one side, whichever it is.
    assert sorted([len(again.train), len(again.test)]) == [0, 10]


def test_a_file_of_which_all_is_held_out_trains_nothing(tmp_path):
    config = make(KEYS)
    config.test_fraction = 1 - 1e-12
    task = Csv(config, seed=0)
    data = task.load(Node(data_path=write(tmp_path, *[GOOD] * 3)))
    assert (len(data.train), len(data.test)) == (0, 3)
    with pytest.raises(DataError, match=r"no record to train on: .*test_fraction=0\.99"):
        train(task, initial_model(task), data.train, np.random.default_rng(0), 0.0)


def test_classification_and_regression_are_chosen_by_the_label():
    assert TASKS["csv"] is Csv
    binary, number = Csv(make(KEYS), seed=0), Csv(make(REGRESSION), seed=0)
    assert type(binary) is CsvClassification
    assert isinstance(binary, Classification)
    assert (binary.num_classes, binary.metric) == (2, "accuracy")
    assert type(number) is CsvRegression
    assert isinstance(number, Regression)
    assert number.metric == "absolute_error"
    assert copy.deepcopy(number).config == number.config


@pytest.mark.parametrize(
    ("classes", "outputs"), [(["a", "b"], 1), (["a", "b", "c"], 3), ([0, 1, 2, 3], 4)]
)
@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_number_of_outputs(classes, outputs, model):
    config = config_with(label={"column": "ill", "classes": classes}, model=model)
    task = Csv(config, seed=0)
    assert initial_model(task)(torch.zeros(5, 7)).shape == (5, outputs)
    assert task.num_classes == len(classes)


def test_regression(tmp_path):
    rows = [f"{i},{i * 0.6 + 10}" for i in range(100)] + ["50,-7", "50,99", "50,NA"]
    file = write(tmp_path, *rows, header="age,days")
    task = Csv(make(REGRESSION), seed=0)
    examples, summary = encode(file, task.config)
    assert examples.targets.dtype == np.float32
    assert examples.targets[100:].tolist() == [-1, 1]
    assert (summary.clipped, summary.missing, summary.classes) == ({"days": 2}, {"days": 1}, {})
    data, model = task.load(Node(data_path=file)), initial_model(task)
    task.config.training.num_steps = 300
    train(task, model, data.train, np.random.default_rng(0), 0.0)
    with torch.inference_mode():
        predicted = model(torch.tensor([[scale(40, task.config.numeric["age"])]]))
    assert task.to_label_units(predicted.numpy())[0, 0] == pytest.approx(34, abs=2)


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


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"label": {}}, r"task.label.column='': must name the column to predict"),
        ({"label": {"column": "ill"}}, r"task.label=.*must have either classes, or both"),
        ({"label": {"column": "ill", "min": 0}}, r"task.label=.*must have either"),
        (
            {"label": {"column": "ill", "classes": ["a", "b"], "min": 0, "max": 1}},
            r"task.label=.*must have either classes, or both min and max",
        ),
        ({"label": {"column": "ill", "classes": ["a"]}}, r"task.label.classes=.*at least two"),
        ({"label": {"column": "ill", "classes": ["a", "a"]}}, r"task.label.classes=.*differ"),
        ({"label": {"column": "x", "min": 3, "max": 3}}, r"task.label=.*min below max"),
        ({"numeric": {"age": {"min": 5, "max": 5}}}, r"task.numeric.age=.*min below max"),
        ({"numeric": {"age": {"min": 0, "max": "inf"}}}, r"task.numeric.age=.*finite"),
        (
            {"numeric": {"age": {"min": 0, "max": 9, "fill": 10}}},
            r"task.numeric.age.fill=10.0: must lie in \[0.0, 9.0\]",
        ),
        ({"categorical": {"sex": {"categories": ["f"]}}}, r"task.categorical.sex.categories"),
        ({"categorical": {"sex": {"categories": ["f", "f"]}}}, r"must be at least two, all"),
        ({"categorical": {"sex": {"categories": ["f", "NA"]}}}, r"'NA': must not be one of"),
        ({"categorical": {"sex": {"categories": ["f", " m"]}}}, r"' m': must have no spaces"),
        (
            {"categorical": {"sex": {"categories": ["f", "m"], "fill": "x"}}},
            r"task.categorical.sex.fill=x: must be one of f, m",
        ),
        (
            {"categorical": {"sex": {"categories": ["f", "m"], "unknown": "x"}}},
            r"task.categorical.sex.unknown=x: must be one of f, m",
        ),
        ({"numeric": {}, "categorical": {}}, r"must name at least one feature column"),
        (
            {"numeric": {"ill": {"min": 0, "max": 1}}},
            r"task.numeric=ill: must not be named again, it is under task.label.column",
        ),
        (
            {"numeric": {"sex": {"min": 0, "max": 1}}},
            r"task.categorical=sex: must not be named",
        ),
        (
            {"drop": ["age"]},
            r"task.drop=age: must not be named again, it is under task.numeric",
        ),
        ({"drop": ["id", "id"]}, r"task.drop=id: must not be named again"),
        ({"drop": ["id "]}, r"task.drop='id ': must have no spaces"),
        ({"delimiter": ""}, r"task.delimiter='': must be one character"),
        ({"delimiter": ";;"}, r"task.delimiter=';;': must be one character"),
        ({"delimiter": '"'}, r"task.delimiter='\"': must be one character"),
        ({"model": "linear"}, r"task.model=linear: must be logistic or mlp"),
        ({"hidden": 0}, r"task.hidden=0: must be at least 1"),
        ({"test_fraction": 1.0}, r"task.test_fraction=1.0: must be in"),
    ],
)
def test_wrong_configuration_is_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        config_with(**keys)


def test_model_must_fit_a_number():
    with pytest.raises(ValueError, match=r"task.model=logistic: must be linear or mlp"):
        make({**REGRESSION, "model": "logistic"})


def test_bounds_must_be_given():
    with pytest.raises(OmegaConfBaseException, match="max"):
        config_with(numeric={"age": {"min": 0}})


def test_bare_csv_says_which_keys_to_give():
    with pytest.raises(ValueError, match=r"give label, numeric and categorical in a YAML"):
        from_yaml("csv")
    assert from_yaml("csv", KEYS).missing_values == make(KEYS).missing_values


def test_other_delimiter_and_missing_values(tmp_path):
    config = config_with(delimiter=";", missing_values=["-9"])
    rows = ["1;-9;30;f;a;no", "2;50;30;f;a;no"]
    examples, summary = encode(write(tmp_path, *rows, header=HEADER.replace(",", ";")), config)
    assert len(examples) == 1
    assert summary.missing == {"age": 1}


def breast_cancer_files(directory: Path, num_files: int) -> list[Path]:
    bunch = load_breast_cancer()
    indices = [list(bunch.feature_names).index(f"mean {name}") for name in NAMES]
    lines = [
        ",".join([f"P{i}", *map(str, record), bunch.target_names[target]])
        for i, (record, target) in enumerate(
            zip(bunch.data[:, indices], bunch.target, strict=True)
        )
    ]
    header = ",".join(["patient_id", *NAMES, "diagnosis"])
    order = np.random.default_rng(0).permutation(len(lines))
    return [
        write(directory, *(lines[i] for i in part), header=header, name=f"{k}.csv")
        for k, part in enumerate(np.array_split(order, num_files))
    ]


def test_federated_training_on_own_files(tmp_path):
    task = Csv(from_yaml("csv_breast_cancer"), seed=1)
    files = breast_cancer_files(tmp_path, 4)
    data = [task.load(Node(k, 4, file)) for k, file in enumerate(files)]
    assert sum(len(one.train) + len(one.test) for one in data) == 569
    model = initial_model(task)
    arrays = get_parameters(model)
    weights = [len(one.train) for one in data]
    for server_round in range(8):
        updates = []
        for k, one in enumerate(data):
            set_parameters(model, arrays)
            train(task, model, one.train, np.random.default_rng([server_round, k]), 0.0)
            updates.append(get_parameters(model))
        arrays = {
            name: np.average([u[name] for u in updates], axis=0, weights=weights)
            for name in arrays
        }
    set_parameters(model, arrays)
    totals = [evaluate(task, model, one.test) for one in data]
    correct = sum(total["accuracy"] for total in totals)
    assert correct / sum(total["num_examples"] for total in totals) > 0.88
