"""ONNX of a regression: its terms, of a table's columns, and the link to what is predicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.export.network_onnx import Graph
from app.export.onnx_file import COLUMNS, require_onnx, table_onnx
from workloads.statistics.design import LinearModel, Term
from workloads.statistics.family import Binomial, Gaussian, Poisson


def regression_onnx(model: LinearModel) -> bytes:
    """Return an ONNX file.

    Its input ``columns``, float64 of shape (n, columns), are rows of the table. Its outputs are
    ``label`` and ``probabilities`` of two classes, or ``value`` in the label's unit, or of
    times ``linear_predictor``; all numbers are float64, NaN for a row that misses a value of a
    column that is used. The label of such a row stands for nothing.

    Raises
    ------
    MissingPackageError
        If the package ``onnx`` is not there.
    """
    require_onnx()
    from onnx import TensorProto, helper

    graph, double = Graph(), TensorProto.DOUBLE
    last = _predictor(graph, model)
    if isinstance(model.family, Binomial):
        both = graph.add("Concat", [graph.add("Neg", [last]), last], axis=1)
        graph.add("Sigmoid", [both], "probabilities")
        place = graph.add("ArgMax", ["probabilities"], axis=1, keepdims=0)
        names = graph.constant(np.array(model.table.classes, object))
        graph.add("Gather", [names, place], "label")
        label = helper.make_tensor_value_info("label", TensorProto.STRING, [None])
        found = helper.make_tensor_value_info("probabilities", double, [None, 2])
        return table_onnx(model.table, graph.nodes, [label, found], graph.constants)
    name = "value"
    if isinstance(model.family, Gaussian):
        scaled = graph.add("Mul", [last, graph.constant(np.float64(model.family.half))])
        middle = (model.family.low + model.family.high) / 2
        last = graph.add("Add", [scaled, graph.constant(np.float64(middle))])
    elif isinstance(model.family, Poisson):
        limits = [graph.constant(np.float64(limit)) for limit in model.family.limits]
        last = graph.add("Exp", [graph.add("Clip", [last, *limits])])
    else:
        name = "linear_predictor"
    graph.add("Squeeze", [last, graph.constant(np.array([1], np.int64))], name)
    outputs: list[Any] = [helper.make_tensor_value_info(name, double, [None])]
    return table_onnx(model.table, graph.nodes, outputs, graph.constants)


def _predictor(graph: Graph, model: LinearModel) -> str:
    """Add the linear predictor, shape (n, 1), and ``is_missing``; return its name."""
    from onnx import TensorProto

    coefficients = model.coefficients.tolist()
    intercept = coefficients.pop(0) if model.design.has_intercept else 0.0
    total, missing = graph.constant(np.array([[intercept]])), graph.constant(np.zeros((1, 1)))
    for term, coefficient in zip(model.design.terms, coefficients, strict=True):
        place = graph.constant(np.array([term.place], np.int64))
        values = graph.add("Gather", [COLUMNS, place], axis=1)
        is_missing = graph.add("Cast", [graph.add("IsNaN", [values])], to=TensorProto.DOUBLE)
        missing = graph.add("Add", [missing, is_missing])
        coded = _coded(graph, term, values)
        part = graph.add("Mul", [coded, graph.constant(np.float64(coefficient))])
        total = graph.add("Add", [total, part])
    graph.add("Greater", [missing, graph.constant(np.float64(0))], "is_missing")
    return graph.add("Where", ["is_missing", graph.constant(np.float64(np.nan)), total])


def _coded(graph: Graph, term: Term, values: str) -> str:
    """Add a term of each row, as ``Term.coded`` has it."""
    from onnx import TensorProto

    if term.category is not None:
        code = graph.constant(np.float64(term.category))
        return graph.add("Cast", [graph.add("Equal", [values, code])], to=TensorProto.DOUBLE)
    ends = [graph.constant(np.float64(end)) for end in (term.column.low, term.column.high)]
    clipped = graph.add("Clip", [values, *ends])
    moved = graph.add("Sub", [clipped, graph.constant(np.float64(term.centre))])
    return graph.add("Div", [moved, graph.constant(np.float64(term.width))])
