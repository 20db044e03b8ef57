"""By what a node is split: gains over gradients, the Gini index, the variance."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from workloads.histograms.bins import Floats
from workloads.histograms.losses import Loss, Squared

Flags = NDArray[np.bool_]

# No leaf has less curvature, whose value could be anything.
_LEAST_HESSIAN = 1e-3
# A count in a denominator, where weights may be below 1: that of none is 0 over this.
_LEAST_COUNT = 2.0**-24
# Records of no opinion that each category has beside its own where categories are ordered.
_CATEGORY_RECORDS = 10.0


class Criterion(ABC):
    """What is summed in a node, and how good a split of it is.

    Attributes
    ----------
    num_stats : int
        Numbers that are summed for each bin.
    num_outputs : int
        Numbers that a leaf has.
    """

    num_stats: int
    num_outputs: int

    @abstractmethod
    def counts(self, stats: Floats) -> Floats:
        """Return how many records are in sums of shape (..., stats)."""

    @abstractmethod
    def scores(self, stats: Floats) -> Floats:
        """Return how well one leaf suits its records: a split gains what this grows by."""

    @abstractmethod
    def values(self, stats: Floats) -> Floats:
        """Return the value of a leaf, shape (..., outputs)."""

    @abstractmethod
    def order(self, stats: Floats, total: Floats) -> Floats:
        """Return by what categories are ordered, shape (nodes, bins).

        Parameters
        ----------
        stats : ndarray, shape (nodes, bins, stats)
        total : ndarray, shape (nodes, stats)
        """

    def allows(self, stats: Floats) -> Flags:
        """Return whether a leaf may have these sums, beside the count of records."""
        return np.ones(stats.shape[:-1], bool)

    def is_pure(self, stats: Floats) -> Flags:
        """Return whether no split of these sums could gain anything."""
        return np.zeros(stats.shape[:-1], bool)


class Gain(Criterion):
    """The second-order gain (Chen and Guestrin 2016, arXiv 1603.02754): sums are r, h and 1.

    Parameters
    ----------
    lambda_l1, lambda_l2 : float
        What the sum of residuals is drawn to 0 by, and what is added to the curvature.
    """

    num_stats = 3
    num_outputs = 1

    def __init__(self, lambda_l1: float, lambda_l2: float) -> None:
        self._l1, self._l2 = lambda_l1, lambda_l2

    def counts(self, stats: Floats) -> Floats:
        """Return the sums of 1."""
        return stats[..., 2]

    def scores(self, stats: Floats) -> Floats:
        """Return r^2 / (h + lambda_l2), |r| less lambda_l1."""
        return self._shrunk(stats) ** 2 / self._curvature(stats)

    def values(self, stats: Floats) -> Floats:
        """Return Newton's step, r / (h + lambda_l2), |r| less lambda_l1."""
        return (self._shrunk(stats) / self._curvature(stats))[..., np.newaxis]

    def order(self, stats: Floats, total: Floats) -> Floats:
        """Return each category's step, drawn to that of all."""
        mean = total / np.maximum(self.counts(total), 1.0)[:, np.newaxis]
        drawn = stats + _CATEGORY_RECORDS * mean[:, np.newaxis]
        return drawn[..., 0] / np.maximum(drawn[..., 1], _LEAST_HESSIAN)

    def allows(self, stats: Floats) -> Flags:
        """Return whether there is curvature enough."""
        return stats[..., 1] >= _LEAST_HESSIAN

    def _shrunk(self, stats: Floats) -> Floats:
        residual = stats[..., 0]
        return np.sign(residual) * np.maximum(np.abs(residual) - self._l1, 0.0)

    def _curvature(self, stats: Floats) -> Floats:
        return np.maximum(stats[..., 1], _LEAST_HESSIAN) + self._l2


class Gini(Criterion):
    """The Gini index (Breiman et al. 1984): sums are the counts of each class."""

    def __init__(self, num_classes: int) -> None:
        self.num_stats = self.num_outputs = num_classes

    def counts(self, stats: Floats) -> Floats:
        """Return the sum over the classes."""
        return stats.sum(axis=-1)

    def scores(self, stats: Floats) -> Floats:
        """Return the sum of squared counts over their sum."""
        return (stats**2).sum(axis=-1) / np.maximum(self.counts(stats), _LEAST_COUNT)

    def values(self, stats: Floats) -> Floats:
        """Return the share of each class."""
        num = self.counts(stats)[..., np.newaxis]
        return np.where(num > 0, stats / np.maximum(num, _LEAST_COUNT), 1 / self.num_outputs)

    def order(self, stats: Floats, total: Floats) -> Floats:
        """Return the share of the node's largest class: with two the best order there is."""
        largest = total.argmax(axis=-1)[:, np.newaxis, np.newaxis]
        of_class = np.take_along_axis(stats, largest, axis=-1)[..., 0]
        share = of_class.sum(axis=-1) / np.maximum(self.counts(total), 1.0)
        drawn = of_class + _CATEGORY_RECORDS * share[:, np.newaxis]
        return drawn / (self.counts(stats) + _CATEGORY_RECORDS)

    def is_pure(self, stats: Floats) -> Flags:
        """Return whether all records are of one class."""
        return stats.max(axis=-1) >= self.counts(stats)


class Variance(Criterion):
    """The variance of a number: sums are 1 and the label."""

    num_stats = 2
    num_outputs = 1

    def counts(self, stats: Floats) -> Floats:
        """Return the sums of 1."""
        return stats[..., 0]

    def scores(self, stats: Floats) -> Floats:
        """Return the squared sum over the count: it grows as the sum of squares falls."""
        return stats[..., 1] ** 2 / np.maximum(self.counts(stats), _LEAST_COUNT)

    def values(self, stats: Floats) -> Floats:
        """Return the mean."""
        return stats[..., 1:] / np.maximum(self.counts(stats), _LEAST_COUNT)[..., np.newaxis]

    def order(self, stats: Floats, total: Floats) -> Floats:
        """Return each category's mean, drawn to that of all."""
        mean = total / np.maximum(self.counts(total), 1.0)[:, np.newaxis]
        drawn = stats + _CATEGORY_RECORDS * mean[:, np.newaxis]
        return drawn[..., 1] / np.maximum(drawn[..., 0], 1.0)


def of_labels(loss: Loss) -> Criterion:
    """Return what splits nodes by the labels themselves."""
    return Variance() if isinstance(loss, Squared) else Gini(loss.num_slots)
