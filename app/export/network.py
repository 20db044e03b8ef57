"""What is written of a neural model: ONNX, TorchScript and plain parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from safetensors.numpy import save

from app.export.network_onnx import classes_of, features_of, network_onnx
from app.results.model_file import GeneratingModel
from tasks.base import Task
from tasks.survival import Survival
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
    outputs = outputs if said else f"value: {label}"
    if isinstance(task, Survival):
        outputs = f"survival: the chance to be without the event at {_ends(task)}"
    return content, [_inputs(task), f"outputs: {outputs}", *_outside(task)]


def torchscript_of(task: Task, model: Any) -> tuple[bytes, list[str]]:
    """Return the TorchScript file of a model, and what its user has to know.

    Raises
    ------
    NotExportedError
        If it cannot be traced, or the trace is another model.
    """
    from tasks.portable import ScriptError, torchscript

    if isinstance(model, GeneratingModel):
        return _torchscript_of_generator(task, model)
    try:
        content = torchscript(model, task.made_up(_NUM_MADE_UP).inputs)
    except ScriptError as error:
        raise NotExportedError(f"--format torchscript: {error}") from None
    return content, [_inputs(task), f"outputs: {_raw(task)}", *_outside(task)]


def parameters_of(task: Task, model: Any) -> tuple[bytes, list[str]]:
    """Return a model's tensors by their names in torch, without any metadata."""
    from tasks.portable import all_tensors

    if isinstance(model, GeneratingModel):
        model = model.network
    tensors = all_tensors(model)
    shapes = (
        f"{name} {np.shape(values)}{' int8' * (values.dtype == np.int8)}"
        for name, values in tensors.items()
    )
    lines = [f"tensors: {', '.join(shapes)}"]
    if any(values.dtype == np.int8 for values in tensors.values()):
        lines.append("a weight is its numbers in int8 times NAME.scale")
    return save(tensors), lines


def made_up_inputs(task: Task, model: Any, num: int) -> Any:
    """Return inputs of nobody for a network, shape (num, ...)."""
    if not isinstance(model, GeneratingModel):
        return task.made_up(num).inputs
    classes = np.arange(num, dtype=np.int64) % (task.scored_classes or 0)
    return model.workload.generator_inputs(classes, np.random.default_rng(0))


def _ends(task: Survival) -> str:
    return ", ".join(f"{end:.10g}" for end in task.ends)


def _torchscript_of_generator(task: Task, model: GeneratingModel) -> tuple[bytes, list[str]]:
    from tasks.portable import ScriptError, torchscript

    num_classes, inputs = task.scored_classes or 0, made_up_inputs(task, model, _NUM_MADE_UP)
    try:
        content = torchscript(model.network, inputs)
    except ScriptError as error:
        raise NotExportedError(f"--format torchscript: {error}") from None
    width, shape = inputs.shape[1], ", ".join(map(str, task.input_shape))
    return content, [
        f"inputs: float32 of shape (n, {width}): {width - num_classes} standard normal numbers,"
        f" then a 1 at the place of the class and 0 at the others of {num_classes}",
        f"outputs: images of shape (n, {shape}), from 0 to 1",
    ]


def _raw(task: Task) -> str:
    """Return what a model says itself."""
    classes = task.scored_classes
    if isinstance(task, Survival):
        return f"a logit of the hazard in each interval, that ends at {_ends(task)}"
    if classes is None:
        return "as the task's code has them"
    if classes == 0:
        return "a number from -1 to 1, the bounds of the label"
    what, named = "margin" if task.gives_margins else "logit", classes_of(task)
    return f"a {what} of {named[1]}" if classes == 2 else f"{what}s of {', '.join(named)}"


def _inputs(task: Task) -> str:
    shape = ", ".join(map(str, task.input_shape))
    named = ", ".join(_names(task))
    kind = task.made_up(1).inputs.dtype
    return f"inputs: {kind} of shape (n, {shape})" + (f": {named}" if named else "")


def _names(task: Task) -> Iterator[str]:
    """Yield the names of inputs; the buckets of a text, which are many, as one."""
    texts = task.table.texts if task.table is not None else ()
    for name in features_of(task):
        column, _, place = name.rpartition("#")
        if column not in texts:
            yield name
        elif place == "0":
            count = sum(other.startswith(f"{column}#") for other in features_of(task))
            yield f"{column}#0 to {column}#{count - 1}"


def _outside(task: Task) -> list[str]:
    """Say what makes inputs of texts and images, as a network begins after it."""
    told = task.before_inputs
    if task.table is not None and task.table.texts:
        told = f"{', '.join(task.table.texts)} to numbers, by hashing"
    if not told:
        return []
    return [
        f"not in the file: {told}; in Python"
        " app.api.load_model(RUN).task.new_rows(Path(FILE)).examples.inputs are the inputs"
    ]
