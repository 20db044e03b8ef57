"""ONNX: a TreeEnsembleClassifier, or a TreeEnsembleRegressor in the label's own unit.

Both are operators of ai.onnx.ml, version 3. Thresholds are tensors of float64, which it allows:
so records are routed as the model routes them. onnxruntime adds up in float64, and rounds the
sums to float32.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from app.export.node_arrays import NodeArrays
from tasks.table import Table
from workloads.decisions import Decisions, Link

# Old ones, of 2021, which every onnxruntime since reads.
OPSET, _ML_OPSET, IR_VERSION = 15, 3, 8
COLUMNS = "columns"


class MissingPackageError(ValueError):
    """A format needs a package that is not installed. The message has the command."""


def onnx_file(model: Decisions) -> bytes:
    """Return an ONNX file.

    Its input ``columns``, float64 of shape (n, columns), are rows of the table. Its outputs are
    ``label``, the names of classes, and ``probabilities``, float32 of shape (n, classes); or,
    for a number, ``value``, float64 of shape (n,).

    Raises
    ------
    MissingPackageError
        If the package ``onnx`` is not there.
    """
    require_onnx()
    nodes, outputs = _classifier(model) if model.table.classes else _regressor(model)
    return table_onnx(model.table, nodes, outputs, _constants(model.table))


def table_onnx(
    table: Table, nodes: list[Any], outputs: list[Any], constants: list[Any]
) -> bytes:
    """Return the file of a graph over rows of a table."""
    import onnx
    from onnx import TensorProto, helper

    shape = [None, len(table.columns)]
    given = helper.make_tensor_value_info(COLUMNS, TensorProto.DOUBLE, shape)
    graph = helper.make_graph(nodes, "tacet", [given], outputs, constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    made = helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tacet"
    )
    helper.set_model_props(made, _metadata(table))
    onnx.checker.check_model(made)
    return made.SerializeToString()


def require_onnx() -> Any:
    """Return the package ``onnx``.

    Raises
    ------
    MissingPackageError
        If it is not there.
    """
    try:
        import onnx
    except ImportError:
        raise MissingPackageError(
            "--format onnx needs the package onnx, which is not installed; install it with:"
            " pip install 'onnx>=1.18,<2'"
        ) from None
    return onnx


def _metadata(table: Table) -> dict[str, str]:
    """Return what a person needs to fill the input and to read the output, as JSON."""
    columns = [
        {"name": column.name, "categories": list(column.categories)}
        if column.is_categorical
        else {"name": column.name, "min": column.low, "max": column.high}
        for column in table.columns
    ]
    return {
        "columns": json.dumps(columns),
        "label": json.dumps(table.label.name),
        "classes": json.dumps(list(table.classes)),
    }


def _classifier(model: Decisions) -> tuple[list[Any], list[Any]]:
    """Return the operator and what finds the label, and the outputs of the graph."""
    from onnx import TensorProto, helper

    # Log-odds are the second of two scores, of which the first is 0.
    num_before = 1 if model.link is Link.logistic else 0
    classes = model.table.classes
    operator = helper.make_node(
        "TreeEnsembleClassifier",
        [COLUMNS],
        ["own_label", "probabilities"],
        domain="ai.onnx.ml",
        classlabels_strings=list(classes),
        post_transform="NONE" if model.link is Link.shares else "SOFTMAX",
        **NodeArrays(model, num_before).attributes("class"),
    )
    # Of two classes, onnxruntime's own label is the second wherever its score is above 0.
    rest = [
        helper.make_node("ArgMax", ["probabilities"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "place"], ["label"]),
    ]
    label = helper.make_tensor_value_info("label", TensorProto.STRING, [None])
    shape = [None, len(classes)]
    found = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape)
    return [operator, *rest], [label, found]


def _regressor(model: Decisions) -> tuple[list[Any], list[Any]]:
    """Return the operator, then what cuts its sum and takes it to the label's unit."""
    from onnx import TensorProto, helper

    trees = helper.make_node(
        "TreeEnsembleRegressor",
        [COLUMNS],
        ["sums"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        **NodeArrays(model).attributes("target"),
    )
    rest = [
        helper.make_node("Cast", ["sums"], ["exact"], to=TensorProto.DOUBLE),
        helper.make_node("Clip", ["exact", "least", "most"], ["within"]),
        helper.make_node("Mul", ["within", "half"], ["scaled"]),
        helper.make_node("Add", ["scaled", "middle"], ["moved"]),
        helper.make_node("Squeeze", ["moved", "axes"], ["value"]),
    ]
    return [trees, *rest], [helper.make_tensor_value_info("value", TensorProto.DOUBLE, [None])]


def _constants(table: Table) -> list[Any]:
    """Return the constants that the nodes name."""
    from onnx import numpy_helper

    if table.classes:
        return [numpy_helper.from_array(np.array(table.classes, object), "names")]
    low, high = table.label.low, table.label.high
    numbers = {"least": -1.0, "most": 1.0, "half": (high - low) / 2, "middle": (low + high) / 2}
    found = [numpy_helper.from_array(np.array(value), name) for name, value in numbers.items()]
    return [*found, numpy_helper.from_array(np.array([1], np.int64), "axes")]
