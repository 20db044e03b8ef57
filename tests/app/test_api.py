"""The public Python API: what it takes, what it returns, and what a refusal leaves."""

import json

import numpy as np
import pytest
import yaml

from app.api import PredictionError, load_model, predict, simulate
from app.config.load import ConfigError
from app.results.history import RunFolderError
from tests.kits import clinic

NEW = clinic.rows(8, seed=5)
NAMES = clinic.HEADER.split(",")


def test_a_run_says_what_it_has_left(tmp_path):
    given = {"task": "breast_cancer", "algorithm": "ebm", "num_rounds": 2}
    run = simulate(**given, output_dir=tmp_path / "r")
    assert run.folder == tmp_path / "r"
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert (run.num_rounds, run.metrics) == (2, summary["metrics"])
    assert [line["round"] for line in run.history] == [1, 2]
    assert (run.privacy, run.model.workload) == ({}, "ebm")
    assert run.model is run.model
    # A run that is there is not run over.
    with pytest.raises(RunFolderError, match="holds a run already"):
        simulate(**given, output_dir=tmp_path / "r")
    assert load_model(tmp_path / "r").workload == "ebm"


def test_each_node_has_a_file_of_its_own(tmp_path, own_conf):

    (own_conf / "task" / "clinic.yaml").write_text(
        yaml.safe_dump(clinic.task_yaml("days", model="linear"))
    )
    files = [clinic.write(tmp_path / f"{n}.csv", clinic.rows(40, n)) for n in range(3)]
    run = simulate(
        task="clinic",
        algorithm="glm",
        num_rounds=4,
        files=files,
        overrides=["algorithm.columns=[age]", "algorithm.confidence=0.9"],
        output_dir=tmp_path / "run",
    )
    assert run.report["records"] == 120
    assert [row[""] for row in run.report["rows"]] == ["(Intercept)", "age"]
    assert predict(tmp_path / "run", files[0]).num_scored == 40
    with pytest.raises(ValueError, match="holds a run already"):
        simulate(task="clinic", algorithm="glm", files=files, output_dir=tmp_path / "run")


@pytest.mark.parametrize("given", [None, "here"])
def test_a_refused_run_leaves_nothing(tmp_path, monkeypatch, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    output = None if given is None else tmp_path / given
    for wrong, why in (
        ({"algorithm": "fedavgg"}, "did you mean fedavg"),
        ({"overrides": ["task.modle=mlp"]}, "did you mean task.model"),
        ({"overrides": ["task.hidden=4", "task.hidden=5"]}, "task.hidden"),
    ):
        with pytest.raises(ConfigError, match=why):
            simulate(task="breast_cancer", files=["x.csv"], output_dir=output, **wrong)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


class Frame:
    """What a data frame of pandas has of a mapping."""

    def __init__(self, columns: dict) -> None:
        self._columns = columns

    def keys(self):
        return self._columns.keys()

    def __getitem__(self, name):
        return np.array(self._columns[name], object)


def test_rows_of_every_kind_are_the_same_rows(tmp_path):
    model = load_model(clinic.run("ill", "ebm", 4))
    due = model.predict(str(clinic.write(tmp_path / "new.csv", NEW)))
    by_row = [dict(zip(NAMES, row, strict=True)) for row in NEW]
    by_column = {name: [row[place] for row in NEW] for place, name in enumerate(NAMES)}
    for rows in (by_row, by_column, Frame(by_column)):
        found = model.predict(rows)
        assert found.prediction.tolist() == due.prediction.tolist()
        np.testing.assert_array_equal(found.probabilities, due.probabilities)
        assert found.figures == due.figures
    # A row may lack what another one has: it misses that value.
    few = model.predict([{"age": 50, "ward": "a"}, {"age": 50, "ward": "a", "dose": 2}])
    assert few.prediction[0] == few.prediction[1]
    assert "  missing, filled in: dose 1" in few.lines


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([1, 2], "give the path of a CSV file, a mapping"),
        (7, "rows of type int"),
        ([], "the file is empty"),
        ({"age": 30, "dose": 1, "ward": "a"}, "age: '30' is no sequence of values; give a row"),
        ({"age": "30", "dose": "12", "ward": "ab"}, "age: '30' is no sequence"),
        ({"age": [1, 2], "dose": [1]}, "columns must be of one length, but these are: age 2"),
        (
            [{"age": "old", "dose": 1, "ward": "a"}],
            "misfit: column age: 1 row, first",
        ),
        ([{"age": 30, "dose": 1}], "column ward: it is missing"),
    ],
)
def test_rows_that_are_none(rows, why):
    with pytest.raises(PredictionError, match=why):
        load_model(clinic.run("ill", "ebm", 4)).predict(rows)


def test_what_a_model_does_not_have(tmp_path):
    with pytest.raises(PredictionError, match="ebm is no torch module"):
        _ = load_model(clinic.run("ill", "ebm", 4)).module
    number = load_model(clinic.run("days", "gbdt", 6, model="linear")).predict(
        clinic.write(tmp_path / "new.csv", NEW)
    )
    with pytest.raises(PredictionError, match="the model says prediction, no probabilities"):
        _ = number.probabilities
    with pytest.raises(PredictionError, match="take algorithm=glm"):
        load_model(clinic.run("ill", "statistics", 1))
    with pytest.raises(PredictionError, match="give the model"):
        load_model(tmp_path)
