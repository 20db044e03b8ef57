"""A synthetic table: noised marginals of all columns, from which rows of nobody are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot, isfinite, sqrt
from typing import Any

import numpy as np

from privacy.bounding.bounded_sum import sum_of_sparse_parts
from privacy.mode import Place
from privacy.noise.sampling import poisson_sample
from privacy.unit import Unit
from workloads.base import Privacy, Records, Setup, Step, Workload
from workloads.marginals.config import MarginalsConfig
from workloads.marginals.grouping import groups_of
from workloads.marginals.layout import Layout
from workloads.marginals.report import report_of
from workloads.marginals.synthesis import Released, Synthetic, synthesize
from workloads.report import Report
from workloads.statistics.variables import Places, variables_of
from workloads.values import (
    Aggregate,
    Contribution,
    PrivateContribution,
    Query,
    State,
    StateRefusedError,
    Vector,
    require_arrays,
)

# Entries that are worked on at once, to bound the memory; whole numbers add up in any order.
_CHUNK = 2**21
_NUM_MADE_UP = 8
# In the first round, and in the others.
_COUNTED = ("singles", "tables")
# No count is larger: up to there float64 has every whole number.
_LARGEST = 2.0**53


class Marginals(Workload):
    """Count each column by the label, then each pair of columns by the label.

    The first round counts single columns, finely. From its counts follow groups of bins and
    categories that have more records than noise, and the other rounds count pairs of columns by
    these, all pairs in each round: their mean has the noise of one round over the root of their
    number. The server makes a synthetic table of both: McKenna, Miklau and Sheldon 2021 (arXiv
    2108.04978, section 2) call that select, measure, generate. What is selected is public: all.

    Guarantees
    ----------
    Unit: one record, of whichever node. Neighbours: it added or removed. It is in one cell of
    each of k tables, as missing values have a cell and values beyond the bounds lie in the one
    there; each counts it as 1 / sqrt(k), so its term has an L2 norm of 1. k are the columns in
    the first round and the pairs of them in the others, all public. The state that a server
    sends chooses which cells a record is in, and not how many: a search over states tests it.
    The synthetic table is a function of the released sums and public settings alone.

    Without privacy an entry is 1: the masked sum is that of the pooled records bit for bit.
    """

    Config = MarginalsConfig
    serves = frozenset({(Unit.EXAMPLE, Place.DISTRIBUTED), (Unit.EXAMPLE, Place.CENTRAL)})
    is_integer = True
    needs_table = True
    needs_clip_norm = False
    begins_afresh = "its result is tables of counts and no model; take initial-model out"
    takes_samples = False

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        config: MarginalsConfig = setup.algorithm
        variables = variables_of(self.task.table, (), config.max_bins)
        self._layout = Layout(variables, config.max_groups or config.max_bins)

    def bound(self) -> float:
        """Return 1: each of a record's entries is divided by the root of their number."""
        return 1.0

    def length(self, state: State) -> int:
        """Return the number of cells of single columns, then that of pairs.

        Under privacy always the larger, as a plan is for vectors of one length.
        """
        self.check(state)
        if self.setup.mode is not None:
            return self.longest()
        if self._counts_singles(state):
            return self._layout.num_singles
        return self._layout.num_pairs

    def longest(self) -> int:
        """Return the longer of both."""
        return max(self._layout.num_singles, self._layout.num_pairs)

    def initial_state(self) -> State:
        """Return no counts."""
        nothing = np.zeros(0)
        arrays = {"singles": nothing, "groups": nothing, "tables": nothing}
        return State(arrays, {"noise": 0.0, "table_noise": 0.0, "num_tables": 0})

    def largest_state(self) -> State:
        """Return zeros of the size of what is sent: after the last round nothing is."""
        layout = self._layout
        if not layout.pairs:
            return self.initial_state()
        sends_tables = self.setup.num_rounds > 2 and self.setup.mode is not None
        sizes = {
            "singles": layout.num_singles,
            "groups": layout.num_cells,
            "tables": layout.num_pairs if sends_tables else 0,
        }
        return State({name: np.zeros(size) for name, size in sizes.items()})

    def check(self, state: State) -> None:
        """Refuse arrays that are no counts of this layout, or groups that there are not."""
        layout, arrays = self._layout, state.arrays
        is_counted, has_tables = (bool(np.size(arrays.get(n, ()))) for n in _COUNTED)
        sizes = {
            "singles": is_counted * layout.num_singles,
            "groups": is_counted * layout.num_cells,
            "tables": is_counted * has_tables * layout.num_pairs,
        }
        require_arrays(arrays, {name: np.zeros(size) for name, size in sizes.items()})
        if is_counted:
            self._check_groups(state.arrays["groups"])

    def _check_groups(self, groups: Vector) -> None:
        if (groups != np.rint(groups)).any() or (np.abs(groups) > 2.0**31).any():
            raise StateRefusedError("a group is no whole number")
        own = self._layout.by_variable(groups)
        for variable, found in zip(self._layout.variables, own, strict=True):
            most = self._layout.most_groups(variable)
            if found.min() < 0 or found.max() >= most:
                raise StateRefusedError(
                    f"{variable.name}: groups must be from 0 to {most - 1}, but there are"
                    f" {found.min()} to {found.max()}"
                )

    def rehearse(self, records: Records | None = None) -> None:
        """Count made-up records in both kinds of round; refuse records without the columns."""
        made_up = self.task.made_up(_NUM_MADE_UP)
        self._layout.single_places(made_up)
        if self._layout.pairs:
            self._layout.pair_places(made_up, np.zeros(self._layout.num_cells))
        if records is not None:
            self.task.table.require_columns(records.train.columns)

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return the counts of this node's records, whole numbers."""
        self._require_asked(state)
        total = np.zeros(self.length(state), np.int64)
        for places in self._places(state, records.train):
            total += np.bincount(places.ravel(), minlength=len(total))
        return Contribution(total, {})

    def terms(self, state: State, query: Query, records: Any) -> Vector:
        """Return each record's term, of norm 1."""
        self._require_asked(state)
        rows = np.zeros((len(records), self.length(state)))
        places = self._cells_of(state, records)
        np.put_along_axis(rows, places, self._entry(state), axis=1)
        return rows

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Return the sum of the few entries of records that are drawn by Poisson sampling."""
        self._require_asked(state)
        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        entry = self._entry(state)
        parts = (
            (places, np.full(places.shape, entry))
            for places in self._places(state, records.train.take(drawn))
        )
        return PrivateContribution(sum_of_sparse_parts(parts, self.length(state), self.bound()))

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Return the counts with their groups, or the mean of the tables of pairs so far."""
        entry = 1.0 if self.setup.mode is None else self._entry(state)
        layout, noise = self._layout, aggregate.noise / entry
        num = layout.num_singles if self._counts_singles(state) else layout.num_pairs
        total = np.clip(aggregate.total[:num] / entry, -_LARGEST, _LARGEST)
        arrays, header = dict(state.arrays), dict(state.header)
        if self._counts_singles(state):
            rounds = max(1, self.setup.num_rounds - 1)
            # What a cell of the mean of all later rounds will have.
            expected = aggregate.noise * sqrt(max(1, len(layout.pairs)) / rounds)
            arrays["singles"] = total
            arrays["groups"] = groups_of(layout, total, expected)
            header["noise"] = noise
            return State(arrays, header)
        before = int(header["num_tables"])
        old = arrays["tables"] if before else np.zeros_like(total)
        arrays["tables"] = (before * old + total) / (before + 1)
        header["table_noise"] = hypot(before * header["table_noise"], noise) / (before + 1)
        header["num_tables"] = before + 1
        return State(arrays, header)

    def is_finished(self, state: State) -> bool:
        """Return whether all is counted: exact counts once, and pairs only if there are any."""
        if self._counts_singles(state):
            return False
        is_exact = self.setup.mode is None
        return not self._layout.pairs or (is_exact and len(state.arrays["tables"]) > 0)

    def report(self, state: State) -> Report | None:
        """Return the counts of single columns; None before the first round."""
        if self._counts_singles(state):
            return None
        return report_of(self._layout, state, is_private=self.setup.mode is not None)

    def files(self, state: State) -> dict[str, str]:
        """Return ``synthetic.csv``, which reads back as the task's records do."""
        found = self.synthetic(state)
        if found is None:
            return {}
        return {"synthetic.csv": self.task.to_csv(found.columns, found.label)}

    def synthetic(self, state: State) -> Synthetic | None:
        """Return the synthetic table; None before the first round."""
        if self._counts_singles(state):
            return None
        self.check(state)
        arrays, header = state.arrays, state.header
        single, table = float(header["noise"]), float(header["table_noise"])
        ratio = table / single if single > 0 and table > 0 else 1.0
        released = Released(
            arrays["singles"],
            arrays["groups"],
            arrays["tables"],
            min(ratio, 1e3) if isfinite(ratio) else 1.0,
        )
        config: MarginalsConfig = self.setup.algorithm
        may_miss = self.task.missing_text is not None
        return synthesize(
            self._layout, released, config.rows, self.task.seed, may_miss=may_miss
        )

    def _require_asked(self, state: State) -> None:
        """Refuse a state after which nothing is left to count."""
        self.check(state)
        if not self._layout.pairs and not self._counts_singles(state):
            raise StateRefusedError("there is one column, so no pair is left to count")

    @staticmethod
    def _counts_singles(state: State) -> bool:
        return not len(state.arrays["singles"])

    def _entry(self, state: State) -> float:
        """Return what a record adds to each of its cells under privacy."""
        layout = self._layout
        singles = self._counts_singles(state)
        return 1 / sqrt(len(layout.columns) if singles else len(layout.pairs))

    def _cells_of(self, state: State, records: Any) -> Places:
        if self._counts_singles(state):
            return self._layout.single_places(records)
        return self._layout.pair_places(records, state.arrays["groups"])

    def _places(self, state: State, records: Any) -> Iterator[Places]:
        size = max(1, _CHUNK // max(len(self._layout.columns), len(self._layout.pairs)))
        for first in range(0, len(records), size):
            part = records.take(np.arange(first, min(first + size, len(records))))
            yield self._cells_of(state, part)
