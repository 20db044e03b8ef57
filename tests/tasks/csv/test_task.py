"""A participant's own CSV as a task: what is read, what stays on the node, what is learnt."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from tasks.base import Classification, DataSource, Regression
from tasks.csv.encoding import encode
from tasks.csv.scaling import scale
from tasks.csv.task import Csv, CsvClassification, CsvRegression
from tasks.records import DataError, Examples, LocalData
from tasks.registry import TASKS
from tasks.training.local import evaluate, get_parameters, initial_model, set_parameters, train
from tests.kits.csv_kit import GOOD, KEYS, REGRESSION, config_with, from_yaml, make, write

NAMES = ["radius", "texture", "area", "smoothness", "compactness", "concavity", "symmetry"]


def tiny_csv(directory: Path) -> tuple[Path, dict[str, Any]]:
    """Return a file of 40 different rows and the keys that conf/task/csv.yaml lacks for it."""
    rows = [
        f"{i},{20 + i},{18 + i / 4},{'fm'[i % 2]},{'ab'[i % 2]},{('no', 'yes')[i >= 20]}"
        for i in range(40)
    ]
    return write(directory, *rows), KEYS


def test_summary_is_logged_once_and_not_returned(tmp_path, logged):
    file, _ = tiny_csv(tmp_path)
    data = [Csv(make(KEYS), seed=0).load(DataSource(data_path=file)) for _ in range(3)]
    assert [record.getMessage().splitlines()[0] for record in logged] == [
        f"{file}: 40 rows, 40 used, 0 left out"
    ]
    assert type(data[0]) is LocalData
    assert set(vars(data[0])) == {"train", "test", "personal"}
    assert not data[0].personal
    for part in (data[0].train, data[0].test):
        assert type(part) is Examples
        assert set(vars(part)) == {"inputs", "targets", "columns", "weights"}


def test_changed_file_and_changed_configuration_are_read_again(tmp_path):
    file, _ = tiny_csv(tmp_path)
    config = make(KEYS)
    before = Csv(config, seed=0).load(DataSource(data_path=file))
    config.numeric["age"].max = 200
    wider = Csv(config, seed=0).load(DataSource(data_path=file))
    assert not np.array_equal(before.train.inputs, wider.train.inputs)
    write(tmp_path, *[GOOD] * 10)
    again = Csv(config, seed=0).load(DataSource(data_path=file))
    # Equal rows lie on one side, whichever it is.
    assert sorted([len(again.train), len(again.test)]) == [0, 10]


def test_a_file_of_which_all_is_held_out_trains_nothing(tmp_path):
    config = make(KEYS)
    config.test_fraction = 1 - 1e-12
    task = Csv(config, seed=0)
    data = task.load(DataSource(data_path=write(tmp_path, *[GOOD] * 3)))
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
    data, model = task.load(DataSource(data_path=file)), initial_model(task)
    task.config.training.num_steps = 300
    train(task, model, data.train, np.random.default_rng(0), 0.0)
    with torch.inference_mode():
        predicted = model(torch.tensor([[float(scale(40, task.config.numeric["age"]))]]))
    assert task.to_label_units(predicted.numpy())[0, 0] == pytest.approx(34, abs=2)


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
    data = [task.load(DataSource(k, 4, file)) for k, file in enumerate(files)]
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
