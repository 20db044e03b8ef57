"""Kaplan-Meier curves and the log-rank test from one masked histogram of times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import sum_of_sparse_terms
from privacy.mode import Mode, Place
from privacy.noise.sampling import poisson_sample
from privacy.unit import Unit
from tasks.schema import require
from tasks.table import Table
from workloads.base import Privacy, Records, Step, Workload
from workloads.report import Report
from workloads.survival.curves import Counts, Curve, curve_of, log_rank
from workloads.survival.grid import GridConfig, grid_of
from workloads.values import (
    Aggregate,
    Contribution,
    PrivateContribution,
    Query,
    State,
    Vector,
    require_arrays,
)

_LONGEST = 2**20
_NUM_MADE_UP = 8


@dataclass
class KaplanMeierConfig(GridConfig):
    """The keys of ``algorithm=kaplan_meier``.

    Attributes
    ----------
    by : str
        A column of categories, each of which gets a curve; empty for one curve of all.
    confidence : float
        Of the intervals, in (0, 1).
    """

    by: str = ""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.confidence < 1,
            f"algorithm.confidence={self.confidence}: must be in (0, 1)",
        )

    def settle(self, mode: Mode | None, num_rounds: int, *, is_settled: bool) -> None:
        """Refuse rounds whose noise would be paid for, and that ask for nothing."""
        require(
            mode is None or num_rounds == 1,
            f"num-rounds={num_rounds}: algorithm=kaplan_meier asks one round, and privacy would"
            " be spread over all of them; give num-rounds=1",
        )


class KaplanMeier(Workload):
    """Count the records that leave at each time of a public grid, by event and by group.

    Guarantees
    ----------
    Unit: one record, of whichever node. Its term is one 1 among zeros: the count of its group,
    of the time at which it left, and of how (by the event, or censored); one without a group is
    in the last. So its L1 and L2 norms are 1, whatever the record is and whatever the state,
    which nothing depends on. Numbers at risk are sums of these counts that the server makes of
    the open vector.
    """

    Config = KaplanMeierConfig
    serves = frozenset({(Unit.EXAMPLE, Place.DISTRIBUTED), (Unit.EXAMPLE, Place.CENTRAL)})
    is_integer = True
    needs_table = True
    needs_times = True
    needs_clip_norm = False
    holds_out = False
    begins_afresh = "its result is tables of counts and no model; take initial-model out"

    def __init__(self, setup: Any) -> None:
        super().__init__(setup)
        table: Table = self.task.table
        config: KaplanMeierConfig = setup.algorithm
        is_private = setup.mode is not None
        self.grid = grid_of(config, table.label.high, is_private=is_private)
        self._place = _place_of(table, config.by)
        self._groups = table.columns[self._place].categories if config.by else ("",)
        length = self.length(self.initial_state())
        require(
            length <= _LONGEST,
            f"algorithm: {len(self._groups)} groups of {len(self.grid)} times make a vector of"
            f" {length} counts, but at most {_LONGEST} are summed; give algorithm.steps",
        )

    def bound(self) -> float:
        """Return 1: a record is counted once."""
        return 1.0

    def initial_state(self) -> State:
        """Return no counts."""
        each = 2 * len(self.grid) + 1
        return State({"counts": np.zeros(each * len(self._groups) + 1)}, {"noise": None})

    def check(self, state: State) -> None:
        """Refuse arrays of another name or shape, or not finite."""
        require_arrays(state.arrays, self.initial_state().arrays)

    def rehearse(self, records: Records | None = None) -> None:
        """Count made-up records."""
        self._cells(self.task.made_up(_NUM_MADE_UP))

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return this node's counts."""
        self.check(state)
        length = self.length(state)
        return Contribution(np.bincount(self._cells(records.train), minlength=length), {})

    def terms(self, state: State, query: Query, records: Any) -> Vector:
        """Return each record's term, of norm 1."""
        rows = np.zeros((len(records), self.length(state)))
        rows[np.arange(len(records)), self._cells(records)] = 1.0
        return rows

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Draw records by Poisson sampling and return their counts."""
        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        cells = self._cells(records.train.take(drawn))[:, np.newaxis]
        return PrivateContribution(
            sum_of_sparse_terms(cells, np.ones(cells.shape), self.length(state), self.bound())
        )

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Keep the counts, with the deviation of their noise."""
        return State({"counts": aggregate.total}, {"noise": self.setup.noise})

    def is_finished(self, state: State) -> bool:
        """Return whether the one round is over."""
        return state.header["noise"] is not None

    def report(self, state: State) -> Report:
        """Return the curves, one group after the other, and the test that they are the same."""
        config: KaplanMeierConfig = self.setup.algorithm
        noise = float(state.header["noise"] or 0.0)
        groups = self._counts(state)
        facts: dict[str, Any] = {"time": self.task.table.label.name}
        facts |= {"records": _number(sum(map(_total, groups)), noise)}
        if config.by:
            facts["left out, no group"] = _number(state.arrays["counts"][-1], noise)
        if noise:
            facts["standard deviation of each count's noise"] = noise
        rows: list[list[Any]] = []
        for name, counts in zip(self._groups, groups, strict=True):
            curve = curve_of(
                counts, least=config.least, noise=noise, confidence=config.confidence
            )
            label = f"{config.by}={name}" if config.by else "all"
            facts |= self._facts(label, counts, curve, noise)
            rows += self._rows(label, curve, noise)
        if len(groups) > 1 and (test := log_rank(groups, noise)) is not None:
            facts |= {
                "log-rank test, chi-squared": test.chi2,
                "log-rank test, degrees of freedom": test.degrees,
                "log-rank test, p": test.p,
            }
        level = f"{100 * config.confidence:g} %"
        columns = ["group", "time", "at risk", "events", "survival", "standard error"]
        return Report("survival", facts, [*columns, f"{level} from", f"{level} to"], rows)

    def _facts(self, label: str, counts: Counts, curve: Curve, noise: float) -> dict[str, Any]:
        median = curve.median()
        found: dict[str, Any] = {
            f"{label}: records": _number(_total(counts), noise),
            f"{label}: events": _number(counts.events.sum(), noise),
            f"{label}: median": None if median is None else float(self.grid.times[median]),
        }
        if curve.is_cut:
            end = int(curve.places[-1]) if len(curve.places) else None
            told = "never" if end is None else float(self.grid.times[end])
            found[f"{label}: enough at risk until"] = told
        return found

    def _rows(self, label: str, curve: Curve, noise: float) -> list[list[Any]]:
        counts = (curve.at_risk, curve.events)
        shown = [[_number(value, noise) for value in values] for values in counts]
        shares = (curve.survival, curve.error, curve.low, curve.high)
        times = self.grid.times[curve.places]
        columns = [times.tolist(), *shown, *(values.tolist() for values in shares)]
        return [[label, *row] for row in zip(*columns, strict=True)]

    def _counts(self, state: State) -> list[Counts]:
        m = len(self.grid)
        parts = state.arrays["counts"][:-1].reshape(len(self._groups), 2 * m + 1)
        return [Counts(part[:m], part[m:]) for part in parts]

    def _cells(self, records: Any) -> NDArray[np.intp]:
        """Return the count that each record is in, by comparisons only, so each by itself."""
        m = len(self.grid)
        places = self.grid.places(records.targets[:, 0])
        # What happens beyond the grid's end is not known at its end.
        happened = (records.targets[:, 1] == 1) & (places < m)
        cells = np.where(happened, places, m + places)
        if not self.setup.algorithm.by:
            return cells
        group = records.columns[:, self._place]
        known = np.isin(group, np.arange(len(self._groups)))
        which = np.where(known, group, 0).astype(np.intp)
        return np.where(known, which * (2 * m + 1) + cells, len(self._groups) * (2 * m + 1))


def _place_of(table: Table, by: str) -> int:
    """Return the column of the groups.

    Raises
    ------
    ValueError
        If it is none, or has numbers; names it, and the columns that would do.
    """
    if not by:
        return 0
    able = [column.name for column in table.columns if column.is_categorical]
    if by not in able:
        there = any(column.name == by for column in table.columns)
        what = "has numbers" if there else "is no column"
        raise ValueError(
            f"algorithm.by={by}: it {what}; groups are the categories of a column, and there"
            f" are {', '.join(able) or 'none'}"
        )
    return [column.name for column in table.columns].index(by)


def _total(counts: Counts) -> float:
    return float(counts.events.sum() + counts.censored.sum())


def _number(value: float, noise: float) -> Any:
    """Return a count: whole without noise."""
    return float(value) if noise else round(float(value))
