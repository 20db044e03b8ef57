"""The configuration of a synthetic table."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.mode import Mode
from tasks.schema import require
from workloads.base import WorkloadConfig

MOST_ROWS = 10_000_000
#: More are made only for who asks for them: a client that lies makes the count of the records
#: any number, and a row takes a kilobyte of the server's memory.
MOST_ROWS_UNASKED = 1_000_000
_PRIVATE_GROUPS, _EXACT_GROUPS = 8, 16


@dataclass
class MarginalsConfig(WorkloadConfig):
    """The keys of ``algorithm=marginals``.

    Attributes
    ----------
    max_bins : int
        The most bins of a column of numbers whose edges are not given, at least 2.
    max_groups : int, optional
        The most groups that the bins of a column of numbers are put into where columns are
        counted in pairs, at least 2. Not given: 8 under privacy, where each cell has noise of
        its own, else 16.
    rows : int, optional
        Rows of the synthetic table. Not given: as many as the records, by the noised count, and
        a million at most.
    """

    max_bins: int = 16
    max_groups: int | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        name = "algorithm"
        require(
            2 <= self.max_bins <= 2**16,
            f"{name}.max_bins={self.max_bins}: must be from 2 to 65536",
        )
        require(
            self.max_groups is None or 2 <= self.max_groups <= 2**10,
            f"{name}.max_groups={self.max_groups}: must be from 2 to 1024",
        )
        require(
            self.rows is None or 1 <= self.rows <= MOST_ROWS,
            f"{name}.rows={self.rows}: must be from 1 to {MOST_ROWS}",
        )

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Replace what is not given by what suits the privacy option.

        Raises
        ------
        ValueError
            If there is no round for the pairs of columns.
        """
        require(
            num_rounds >= 2,
            f"num-rounds={num_rounds}: algorithm=marginals counts single columns in the first"
            " round and pairs of columns in the others; give num-rounds=3",
        )
        if self.max_groups is None:
            self.max_groups = _EXACT_GROUPS if mode is None else _PRIVATE_GROUPS
