"""The times of a pooled Cox regression: the grid's, merged where few records leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.values import Vector


@dataclass(frozen=True)
class Cells:
    """Stretches of the grid, each with an event at its beginning, that count as one time.

    A record belongs to the stretch in which it leaves: it is at risk there and in all before.
    One that leaves before the first event is in no risk set.

    Attributes
    ----------
    starts : ndarray of int, shape (k,)
        The place on the grid where each begins, ascending.
    """

    starts: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.starts)

    def of(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the stretch of each place, -1 for none before the first."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def sums(self, by_place: Vector) -> Vector:
        """Return the sum over the places of each stretch, shape (k,)."""
        if not len(self):
            return np.zeros(0)
        return np.add.reduceat(by_place, self.starts)


def merged(events: Vector, leaving: Vector, least: int) -> Cells:
    """Return the times of events, neighbours merged until no sum is of fewer than ``least``.

    The sums at risk of two neighbouring times differ by the records that leave in between, so
    these must not be fewer, or that difference is their rows. Nor may the events of one time
    whose own sums are asked for, which Efron's ties need from two on.

    Parameters
    ----------
    events, leaving : ndarray, shape (m + 1,)
        By place on the grid: events, and all that leave; the last for those beyond its end.
    least : int
        The fewest records that a sum may be of; 1 merges nothing.
    """
    times = np.flatnonzero(events)
    ends = np.append(times, len(events))[1:]
    kept: list[tuple[int, float, float]] = []
    begun: tuple[int, float, float] | None = None
    for start, end in zip(times, ends, strict=True):
        own = (int(start), float(events[start]), float(leaving[start:end].sum()))
        begun = own if begun is None else _joined(begun, own)
        if _is_enough(begun, least):
            kept.append(begun)
            begun = None
    while begun is not None and kept:
        begun = _joined(kept.pop(), begun)
        if _is_enough(begun, least):
            kept.append(begun)
            begun = None
    return Cells(np.array([start for start, _, _ in kept], np.intp))


def _joined(
    one: tuple[int, float, float], other: tuple[int, float, float]
) -> tuple[int, float, float]:
    return one[0], one[1] + other[1], one[2] + other[2]


def _is_enough(cell: tuple[int, float, float], least: int) -> bool:
    _, events, leaving = cell
    return leaving >= least and (events == 1 or events >= least)
