"""Rows of the known data sets are read as in training, bit for bit, and scored as in a run."""

import csv

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from app.prediction.predictions import PredictionError
from app.prediction.saved_model import SavedModel
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.breast_cancer import BreastCancer, BreastCancerConfig
from tasks.heart import HOSPITALS, _bound, _read
from tasks.partition import local_part
from tests.tasks import test_adult, test_heart


def same(found, due) -> None:
    np.testing.assert_array_equal(found.inputs, due.inputs)
    np.testing.assert_array_equal(found.columns, due.columns)
    np.testing.assert_array_equal(found.targets, due.targets)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "gbdt"])
def test_adults_test_set_is_scored_as_the_run_scored_it(tmp_path, algorithm):
    test_adult.write_folder(tmp_path)
    given = {"task": "adult", "data-dir": str(tmp_path), "num-rounds": 2}
    given |= {"algorithm": algorithm, "output-dir": str(tmp_path / "run")}
    metrics = simulate(given, 3).metrics
    model = SavedModel.load(tmp_path / "run")
    found = model.predict(tmp_path / "adult.test")
    assert found.num_scored == 80
    for name in ("accuracy", "auc", "auc_se"):
        assert found.figures[name] == pytest.approx(metrics[name], abs=1e-12)
    # Files of others have a header, in another order, and no label.
    columns = [name for name in test_adult.HEADER.split(",") if name != "fnlwgt"]
    rows = model.task.new_rows(tmp_path / "adult.test")
    place = {name: place for place, name in enumerate(rows.header)}
    text = [[row[place[name]].strip() for name in columns[:-1]] for row in rows.rows]
    with (tmp_path / "new.csv").open("w") as file:
        csv.writer(file).writerows([[*reversed(columns[:-1])], *(r[::-1] for r in text)])
    other = model.predict(tmp_path / "new.csv")
    np.testing.assert_array_equal(other.probabilities, found.probabilities)
    assert other.figures == {}


def test_hearts_rows_with_and_without_a_header(tmp_path):
    test_heart.write_all(tmp_path)
    task = test_heart.heart("public_bounds")
    for name in HOSPITALS:
        file = tmp_path / f"processed.{name}.data"
        due = _bound(_read(file))
        same(task.new_rows(file).examples, due)
    # As UCI writes some of its files.
    lines = file.read_text().splitlines()
    decimal = [
        ",".join(v if v == "?" else f"{float(v):.1f}" for v in r.split(",")) for r in lines
    ]
    names = ",".join([*test_heart.RECORD])
    (tmp_path / "new.csv").write_text("\n".join([names, *decimal]) + "\n")
    rows = task.new_rows(tmp_path / "new.csv")
    same(rows.examples, due)
    # What is passed through is what was given.
    assert [",".join(row) for row in rows.rows] == decimal
    unknown = test_heart.line(chol=0), test_heart.line(cp=7), test_heart.line(age="?")
    (tmp_path / "odd.csv").write_text("\n".join([names, unknown[0], unknown[2]]) + "\n")
    odd = task.new_rows(tmp_path / "odd.csv")
    assert odd.places.tolist() == [0]
    assert np.isnan(odd.examples.columns).sum() == 1
    (tmp_path / "odd.csv").write_text("\n".join([names, unknown[1]]) + "\n")
    assert task.new_rows(tmp_path / "odd.csv").objection == (
        "1 of 1 rows do not fit; mend them or take them out"
    )


def test_hearts_own_scales_are_nobody_elses(tmp_path):
    test_heart.write_all(tmp_path)
    given = {"task": "heart", "data-dir": str(tmp_path), "num-rounds": 1}
    given |= {"output-dir": str(tmp_path / "run")}
    simulate(given | {"overrides": "task.preprocessing=flamby task.training.num_steps=1"}, 4)
    model = SavedModel.load(tmp_path / "run")
    with pytest.raises(PredictionError, match="a new row has no scale; train with"):
        model.predict(tmp_path / "processed.va.data")


def test_breast_cancers_records_as_a_file(tmp_path):
    task = BreastCancer(BreastCancerConfig(), 0)
    assert task.table is not None
    records, labels = load_breast_cancer(return_X_y=True)
    header = [*(column.name for column in task.table.columns), "diagnosis"]
    rows = [
        [*map(repr, map(float, record)), task.table.classes[label]]
        for record, label in zip(records, labels, strict=True)
    ]
    with (tmp_path / "new.csv").open("w") as file:
        csv.writer(file).writerows([header, *rows])
    found = task.new_rows(tmp_path / "new.csv").examples
    # All of them, in the order of the file.
    part = local_part(found, DataSource(), task.config.partition, 0.2, task.seed)
    due = task.load(DataSource())
    same(part.train, due.train)
    same(part.test, due.test)
