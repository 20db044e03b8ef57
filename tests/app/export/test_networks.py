"""Neural models of every task as ONNX, TorchScript and plain parameters say what ours say."""

import io

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load
from scipy.special import softmax
from torch import nn

from app.export.export import FORMATS, export
from app.export.network import onnx_of_network, parameters_of, torchscript_of
from app.results.model_file import TableModel, load_model
from app.simulation.in_process import simulate
from tasks.base import Task
from tasks.registry import TASKS
from tasks.training.local import initial_model
from tests.app.export.models import WORKLOADS
from tests.kits.csv_kit import KEYS, REGRESSION
from tests.tasks.test_contract import RATINGS_KEYS, SERIES_KEYS, config_of
from tests.tasks.test_images import IMAGES_KEYS
from tests.workloads.trees.tables import pooled
from workloads.base import Setup
from workloads.decisions import NotExportedError

# torch recommends another format than TorchScript, which only torch of the same version reads.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

THREE = {**KEYS, "label": {"column": "ill", "classes": ["x", "y", "z"]}}
RBF = {"model": "svm", "rbf_features": 20}
CASES = {
    "adult": ("adult", {}),
    "adult mlp": ("adult", {"model": "mlp", "hidden": 5}),
    "breast_cancer": ("breast_cancer", {}),
    "breast_cancer mlp": ("breast_cancer", {"model": "mlp"}),
    "csv": ("csv", KEYS),
    "csv three": ("csv", THREE),
    "csv number": ("csv", REGRESSION),
    "csv number mlp": ("csv", {**REGRESSION, "model": "mlp"}),
    "csv svm": ("csv", {**KEYS, "model": "svm"}),
    "csv svm three": ("csv", {**THREE, **RBF}),
    "csv svm rbf": ("csv", {**KEYS, **RBF}),
    "digits": ("digits", {}),
    "heart": ("heart", {}),
    "mnist": ("mnist", {}),
}


def task_and_model(case: str) -> tuple[Task, nn.Module]:
    """Return a task, and a model of it whose parameters are far from those of the start."""
    name, keys = CASES[case]
    task = TASKS[name](config_of(name, keys), seed=3)
    found, draws = initial_model(task), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            size = 2 * parameter.abs().mean()
            parameter += size * torch.randn(parameter.shape, generator=draws)
    return task, found.eval()


def outputs_of(module: nn.Module, inputs: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module(torch.from_numpy(inputs)).double().numpy()


def by_onnxruntime(
    content: bytes, inputs: np.ndarray, name: str = "inputs"
) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, {name: inputs}), strict=True))


#: Models of sequences, ratings or actions, or with norms, which only TorchScript writes.
SCRIPTED = {
    "acrobot": {},
    "cartpole": {},
    "images": IMAGES_KEYS,
    "shakespeare": {"length": 12, "width": 8, "embedding": 4},
    "series": SERIES_KEYS,
    "ratings": RATINGS_KEYS,
}


def test_every_task_is_there():
    assert {name for name, _ in CASES.values()} | set(SCRIPTED) == set(TASKS)


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_model_of_other_layers_goes_into_torchscript_alone(name):
    task = TASKS[name](config_of(name, SCRIPTED[name]), seed=3)
    model = initial_model(task).eval()
    with pytest.raises(NotExportedError, match="--format torchscript"):
        onnx_of_network(task, model)
    content, said = torchscript_of(task, model)
    loaded = torch.jit.load(io.BytesIO(content))
    inputs = torch.from_numpy(task.made_up(5).inputs)
    torch.testing.assert_close(loaded(inputs), model(inputs))
    assert str(task.made_up(1).inputs.dtype) in said[0]


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_says_what_the_model_says(case):
    task, own = task_and_model(case)
    inputs = task.made_up(40).inputs
    outputs = outputs_of(own, inputs)
    content, (told, said) = onnx_of_network(task, own)
    found = by_onnxruntime(content, inputs)
    assert told.startswith(
        f"inputs: float32 of shape (n, {', '.join(map(str, inputs.shape[1:]))})"
    )
    if not task.scored_classes:
        due = task.to_label_units(outputs[:, 0])
        assert [*found] == ["value"]
        np.testing.assert_allclose(found["value"], due, rtol=0, atol=1e-5 * np.abs(due).max())
        return
    scores = outputs
    if outputs.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
    name = "margins" if task.gives_margins else "probabilities"
    assert name in said
    assert [*found] == ["label", name]
    due = outputs if task.gives_margins else softmax(scores, axis=1)
    np.testing.assert_allclose(found[name], due, rtol=0, atol=1e-5 * max(1, np.abs(due).max()))
    classes = task.table.classes if task.table else [str(k) for k in range(10)]
    clear = np.ptp(np.sort(scores, axis=1)[:, -2:], axis=1) > 1e-4
    named = np.array(classes)[scores.argmax(axis=1)]
    assert found["label"][clear].tolist() == named[clear].tolist()
    assert np.ptp(due, axis=0).max() > 1e-4


