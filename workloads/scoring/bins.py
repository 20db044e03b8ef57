"""Counts of scored records by what a model says of them: one bin a record, so that they add up.

From the sum of such counts follow the ROC curve and its area, calibration and the confusion
matrix of all participants' held-out records, and nobody sees a record's score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from math import asinh
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.values import BIN_PREFIX

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

#: Bins of a score without differential privacy, and with it: each has noise of its own.
EXACT_BINS, PRIVATE_BINS = 256, 50
#: A score beyond is in the last bin: a probability of 1e-7.
LARGEST_LOGIT = 16.0
#: A residual beyond is in the last bin; targets are within [-1, 1].
LARGEST_RESIDUAL = 2.0
# Bins are narrow around 0, where the scores of a young model lie, and of a 25th at the ends.
_STEEPNESS = 4.0
_LARGEST_OUTPUT = 1e6


@lru_cache(maxsize=8)
def _names(num_bins: int) -> tuple[str, ...]:
    # Thousands for many classes, and every message needs them several times.
    return tuple(f"{BIN_PREFIX}{number}" for number in range(num_bins))


class ScoreBins(ABC):
    """How records are counted: each in so many different bins of one vector."""

    #: How many bins a record is in.
    per_record: int = 1

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def places(self, outputs: Floats, targets: NDArray[Any]) -> Places:
        """Return each record's bins, different from each other.

        Parameters
        ----------
        outputs : ndarray, float64, shape (n, outputs)
            Logits, or the one predicted number. One that is not finite counts as 0.
        targets : ndarray, shape (n,)
            Classes, or numbers in [-1, 1].

        Returns
        -------
        ndarray of int, shape (n, per_record)
            By operations within a row only, so that a record's bins depend on it alone.
        """

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the bins as sums, in order."""
        return _names(len(self))

    def count(self, outputs: Floats, targets: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many records are in each bin, shape (len(self),)."""
        places = self.places(outputs, targets)
        return np.bincount(places.ravel(), minlength=len(self)).astype(np.int64)


@dataclass(frozen=True)
class BinaryBins(ScoreBins):
    """Bins of the logit, those of the records of class 0 first.

    Attributes
    ----------
    num : int
        Bins for each class.
    """

    num: int

    def __len__(self) -> int:
        return 2 * self.num

    def places(self, outputs: Floats, targets: NDArray[Any]) -> Places:
        """Return the bin of each record's logit, among those of its class."""
        return (targets * self.num + logit_bins(outputs[:, 0], self.num))[:, np.newaxis]


@dataclass(frozen=True)
class ConfusionBins(ScoreBins):
    """Bins of (class, predicted class), row by row.

    Attributes
    ----------
    num_classes : int
        At least 3.
    """

    num_classes: int

    def __len__(self) -> int:
        return self.num_classes**2

    def places(self, outputs: Floats, targets: NDArray[Any]) -> Places:
        """Return the bin of each record."""
        predicted = np.argmax(np.nan_to_num(outputs), axis=1)
        return (targets * self.num_classes + predicted)[:, np.newaxis]


@dataclass(frozen=True)
class OneVsRestBins(ScoreBins):
    """Bins of (class, predicted class), and for each class of its logit against the rest.

    Attributes
    ----------
    num_classes : int
        At least 3.
    num : int
        Bins of a logit for each class, for the records of the rest and for its own.
    """

    num_classes: int
    num: int

    @property
    def per_record(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return one for the prediction, and one for each class."""
        return 1 + self.num_classes

    @property
    def confusion(self) -> ConfusionBins:
        """Return the bins that come first."""
        return ConfusionBins(self.num_classes)

    def __len__(self) -> int:
        return len(self.confusion) + 2 * self.num * self.num_classes

    def places(self, outputs: Floats, targets: NDArray[Any]) -> Places:
        """Return the bins of each record."""
        classes = np.arange(self.num_classes)
        logits = logit_bins(_against_the_rest(outputs), self.num)
        own = (targets[:, np.newaxis] == classes) * self.num + logits
        first = len(self.confusion) + 2 * self.num * classes
        return np.hstack([self.confusion.places(outputs, targets), first + own])


@dataclass(frozen=True)
class ResidualBins(ScoreBins):
    """Bins of what is predicted less what is, evenly spread.

    Attributes
    ----------
    num : int
        How many.
    """

    num: int

    def __len__(self) -> int:
        return self.num

    def places(self, outputs: Floats, targets: NDArray[Any]) -> Places:
        """Return the bin of each record."""
        residual = _finite(outputs[:, 0]) - targets
        share = (residual / LARGEST_RESIDUAL + 1) / 2
        return _spread(share, self.num)[:, np.newaxis]


@lru_cache(maxsize=16)
def score_bins(num_classes: int, *, is_private: bool) -> ScoreBins:
    """Return the bins for a label of so many classes; 0 for a number.

    Under differential privacy a record is in one bin, whatever the label is: for three classes
    and more then only the confusion matrix is counted.
    """
    num = PRIVATE_BINS if is_private else EXACT_BINS
    if not num_classes:
        return ResidualBins(num)
    if num_classes == 2:
        return BinaryBins(num)
    return ConfusionBins(num_classes) if is_private else OneVsRestBins(num_classes, num)


def logit_bins(logits: Floats, num: int) -> Places:
    """Return the bin of each logit, of its shape, from 0 to num - 1; by comparisons only."""
    return np.searchsorted(logit_edges(num)[1:-1], np.nan_to_num(logits), side="right")


@lru_cache(maxsize=4)
def logit_edges(num: int) -> Floats:
    """Return the logits at which the bins begin and the last ends, shape (num + 1,)."""
    scaled = np.linspace(-1, 1, num + 1)
    return np.sinh(scaled * asinh(_STEEPNESS * LARGEST_LOGIT)) / _STEEPNESS


def _finite(outputs: Floats) -> Floats:
    """Return what arithmetic does not overflow on."""
    return np.clip(np.nan_to_num(outputs), -_LARGEST_OUTPUT, _LARGEST_OUTPUT)


def _spread(shares: Floats, num: int) -> Places:
    return np.clip(np.floor(shares * num), 0, num - 1).astype(np.intp)


def _against_the_rest(outputs: Floats) -> Floats:
    """Return the log-odds of each class against all others, shape (n, classes)."""
    finite = _finite(outputs)
    second, first = np.split(np.partition(finite, -2, axis=1)[:, -2:], 2, axis=1)
    most = np.where(finite == first, second, first)
    total = np.zeros_like(finite)
    # Class by class, so that a record's terms are added in the same order beside any others.
    for number in range(finite.shape[1]):
        beyond = finite[:, [number]] - most
        # It is not among its own others, and added to them it could overflow.
        beyond[:, number] = -np.inf
        total += np.exp(beyond)
    return finite - (most + np.log(total))
