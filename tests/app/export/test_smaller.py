"""Networks whose weights are pruned to zero, or written as 8-bit integers."""

import zlib

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load

from app.cli.main import main
from app.export.network import onnx_of_network, parameters_of
from app.export.smaller import NotSmallerError, pruned, quantized
from app.simulation.in_process import simulate
from tests.app.export.test_networks import by_onnxruntime, outputs_of, task_and_model

_WEIGHTS = "task.model=mlp task.hidden=300"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A network, and a model that is none."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in (("fedavg", _WEIGHTS), ("ebm", "")):
        given = {"algorithm": name, "overrides": words, "output-dir": str(folder / name)}
        simulate({"task": "breast_cancer", "num-rounds": 2, **given}, 3)
    return folder


def export(capsys, *words):
    status = main(["export", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


@pytest.mark.parametrize("case", ["mnist", "breast_cancer mlp", "csv three", "csv number mlp"])
def test_a_quantised_file_says_nearly_the_same_with_integers(case):
    task, model = task_and_model(case)
    content, _ = onnx_of_network(task, model)
    smaller, (told,) = quantized(task, content)
    kinds = {
        value.data_type
        for value in onnx.load_from_string(smaller).graph.initializer
        if value.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    }
    assert kinds
    inputs = task.made_up(100).inputs
    (due, found) = (by_onnxruntime(one, inputs) for one in (content, smaller))
    name = next(name for name in due if name != "label")
    moved = np.abs(due[name] - found[name]).max()
    # Wrong by something, as it is rounded, and by little.
    assert 0 < moved < 0.2 * max(1e-9, np.ptp(due[name]))
    assert "score it on records of yours" in told


def test_a_quantised_network_takes_about_a_quarter(tmp_path, capsys, runs):
    status, lines, _ = export(
        capsys, runs / "fedavg", "--format", "onnx", "--output", tmp_path / "whole.onnx"
    )
    words = ["--format", "onnx", "--quantize", "int8", "--output", tmp_path / "small.onnx"]
    status, lines, _ = export(capsys, runs / "fedavg", *words)
    assert status == 0
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("whole", "small")]
    assert sizes[1] < 0.5 * sizes[0]
    assert f"{sizes[0]:,} bytes are {sizes[1]:,} now" in lines[-1]


def test_the_least_weights_are_zero_and_biases_stay():
    task, model = task_and_model("mnist")
    before = {name: values.clone() for name, values in model.state_dict().items()}
    inputs = task.made_up(200).inputs
    due = outputs_of(model, inputs)
    (told,) = pruned(task, model, 0.4)
    found = load(parameters_of(task, model)[0])
    assert found.keys() == before.keys()
    weights = [name for name, values in before.items() if values.dim() > 1]
    whole = torch.cat([before[name].abs().ravel() for name in weights]).numpy()
    kept = np.concatenate([found[name].ravel() for name in weights])
    assert (kept == 0).sum() == round(0.4 * len(whole))
    assert whole[kept == 0].max() <= whole[kept != 0].min()
    for name in before.keys() - weights:
        np.testing.assert_array_equal(found[name], before[name].numpy())
    moved = np.abs(outputs_of(model, inputs) - due).max()
    assert f"move by at most {moved:.2g}" in told


def test_a_pruned_file_is_smaller_once_compressed_and_both_go_together(tmp_path, capsys, runs):
    sizes = []
    for number, more in enumerate(([], ["--prune", "0.8"])):
        file = tmp_path / f"{number}.safetensors"
        words = ["--format", "safetensors", *more, "--output", file]
        assert export(capsys, runs / "fedavg", *words)[0] == 0
        sizes.append(len(zlib.compress(file.read_bytes())))
    assert sizes[1] < 0.5 * sizes[0]
    words = ["--format", "onnx", "--prune", "0.5", "--quantize", "int8"]
    _, lines, _ = export(capsys, runs / "fedavg", *words, "--output", tmp_path / "both.onnx")
    assert [line.split(":")[0] for line in lines[-2:]] == ["pruned", "quantised"]


@pytest.mark.parametrize(
    ("run", "words", "cause"),
    [
        ("fedavg", "safetensors --prune 1.5", "--prune 1.5: a share of the weights"),
        ("fedavg", "safetensors --prune nan", "--prune nan: a share of the weights"),
        ("fedavg", "safetensors --quantize int8", "--quantize: only a network's --format onnx"),
        ("ebm", "onnx --quantize int8", "--quantize: only a network's --format onnx"),
        ("ebm", "onnx --prune 0.5", "--prune: only networks have weights"),
    ],
)
def test_what_cannot_be_made_smaller_is_refused(tmp_path, capsys, runs, run, words, cause):
    file = tmp_path / "file"
    status, _, said = export(capsys, runs / run, "--format", *words.split(), "--output", file)
    assert status != 0
    assert cause in said
    assert not file.exists()


def test_a_model_without_weights_is_refused():
    task, _ = task_and_model("csv")

    class Biases(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, inputs):
            return inputs[:, :1] + self.bias

    with pytest.raises(NotSmallerError, match="no weights"):
        pruned(task, Biases(), 0.5)
