"""ONNX of a neural model: its layers, and what makes answers of its outputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from app.export.onnx_file import IR_VERSION, OPSET, require_onnx
from tasks.base import Task
from tasks.portable import Layer, Rounded
from tasks.survival import Survival
from workloads.decisions import NotExportedError

_INPUTS, _OUTPUTS = "inputs", "outputs"


def network_onnx(task: Task, layers: list[Layer]) -> bytes:
    """Return an ONNX file.

    Its input ``inputs``, float32 of shape (n, ...), are a model's inputs: see
    ``Examples.inputs``. Its outputs are ``label``, the names of classes, and ``probabilities``,
    float32 of shape (n, classes); of a support vector machine ``label`` and ``margins``; of a
    number ``value``, float64 of shape (n,) in the label's unit; of a time to an event
    ``survival``, float32 of shape (n, intervals).

    Raises
    ------
    MissingPackageError
        If the package ``onnx`` is not there.
    """
    onnx = require_onnx()
    from onnx import TensorProto, helper

    graph = Graph()
    last = _INPUTS
    for layer in layers:
        last = graph.add_layer(layer, last)
    if isinstance(task, Survival):
        outputs = graph.add_survival(task, last)
    elif classes_of(task):
        outputs = graph.add_classes(task, last)
    else:
        outputs = graph.add_value(task, last)
    given = helper.make_tensor_value_info(_INPUTS, TensorProto.FLOAT, [None, *task.input_shape])
    made = helper.make_model(
        helper.make_graph(graph.nodes, "tacet", [given], outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tacet",
    )
    told = {"classes": json.dumps(classes_of(task)), "features": json.dumps(features_of(task))}
    helper.set_model_props(made, told)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def classes_of(task: Task) -> list[str]:
    """Return the names of a task's classes, numbers where they have none; empty for a number.

    Raises
    ------
    NotExportedError
        If the task does not say what its model's outputs are.
    """
    if task.table is not None or task.class_names:
        return list(task.class_names)
    if task.scored_classes is None:
        raise NotExportedError(
            "--format onnx: the task does not say what its model's outputs are, by"
            " scored_classes; take --format torchscript"
        )
    return [str(number) for number in range(task.scored_classes)]


def features_of(task: Task) -> list[str]:
    """Return the names of a model's inputs, in order; empty where they have none."""
    named: Any = getattr(task.config, "features", None)
    return list(named()) if named is not None else []


class Graph:
    """The nodes of a graph and their constants, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Add an operator; return the name of its output."""
        from onnx import helper

        name = output or f"step_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Add a constant; return its name, and of one in int8 that of what it stands for."""
        from onnx import numpy_helper

        if isinstance(values, Rounded):
            both = [self.constant(values.numbers), self.constant(values.scales)]
            return self.add("DequantizeLinear", both, axis=values.channels)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add_layer(self, layer: Layer, given: str) -> str:
        """Add a layer; return the name of its output."""
        constants = [self.constant(values) for values in layer.constants]
        return self.add(layer.operator, [given, *constants], **layer.attributes)

    def add_classes(self, task: Task, given: str) -> list[Any]:
        """Add label and probabilities, or margins; return the outputs of the graph."""
        from onnx import TensorProto, helper

        classes = classes_of(task)
        scores = given
        if len(classes) == 2:
            # One logit, of the second class: that of the first is 0.
            zeros = self.add("Mul", [given, self.constant(np.float32(0))])
            scores = self.add("Concat", [zeros, given], axis=1)
        place = self.add("ArgMax", [scores], axis=1, keepdims=0)
        self.add("Gather", [self.constant(np.array(classes, object)), place], "label")
        name, width = "probabilities", len(classes)
        if task.gives_margins:
            name, width = "margins", 1 if width == 2 else width
            self.add("Identity", [given], name)
        else:
            self.add("Softmax", [scores], name, axis=1)
        label = helper.make_tensor_value_info("label", TensorProto.STRING, [None])
        return [label, helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])]

    def add_survival(self, task: Survival, given: str) -> list[Any]:
        """Add the chance to be without the event at each end; return the graph's output."""
        from onnx import TensorProto, helper

        # -log(1 - h) of a hazard h whose logit is given.
        each = self.add("Softplus", [given])
        hazards = self.add("CumSum", [each, self.constant(np.int64(1))])
        self.add("Exp", [self.add("Neg", [hazards])], "survival")
        shape = [None, len(task.ends)]
        return [helper.make_tensor_value_info("survival", TensorProto.FLOAT, shape)]

    def add_value(self, task: Task, given: str) -> list[Any]:
        """Add the number in the label's unit; return the output of the graph."""
        from onnx import TensorProto, helper

        low, high = task.to_label_units(np.array([-1.0, 1.0]))
        exact = self.add("Cast", [given], to=TensorProto.DOUBLE)
        scaled = self.add("Mul", [exact, self.constant((high - low) / 2)])
        moved = self.add("Add", [scaled, self.constant((high + low) / 2)])
        self.add("Squeeze", [moved, self.constant(np.array([1], np.int64))], "value")
        return [helper.make_tensor_value_info("value", TensorProto.DOUBLE, [None])]
