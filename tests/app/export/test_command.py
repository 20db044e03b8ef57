"""``tacet export``: the file it writes, and all that it refuses."""

import json
import sys
import tomllib

import lightgbm
import numpy as np
import onnxruntime
import pytest

from app.cli import export as command
from app.cli.main import main
from app.export.export import FORMATS
from app.export.lightgbm_text import TooLargeError, lightgbm_text
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tests import ROOT
from tests.app.export.models import trees
from workloads.decisions import Decisions, Leaf, Split


def run(folder, algorithm: str):
    config = {"task": "breast_cancer", "algorithm": algorithm, "num-rounds": 3}
    simulate(config | {"output-dir": str(folder)}, 3)
    return folder


def export(capsys, *words) -> tuple[int, list[str], str]:
    status = main(["export", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


@pytest.fixture(scope="module")
def ebm(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "ebm", "ebm")


def test_a_run_folder_or_its_model_file(tmp_path, capsys, ebm):
    _, model = load_model(ebm / "model.safetensors")
    columns = model.workload.table.made_up(200)
    due = model.predict(columns)
    status, lines, _ = export(
        capsys, ebm, "--format", "lightgbm", "--output", tmp_path / "m.txt"
    )
    assert (status, lines[0]) == (0, f"{tmp_path / 'm.txt'}: ebm as lightgbm")
    assert lines[1].startswith("columns, in this order: mean radius, mean texture")
    assert lines[2] == "predict says: the probability of benign"
    assert "'mean radius' is mean_radius" in lines[3]
    found = lightgbm.Booster(model_file=str(tmp_path / "m.txt")).predict(columns)
    np.testing.assert_allclose(found, due[:, 1], rtol=0, atol=1e-14)

    file = ebm / "model.safetensors"
    status, lines, _ = export(capsys, file, "--format", "onnx", "--output", tmp_path / "m.onnx")
    assert lines[2] == "outputs: label, and probabilities of malignant, benign"
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    found = session.run(["probabilities"], {"columns": columns})[0]
    np.testing.assert_allclose(found, due, rtol=0, atol=2e-7)

    export(capsys, ebm, "--format", "json", "--output", tmp_path / "m.json")
    told = json.loads((tmp_path / "m.json").read_text())
    assert told["classes"] == ["malignant", "benign"]


def refused(capsys, *words) -> str:
    status, lines, error = export(capsys, *words)
    assert (status, lines) == (2, [])
    assert error.count("\n") == 1
    assert error.startswith("tacet: ")
    return error


def test_a_file_is_never_overwritten(tmp_path, capsys, ebm):
    output = tmp_path / "m.json"
    output.write_text("mine")
    error = refused(capsys, ebm, "--format", "json", "--output", output)
    assert "is there already; choose another path" in error
    assert output.read_text() == "mine"
    error = refused(capsys, ebm, "--format", "json", "--output", tmp_path / "none" / "m.json")
    assert "there is no such folder" in error


def test_a_model_file_that_is_none(tmp_path, capsys, ebm):
    (tmp_path / "text").write_text("not a model")
    for model, why in [
        (tmp_path / "none", "none"),
        (tmp_path, "model.safetensors"),
        (tmp_path / "text", "text: "),
        (tmp_path / "text" / "x", "text/x: "),
        (ebm / "checkpoint.safetensors", "'tacet-checkpoint-1' is not 'tacet-model-1'"),
    ]:
        error = refused(capsys, model, "--format", "json", "--output", tmp_path / "out")
        assert why in error
        assert "give the model.safetensors of a run folder" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "name", "told"),
    [
        (
            "fedavg",
            "lightgbm",
            "has no --format lightgbm; take onnx or torchscript or safetensors",
        ),
        ("tree", "json", "has no --format json; take onnx or lightgbm"),
        (
            "statistics",
            "lightgbm",
            "Can be exported: model_update as onnx or torchscript or safetensors, gradient_sum"
            " as onnx or torchscript or safetensors, qfedavg as onnx or torchscript or"
            " safetensors, glm as onnx, ebm as onnx or lightgbm or"
            " json, gbdt as onnx or lightgbm, forest as onnx or lightgbm, tree as onnx or"
            " lightgbm, cox as onnx",
        ),
        ("glm", "lightgbm", "has no --format lightgbm; take onnx"),
    ],
)
def test_a_format_that_a_model_has_not(tmp_path, capsys, algorithm, name, told):
    folder = run(tmp_path / "run", algorithm)
    error = refused(capsys, folder, "--format", name, "--output", tmp_path / "out")
    assert told in error
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_missing(tmp_path, capsys, ebm, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    error = refused(capsys, ebm, "--format", "onnx", "--output", tmp_path / "out")
    assert "pip install 'onnx>=1.18,<2'" in error
    assert not (tmp_path / "out").exists()
    # The others need none.
    assert export(capsys, ebm, "--format", "lightgbm", "--output", tmp_path / "out")[0] == 0


def test_a_tree_that_would_be_far_too_large():
    """Of a state that nothing grows: each split of a number in hundreds of parts."""
    known = trees("tree", "number")
    flags = np.arange(len(known.cuts[0]) + 2) % 2 == 0
    node = Leaf(np.ones(1))
    for _ in range(4):
        node = Split(0, flags, np.ones_like(flags), node, Leaf(np.zeros(1)))
    with pytest.raises(TooLargeError, match="take --format onnx"):
        lightgbm_text(Decisions(known.table, known.cuts, (node,), known.start, known.link))


def test_the_command_offers_every_format():
    assert [*command._FORMATS] == [*FORMATS]


def test_the_package_that_is_named_is_that_of_the_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (asked,) = extras["optional-dependencies"]["export"]
    for file in ("app/export/onnx_file.py", "docs/tables.md"):
        assert f"pip install '{asked}'" in (ROOT / file).read_text()
