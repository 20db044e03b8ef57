"""The workloads of trees, by the way in which their trees come about."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import Any

from workloads.base import Records, Setup, Step, Workload
from workloads.decisions import Decisions
from workloads.early_stopping import EarlyStopping
from workloads.histograms.bins import Floats
from workloads.histograms.entries import Entries
from workloads.histograms.quantile import binned
from workloads.histograms.summed import FRACTION_BITS, TableSum
from workloads.report import Report
from workloads.trees.ensemble import Trees
from workloads.trees.growth import Growth
from workloads.values import Aggregate, Query, State, Vector, require_arrays


class TreeSum(TableSum):
    """Sum what trees are grown by; ``growth`` says what that is."""

    @classmethod
    def build(cls, setup: Setup) -> Workload:
        """Return it, behind a round that finds edges where ``algorithm.binning`` asks so."""
        return binned(cls, setup)

    @cached_property
    @abstractmethod
    def growth(self) -> Growth:
        """Return how the trees come about."""

    @cached_property
    def _stopping(self) -> EarlyStopping:
        return EarlyStopping.of(self.setup.algorithm, self.growth.kept_of_best)

    def initial_state(self) -> State:
        """Return no trees, or roots alone."""
        return self._stopping.begun(self.growth.initial_state())

    def length(self, state: State) -> int:
        """Return the length of the vector, which may differ from state to state."""
        return self.growth.length(self._stopping.bare(state))

    def longest(self) -> int:
        """Return the length of the last level of trees without a small leaf."""
        return self.growth.longest()

    def check(self, state: State) -> None:
        """Refuse what are no trees over this table, or not at this step."""
        stopping, due = self._stopping, self.initial_state().arrays
        bare = stopping.bare(state)
        self.growth.check(bare)
        more = state.arrays.keys() - bare.arrays.keys()
        of_best = due.keys() - stopping.bare(State(due)).arrays.keys()
        require_arrays({n: state.arrays[n] for n in more}, {n: due[n] for n in of_best})
        stopping.check(state)

    def rehearse(self, records: Records | None = None) -> None:
        """Sum made-up records in the first rounds."""
        self._rehearse(records, iter([(self.initial_state(), 1)]))

    def num_parameters(self, state: State) -> int:
        """Return the leaves of the largest tree: each tells of its own records alone."""
        return Trees.of(state.arrays).most_leaves()

    def weights(self, state: State, query: Query, records: Any) -> Vector:
        """Return in how many nodes that are asked about each record is, times its weight."""
        self.check(state)
        memberships = self.growth.memberships(state, records)
        return memberships * super().weights(state, query, records)

    def silenced(
        self, state: State, query: Query, records: Any, least: float
    ) -> tuple[TreeSum, int]:
        """Return this workload, silent about nodes in which few of the records are."""
        self.check(state)
        other = self._anew()
        weights = super().weights(state, query, records)
        other.growth.silent = small = self.growth.small_nodes(state, records, weights, least)
        return other, int(small.sum())

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Grow the trees by the sum."""
        total = aggregate.total
        if self.setup.mode is None:
            total = total * 2.0**-FRACTION_BITS
        bare = self._stopping.bare(state)
        iteration = self.growth.iteration(bare, server_round - 1)
        found = self.growth.next(bare, total)
        return self._stopping.judged(state, found, aggregate, iteration)

    def _entries(self, state: State, query: Query, records: Any) -> Entries:
        return self.growth.entries(self._stopping.bare(state), records)

    def _chunk(self, state: State) -> int:
        return self.growth.chunk(state, super()._chunk(state))

    def is_finished(self, state: State) -> bool:
        """Return whether nothing is left that could be split, or early stopping ends it."""
        return super().is_finished(state) or self.growth.is_finished(state)

    def published(self, state: State) -> State:
        """Return the state cut back to the best iteration, where that is not the last."""
        best = self._stopping.best(state)
        return state if best is None else self.growth.cut_to(state, *best)

    def predict(self, state: State, columns: Floats) -> Floats:
        """Return probabilities (n, classes), or values in the label's unit (n,)."""
        return self.growth.predict(state, columns)

    def as_trees(self, state: State) -> Decisions:
        """Return the trees, and beside random ones the curves."""
        return self.growth.as_trees(state)

    def report(self, state: State) -> Report:
        """Return how many trees there are, and what each column has brought them."""
        found = self.growth.report(state)
        return replace(found, facts={**found.facts, **self.ending(state)})
