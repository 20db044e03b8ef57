"""Which model can be written in which format, and the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from app.export.curves_json import curves_json
from app.export.lightgbm_text import TooLargeError, feature_names, lightgbm_text
from app.export.network import onnx_of_network, parameters_of, torchscript_of
from app.export.onnx_file import MissingPackageError, onnx_file
from app.export.ratings_json import ratings_json
from app.export.regression_onnx import regression_onnx
from app.export.smaller import Smaller
from app.prediction.saved_model import SavedModel
from app.results.model_file import (
    ModelFileError,
    TableModel,
    load_model,
    model_file_of,
    workload_of,
)
from app.results.new_file import NewFileError, require_new, write_new
from tasks.base import Task
from tasks.ratings.task import Ratings
from tasks.table import Column, Table
from workloads.als.als import Als
from workloads.base import Workload
from workloads.decisions import Decisions, NotExportedError
from workloads.registry import WORKLOADS
from workloads.statistics.glm import Glm
from workloads.survival.cox import Cox
from workloads.table_model import TableWorkload

_REFUSALS = (
    MissingPackageError,
    ModelFileError,
    NewFileError,
    NotExportedError,
    TooLargeError,
)


class ExportError(ValueError):
    """A model cannot be written so. The message is one line, with the mend."""


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes
    ----------
    write : callable
        From the task and the model to the content of the file, and what its user has to know,
        line by line.
    serves : callable
        Whether a workload's models have this format.
    """

    write: Callable[[Task, Any], tuple[bytes, list[str]]]
    serves: Callable[[type[Workload]], bool]


def export(
    model: Path,
    name: str,
    output: Path,
    node_state: Path | None = None,
    *,
    prune: float | None = None,
    quantize: bool = False,
    data: Path | None = None,
) -> list[str]:
    """Write a model in another format; return what its user has to know, line by line.

    Parameters
    ----------
    model : Path
        A model file, or a run folder.
    name : str
        One of ``FORMATS``.
    output : Path
        The file; there must be none yet.
    node_state : Path, optional
        The own file of a node, as of ``load_model``.
    prune, quantize, data
        What is given up of a network, as of ``Smaller``.

    Raises
    ------
    ExportError
        If the model has no such format, or nothing to give up, a package is missing, or a file
        cannot be read or written.
    """
    try:
        smaller = Smaller(prune, quantize, data)
        require_new(output)
        file = model_file_of(model)
        workload, kind = workload_of(file)
        _require_format(file, workload, kind, name)
        if smaller:
            _require_network(file, workload, kind)
        saved = SavedModel(file, workload, *load_model(file, node_state))
        content, lines = FORMATS[name].write(saved.task, saved.model)
        if smaller:
            content, lines = smaller.write(saved, FORMATS[name].write, content)
        write_new(output, content)
    except _REFUSALS as error:
        raise ExportError(str(error)) from None
    return [f"{output}: {workload} as {name}", *lines]


def _require_format(file: Path, workload: str, kind: type[Workload], name: str) -> None:
    """Refuse a model that has no such format.

    Raises
    ------
    ExportError
        With what can be exported, and as what.
    """
    if FORMATS[name].serves(kind):
        return
    what = f"{file} is of the workload {workload}"
    if own := _formats_of(kind):
        raise ExportError(f"{what}, which has no --format {name}; take {' or '.join(own)}")
    served = [
        f"{other} as {' or '.join(formats)}"
        for other, its in WORKLOADS.items()
        if (formats := _formats_of(its))
    ]
    raise ExportError(
        f"{what}, whose result is the tables of its report and no model that predicts rows."
        f" Can be exported: {', '.join(served)}"
    )


def _require_network(file: Path, workload: str, kind: type[Workload]) -> None:
    """Refuse to make anything smaller than a network."""
    if not _is_neural(kind):
        raise ExportError(
            f"{file} is of the workload {workload}, which is no neural network: --quantize and"
            " --prune are of the weights of layers; leave them out"
        )


