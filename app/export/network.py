"""What is written of a neural model: ONNX, TorchScript and plain parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from safetensors.numpy import save

from app.export.network_onnx import classes_of, features_of, network_onnx
from tasks.base import Task
from workloads.decisions import NotExportedError

# Records of nobody that a trace is held against.
_NUM_MADE_UP = 5


def onnx_of_network(task: Task, model: Any) -> tuple[bytes, list[str]]:
    """Return the ONNX file of a model, and what its user has to know.

    Raises
    ------
    NotExportedError
        If a layer is not known.
    """
    from tasks.portable import NoSequenceError, layers_of

    try:
        layers = layers_of(model)
    except NoSequenceError as error:
        raise NotExportedError(
            f"--format onnx: {error}; take --format torchscript, which writes any model"
        ) from None
    content = network_onnx(task, layers)
    said = ", ".join(classes_of(task))
    label = task.table.label.name if task.table is not None else "value"
    outputs = f"label, and {'margins' if task.gives_margins else 'probabilities'} of {said}"
    return content, [_inputs(task), f"outputs: {outputs if said else f'value: {label}'}"]


def torchscript_of(task: Task, model: Any) -> tuple[bytes, list[str]]:
    """Return the TorchScript file of a model, and what its user has to know.

    Raises
    ------
    NotExportedError
        If it cannot be traced, or the trace is another model.
    """
    from tasks.portable import ScriptError, torchscript

    try:
        content = torchscript(model, task.made_up(_NUM_MADE_UP).inputs)
    except ScriptError as error:
        raise NotExportedError(f"--format torchscript: {error}") from None
    return content, [_inputs(task), f"outputs: {_raw(task)}"]


def parameters_of(task: Task, model: Any) -> tuple[bytes, list[str]]:
    """Return a model's tensors by their names in torch, without any metadata."""
    from tasks.portable import all_tensors

    tensors = all_tensors(model)
    shapes = (f"{name} {tuple(np.shape(values))}" for name, values in tensors.items())
    return save(tensors), [f"tensors: {', '.join(shapes)}"]


def _raw(task: Task) -> str:
    """Return what a model says itself."""
    classes = task.scored_classes
    if classes is None:
        return "as the task's code has them"
    if classes == 0:
        return "a number from -1 to 1, the bounds of the label"
    what, named = "margin" if task.gives_margins else "logit", classes_of(task)
    return f"a {what} of {named[1]}" if classes == 2 else f"{what}s of {', '.join(named)}"


def _inputs(task: Task) -> str:
    shape = ", ".join(map(str, task.input_shape))
    named = ", ".join(features_of(task))
    kind = task.made_up(1).inputs.dtype
    return f"inputs: {kind} of shape (n, {shape})" + (f": {named}" if named else "")
