"""Regressions as ONNX say what ours say, of values beyond the bounds and missing ones too."""

import numpy as np
import onnxruntime
import pytest

from app.export.export import ExportError, export
from app.results.model_file import load_model
from tests.kits import clinic

CASES = [
    ("ill", "glm", {}),
    ("days", "glm", {"model": "linear"}),
    ("died", "cox", {}),
]


def rows_of(num: int = 200) -> np.ndarray:
    draws = np.random.default_rng(4)
    numbers = draws.uniform([0, -1], [120, 6], (num, 2))
    found = np.column_stack([numbers, draws.integers(3, size=num)])
    found[draws.random(found.shape) < 0.1] = np.nan
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("label", "algorithm", "more"), CASES)
def test_onnxruntime_says_what_a_regression_says(tmp_path, label, algorithm, more):
    folder = clinic.run(label, algorithm, 8, **more)
    lines = export(folder, "onnx", tmp_path / "m.onnx")
    _, model = load_model(folder / "model.safetensors")
    columns = rows_of()
    due = model.predict(columns)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    names = [one.name for one in session.get_outputs()]
    said = dict(zip(names, session.run(None, {"columns": columns}), strict=True))
    missing = np.isnan(columns).any(axis=1)
    assert 0 < missing.sum() < len(columns)
    if label == "ill":
        assert lines[2] == "outputs: label, and probabilities of no, yes"
        np.testing.assert_allclose(said["probabilities"], due, rtol=0, atol=1e-12)
        named = np.array(["no", "yes"])[due.argmax(axis=1)]
        assert said["label"][~missing].tolist() == named[~missing].tolist()
    else:
        (name,) = names
        assert name == ("value" if label == "days" else "linear_predictor")
        np.testing.assert_allclose(said[name], due, rtol=1e-12, atol=1e-12)
    assert (np.isnan(due.reshape(len(due), -1)).all(axis=1) == missing).all()


def test_of_counts_it_is_the_rate(tmp_path):
    counts = {"column": "days", "min": 0, "max": 60}
    assert clinic.LABELS["days"] == counts
    folder = clinic.run("days", "glm", 12, model="linear", overrides="algorithm.family=poisson")
    export(folder, "onnx", tmp_path / "m.onnx")
    _, model = load_model(folder / "model.safetensors")
    columns = rows_of()
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (found,) = session.run(None, {"columns": columns})
    np.testing.assert_allclose(found, model.predict(columns), rtol=1e-12)
    assert np.nanmin(found) > 0


def test_a_run_without_a_fit_is_refused(tmp_path):
    # All ages are below the bounds, and so the same.
    flat = {"age": {"min": 200, "max": 300}, "dose": {"min": 0, "max": 4}}
    folder = clinic.run("ill", "glm", 8, numeric=flat)
    with pytest.raises(ExportError, match="onnx: the run found no fit: collinear: age"):
        export(folder, "onnx", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
