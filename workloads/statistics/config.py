"""The configuration of descriptive statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

from privacy.mode import Mode
from tasks.schema import require
from workloads.base import WorkloadConfig

#: Bins of a column of numbers, where nothing is given.
EXACT_BINS, PRIVATE_BINS = 255, 32
_MIN_CELL = 3


@dataclass
class StatisticsConfig(WorkloadConfig):
    """The keys of ``algorithm=statistics``.

    Attributes
    ----------
    columns : list of str
        The columns to describe, beside the label; all of the task if none is named.
    tables : list of list of str
        Pairs of columns, or of a column and the label, for two-way tables, beside those of a
        label with classes and each categorical column.
    correlations : bool
        Whether to correlate all numbers, over records that miss none of them.
    max_bins : int, optional
        The most bins of a column of numbers whose edges are not given, at least 2. Not given:
        32 under privacy, else 255.
    min_cell : int, optional
        Cells of fewer records are hidden in the report; 0 hides none. Not given: 3, and 0 under
        privacy, where noise hides who is in a cell, and to drop small ones would only shift
        what is left.
    confidence : float
        Of the intervals, in (0, 1): only where there is noise.
    """

    columns: list[str] = field(default_factory=list)
    tables: list[list[str]] = field(default_factory=list)
    correlations: bool = True
    max_bins: int | None = None
    min_cell: int | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        name = "algorithm"
        require(
            self.max_bins is None or 2 <= self.max_bins <= 2**16,
            f"{name}.max_bins={self.max_bins}: must be from 2 to 65536",
        )
        require(
            self.min_cell is None or self.min_cell >= 0,
            f"{name}.min_cell={self.min_cell}: must be at least 0, which hides none",
        )
        require(
            0 < self.confidence < 1,
            f"{name}.confidence={self.confidence}: must be in (0, 1)",
        )
        for pair in self.tables:
            require(
                len(pair) == 2,
                f"{name}.tables: {pair} must be a pair of columns; write {name}.tables=[[a,b]]",
            )

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace what is not given by what suits the privacy option."""
        if self.max_bins is None:
            self.max_bins = EXACT_BINS if mode is None else PRIVATE_BINS
        if self.min_cell is None:
            self.min_cell = _MIN_CELL if mode is None else 0
