"""What trees are grown for: to lead scores on, or to be averaged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.decisions import Link
from workloads.histograms.bins import Floats
from workloads.histograms.losses import Loss, Squared
from workloads.trees.criteria import Criterion, Gain, of_labels
from workloads.trees.ensemble import Nodes


class Goal(ABC):
    """What trees are grown for.

    Attributes
    ----------
    criterion : Criterion
        By what nodes are split.
    num_at_once : int
        Trees that grow at the same time.
    goes_on : bool
        Whether others follow when they are grown.
    num_outputs : int
        Numbers of a leaf.
    link : Link
        What ``published`` makes of the sums.
    """

    criterion: Criterion
    num_at_once: int
    goes_on: bool
    num_outputs: int
    link: Link

    @abstractmethod
    def stats(self, targets: NDArray[Any], scores: Floats) -> Floats:
        """Return what records add to their nodes, shape (n, trees at once or 1, stats)."""

    @abstractmethod
    def values(self, stats: Floats, trees: Nodes) -> Floats:
        """Return the values of nodes, (nodes, outputs), of these of the trees at once."""

    @abstractmethod
    def published(self, scores: Floats) -> Floats:
        """Return what a person asks for by the sums of all trees' values."""


class Boosted(Goal):
    """One tree for each score, by the gradients where the trees before have led."""

    goes_on = True

    def __init__(self, loss: Loss, learning_rate: float, gain: Gain) -> None:
        self._loss, self._rate, self.criterion = loss, learning_rate, gain
        self.num_at_once = self.num_outputs = loss.num_scores
        self.link = loss.link

    def stats(self, targets: NDArray[Any], scores: Floats) -> Floats:
        """Return residual, second derivative and 1."""
        predicted = self._loss.predicted(scores)
        residuals = self._loss.residuals(targets, predicted)
        hessians = self._loss.hessians(predicted)
        return np.stack([residuals, hessians, np.ones_like(residuals)], axis=2)

    def values(self, stats: Floats, trees: Nodes) -> Floats:
        """Return a step of the tree's own score."""
        own = trees[:, np.newaxis] == np.arange(self.num_outputs)
        return own * self._rate * self.criterion.values(stats)

    def published(self, scores: Floats) -> Floats:
        """Return probabilities, or values in the label's unit."""
        return self._loss.published(scores)


class Averaged(Goal):
    """Some trees by the labels themselves, whose mean counts."""

    goes_on = False

    def __init__(self, loss: Loss, num_trees: int) -> None:
        self._loss, self.criterion = loss, of_labels(loss)
        self.num_at_once, self.num_outputs = num_trees, self.criterion.num_outputs
        self.link = Link.number if isinstance(loss, Squared) else Link.shares

    def stats(self, targets: NDArray[Any], scores: Floats) -> Floats:
        """Return the same for every tree: 1 at the class, or 1 and the label."""
        return self._loss.slots(targets)[:, np.newaxis]

    def values(self, stats: Floats, trees: Nodes) -> Floats:
        """Return the part of one tree in the mean."""
        return self.criterion.values(stats) / self.num_at_once

    def published(self, scores: Floats) -> Floats:
        """Return the mean shares of the classes, or the mean in the label's unit."""
        return scores if self.link is Link.shares else self._loss.published(scores)
