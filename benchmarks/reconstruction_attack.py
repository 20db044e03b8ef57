"""Rebuild records from the histograms that a server hears: what each bin adds up to.

Without noise a record adds the same numbers, its *print*, to one bin of every column: residuals
rounded to 2^-24, and 1 to each node of a tree that it is in. A record that is alone in one bin
shows its print, and a bin of several holds those whose prints have its sum. Each column deals
the records into bins, as the hashes of an invertible Bloom lookup table do (Goodrich and
Mitzenmacher 2011, arXiv 1101.2245), and is peeled likewise; a bin of many is a system of linear
equations in zeros and ones, solved modulo a prime.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np

from benchmarks.reconstruction_solve import Hashes, Ints, Numbers, solve, subset
from workloads.histograms.bins import Bins

#: Not decided.
UNKNOWN = -1


@dataclass(frozen=True)
class Evidence:
    """What a server knows of each bin.

    Attributes
    ----------
    bins : Bins
        Public.
    classes : ndarray of int64, shape (classes, bins)
        Records by class.
    counters : ndarray of int64, shape (counters, bins)
        Further counts, to each of which a record adds 0 or 1.
    sums : ndarray of int64, shape (numbers, bins)
        What else the records add, in steps of 2^-24.
    """

    bins: Bins
    classes: Ints
    counters: Ints
    sums: Ints

    @cached_property
    def counts(self) -> Ints:
        """Return the records in each bin, shape (bins,)."""
        return self.classes.sum(axis=0)

    @cached_property
    def whole(self) -> Ints:
        """Return all that a print has, of each bin, shape (bins, numbers)."""
        return np.concatenate([self.classes, self.counters, self.sums]).T

    @cached_property
    def hashes(self) -> Hashes:
        """Return a random linear map of ``whole`` modulo 2^64, shape (bins,)."""
        return self.hash(self.whole)

    def hash(self, prints: Ints) -> Hashes:
        """Return that of some prints, shape (...,): what is equal here is equal."""
        rng = np.random.default_rng(0)
        factors = rng.integers(2**63, size=self.whole.shape[1], dtype=np.uint64) * 2 + 1
        return (prints.view(np.uint64) * factors).sum(axis=-1, dtype=np.uint64)

    @property
    def num_records(self) -> int:
        """Return the records in all."""
        return int(self.counts[: self.bins.sizes[0]].sum())

    @property
    def num_small(self) -> int:
        """Return how many numbers of a print count."""
        return len(self.classes) + len(self.counters)


#: From a bin to the prints of its records, or none where they are not clear.
Follow = Callable[[int], Sequence[Ints]]


@dataclass
class Peeling:
    """The prints that are known, and the bin in each column of each.

    Attributes
    ----------
    evidence : Evidence
    follow : callable, optional
        Finds the prints of a bin of a few records by other means.
    prints : ndarray of int64, shape (known, numbers)
    places : ndarray of int, shape (known, columns)
        The bin within the column, or ``UNKNOWN``.
    """

    evidence: Evidence
    follow: Follow | None = None
    prints: Ints = field(init=False)
    places: Numbers = field(init=False)
    _solved: set[int] = field(default_factory=set[int])

    def __post_init__(self) -> None:
        found = self._first_prints()[: self.evidence.num_records]
        width = self.evidence.whole.shape[1]
        self.prints = np.stack(found) if found else np.zeros((0, width), np.int64)
        self._hashes = self.evidence.hash(self.prints)
        self.places = np.full((len(found), self.evidence.bins.num_columns), UNKNOWN)

    def run(self) -> Self:
        """Find the records of all bins where they are determined, and return this."""
        progress = True
        while progress:
            progress = self._solve_small()
        for column, own in self._columns():
            self._solve_large(column, own)
        return self

    def _columns(self) -> Iterator[tuple[int, Numbers]]:
        """Yield each column and its bins with records in them, those of few first."""
        bins = self.evidence.bins
        for column in range(bins.num_columns):
            own = bins.firsts[column] + np.arange(bins.sizes[column])
            own = own[self.evidence.counts[own] > 0]
            yield column, own[np.argsort(self.evidence.counts[own], kind="stable")]

    def _first_prints(self) -> list[Ints]:
        """Return the prints that single bins show, each as often as it must be there."""
        counts, whole = self.evidence.counts, self.evidence.whole
        most: Counter[bytes] = Counter()
        for _, own in sorted(self._columns(), key=lambda each: counts[each[1]].max(initial=0)):
            if most.total() >= self.evidence.num_records:
                break
            rows = [row.tobytes() for row in whole[own[counts[own] == 1]]]
            if self.follow is not None:
                for place in own[counts[own] > 1]:
                    rows += [row.tobytes() for row in self.follow(int(place))]
            most |= Counter(rows)
        return [np.frombuffer(row, np.int64) for row in most.elements()]

    def _candidates(self, column: int, place: int) -> Numbers:
        """Return the records that may be in a bin: free, and nothing in them is too much."""
        free = np.flatnonzero(self.places[:, column] == UNKNOWN)
        small = self.evidence.num_small
        fits = self.prints[free, :small] <= self.evidence.whole[place, :small]
        return free[fits.all(axis=1)]

    def _solve_small(self) -> bool:
        """Find the records of bins of which few subsets could be; return whether any were."""
        evidence, before = self.evidence, len(self._solved)
        for column, own in self._columns():
            for place in own:
                if place not in self._solved:
                    free = self._candidates(column, place)
                    size, target = int(evidence.counts[place]), int(evidence.hashes[place])
                    found = subset(self._hashes[free], size, target)
                    if found is not None:
                        self._settle(column, place, free[found])
        return len(self._solved) > before

    def _settle(self, column: int, place: int, records: Numbers) -> None:
        self.places[records, column] = place - self.evidence.bins.firsts[column]
        self._solved.add(int(place))

    def _solve_large(self, column: int, own: Numbers) -> None:
        """Find the records of all other bins of a column at once, where they are determined."""
        open_bins = np.array([place for place in own if place not in self._solved], np.intp)
        free = np.flatnonzero(self.places[:, column] == UNKNOWN)
        if not len(open_bins) or not len(free):
            return
        kinds, kind = np.unique(self._hashes[free], return_inverse=True)
        firsts = np.array([np.flatnonzero(kind == one)[0] for one in range(len(kinds))])
        solution = solve(self.prints[free[firsts]].T, self.evidence.whole[open_bins].T)
        num_of = np.bincount(kind)[:, np.newaxis]
        holds = ((solution >= 0) & (solution <= num_of)).all(axis=0)
        holds &= solution.sum(axis=0) == self.evidence.counts[open_bins]
        for place, members in zip(open_bins[holds], solution[:, holds].T, strict=True):
            # Records of one print are one like the other.
            left = np.flatnonzero(self.places[:, column] == UNKNOWN)
            taken = [
                left[self._hashes[left] == kinds[one]][: members[one]]
                for one in np.flatnonzero(members)
            ]
            self._settle(column, place, np.concatenate(taken))
