"""`tacet export` with --quantize, --prune and --data: what it writes, says and refuses."""

import gzip
import io
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from app.api import load_model
from app.cli.main import main
from app.export.export import export
from app.export.smaller import Smaller
from app.prediction.saved_model import SavedModel
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tests.app.export.test_networks import outputs_of
from tests.app.export.test_smaller import ran, with_rounded
from tests.kits import clinic

# torch recommends another format than TorchScript, which only torch of the same version reads.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

INT8 = ["--quantize", "int8"]


def tacet(capsys, *words) -> tuple[int, list[str], str]:
    status = main([*map(str, words)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    config = {"task": "digits", "num-rounds": 3, "deterministic": True}
    simulate({**config, "output-dir": str(folder)}, 3)
    return folder


@pytest.mark.slow
def test_what_the_command_says_is_so(tmp_path, capsys, digits):
    saved = load_model(digits)
    test = saved.task.load(DataSource()).test
    accuracy, sizes = {}, {}
    for name, given in {
        "whole": {},
        "int8": {"quantize": True},
        "half": {"prune": 0.5},
        "both": {"prune": 0.5, "quantize": True},
    }.items():
        more = ["--prune", 0.5] * ("prune" in given) + INT8 * ("quantize" in given)
        file = tmp_path / f"{name}.onnx"
        status, lines, err = tacet(
            capsys, "export", digits, "--format", "onnx", "--output", file, *more
        )
        assert (status, err) == (0, "")
        content = file.read_bytes()
        sizes[name] = len(content), len(gzip.compress(content, mtime=0))
        label = ran(content, test.inputs)[0]
        accuracy[name] = np.mean(label.astype(int) == test.targets)
        if name == "whole":
            assert len(lines) == 3
            continue
        (size,) = (line for line in lines if line.startswith("size: "))
        told = [int(one.replace(",", "")) for one in re.findall(r"[\d,]*\d", size)]
        assert told == [sizes[name][0], sizes["whole"][0], sizes[name][1], sizes["whole"][1]]
        (off,) = (line for line in lines if line.startswith("outputs of the network: "))
        inputs = saved.task.made_up(100).inputs
        small, _ = Smaller(**given).of(saved.model)
        due = outputs_of(saved.model, inputs)
        most = np.abs(outputs_of(small, inputs) - due).max()
        assert f"off by {most:.3g} at most, of up to {np.abs(due).max():.3g}" in off
    assert accuracy["whole"] > 0.9
    assert accuracy["int8"] > accuracy["whole"] - 0.01
    assert accuracy["half"] > accuracy["whole"] - 0.05
    assert accuracy["both"] > accuracy["whole"] - 0.05
    assert sizes["int8"][0] < 0.3 * sizes["whole"][0]
    # Zeros take room in a file, and none in a compressed one.
    assert sizes["half"][0] == sizes["whole"][0]
    assert sizes["half"][1] < 0.65 * sizes["whole"][1]
    assert sizes["both"][1] < 0.85 * sizes["int8"][1]


@pytest.mark.slow
def test_a_generator_in_int8(tmp_path, capsys):
    folder = tmp_path / "gan"
    config = {"task": "digits", "algorithm": "gan", "num-rounds": 1}
    simulate({**config, "output-dir": str(folder)}, 3)
    file = tmp_path / "made.pt"
    words = ("export", folder, "--format", "torchscript", "--output", file)
    status, lines, _ = tacet(capsys, *words, *INT8)
    assert status == 0
    assert any(line.startswith("int8: ") for line in lines)
    module = load_model(folder).module
    inputs = torch.randn(7, 26)
    with torch.inference_mode():
        found = torch.jit.load(io.BytesIO(file.read_bytes()))(inputs)
        torch.testing.assert_close(found, with_rounded(None, module)(inputs))
        assert (found - module(inputs)).abs().max() > 0
    words = ("export", folder, "--format", "safetensors", "--output", tmp_path / "plain")
    assert tacet(capsys, *words, "--prune", 0.5)[0] == 0
    arrays = load_file(tmp_path / "plain")
    weights = np.concatenate([one.ravel() for one in arrays.values() if one.ndim > 1])
    assert np.mean(weights == 0) == pytest.approx(0.5, abs=1e-3)


def test_rows_with_a_label_are_scored_before_and_after(tmp_path, capsys):
    folder = clinic.run("ill", "fedavg", model="mlp", hidden=4)
    source = clinic.write(tmp_path / "new.csv", clinic.rows(60, seed=9))
    words = ("export", folder, "--format", "onnx", "--output")
    data = ("--data", source)
    status, lines, _ = tacet(capsys, *words, tmp_path / "m.onnx", "--prune", 0.8, *data)
    assert status == 0
    whole = SavedModel.load(folder)
    small, _ = Smaller(prune=0.8).of(whole.model)
    before = whole.predict(source).figures
    after = SavedModel(whole.file, whole.workload, whole.task, small).predict(source).figures
    assert before != after
    said = ", ".join(f"{n} {after[n]:.4f} in place of {v:.4f}" for n, v in before.items())
    assert lines[-1] == f"scored by the label of 60 rows of {source}: {said}"

    unlabelled = tmp_path / "unlabelled.csv"
    unlabelled.write_text(source.read_text().replace(",ill,", ",was_ill,", 1))
    unknown = tmp_path / "unknown.csv"
    unknown.write_text(
        "\n".join([clinic.HEADER, "0,old,1,a,yes,a,1,1,1", "1,30,1,a,no,a,1,1,1"])
    )
    for given, told in {
        unlabelled: "no row has a label to score by",
        tmp_path / "none.csv": "No such file",
        unknown: "'old'",
    }.items():
        status, lines, err = tacet(capsys, *words, tmp_path / "other", *INT8, "--data", given)
        assert (status, lines) == (2, [])
        assert err.startswith(f"tacet: --data {given}: ")
        assert told in err
        assert (err.count("\n"), err.count(str(given))) == (1, 1)
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("algorithm", ["glm", "tree"])
def test_what_is_no_network_is_refused(tmp_path, capsys, algorithm):
    folder = clinic.run("ill", algorithm)
    words = ("export", folder, "--format", "onnx", "--output", tmp_path / "m.onnx")
    for more in (INT8, ("--prune", 0.5)):
        status, lines, err = tacet(capsys, *words, *more)
        assert (status, lines) == (2, [])
        assert f"is of the workload {algorithm}, which is no neural network" in err
        assert "leave them out" in err
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "30", "nan"])
def test_a_share_that_is_none_is_refused(tmp_path, capsys, share):
    words = ("export", tmp_path, "--format", "onnx", "--output", tmp_path / "m.onnx")
    status, _, err = tacet(capsys, *words, f"--prune={share}")
    assert status == 2
    assert f"--prune {float(share):g} is no share between 0 and 1; 0.5 sets half" in err


def test_data_that_has_no_effect_is_refused(tmp_path, capsys):
    words = ("export", tmp_path, "--format", "onnx", "--output", tmp_path / "m.onnx")
    status, _, err = tacet(capsys, *words, "--data", "new.csv")
    assert status == 2
    assert "--data new.csv tells what --quantize and --prune cost; give one of them" in err


def test_python_takes_the_same(tmp_path):
    folder = clinic.run("ill", "fedavg", model="mlp", hidden=4)
    lines = export(folder, "safetensors", tmp_path / "m", prune=0.5, quantize=True)
    assert "layer weights" not in lines[1]
    assert lines[2] == "a weight is its numbers in int8 times NAME.scale"
    assert [line.split(":")[0] for line in lines[3:]] == [
        "pruned",
        "int8",
        "size",
        "outputs of the network",
    ]
