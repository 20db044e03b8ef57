"""How good predictions are where the label is known: the figures of a run's evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base import Task
from workloads.scoring.bins import score_bins
from workloads.scoring.counted import evaluation_of
from workloads.survival.efron import concordance

Floats = NDArray[np.float64]


def figures_of(task: Task, outputs: Floats, targets: NDArray[Any]) -> dict[str, float]:
    """Return accuracy and area under the ROC curve, or errors in the label's unit.

    Of times it is the concordance. The area is counted in the bins of an evaluation without
    noise, as that of a run is.

    Parameters
    ----------
    task : Task
        With the classes that the outputs are of, or a table with the label's bounds.
    outputs : ndarray, float64, shape (n, outputs)
        As of ``Answers``; n is at least 1.
    targets : ndarray, shape (n,)
        Classes, numbers from -1 to 1, or times and events of shape (n, 2).
    """
    classes, table = task.class_names, task.table
    if table is not None and table.event:
        pairs, twice = concordance(targets[:, 0], targets[:, 1] == 1, -outputs[:, 0])
        return {"concordance": twice / 2 / pairs} if pairs else {}
    if not classes:
        if table is None:
            return {}
        label = table.label
        due = label.low + (targets.astype(np.float64) + 1) / 2 * (label.high - label.low)
        errors = outputs[:, 0] - due
        return {
            "RMSE": float(np.sqrt(np.mean(errors**2))),
            "mean absolute error": float(np.mean(np.abs(errors))),
        }
    chosen = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    bins = score_bins(len(classes), is_private=False)
    counts = bins.count(outputs, targets).astype(np.float64)
    evaluation = evaluation_of(bins, counts, 0.0, classes)
    return {"accuracy": float(np.mean(chosen == targets)), **evaluation.metrics()}
