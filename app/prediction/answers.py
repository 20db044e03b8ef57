"""What a model says of records, by named columns: classes, probabilities, numbers, hazards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.results.model_file import TableModel
from tasks.base import Task
from tasks.records import Examples
from tasks.survival import Survival, expected_times, median_times, survival_curves
from tasks.table import Table

Floats = NDArray[np.float64]

# Beyond, a probability is 1 in float64.
_LARGEST_LOGIT = 36.0


@dataclass(frozen=True)
class Answers:
    """What a model says of n records.

    Attributes
    ----------
    columns : dict
        Arrays of shape (n,) by the names of the columns: float64, or texts for a class.
    is_answered : ndarray of bool, shape (n,)
        Of which records it says anything: a regression does not, of those that miss a value.
    outputs : ndarray, float64, shape (n, outputs), or None
        What the answers are scored by: logits or margins of classes, the number in the label's
        unit, the expected time; None for a Cox regression, which is not scored.
    """

    columns: dict[str, NDArray[Any]]
    is_answered: NDArray[np.bool_]
    outputs: Floats | None


def neural_answers(task: Task, module: Any, examples: Examples) -> Answers:
    """Return what a neural model says."""
    from tasks.training.local import outputs_of

    outputs = outputs_of(module, examples.inputs)
    everyone = np.ones(len(examples), np.bool_)
    classes = task.class_names
    if isinstance(task, Survival):
        return _times(task, outputs)
    if not classes:
        values = task.to_label_units(outputs[:, 0])
        return Answers({"prediction": values}, everyone, values[:, np.newaxis])
    chosen = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    columns = {"prediction": _named(classes, chosen)}
    if task.gives_margins:
        of = classes[1:] if outputs.shape[1] == 1 else classes
        columns |= {f"margin_{name}": outputs[:, place] for place, name in enumerate(of)}
    else:
        columns |= _probabilities(classes, _likelihoods(outputs))
    return Answers(columns, everyone, outputs)


def table_answers(table: Table, model: TableModel, examples: Examples) -> Answers:
    """Return what a model of a table's columns says.

    Raises
    ------
    ValueError
        If it has nothing to say: a regression without a fit.
    """
    from scipy.special import logit, xlogy

    assert examples.columns is not None  # noqa: S101 - the task has a table
    found = model.predict(examples.columns)
    is_answered = ~np.isnan(found if found.ndim == 1 else found[:, 0])
    if table.event:
        with np.errstate(over="ignore"):
            columns = {"linear_predictor": found, "hazard_ratio": np.exp(found)}
        return Answers(columns, is_answered, None)
    if not table.classes:
        return Answers({"prediction": found}, is_answered, found[:, np.newaxis])
    # As an evaluation takes them, see ``workloads.table_model``.
    if len(table.classes) == 2:
        outputs = np.clip(logit(found[:, 1:]), -_LARGEST_LOGIT, _LARGEST_LOGIT)
        chosen = outputs[:, 0] > 0
    else:
        outputs = np.maximum(xlogy(1.0, found), -_LARGEST_LOGIT)
        chosen = np.argmax(outputs, axis=1)
    named = _named(table.classes, chosen)
    columns = {"prediction": named, **_probabilities(table.classes, found)}
    return Answers(columns, is_answered, outputs)


def answerer(task: Task, model: Any) -> Callable[[Examples], Answers]:
    """Return what answers for records of a task that reads rows to predict."""
    if not isinstance(model, TableModel):
        return lambda examples: neural_answers(task, model, examples)
    table = task.table
    if table is None:
        raise TypeError("the task has no columns")
    return lambda examples: table_answers(table, model, examples)


def _times(task: Survival, logits: Floats) -> Answers:
    """Return expected and median time, and the curve, by the end of each interval."""
    curves, ends = survival_curves(logits), task.ends
    expected = expected_times(curves, ends)
    columns = {"expected_time": expected, "median_time": median_times(curves, ends)}
    columns |= {f"survival_{end:.10g}": curves[:, place] for place, end in enumerate(ends)}
    return Answers(columns, np.ones(len(logits), np.bool_), expected[:, np.newaxis])


def _named(classes: Sequence[str], chosen: NDArray[Any]) -> NDArray[Any]:
    return np.array(classes, object)[chosen.astype(np.intp)]


def _probabilities(classes: Sequence[str], found: Floats) -> dict[str, NDArray[Any]]:
    return {f"probability_{name}": found[:, i] for i, name in enumerate(classes)}


def _likelihoods(outputs: Floats) -> Floats:
    """Return probabilities, shape (n, classes), from one logit or one for each class."""
    from scipy.special import expit, softmax

    if outputs.shape[1] == 1:
        return np.concatenate([expit(-outputs), expit(outputs)], axis=1)
    return softmax(outputs, axis=1)
