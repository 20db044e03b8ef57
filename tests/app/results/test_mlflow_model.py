"""The model in MLflow's registry: any program that has the packages can load and use it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas
import pytest

from app.config.tracking import MLflowConfig
from app.prediction.mlflow_loader import Predictor
from app.prediction.predictions import PredictionError
from app.prediction.saved_model import SavedModel
from app.results.mlflow_model import _CODE, REQUIRED, register, requirements
from app.results.mlflow_run import MLflowRun
from tests import ROOT
from tests.kits import clinic
from tests.kits.mlflow_store import QUIET, client_of, new_store

pytestmark = QUIET

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROWS = clinic.rows(20, seed=5)
FRAME = pandas.DataFrame(
    {
        "age": [float(row[1]) for row in ROWS],
        "dose": [float(row[2]) for row in ROWS],
        "ward": [row[3] for row in ROWS],
        "remark": "kept out of it",
    }
)
# Of a program that has never heard of Tacet.
PROGRAM = """
import json, sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
found = model.predict(pandas.read_csv(sys.argv[3], float_precision="round_trip"))
import app
print(json.dumps([app.__file__, found.to_dict(orient="list")]))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return new_store(tmp_path_factory.mktemp("mlflow"))


def begun(store, tmp_path) -> MLflowRun:
    run = MLflowRun.connect(MLflowConfig(store, experiment=tmp_path.name))
    run.begin("a run", {}, [])
    return run


@pytest.mark.slow
@pytest.mark.parametrize(("label", "algorithm"), [("ill", "fedavg"), ("days", "gbdt")])
def test_a_program_without_tacet_predicts_what_tacet_does(tmp_path, store, label, algorithm):
    more = {"model": "linear"} if label == "days" else {}
    folder = clinic.run(label, algorithm, **more)
    name = f"{label}-{algorithm}"
    run = begun(store, tmp_path)
    assert register(run, folder / "model.safetensors", name) == 1
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    given = [store, f"models:/{name}/1", str(tmp_path / "rows.csv")]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *given],
        cwd=tmp_path,
        env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code, found = json.loads(done.stdout.splitlines()[-1])
    assert "/artifacts/code/app/" in code
    expected = SavedModel.load(folder).predict(FRAME).columns
    assert found.keys() == expected.keys()
    for column, values in expected.items():
        np.testing.assert_array_equal(np.array(found[column], values.dtype), values)


@pytest.mark.slow
def test_a_second_run_makes_a_second_version(tmp_path, store):
    model = clinic.run("ill", "fedavg") / "model.safetensors"
    runs = [begun(store, tmp_path), begun(store, tmp_path)]
    assert [register(run, model, "grows") for run in runs] == [1, 2]
    found = client_of(store).search_model_versions("name='grows'")
    assert {v.version: v.run_id for v in found} == {1: runs[0].run_id, 2: runs[1].run_id}


def test_a_model_is_plain_arrays_and_code(tmp_path, store):
    run = begun(store, tmp_path)
    register(run, clinic.run("ill", "fedavg") / "model.safetensors", "plain")
    (version,) = client_of(store).search_model_versions("name='plain'")
    files = [f for f in Path(version.source.removeprefix("file://")).rglob("*") if f.is_file()]
    kinds = {file.suffix for file in files if "code" not in file.parts}
    assert kinds <= {".safetensors", ".txt", ".yaml", ""}
    in_code = {file.suffix for file in files if "code" in file.parts}
    assert in_code == {".py", ".yaml"}


def test_a_model_asks_for_what_tacet_asks_for():
    of_project = [re.match(r"[\w-]+", line)[0] for line in PROJECT["project"]["dependencies"]]
    assert list(REQUIRED) == [*of_project, "pandas"]
    assert list(_CODE) == PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_a_model_never_asks_for_the_package_of_that_name_on_pypi():
    assert not [line for line in requirements() if line.startswith("tacet")]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in requirements())


def test_rows_that_do_not_fit_are_refused_as_everywhere():
    model = Predictor(SavedModel.load(clinic.run("ill", "fedavg")))
    with pytest.raises(PredictionError, match="dose: it is missing"):
        model.predict(FRAME[["age", "ward"]])
    with pytest.raises(PredictionError, match="this model has no parameters"):
        model.predict(FRAME, {"temperature": 2})
    assert list(model.predict(FRAME).columns) == ["prediction", *_probabilities(model)]


def _probabilities(model) -> list[str]:
    return [f"probability_{name}" for name in model._model.task.table.classes]
