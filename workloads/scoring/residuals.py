"""The evaluation of a number: how its residuals are spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.report import Report
from workloads.scoring.bins import LARGEST_RESIDUAL
from workloads.scoring.evaluation import Evaluation
from workloads.scoring.rows import ranges

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ResidualEvaluation(Evaluation):
    """A number, by what was predicted less what was.

    Attributes
    ----------
    counts : ndarray, float64, shape (bins,)
        Records by residual, in units of the target: half of its range is 1.
    noise : float
        Standard deviation of the noise in each.
    """

    counts: Floats
    noise: float

    def metrics(self) -> dict[str, float]:
        """Return nothing: loss and absolute error are sums of their own."""
        return {}

    def report(self, metrics: dict[str, float]) -> Report:
        """Return the metrics, and a row for each range of residuals."""
        facts: dict[str, Any] = {"records": float(self.counts.sum()), **metrics}
        if self.noise:
            facts["standard deviation of each count"] = self.noise
        edges = np.linspace(-LARGEST_RESIDUAL, LARGEST_RESIDUAL, len(self.counts) + 1)
        total = max(1.0, float(self.counts.sum()))
        rows: list[list[Any]] = []
        for first, last in ranges(self.counts[np.newaxis], self.noise):
            records = float(self.counts[first:last].sum())
            rows.append([float(edges[first]), float(edges[last]), records, records / total])
        return Report("evaluation", facts, ["residual from", "to", "records", "share"], rows)
