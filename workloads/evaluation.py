"""What a person reads of the scores of held-out records, from their counts in bins alone.

The counts of all participants are one sum, see ``workloads.score_bins``. Where it has noise,
every figure has an error that knows of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.report import Report
from workloads.score_bins import (
    LARGEST_RESIDUAL,
    BinaryBins,
    ConfusionBins,
    OneVsRestBins,
    ResidualBins,
    ScoreBins,
    logit_edges,
)

Floats = NDArray[np.float64]

#: An area under the curve that is so uncertain for its noise says nothing.
_UNINFORMATIVE = 0.02
# Rows of a report hold as many records at least, and of a class none or as many.
_FEWEST, _FEWEST_OF_CLASS, _MOST_ROWS = 10, 3, 20
_NORMAL_95 = 1.959964


class Area(NamedTuple):
    """The area under the ROC curve.

    Attributes
    ----------
    value : float
        In [0, 1]; a half where a class is missing.
    sampling, noise : float
        Standard errors: as of other records of the same kind, and by the noise in the counts.
    """

    value: float
    sampling: float
    noise: float

    @property
    def error(self) -> float:
        """Return the standard error; a half, which is to know nothing, at most."""
        return min(0.5, sqrt(self.sampling**2 + self.noise**2))

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval within [0, 1]."""
        width = _NORMAL_95 * self.error
        return max(0.0, self.value - width), min(1.0, self.value + width)


def area_under_curve(negatives: Floats, positives: Floats, noise: float = 0.0) -> Area:
    """Return the chance that a positive record has the higher score; ties count half.

    Parameters
    ----------
    negatives, positives : ndarray, float64, shape (bins,)
        Records by score, from the lowest; noisy counts may be negative.
    noise : float
        Standard deviation of the noise in each count.

    Returns
    -------
    Area
        Its sampling error is DeLong's (DeLong et al. 1988, Biometrics 44, equation 4), over
        bins; that of the noise is by the first derivatives.
    """
    num_negative, num_positive = float(negatives.sum()), float(positives.sum())
    if min(num_negative, num_positive) <= 0:
        return Area(0.5, 0.5, 0.5 if noise else 0.0)
    # For a record in each bin, the share of the other class that is below it, or above.
    below = (np.cumsum(negatives) - negatives / 2) / num_negative
    above = 1 - (np.cumsum(positives) - positives / 2) / num_positive
    value = float(positives @ below) / num_positive
    spread = [
        max(0.0, float(counts @ (shares - value) ** 2)) / total**2
        for counts, shares, total in (
            (positives, below, num_positive),
            (negatives, above, num_negative),
        )
    ]
    slopes = (below - value) / num_positive, (above - value) / num_negative
    by_noise = noise * sqrt(sum(float(slope @ slope) for slope in slopes))
    return Area(min(1.0, max(0.0, value)), sqrt(sum(spread)), by_noise)


class Evaluation(ABC):
    """The counts of one evaluation."""

    #: Whether the accuracy says little, as one class is rare.
    is_unbalanced: bool = False

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Return the figures for a round's line."""

    @abstractmethod
    def report(self, metrics: dict[str, float]) -> Report:
        """Return all that follows from the counts, with the other metrics of the model."""


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
        for first, last in _ranges(self.counts, self.noise):
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
            rows.append([*found, *(row.tolist() if self.noise else _without_small(row))])
        return Report("evaluation", facts, columns, rows)

    @property
    def _areas(self) -> list[Area]:
        rest = self.against_the_rest
        return [] if rest is None else [area_under_curve(*counts) for counts in rest]


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
        for first, last in _ranges(self.counts[np.newaxis], self.noise):
            records = float(self.counts[first:last].sum())
            rows.append([float(edges[first]), float(edges[last]), records, records / total])
        return Report("evaluation", facts, ["residual from", "to", "records", "share"], rows)


def evaluation_of(
    bins: ScoreBins, counts: Floats, noise: float, classes: Sequence[str]
) -> Evaluation:
    """Return the evaluation of records that were counted so.

    Parameters
    ----------
    bins : ScoreBins
        How they were counted.
    counts : ndarray, float64, shape (len(bins),)
        The sum over all participants.
    noise : float
        Standard deviation of the noise in each.
    classes : sequence of str
        Names of the classes; numbers are taken where there are none.
    """
    match bins:
        case BinaryBins():
            return BinaryEvaluation(counts.reshape(2, -1), noise, classes or ("0", "1"))
        case ConfusionBins() | OneVsRestBins():
            k = bins.num_classes
            rest = counts[k * k :].reshape(k, 2, -1) if len(counts) > k * k else None
            named = classes or [str(number) for number in range(k)]
            return ClassesEvaluation(counts[: k * k].reshape(k, k), rest, noise, named)
        case ResidualBins():
            return ResidualEvaluation(counts, noise)
        case _:
            raise TypeError(f"no evaluation of {type(bins).__name__}")


def _without_small(row: Floats) -> list[float | None]:
    """Return counts, but for those of one or two records, nor what would show one of them."""
    is_hidden = (row > 0) & (row < _FEWEST_OF_CLASS)
    if is_hidden.sum() == 1 and len(others := np.flatnonzero((row > 0) & ~is_hidden)):
        is_hidden[others[np.argmin(row[others])]] = True
    return [None if hidden else float(v) for v, hidden in zip(row, is_hidden, strict=True)]


def _probability(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-logits))


def _ranges(counts: Floats, noise: float) -> list[tuple[int, int]]:
    """Part the bins into ranges for people: none of few records, nor one or two of a class.

    So no row shows one of them. With noise too: a row of little but noise says nothing.
    """
    least = max(_FEWEST, 5 * noise, float(counts.sum()) / _MOST_ROWS)

    def may_be_shown(first: int, last: int) -> bool:
        own = counts[:, first:last].sum(axis=1)
        is_small = (own > 0) & (own < _FEWEST_OF_CLASS)
        return own.sum() >= least and not (is_small.any() and not noise)

    ends = [0]
    for last in range(1, counts.shape[1] + 1):
        if may_be_shown(ends[-1], last):
            ends.append(last)
    # What is left over belongs to the last, and that to the one before it if it has to.
    ends[-1] = counts.shape[1]
    while len(ends) > 2 and not may_be_shown(ends[-2], ends[-1]):
        del ends[-2]
    return list(pairwise(ends)) or [(0, counts.shape[1])]
