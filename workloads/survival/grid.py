"""The public times at which a survival curve is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from tasks.schema import require
from workloads.base import WorkloadConfig
from workloads.values import Vector

# One step for each whole unit of time up to so many, else so many steps.
_MOST_UNITS, _EXACT_STEPS = 2000, 200
# Every step has noise of its own.
PRIVATE_STEPS = 50
_MOST_STEPS = 2**20


@dataclass
class GridConfig(WorkloadConfig):
    """The times that a workload of times looks at.

    Attributes
    ----------
    times : list of float
        Times, ascending, above 0 and up to the longest of the label. A record that leaves
        between two counts at the later one.
    steps : int, optional
        Instead: so many equal steps up to the longest time. Not given, nor times: steps of 1
        where the longest time is whole and at most 2000, else 200; under privacy 50 at most.
    min_at_risk : int, optional
        The fewest records that anything reported is of, at least 1. Not given: 3.
    """

    times: list[float] = field(default_factory=list)
    steps: int | None = None
    min_at_risk: int | None = None

    def __post_init__(self) -> None:
        require(
            not self.times or self.steps is None,
            f"algorithm.times={self.times}, algorithm.steps={self.steps}: give one of the two",
        )
        ascending = all(a < b for a, b in zip(self.times, self.times[1:], strict=False))
        require(
            ascending and all(isfinite(time) and time > 0 for time in self.times),
            f"algorithm.times={self.times}: must ascend, each finite and above 0",
        )
        require(
            self.steps is None or 1 <= self.steps <= _MOST_STEPS,
            f"algorithm.steps={self.steps}: must be from 1 to {_MOST_STEPS}",
        )
        require(
            self.min_at_risk is None or self.min_at_risk >= 1,
            f"algorithm.min_at_risk={self.min_at_risk}: must be at least 1",
        )

    @property
    def least(self) -> int:
        """Return the fewest records that anything reported is of."""
        return 3 if self.min_at_risk is None else self.min_at_risk


@dataclass(frozen=True)
class Grid:
    """Public times.

    Attributes
    ----------
    times : ndarray, float64, shape (m,)
        Ascending, above 0.
    """

    times: Vector

    def __len__(self) -> int:
        return len(self.times)

    def places(self, times: Vector) -> NDArray[np.intp]:
        """Return where each time is on the grid: the first that is not before it, or m.

        By comparisons only, so each by itself. Times that are on the grid stay as they are.
        """
        return np.searchsorted(self.times, times, side="left")


def grid_of(config: GridConfig, longest: float, *, is_private: bool) -> Grid:
    """Return the times of a configuration, or those that follow from the longest time.

    Parameters
    ----------
    config : GridConfig
        What is asked for.
    longest : float
        Of the label.
    is_private : bool
        Whether each step has noise of its own, so that fewer are better.

    Raises
    ------
    ValueError
        If a time is beyond the longest; names both.
    """
    if config.times:
        require(
            config.times[-1] <= longest,
            f"algorithm.times: {config.times[-1]:g} is beyond task.label.time.max={longest:g},"
            " up to which records are looked at; take it out, or raise the maximum",
        )
        return Grid(np.array(config.times, np.float64))
    steps = config.steps
    if steps is None:
        is_whole = float(longest).is_integer() and longest <= _MOST_UNITS
        steps = int(longest) if is_whole else _EXACT_STEPS
        steps = min(steps, PRIVATE_STEPS) if is_private else steps
    # In this order steps of 1 are whole numbers, as times in a file are.
    return Grid(longest * np.arange(1, steps + 1) / steps)