TABLES = ["adult", "breast_cancer", "csv", "csv three", "csv number", "heart"]


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_onnxruntime_says_what_a_model_of_the_tasks_table_says(case, workload):
    name, keys = CASES[case]
    task = TASKS[name](config_of(name, keys), seed=3)
    records = task.made_up(300)
    kind, config, _ = WORKLOADS[workload]
    chosen = config()
    chosen.settle(None, 3, is_settled=False)
    built = kind(Setup(task=task, algorithm=chosen, num_rounds=3))
    found = TableModel(built, pooled(built, records, 3)[-1])
    due = found.predict(records.columns)
    content, _ = FORMATS["onnx"].write(task, found)
    said = by_onnxruntime(content, records.columns, "columns")
    values = said["probabilities" if task.table.classes else "value"]
    size = 1.0 if task.table.classes else np.abs(due).max()
    np.testing.assert_allclose(values, due, rtol=0, atol=1e-5 * size)
    # Something was learnt that differs from row to row.
    assert np.ptp(due, axis=0).max() > 1e-4


@pytest.mark.parametrize("case", CASES)
def test_torchscript_and_parameters_are_the_model(case):
    task, own = task_and_model(case)
    inputs = task.made_up(40).inputs
    content, _ = torchscript_of(task, own)
    loaded = torch.jit.load(io.BytesIO(content))
    np.testing.assert_allclose(
        outputs_of(loaded, inputs), outputs_of(own, inputs), rtol=1e-5, atol=1e-5
    )
    tensors = load(parameters_of(task, own)[0])
    other = initial_model(task)
    other.load_state_dict({name: torch.from_numpy(one) for name, one in tensors.items()})
    np.testing.assert_array_equal(outputs_of(other, inputs), outputs_of(own, inputs))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "torchscript", "safetensors"])
def test_the_command_writes_a_run_of_a_neural_model(tmp_path, name):
    simulate({"task": "digits", "num-rounds": 1, "output-dir": str(tmp_path / "run")}, 3)
    output = tmp_path / "model"
    lines = export(tmp_path / "run", name, output)
    assert lines[0] == f"{output}: model_update as {name}"
    task, own = load_model(tmp_path / "run" / "model.safetensors")
    inputs = task.made_up(5).inputs
    due = outputs_of(own, inputs)
    if name == "onnx":
        found = by_onnxruntime(output.read_bytes(), inputs)["probabilities"]
        np.testing.assert_allclose(found, softmax(due, axis=1), rtol=0, atol=1e-5)
        assert lines[2] == "outputs: label, and probabilities of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    elif name == "torchscript":
        found = outputs_of(torch.jit.load(output), inputs)
        np.testing.assert_allclose(found, due, rtol=0, atol=1e-5)
        assert lines[2] == "outputs: logits of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    else:
        with safe_open(output, "numpy") as file:
            assert file.metadata() is None
        assert lines[1].startswith("tensors: features.0.weight (16, 1, 3, 3), features.0.bias")


class _Odd(nn.Module):
    """A model whose code looks at how many records there are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(30, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.inner(inputs) * len(inputs)


def test_a_model_of_other_layers_is_refused_by_name():
    task = TASKS["breast_cancer"](config_of("breast_cancer", {}), seed=3)
    odd = nn.Sequential(nn.Linear(30, 4), nn.GELU(), nn.Linear(4, 1))
    known = r"model\.1 is a GELU; known are Conv2d, Identity, Linear"
    with pytest.raises(NotExportedError, match=known):
        onnx_of_network(task, odd)
    # It can be traced all the same.
    assert torchscript_of(task, odd)[0]
    with pytest.raises(NotExportedError, match="says something else than the model"):
        torchscript_of(task, _Odd())
