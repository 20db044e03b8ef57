"""The evaluation of two classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.report import Report
from workloads.scoring.area import Area, area_under_curve
from workloads.scoring.bins import logit_edges
from workloads.scoring.evaluation import Evaluation
from workloads.scoring.rows import ranges

Floats = NDArray[np.float64]

#: An area under the curve that is so uncertain for its noise says nothing.
_UNINFORMATIVE = 0.02


@dataclass(frozen=True)
class BinaryEvaluation(Evaluation):
    """Two classes, by the logit of the second.

    Attributes
    ----------
    counts : ndarray, float64, shape (2, bins)
        Records by class and score.
    noise : float
        Standard deviation of the noise in each.
    classes : sequence of str
        What the two are called.
    """

    counts: Floats
    noise: float
    classes: Sequence[str]

    def metrics(self) -> dict[str, float]:
        """Return the area under the ROC curve and its standard error."""
        area = self._area
        return {"auc": area.value, "auc_se": area.error}

    @property
    def is_unbalanced(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return whether one class has under three tenths of the records."""
        totals = self.counts.sum(axis=1)
        return bool(totals.min() < 0.3 * totals.sum())

    def report(self, metrics: dict[str, float]) -> Report:
        """Return the facts, and a row for each range of predicted probability.

        The rows are ROC curve, precision and recall, confusion matrix and calibration at once.
        """
        area = self._area
        low, high = area.interval
        facts: dict[str, Any] = {
            "positive class": self.classes[1],
            **self._numbers,
            "area under the ROC curve": area.value,
            "its 95 % interval from": low,
            "its 95 % interval to": high,
            "average precision": self._average_precision(),
            "Brier score": self._brier(),
            **metrics,
        }
        if self.noise:
            facts["standard deviation of each count"] = self.noise
            facts["standard error of the area by noise"] = area.noise
        if area.noise > _UNINFORMATIVE:
            facts["note"] = "the noise is too large for the curves to be informative"
        columns = ["predicted from", "to", "records", "positives", "mean predicted"]
        columns += ["share of positives", "recall above", "false positives above"]
        return Report("evaluation", facts, [*columns, "precision above"], self._rows())

    @property
    def _area(self) -> Area:
        negatives, positives = self.counts
        return area_under_curve(negatives, positives, self.noise)

    @property
    def _numbers(self) -> dict[str, float]:
        negatives, positives = self.counts.sum(axis=1)
        return {"records": float(negatives + positives), "positives": float(positives)}

    @property
    def _predicted(self) -> Floats:
        """Return the probability in the middle of each bin."""
        edges = logit_edges(self.counts.shape[1])
        return _probability((edges[1:] + edges[:-1]) / 2)

    def _brier(self) -> float:
        negatives, positives = self.counts
        predicted, total = self._predicted, float(self.counts.sum())
        squares = positives @ (1 - predicted) ** 2 + negatives @ predicted**2
        return float(squares) / total if total > 0 else float("nan")

    def _average_precision(self) -> float:
        """Return the mean precision over the positives: the area under precision and recall."""
        counts = self.counts[:, ::-1]
        # In the middle of each bin, as its records have no order.
        above = np.cumsum(counts, axis=1) - counts / 2
        precision = above[1] / np.maximum(above.sum(axis=0), 0.5)
        positives = counts[1]
        total = float(positives.sum())
        return float(positives @ precision) / total if total > 0 else float("nan")

    def _rows(self) -> list[list[Any]]:
        edges = _probability(logit_edges(self.counts.shape[1]))
        totals = np.maximum(self.counts.sum(axis=1), 1.0)
        rows: list[list[Any]] = []
        for first, last in ranges(self.counts, self.noise):
            negatives, positives = self.counts[:, first:last].sum(axis=1)
            above = self.counts[:, first:].sum(axis=1)
            records = max(1.0, float(negatives + positives))
            predicted = self.counts[:, first:last].sum(axis=0) @ self._predicted[first:last]
            rows.append(
                [
                    float(edges[first]),
                    float(edges[last]),
                    float(negatives + positives),
                    float(positives),
                    float(predicted) / records,
                    float(positives) / records,
                    float(above[1] / totals[1]),
                    float(above[0] / totals[0]),
                    float(above[1] / max(1.0, above.sum())),
                ]
            )
        return rows


def _probability(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-logits))
