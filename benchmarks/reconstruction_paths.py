"""Follow the few records of a bin through all trees: who went where follows from the sums.

A record's residual is known from the path it took through the trees before, to the last bit.
So the sums of each node tell which of a bin's records went into it. A node that was not asked
about leaves both ways open until the next tree's residuals decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from workloads.histograms.bins import Bins
from workloads.histograms.losses import Loss
from workloads.histograms.summed import FRACTION_BITS
from workloads.trees.ensemble import Trees

#: Records of a bin that are followed.
MOST_RECORDS = 10
# Ways in which those of one bin may have gone, that are kept in mind.
_MOST_WAYS = 4_000


class Walker(NamedTuple):
    """A record on its way: its class, the leaves it came to, and its score there."""

    label: int
    leaves: tuple[int, ...]
    score: float


Way = tuple[Walker, ...]
Sums = tuple[int, int, int]


@dataclass(frozen=True)
class Forest:
    """The trees of a run, and what was heard of their nodes.

    Attributes
    ----------
    bins : Bins
    loss : Loss
        Of two classes.
    intercept : float
        Where scores begin.
    trees : Trees
        Those that are grown to the end.
    asked : dict of int to int
        Node to the row of its sums, in the order in which they were asked about.
    sums : ndarray of int64, shape (nodes asked about, 3, bins)
        Residuals and second derivatives in steps of 2^-24, and counts.
    """

    bins: Bins
    loss: Loss
    intercept: float
    trees: Trees
    asked: dict[int, int]
    sums: np.ndarray

    @cached_property
    def _known(self) -> dict[tuple[int, float], Sums]:
        return {}

    @cached_property
    def _goes_left(self) -> np.ndarray:
        return np.unpackbits(self.trees.left, axis=1).astype(bool)

    @cached_property
    def _parents(self) -> dict[int, int]:
        nodes = np.flatnonzero(self.trees.column >= 0)
        left = self.trees.child[nodes]
        children = np.concatenate([left, left + 1]).tolist()
        return dict(zip(children, np.tile(nodes, 2).tolist(), strict=True))

    def follow(self, place: int, labels: list[int]) -> Way | None:
        """Return the records of a bin with the leaves of all trees; None if it is not clear.

        Parameters
        ----------
        place : int
            The bin.
        labels : list of int
            The classes of its records.
        """
        if len(labels) > MOST_RECORDS:
            return None
        ways = [tuple(Walker(label, (), self.intercept) for label in labels)]
        for root in self.trees.roots.tolist():
            found: dict[Way, None] = {}
            for way in ways:
                if self._sum(way) != self._heard(root, place):
                    continue
                for next_way in self._down(root, place, way):
                    found[tuple(sorted(next_way))] = None
                    if len(found) > _MOST_WAYS:
                        return None
            ways = list(found)
        # Those that differ do so in leaves of the last tree that say nothing more.
        return ways[0] if ways else None

    def print_of(self, walker: Walker) -> np.ndarray:
        """Return what a record adds to the sums, shape (nodes asked about, 3)."""
        found = np.zeros((len(self.asked), 3), np.int64)
        score = self.intercept
        for leaf in walker.leaves:
            own, node = self._own(walker.label, score), leaf
            while True:
                if node in self.asked:
                    found[self.asked[node]] = own
                if node not in self._parents:
                    break
                node = self._parents[node]
            score += float(self.trees.value[leaf, 0])
        return found

    def _own(self, label: int, score: float) -> Sums:
        key = (label, score)
        if key not in self._known:
            predicted = self.loss.predicted(np.array([[score]]))
            residual = self.loss.residuals(np.array([label]), predicted)[0, 0]
            hessian = self.loss.hessians(predicted)[0, 0]
            steps = [int(np.rint(value * 2.0**FRACTION_BITS)) for value in (residual, hessian)]
            self._known[key] = (steps[0], steps[1], 1)
        return self._known[key]

    def _sum(self, walkers: Way) -> Sums:
        own = [self._own(walker.label, walker.score) for walker in walkers]
        return (sum(x[0] for x in own), sum(x[1] for x in own), len(own))

    def _heard(self, node: int, place: int) -> Sums:
        residual, hessian, count = self.sums[self.asked[node], :, place].tolist()
        return (residual, hessian, count)

    def _down(self, node: int, place: int, walkers: Way) -> Iterator[Way]:
        """Yield each way in which records at a node may have gone on."""
        if not walkers:
            yield ()
            return
        column = int(self.trees.column[node])
        if column < 0:
            value = float(self.trees.value[node, 0])
            yield tuple(Walker(w.label, (*w.leaves, node), w.score + value) for w in walkers)
            return
        left = int(self.trees.child[node])
        for one, other in self._sides(node, column, place, walkers):
            if self._fits(left, place, one) and self._fits(left + 1, place, other):
                both = product(self._down(left, place, one), self._down(left + 1, place, other))
                yield from (first + second for first, second in both)

    def _sides(
        self, node: int, column: int, place: int, walkers: Way
    ) -> Iterator[tuple[Way, Way]]:
        """Yield each way to send records left and right."""
        within = place - int(self.bins.firsts[column])
        if 0 <= within < self.bins.sizes[column]:
            yield (walkers, ()) if self._goes_left[node, within] else ((), walkers)
            return
        left, num = int(self.trees.child[node]), len(walkers)
        sizes = range(num + 1)
        if left in self.asked:
            sizes = [self._heard(left, place)[2]]
        elif left + 1 in self.asked:
            sizes = [num - self._heard(left + 1, place)[2]]
        seen: set[Way] = set()
        for size in sizes:
            for chosen in combinations(range(num), size):
                one = tuple(walkers[i] for i in chosen)
                if one not in seen:
                    seen.add(one)
                    yield one, tuple(w for i, w in enumerate(walkers) if i not in chosen)

    def _fits(self, node: int, place: int, walkers: Way) -> bool:
        return node not in self.asked or self._sum(walkers) == self._heard(node, place)
