"""The evaluation of three classes or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.report import Report
from workloads.scoring.area import Area, area_under_curve
from workloads.scoring.evaluation import Evaluation
from workloads.scoring.rows import without_small

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassesEvaluation(Evaluation):
    """Three classes or more.

    Attributes
    ----------
    confusion : ndarray, float64, shape (classes, classes)
        Records by class and predicted class.
    against_the_rest : ndarray, float64, shape (classes, 2, bins), or None
        For each class the records of the rest, and its own, by its logit.
    noise : float
        Standard deviation of the noise in each count.
    classes : sequence of str
        What they are called.
    """

    confusion: Floats
    against_the_rest: Floats | None
    noise: float
    classes: Sequence[str]

    def metrics(self) -> dict[str, float]:
        """Return the mean area of one class against the rest, where it is known."""
        areas = self._areas
        return {"auc": float(np.mean([area.value for area in areas]))} if areas else {}

    def report(self, metrics: dict[str, float]) -> Report:
        """Return a row for each class: recall, precision, area, and what it is taken for."""
        facts: dict[str, Any] = {"records": float(self.confusion.sum()), **metrics}
        if self.noise:
            facts["standard deviation of each count"] = self.noise
        columns = ["class", "records", "recall", "precision"]
        columns += ["area against the rest"] * bool(self._areas)
        columns += [f"predicted {name}" for name in self.classes]
        rows: list[list[Any]] = []
        for number, (name, row) in enumerate(zip(self.classes, self.confusion, strict=True)):
            right, column = float(row[number]), self.confusion[:, number]
            found = [name, float(row.sum())]
            found += [right / max(1.0, float(part.sum())) for part in (row, column)]
            found += [self._areas[number].value] if self._areas else []
            rows.append([*found, *(row.tolist() if self.noise else without_small(row))])
        return Report("evaluation", facts, columns, rows)

    @property
    def _areas(self) -> list[Area]:
        rest = self.against_the_rest
        return [] if rest is None else [area_under_curve(*counts) for counts in rest]
