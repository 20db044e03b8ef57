"""The losses of an additive model: what a record adds to a sum, and what the sums say.

Whatever is worked out for records is elementwise, in a fixed order over columns and scores, so
that a record's numbers do not depend on the place where it lies nor on the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import e, log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Table
from workloads.decisions import Link

Floats = NDArray[np.float64]


class Loss(ABC):
    """One loss, by its scores, its residuals and their bounds.

    Attributes
    ----------
    num_scores : int
        Curves of a column.
    num_slots : int
        Numbers for each bin of the first histograms.
    slots_bound : float
        Largest L2 norm of what a record adds to those of one bin.
    residual_bound : float
        Largest L2 norm of a record's residuals.
    hessian_weight : float
        What a record's second derivatives are multiplied by, beside its residuals.
    pair_bound : float
        Largest L2 norm of both together.
    curvature_bound : float
        Largest Frobenius norm of a record's curvature along columns whose curves have, at its
        values, a norm of 1.
    stiffness : float
        How many times more curved it is than the logistic loss: what shrinks and smooths curves
        is as many times stronger.
    link : Link
        What ``published`` makes of the scores.
    longest : float
        A record's values of all curves count with no more than this L2 norm in the scalars.
    """

    num_scores: int = 1
    num_slots: int = 2
    slots_bound: float = 1.0
    residual_bound: float = 1.0
    hessian_weight: float
    pair_bound: float
    curvature_bound: float
    stiffness: float = 1.0
    link: Link
    longest: float = 2.0

    @abstractmethod
    def slots(self, targets: NDArray[Any]) -> Floats:
        """Return what each record adds to its bins, shape (n, slots)."""

    @abstractmethod
    def predicted(self, scores: Floats) -> Floats:
        """Return the mean of the label by its scores, shape (n, scores) both."""

    @abstractmethod
    def residuals(self, targets: NDArray[Any], predicted: Floats) -> Floats:
        """Return minus the gradient of each record's loss, shape (n, scores)."""

    @abstractmethod
    def hessians(self, predicted: Floats) -> Floats:
        """Return the second derivative of each record's loss by each score, (n, scores)."""

    @abstractmethod
    def curvature(self, one: Floats, other: Floats, predicted: Floats) -> Floats:
        """Return the second derivative along two columns' curves, shape (n,).

        Parameters
        ----------
        one, other : ndarray, shape (n, scores)
            The values of the curves.
        predicted : ndarray, shape (n, scores)
            See ``predicted``.
        """

    @abstractmethod
    def start(self, slots: Floats) -> tuple[Floats, Floats]:
        """Return the intercepts and the curvature of each score where all curves are 0.

        Parameters
        ----------
        slots : ndarray, shape (slots,)
            The sums over all records.
        """

    @abstractmethod
    def gradient(self, slots: Floats, intercepts: Floats) -> Floats:
        """Return the sums of residuals where all curves are 0, shape (scores, bins)."""

    @abstractmethod
    def counts(self, slots: Floats) -> Floats:
        """Return how many records are in each bin, shape (bins,)."""

    @abstractmethod
    def published(self, scores: Floats) -> Floats:
        """Return what a person asks for: probabilities (n, classes) or values (n,)."""


class _Classes(Loss):
    """What all losses of classes have in common: the histograms count each class."""

    def __init__(self, num_classes: int) -> None:
        self.num_slots = num_classes

    def slots(self, targets: NDArray[Any]) -> Floats:
        """Return 1 at the record's class."""
        return (targets[:, np.newaxis] == np.arange(self.num_slots)).astype(np.float64)

    def counts(self, slots: Floats) -> Floats:
        """Return the sum over the classes; no bin of noise has fewer than none."""
        return np.maximum(slots.sum(axis=0), 0.0)

    def hessians(self, predicted: Floats) -> Floats:
        """Return p (1 - p) of each score."""
        return predicted * (1 - predicted)

    def _shares(self, slots: Floats) -> Floats:
        counts = np.maximum(slots, 1.0)
        return counts / counts.sum()


class Binary(_Classes):
    """The logistic loss of two classes: one score, the log-odds of the second.

    p (1 - p) is 1/4 at most, and so is the norm of p (1 - p) f f' for f of norm 1. A record
    that has p for the wrong class has a residual of p, and p^2 + w^2 p^2 (1 - p)^2 is at most 1
    for every p if w^2 p^2 (1 - p) is at most 1 + p: for w = 3.3 the most is .98 (1 + p).
    """

    hessian_weight = 3.3
    pair_bound = 1.0
    curvature_bound = 0.25
    link = Link.logistic

    def __init__(self) -> None:
        super().__init__(2)

    def predicted(self, scores: Floats) -> Floats:
        """Return the probability of the second class."""
        from scipy.special import expit

        return expit(scores)

    def residuals(self, targets: NDArray[Any], predicted: Floats) -> Floats:
        """Return 1 or 0 for the class, less the probability."""
        return (targets == 1)[:, np.newaxis] - predicted

    def curvature(self, one: Floats, other: Floats, predicted: Floats) -> Floats:
        """Return p (1 - p) times both curves."""
        p = predicted[:, 0]
        return p * (1 - p) * (one[:, 0] * other[:, 0])

    def start(self, slots: Floats) -> tuple[Floats, Floats]:
        """Return the log-odds of all records, and p (1 - p)."""
        p = self._shares(slots)[1:]
        return np.log(p / (1 - p)), p * (1 - p)

    def gradient(self, slots: Floats, intercepts: Floats) -> Floats:
        """Return the second class' counts less those expected."""
        p = self.predicted(intercepts)
        return (slots[1] - p * (slots[0] + slots[1]))[np.newaxis]

    def published(self, scores: Floats) -> Floats:
        """Return the probabilities of both classes."""
        p = self.predicted(scores)
        return np.concatenate([1 - p, p], axis=1)


