"""The column of weights in a CSV file: what is read, clipped and refused, and in which runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import app.config.load as loading
from app.builders.workload import build_workload
from app.config.load import load_config
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.csv.encoding import encode, survey
from tasks.csv.task import Csv
from tasks.records import DataError
from tests.kits.csv_kit import config_with, write

HEADER = "id,age,bmi,sex,ward,ill,w"
WEIGHT = {"column": "w", "max": 10}


def rows_with(*weights: str) -> list[str]:
    return [f"1,50,30,f,a,no,{weight}" for weight in weights]


def test_weights_are_read_clipped_and_told(tmp_path):
    file = write(tmp_path, *rows_with("1", "0", " 2.5 ", "1e3", "10"), header=HEADER)
    examples, summary = encode(file, config_with(weight=WEIGHT))
    np.testing.assert_array_equal(examples.weights, [1, 0, 2.5, 10, 10])
    assert "outside the bounds, clipped: w 1" in str(summary)
    # It is no feature.
    assert examples.columns.shape == (5, 4)


def test_a_file_without_weights_has_none(tmp_path):
    examples, _ = encode(write(tmp_path, "1,50,30,f,a,no"), config_with())
    assert examples.weights is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("-1", "line 3, column w: '-1' is negative; write 0 for a row that never counts"),
        ("", "line 3, column w: '' is missing, but each row must say how often it counts"),
        ("NA", "line 3, column w: 'NA' is missing"),
        ("inf", "line 3, column w: 'inf' is no finite number"),
        ("many", "line 3, column w: 'many' is no finite number"),
    ],
)
def test_what_is_no_weight_names_row_and_value(tmp_path, text, told):
    file = write(tmp_path, *rows_with("1", text), header=HEADER)
    with pytest.raises(DataError) as error:
        encode(file, config_with(weight=WEIGHT))
    assert told in str(error.value)
    # A private run leaves the row out, and refuses nothing.
    examples, summary = survey(file, config_with(weight=WEIGHT), by_line=True)
    np.testing.assert_array_equal(examples.weights, [1])
    assert summary.misfits.num_rows == 1


def test_a_file_lacks_the_column(tmp_path):
    file = write(tmp_path, "1,50,30,f,a,no")
    with pytest.raises(DataError, match="column w: it is missing"):
        encode(file, config_with(weight=WEIGHT))


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        ({"column": "w", "max": 0}, r"task\.weight\.max=0.*above 0"),
        ({"column": "w", "max": float("inf")}, "above 0, and at most"),
        ({"column": "w", "max": 1e7}, "at most 1e"),
        ({"column": "age", "max": 1}, r"task\.weight\.column=age: must not be named again"),
        ({"column": "", "max": 1}, r"task\.weight\.column='': must be a name"),
    ],
)
def test_what_is_no_such_column_is_refused(weight, told):
    with pytest.raises(ValueError, match=told):
        config_with(weight=weight)


def test_a_weight_moves_no_record_to_the_other_side(tmp_path):
    draws = np.random.default_rng(0)
    rows = [f"1,{a:.3f},30,f,a,no," for a in draws.uniform(0, 100, 200)]
    sizes = []
    for name, weight in (("a.csv", "1"), ("b.csv", "7")):
        file = write(tmp_path, *(row + weight for row in rows), header=HEADER, name=name)
        data = Csv(config_with(weight=WEIGHT), 3).load(DataSource(0, 1, file))
        np.testing.assert_array_equal(
            data.train.weights, np.full(len(data.train), float(weight))
        )
        sizes.append((len(data.train), len(data.test)))
    assert sizes[0] == sizes[1]
    assert min(sizes[0]) > 10


YAML = """
defaults: [csv_schema, _self_]
label: {column: ill, classes: ["no", "yes"]}
numeric: {age: {min: 0, max: 100}, dose: {min: 0, max: 10}}
categorical: {ward: {categories: [a, b, c]}}
weight: {column: w, max: 4}
test_fraction: 0.3
"""


@pytest.fixture
def weighed(tmp_path, monkeypatch) -> Path:
    """Return a folder with the files of seven uneven nodes and with one of all their rows."""
    conf = tmp_path / "conf"
    shutil.copytree(loading.CONF_DIR, conf)
    (conf / "task" / "weighed.yaml").write_text(YAML)
    monkeypatch.setattr(loading, "CONF_DIR", conf)
    draws = np.random.default_rng(4)
    rows = []
    for age, dose in zip(draws.uniform(0, 100, 420), draws.uniform(0, 10, 420), strict=True):
        ill = draws.random() < 1 / (1 + np.exp(-(age - 50) / 15 + dose / 3))
        rows.append(
            f"{age:.2f},{dose:.2f},{draws.choice(list('abc'))},{'no' if ill else 'yes'},"
            f"{draws.uniform(0, 4.5):.3f}"
        )
    header = "age,dose,ward,ill,w"
    ends = np.cumsum([20, 30, 40, 60, 70, 90])
    for number, part in enumerate(np.split(np.array(rows), ends)):
        write(tmp_path, *part, header=header, name=f"{number}.csv")
    write(tmp_path, *rows, header=header, name="all.csv")
    return tmp_path


def run(folder: Path, files: list[str], algorithm: str, aggregation: str, free: str = ""):
    listed = [{"data-path": str(folder / f"{name}.csv")} for name in files]
    nodes = folder / "nodes.yaml"
    nodes.write_text(json.dumps(listed))
    few = " rounds.min_clients=1 rounds.min_replies=1" if len(files) == 1 else ""
    config = {"task": "weighed", "algorithm": algorithm, "num-rounds": 6}
    config |= {"simulation-nodes": str(nodes), "aggregation": aggregation}
    config |= {"output-dir": str(folder / f"{algorithm}-{aggregation}-{len(files)}")}
    return simulate(config | {"overrides": free + few}, len(files)).state


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ebm", "gbdt", "forest", "tree", "glm"])
def test_one_node_and_seven_make_the_same_model_bit_for_bit(weighed, algorithm):
    alone = run(weighed, ["all"], algorithm, "plain")
    spread = run(weighed, list("0123456"), algorithm, "secagg")
    assert alone.header == spread.header
    for name, values in alone.arrays.items():
        np.testing.assert_array_equal(spread.arrays[name], values)
    assert any(np.abs(values).max() > 0.1 for values in alone.arrays.values() if values.size)


@pytest.mark.parametrize(
    ("algorithm", "workload"),
    [("fedavg", "model_update"), ("statistics", "statistics")],
)
def test_where_every_record_counts_once_weights_are_refused(weighed, algorithm, workload):
    told = f"task.weight has no effect: the workload {workload} counts every record once"
    with pytest.raises(Exception, match=told):
        build_workload(load_config({"task": "weighed", "algorithm": algorithm}))


@pytest.mark.parametrize("algorithm", ["cox", "kaplan_meier"])
def test_times_have_no_weights_yet(weighed, algorithm):
    yaml = weighed / "conf" / "task" / "weighed.yaml"
    label = 'label: {column: ill, classes: ["no", "yes"]}'
    assert label in YAML
    time = "label: {time: {column: days, max: 100}, event: died}"
    text = YAML.replace(label, time).replace("test_fraction: 0.3\n", "")
    yaml.write_text(text)
    with pytest.raises(ValueError, match=f"the workload {algorithm} counts every record once"):
        build_workload(load_config({"task": "weighed", "algorithm": algorithm}))
