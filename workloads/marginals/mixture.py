"""A mixture of products of columns, fitted to the noised tables of pairs and their label.

The relaxed projection of Aydore et al. (2021, arXiv 2103.06641, section 3) with the softmax of
Liu, Vietri and Wu (2021, arXiv 2106.07153, section 4, "RAP^softmax"): each of a few hundred
made-up records is a distribution over each column's groups, and its marginals are fitted to the
measured ones by least squares. Unlike a junction tree it takes all pairs at once, whatever
cycles they make, and unlike a table of counts no negative count is left.

Own code: the libraries of these methods (private-pgm, `mbi`) stand on jax, which no run needs
otherwise, and this is two products of matrices in each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.variables import Places
from workloads.values import Vector

# Chosen on the training records of Adult: more of either changed nothing that could be told
# from the noise.
_NUM_COMPONENTS, _NUM_STEPS = 300, 400
_LEARNING_RATE, _LAST_LEARNING_RATE, _LAST = 0.1, 0.03, 0.7
# Of Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1).
_BETA_1, _BETA_2, _SMALL = 0.9, 0.99, 1e-8
# A share of the records is within, whatever a sum says.
_LOWEST, _HIGHEST = -1.0, 2.0
# A group without records is as likely as this, at first.
_LEAST_SHARE = 1e-4

Single = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Shares:
    """What is known of the records, in shares of all of them.

    Attributes
    ----------
    singles : sequence of ndarray, shape (labels, groups)
        Of each column.
    pairs : sequence of (int, int, ndarray of shape (labels, groups, groups))
        Of pairs of columns.
    weights : sequence of ndarray, shape (groups,)
        How much more a group's share is known of than that of a cell of a pair.
    """

    singles: list[Vector]
    pairs: list[tuple[int, int, Vector]]
    weights: list[Vector]


@dataclass(frozen=True)
class Mixture:
    """Components of equal weight, in each of which the columns are independent.

    Attributes
    ----------
    labels : ndarray, shape (components, labels)
        The probability of each label.
    columns : list of ndarray, shape (components, groups)
        That of each column's groups.
    """

    labels: Single
    columns: list[Single]

    def rows(self, num_rows: int, rng: np.random.Generator) -> tuple[Places, Places]:
        """Return label (n,) and group of each column (n, columns) of rows at random."""
        each = -(-num_rows // len(self.labels))
        own = rng.permutation(np.repeat(np.arange(len(self.labels)), each))[:num_rows]
        columns = [_drawn(one, own, rng) for one in self.columns]
        return _drawn(self.labels, own, rng), np.stack(columns, axis=1)


def fit_mixture(shares: Shares, rng: np.random.Generator) -> Mixture:
    """Return the mixture whose shares are nearest to what is known, by Adam."""
    targets = _Targets(shares)
    starts = np.log(np.maximum(targets.ones.sum(axis=0), _LEAST_SHARE))
    labels = np.log(np.maximum(targets.labels, _LEAST_SHARE))
    logits = [
        (labels + rng.standard_normal((_NUM_COMPONENTS, len(labels)))).astype(np.float32),
        (starts + rng.standard_normal((_NUM_COMPONENTS, len(starts)))).astype(np.float32),
    ]
    first = [np.zeros_like(one) for one in logits]
    second = [np.zeros_like(one) for one in logits]
    for step in range(1, _NUM_STEPS + 1):
        rate = _LEARNING_RATE if step < _LAST * _NUM_STEPS else _LAST_LEARNING_RATE
        for place, gradient in enumerate(targets.gradients(*logits)):
            first[place] += (1 - _BETA_1) * (gradient - first[place])
            second[place] += (1 - _BETA_2) * (gradient * gradient - second[place])
            mean = first[place] / (1 - _BETA_1**step)
            size = np.sqrt(second[place] / (1 - _BETA_2**step)) + _SMALL
            logits[place] -= np.float32(rate) * mean / size
    columns = np.split(targets.softmax(logits[1]), targets.firsts[1:], axis=1)
    return Mixture(_softmax(logits[0]), columns)


class _Targets:
    """The shares as matrices over the groups of all columns, and the gradient of the fit."""

    def __init__(self, shares: Shares) -> None:
        sizes = [one.shape[1] for one in shares.singles]
        ends = np.cumsum(sizes)
        self.firsts = np.concatenate([[0], ends[:-1]])
        self._owner = np.repeat(np.arange(len(sizes)), sizes)
        num_labels, num = len(shares.singles[0]), int(ends[-1])
        self.ones = _clipped(np.concatenate(shares.singles, axis=1))
        # As float32: a number of float64 among them would turn all into such.
        self._weights = np.concatenate(shares.weights).astype(np.float32)
        self.labels = np.mean([_clipped(one).sum(axis=1) for one in shares.singles], axis=0)
        self._both = np.zeros((num_labels, num, num), np.float32)
        self._known = np.zeros((num, num), np.float32)
        for one, two, table in shares.pairs:
            rows = slice(self.firsts[one], ends[one])
            columns = slice(self.firsts[two], ends[two])
            self._both[:, rows, columns] = _clipped(table)
            self._known[rows, columns] = 1.0

    def softmax(self, logits: Single) -> Single:
        """Return probabilities, of which those of a column add up to 1."""
        most = np.maximum.reduceat(logits, self.firsts, axis=1)[:, self._owner]
        found = np.exp(logits - most)
        return found / self._sums(found)

    def gradients(self, labels: Single, columns: Single) -> tuple[Single, Single]:
        """Return the gradients of the squared error by both logits, times the components."""
        label, own = _softmax(labels), self.softmax(columns)
        by_label, by_own = np.zeros_like(label), np.zeros_like(own)
        for number in range(label.shape[1]):
            weight = label[:, [number]] / np.float32(len(label))
            weighted = own * weight
            error = (own.T @ weighted - self._both[number]) * self._known
            single = (weighted.sum(axis=0) - self.ones[number]) * self._weights
            across = own @ (error + error.T)
            by_own += weight * (across + single)
            # Each pair is in both halves of the symmetric sum.
            by_label[:, number] = (own * (across / 2 + single)).sum(axis=1)
        by_own = own * (by_own - self._sums(by_own * own)) * np.float32(len(own))
        mean = (by_label * label).sum(axis=1, keepdims=True)
        return label * (by_label - mean), by_own

    def _sums(self, values: Single) -> Single:
        return np.add.reduceat(values, self.firsts, axis=1)[:, self._owner]


def _clipped(shares: Any) -> Single:
    return np.clip(np.nan_to_num(shares), _LOWEST, _HIGHEST).astype(np.float32)


def _softmax(logits: Single) -> Single:
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def _drawn(chances: Single, own: Places, rng: np.random.Generator) -> Places:
    """Return a place for each row, at random by the chances of its component."""
    reached = chances.astype(np.float64).cumsum(axis=1)
    draws = rng.random(len(own)) * reached[own, -1]
    found = np.zeros(len(own), np.intp)
    # Column by column: the chances of all rows at once may be more than memory holds.
    for one in reached.T[:-1]:
        found += draws >= one[own]
    return found
