"""Networks in int8 and pruned: files of every format that other tools load."""

import io
from copy import deepcopy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from safetensors.numpy import load
from torch import nn

from app.export.network import onnx_of_network, parameters_of, torchscript_of
from app.export.smaller import Smaller
from tasks.registry import TASKS
from tasks.smaller import Int8
from tasks.training.local import initial_model
from tests.app.export.test_networks import (
    CASES,
    SCRIPTED,
    config_of,
    outputs_of,
    task_and_model,
)

# torch recommends another format than TorchScript, which only torch of the same version reads.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.RNNBase)
#: Models with recurrent and one-dimensional layers, too.
NETWORKS = {name: (name, keys) for name, keys in SCRIPTED.items()} | {
    f"shakespeare {model}": ("shakespeare", {**SCRIPTED["shakespeare"], "model": model})
    for model in ("lstm", "tcn", "transformer")
}


def any_network(case):
    if case in CASES:
        return task_and_model(case)
    name, keys = NETWORKS[case]
    task = TASKS[name](config_of(name, keys), seed=3)
    return task, initial_model(task).eval()


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    """Return the weights that are made smaller, by the names of their state."""
    return {
        f"{place}.{name}" if place else name: tensor.detach().numpy()
        for place, layer in model.named_modules()
        if isinstance(layer, LAYERS)
        for name, tensor in layer.named_parameters(recurse=False)
        if tensor.dim() > 1
    }


def with_rounded(task, model: nn.Module) -> nn.Module:
    """Return a model whose weights are what int8 leaves of them, worked out here."""
    found = deepcopy(model)
    for tensor in weights_of(found).values():
        rows = tensor.reshape(len(tensor), -1)
        scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / np.float32(127), 1e-37)
        rows[:] = np.clip(np.rint(rows / scales), -127, 127) * scales
    return found


def ran(content: bytes, inputs: np.ndarray, *, exactly: bool = False) -> list[np.ndarray]:
    """Return what onnxruntime says; exactly: without rounding what goes into a layer."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if exactly:
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(content, options)
    return session.run(None, {"inputs": inputs})


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_loads_int8_and_says_what_the_rounded_model_says(case):
    task, own = task_and_model(case)
    inputs = task.made_up(40).inputs
    small, _ = Smaller(quantize=True).of(own)
    content, _ = onnx_of_network(task, small)
    due = ran(onnx_of_network(task, with_rounded(task, own))[0], inputs)[-1]
    found = ran(content, inputs, exactly=True)[-1]
    size = np.abs(due).max()
    np.testing.assert_allclose(found, due, rtol=0, atol=1e-5 * max(1, size))
    # By default it rounds inputs of a linear layer as well.
    usual = ran(content, inputs)[-1]
    np.testing.assert_allclose(usual, due, rtol=0, atol=0.02 * size)


@pytest.mark.parametrize("case", CASES)
def test_no_answer_depends_on_the_records_beside_it(case):
    task, own = task_and_model(case)
    inputs = task.made_up(12).inputs
    content, _ = onnx_of_network(task, Smaller(quantize=True).of(own)[0])
    alone = np.concatenate([ran(content, one)[-1] for one in np.split(inputs, len(inputs))])
    # A record far from all others would set a scale that a batch shares.
    inputs[-1] *= 1000
    found = ran(content, inputs)[-1]
    size = max(1, np.abs(alone).max())
    np.testing.assert_allclose(found[:-1], alone[:-1], rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("case", ["mnist", "breast_cancer mlp", "csv three"])
def test_onnx_has_a_scale_for_each_output_channel(case):
    task, own = task_and_model(case)
    small, _ = Smaller(quantize=True).of(own)
    graph = onnx.load_from_string(onnx_of_network(task, small)[0]).graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    turned = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    due = [values.shape for values in weights_of(own).values()]
    assert len(turned) == len(due)
    for node, shape in zip(turned, due, strict=True):
        numbers, scales = (constants[name] for name in node.input)
        assert (numbers.dtype, scales.shape) == (np.int8, (shape[0],))
        axis = node.attribute[0].i
        assert numbers.shape[axis] == shape[0]
        others = tuple(place for place in range(numbers.ndim) if place != axis)
        assert (np.abs(numbers).max(axis=others) == 127).all()
    # No weight is there in float32 as well.
    left = sum(one.size for one in constants.values() if one.dtype == np.float32)
    assert left < sum(np.prod(shape) for shape in due) / 2


@pytest.mark.parametrize("case", [*CASES, *NETWORKS])
def test_torchscript_and_safetensors_are_the_rounded_model(case):
    task, own = any_network(case)
    inputs = task.made_up(6).inputs
    small, (said,) = Smaller(quantize=True).of(own)
    expected = with_rounded(task, own)
    due = outputs_of(expected, inputs)
    script = torch.jit.load(io.BytesIO(torchscript_of(task, small)[0]))
    np.testing.assert_allclose(outputs_of(script, inputs), due, rtol=1e-4, atol=1e-5)
    weights = weights_of(own)
    held = [one for one in script.state_dict().values() if one.dtype == torch.int8]
    assert sorted(one.numel() for one in held) == sorted(one.size for one in weights.values())
    assert said.startswith(f"int8: {sum(one.size for one in weights.values()):,} weights")

    tensors = load(parameters_of(task, small)[0])
    scales = {name for name in tensors if name.endswith(".scale")}
    assert scales == {f"{name}.scale" for name in weights}
    assert all(tensors[name].dtype == np.int8 for name in weights)
    plain = {
        name: values * tensors[f"{name}.scale"] if name in weights else values
        for name, values in tensors.items()
        if name not in scales
    }
    other = initial_model(task)
    other.load_state_dict({name: torch.from_numpy(one) for name, one in plain.items()})
    np.testing.assert_allclose(outputs_of(other, inputs), due, rtol=1e-4, atol=1e-5)
    # What was given is as it was.
    assert not any(isinstance(one, Int8) for one in own.modules())


@pytest.mark.parametrize("case", ["mnist", "breast_cancer mlp", "shakespeare", "images"])
def test_the_smallest_weights_of_all_layers_are_pruned(case):
    task, own = any_network(case)
    small, (said,) = Smaller(prune=0.3).of(own)
    before, after = weights_of(own), weights_of(small)
    sizes = np.concatenate([np.abs(values).ravel() for values in before.values()])
    num = round(0.3 * len(sizes))
    limit = np.sort(sizes)[num - 1]
    assert said == f"pruned: {num:,} of {len(sizes):,} weights are 0"
    for name, values in after.items():
        due = np.where(np.abs(before[name]) <= limit, 0, before[name])
        np.testing.assert_array_equal(values, due)
    state = small.state_dict()
    for name, values in own.state_dict().items():
        assert name in after or torch.equal(state[name], values)
    inputs = task.made_up(5).inputs
    script = torch.jit.load(io.BytesIO(torchscript_of(task, small)[0]))
    np.testing.assert_array_equal(outputs_of(script, inputs), outputs_of(small, inputs))
    # A recurrent layer has a list of its weights.
    other = initial_model(task)
    other.load_state_dict(small.state_dict())
    np.testing.assert_array_equal(outputs_of(other, inputs), outputs_of(small, inputs))
    # 0 stays 0 in int8.
    both, _ = Smaller(prune=0.3, quantize=True).of(own)
    tensors = load(parameters_of(task, both)[0])
    for name, values in after.items():
        assert not tensors[name][values == 0].any()