def _formats_of(kind: type[Workload]) -> list[str]:
    return [name for name, one in FORMATS.items() if one.serves(kind)]


def _is_neural(kind: type[Workload]) -> bool:
    return kind.has_model or kind.generates()


def _is_trees(kind: type[Workload]) -> bool:
    return issubclass(kind, TableWorkload) and kind.as_trees is not TableWorkload.as_trees


def _is_curves(kind: type[Workload]) -> bool:
    return issubclass(kind, TableWorkload) and kind.as_curves is not TableWorkload.as_curves


def _has_onnx(kind: type[Workload]) -> bool:
    return kind.has_model or _is_trees(kind) or _is_regression(kind)


def _is_regression(kind: type[Workload]) -> bool:
    return issubclass(kind, Glm | Cox)


def _onnx(task: Task, model: Any) -> tuple[bytes, list[str]]:
    if not isinstance(model, TableModel):
        return onnx_of_network(task, model)
    if isinstance(model.workload, Glm | Cox):
        return _onnx_of_regression(model.workload, model)
    trees = _trees(model)
    said = "label, and probabilities of" if trees.table.classes else "value:"
    lines = [_columns(trees.table), f"outputs: {said} {_said(trees.table)}"]
    return onnx_file(trees), lines


def _onnx_of_regression(workload: Glm | Cox, model: TableModel) -> tuple[bytes, list[str]]:
    try:
        found = workload.as_linear(model.state)
    except ValueError as error:
        raise NotExportedError(f"--format onnx: {error}") from None
    table = found.table
    said = "value:" if not table.classes else "label, and probabilities of"
    outputs = "linear_predictor" if table.event else f"{said} {_said(table)}"
    return regression_onnx(found), [_columns(table), f"outputs: {outputs}"]


def _lightgbm(_: Task, model: TableModel) -> tuple[bytes, list[str]]:
    trees = _trees(model)
    table = trees.table
    lines = [_columns(table), f"predict says: {_said(table)}"]
    if len(table.classes) == 2:
        lines[1] = f"predict says: the probability of {table.classes[1]}"
    elif table.classes:
        lines[1] = f"predict says: the probabilities of {_said(table)}"
    else:
        lines[1] += "; cut it to these bounds"
    renamed = [
        f"{column.name!r} is {name}"
        for column, name in zip(table.columns, feature_names(table.columns), strict=True)
        if column.name != name
    ]
    if renamed:
        lines.append(f"LightGBM takes no blanks in names: {', '.join(renamed)}")
    return lightgbm_text(trees), lines


def _has_json(kind: type[Workload]) -> bool:
    return _is_curves(kind) or issubclass(kind, Als)


def _json(task: Task, model: TableModel) -> tuple[bytes, list[str]]:
    if isinstance(model.workload, Als):
        return ratings_json(cast(Ratings, task), model.workload, model.state), []
    return curves_json(cast(TableWorkload, model.workload).as_curves(model.state)), []


def _trees(model: TableModel) -> Decisions:
    return cast(TableWorkload, model.workload).as_trees(model.state)


def _said(table: Table) -> str:
    label = table.label
    return ", ".join(table.classes) or f"{label.name}, from {label.low:g} to {label.high:g}"


def _columns(table: Table) -> str:
    return "columns, in this order: " + ", ".join(map(_column, table.columns))


def _column(column: Column) -> str:
    if not column.is_categorical:
        return column.name
    positions = (f"{place}={name}" for place, name in enumerate(column.categories))
    return f"{column.name} ({' '.join(positions)})"


#: Every format by name: a file beside this one, and a line here.
FORMATS = {
    "onnx": Format(_onnx, _has_onnx),
    "torchscript": Format(torchscript_of, _is_neural),
    "safetensors": Format(parameters_of, _is_neural),
    "lightgbm": Format(_lightgbm, _is_trees),
    "json": Format(_json, _has_json),
}
