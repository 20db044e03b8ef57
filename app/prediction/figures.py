"""How good predictions are where the label is known: the figures of a run's evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Table
from workloads.scoring.bins import score_bins
from workloads.scoring.counted import evaluation_of

Floats = NDArray[np.float64]


def figures_of(table: Table, outputs: Floats, targets: NDArray[Any]) -> dict[str, float]:
    """Return accuracy and area under the ROC curve, or the errors in the label's unit.

    The area is counted in the bins of an evaluation without noise, as that of a run is.

    Parameters
    ----------
    table : Table
        What the records are rows of.
    outputs : ndarray, float64, shape (n, outputs)
        As of ``Answers``; n is at least 1.
    targets : ndarray, shape (n,)
        Classes, or numbers from -1 to 1.
    """
    if not table.classes:
        label = table.label
        due = label.low + (targets.astype(np.float64) + 1) / 2 * (label.high - label.low)
        errors = outputs[:, 0] - due
        return {
            "RMSE": float(np.sqrt(np.mean(errors**2))),
            "mean absolute error": float(np.mean(np.abs(errors))),
        }
    chosen = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    bins = score_bins(len(table.classes), is_private=False)
    counts = bins.count(outputs, targets).astype(np.float64)
    evaluation = evaluation_of(bins, counts, 0.0, table.classes)
    return {"accuracy": float(np.mean(chosen == targets)), **evaluation.metrics()}
