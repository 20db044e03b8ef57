"""Trees whose structure is drawn from a public seed and released counts, not from records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workloads.histograms.bins import Bins, Floats
from workloads.trees.ensemble import LEAF, Trees, packed

Flags = NDArray[np.bool_]
# Part of the chance of a column that all have alike.
_ALIKE = 0.2
# Of a bin without records, so that none is without a chance.
_FEW = 1e-6


@dataclass(frozen=True)
class Drawing:
    """What trees are drawn from: all of it is public, or was released with noise.

    Attributes
    ----------
    bins : Bins
        The bins of all columns.
    counts : ndarray, shape (bins,)
        Records in each bin, about; not negative.
    curves : ndarray, shape (scores, bins)
        What each bin says about the label, about.
    depth : int
        Of every tree.
    """

    bins: Bins
    counts: Floats
    curves: Floats
    depth: int

    @cached_property
    def spread(self) -> Floats:
        """Return the standard deviation of each column's curve over the records."""
        num = np.maximum(self.bins.sum_columns(self.counts), 1.0)
        mean = self.bins.sum_columns(self.counts * self.curves) / num
        square = self.bins.sum_columns(self.counts * self.curves**2) / num
        return np.sqrt(np.maximum(square - mean**2, 0.0).sum(axis=0))

    @cached_property
    def chances(self) -> Floats:
        """Return the chance of each column: most by its spread."""
        alike, told = np.full(len(self.spread), 1 / len(self.spread)), self.spread.sum()
        return alike if told <= 0 else _ALIKE * alike + (1 - _ALIKE) * self.spread / told

    def tree(self, rng: np.random.Generator) -> Trees:
        """Return one tree, with values of 0."""
        column, child, left = [LEAF], [0], [np.zeros(int(self.bins.sizes.max()), bool)]
        level = [(0, [np.ones(size, bool) for size in self.bins.sizes])]
        for _ in range(self.depth):
            below: list[tuple[int, list[Flags]]] = []
            for node, allowed in level:
                split = self._split(rng, allowed)
                if split is None:
                    continue
                column[node], goes_left = split
                child[node] = len(column)
                left[node][: len(goes_left)] = goes_left
                for side in (goes_left, ~goes_left):
                    rest = list(allowed)
                    rest[column[node]] = rest[column[node]] & side
                    below.append((len(column), rest))
                    column.append(LEAF)
                    child.append(0)
                    left.append(np.zeros_like(left[0]))
            level = below
        return Trees(
            np.zeros(1, np.int32),
            np.array(column, np.int16),
            np.array(child, np.int32),
            packed(np.array(left), -(-len(left[0]) // 8)),
            np.zeros((len(column), len(self.curves))),
        )

    def _split(
        self, rng: np.random.Generator, allowed: list[Flags]
    ) -> tuple[int, Flags] | None:
        """Return a column and which of its bins go left; None if no column has two left."""
        chances = self.chances * [flags.sum() > 1 for flags in allowed]
        if not chances.any():
            return None
        chosen = int(rng.choice(len(chances), p=chances / chances.sum()))
        first, size = self.bins.firsts[chosen], self.bins.sizes[chosen]
        order = np.arange(size)
        if self.bins.columns[chosen].is_categorical:
            # By what they say about one of the scores.
            score = int(rng.integers(len(self.curves)))
            order = np.argsort(self.curves[score, first : first + size], kind="stable")
        elif rng.random() < 1 / 2:
            # Missing values are in the last bin, and may as well go left.
            order = np.roll(order, 1)
        order = order[allowed[chosen][order]]
        counts = self.counts[first : first + size][order]
        # Between two bins, with the chance of their records.
        weight = counts[:-1] + counts[1:] + _FEW
        cut = int(rng.choice(len(weight), p=weight / weight.sum()))
        goes_left = np.zeros(size, bool)
        goes_left[order[: cut + 1]] = True
        return chosen, goes_left