class Softmax(_Classes):
    """The cross-entropy of three classes or more: a score for each.

    Residuals are 1 at the class less probabilities: of norm sqrt 2 at most. The curvature is
    the covariance of the curves under the probabilities p: its norm is its trace at most, the
    sum over pairs of classes of p_c p_d |f_c - f_d|^2, which is at most twice the sum of
    p_c (1 - p_c) |f_c|^2, and so 1/2 for curves of norm 1. With second derivatives times 2 a
    wrong class adds p^2 (1 + 4 (1 - p)^2), which is at most p as 4 p (1 - p) is at most 1; all
    wrong ones add 1 - a at most, a being that of the class itself, and that class adds
    (1 - a)^2 (1 + 4 a^2): together 2 at most, where a is 0.
    """

    residual_bound = sqrt(2)
    hessian_weight = 2.0
    pair_bound = sqrt(2)
    curvature_bound = 0.5
    stiffness = 2.0
    link = Link.softmax

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.num_scores = num_classes

    def predicted(self, scores: Floats) -> Floats:
        """Return the probability of each class."""
        from scipy.special import exp2

        most, total = scores[:, 0].copy(), np.zeros(len(scores))
        for score in scores.T[1:]:
            np.maximum(most, score, out=most)
        powers = exp2((scores - most[:, np.newaxis]) * log2(e))
        for power in powers.T:
            total += power
        return powers / total[:, np.newaxis]

    def residuals(self, targets: NDArray[Any], predicted: Floats) -> Floats:
        """Return 1 at the class, less the probabilities."""
        return self.slots(targets) - predicted

    def curvature(self, one: Floats, other: Floats, predicted: Floats) -> Floats:
        """Return the covariance of two columns' curves under the probabilities."""
        both, first, second = (np.zeros(len(one)) for _ in range(3))
        for a, b, p in zip(one.T, other.T, predicted.T, strict=True):
            both += p * a * b
            first += p * a
            second += p * b
        return both - first * second

    def start(self, slots: Floats) -> tuple[Floats, Floats]:
        """Return the logarithms of the classes' shares, and p (1 - p) of each."""
        p = self._shares(slots)
        return np.log(p), p * (1 - p)

    def gradient(self, slots: Floats, intercepts: Floats) -> Floats:
        """Return the counts of each class less those expected."""
        p = self.predicted(intercepts[np.newaxis])[0]
        return slots - p[:, np.newaxis] * slots.sum(axis=0)

    def published(self, scores: Floats) -> Floats:
        """Return the probability of each class."""
        return self.predicted(scores)


class Squared(Loss):
    """The squared error of a number in [-1, 1], its residuals cut to [-1, 1].

    The histograms hold counts and sums of the label: of norm sqrt 2 at most.

    Parameters
    ----------
    low, high : float
        The label's bounds, which are -1 and 1 in the records.
    """

    slots_bound = sqrt(2)
    hessian_weight = 0.5
    pair_bound = sqrt(1.25)
    curvature_bound = 1.0
    stiffness = 10.0
    link = Link.number
    longest = 1.0

    def __init__(self, low: float, high: float) -> None:
        self._middle, self._half = (low + high) / 2, (high - low) / 2

    def slots(self, targets: NDArray[Any]) -> Floats:
        """Return 1 and the label."""
        label = self._label(targets)
        return np.stack([np.ones(len(label)), label], axis=1)

    def predicted(self, scores: Floats) -> Floats:
        """Return the scores as they are."""
        return scores

    def residuals(self, targets: NDArray[Any], predicted: Floats) -> Floats:
        """Return the label less the prediction, cut to [-1, 1]."""
        return np.clip(self._label(targets)[:, np.newaxis] - predicted, -1, 1)

    def hessians(self, predicted: Floats) -> Floats:
        """Return 1."""
        return np.ones_like(predicted)

    def curvature(self, one: Floats, other: Floats, predicted: Floats) -> Floats:
        """Return the product of both curves."""
        return one[:, 0] * other[:, 0]

    def start(self, slots: Floats) -> tuple[Floats, Floats]:
        """Return the mean label, and 1."""
        return np.clip(slots[1:] / np.maximum(slots[:1], 1.0), -1, 1), np.ones(1)

    def gradient(self, slots: Floats, intercepts: Floats) -> Floats:
        """Return the sums of the label less those expected."""
        return slots[1:] - intercepts[:, np.newaxis] * slots[:1]

    def counts(self, slots: Floats) -> Floats:
        """Return the counts; no bin of noise has fewer than none."""
        return np.maximum(slots[0], 0.0)

    def published(self, scores: Floats) -> Floats:
        """Return the value in the label's own unit."""
        return self._middle + self._half * np.clip(scores[:, 0], -1, 1)

    def _label(self, targets: NDArray[Any]) -> Floats:
        return np.clip(targets.astype(np.float64), -1, 1)


def loss_of(table: Table) -> Loss:
    """Return the loss that suits a table's label."""
    if not table.classes:
        return Squared(table.label.low, table.label.high)
    return Binary() if len(table.classes) == 2 else Softmax(len(table.classes))
