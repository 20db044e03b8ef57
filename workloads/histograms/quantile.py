"""A first round that finds common quantile edges, before any workload of histograms."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from tasks.table import Table
from workloads.base import Records, Setup, Step, Workload
from workloads.histograms.bins import Floats
from workloads.histograms.config import Binning
from workloads.histograms.entries import Entries
from workloads.histograms.fine_grid import FineGrid
from workloads.histograms.summed import FRACTION_BITS, TableSum
from workloads.report import Report
from workloads.values import Aggregate, Query, State, StateRefusedError, Vector

_EDGES = "edges"


class QuantileBinned(TableSum):
    """Ask for fine histograms once; then do all that a workload does, over the edges they give.

    The state has the edges beside the workload's own arrays: the numbers of fine bins at which
    bins begin, int32, ascending. Before the first round there are none, and no other arrays.

    Guarantees
    ----------
    Unit: one record, of whichever node. The term of the first round has an L2 norm of 1 at
    most: a record is in one fine bin of each of the k columns, missing values have one of their
    own, and each entry is 1 / sqrt(k). That of every other round is the workload's own, over a
    table with other edges: its bound holds for any edges, as a record is in one bin of each
    column whatever they are. Assumes nothing of the edges but that ``check`` has seen them:
    they are public fine bins, so no server can ask finer than these are. Of the client unit see
    ``TableSum``.

    Parameters
    ----------
    setup : Setup
        The public settings, with ``algorithm.binning=quantile``.
    kind : type of TableSum
        The workload.
    """

    def __init__(self, setup: Setup, kind: type[TableSum]) -> None:
        super().__init__(setup)
        self._kind = kind
        self._last: tuple[bytes, TableSum] | None = None
        if not len(self.grid.numbers):
            raise ValueError(
                "algorithm.binning=quantile: no column needs edges: all columns of numbers have"
                " edges in task.bins, or a bin for each whole number; take binning=public"
            )

    def with_learning_rate(self, learning_rate: float) -> Self:
        """Return this workload with another learning rate."""
        return type(self)(replace(self.setup, learning_rate=learning_rate), self._kind)

    def with_noise(self, noise: float) -> Self:
        """Return this workload with the noise of its sums, which the server knows."""
        return type(self)(replace(self.setup, noise=noise), self._kind)

    @cached_property
    def grid(self) -> FineGrid:
        """Return the fine bins."""
        chosen = self.setup.algorithm
        return FineGrid(self.table, chosen.max_bins, chosen.fine_bins)

    def opened(self, state: State) -> tuple[TableSum, State]:
        """Return the workload over the state's edges, and its own state.

        Before the first round they are those of the public bins.
        """
        edges = state.arrays[_EDGES]
        if _is_first(state):
            return self._public, self._public.initial_state()
        key = edges.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._over(self.grid.table(edges))
        arrays = {name: array for name, array in state.arrays.items() if name != _EDGES}
        return self._last[1], State(arrays, state.header)

    def initial_state(self) -> State:
        """Return no edges."""
        return State({_EDGES: np.zeros(0, np.int32)})

    def largest_state(self) -> State:
        """Return as many edges as there may be, beside the workload's own largest state."""
        most = len(self.grid.numbers) * (self.grid.max_bins - 1)
        own = self._public.largest_state()
        return State({_EDGES: np.zeros(most, np.int32)} | own.arrays, own.header)

    def check(self, state: State) -> None:
        """Refuse edges that are none of the fine bins, and what the workload refuses."""
        edges = state.arrays.get(_EDGES)
        if edges is None:
            raise StateRefusedError(f"arrays {sorted(state.arrays)}, without edges")
        if _is_first(state):
            if edges.shape != (0,) or edges.dtype != np.int32 or state.header:
                raise StateRefusedError("edges alone are no state")
            return
        if why := self.grid.objection(edges):
            raise StateRefusedError(why)
        workload, own = self.opened(state)
        workload.check(own)

    def length(self, state: State) -> int:
        """Return the length of the vector; under privacy it is the same in every round."""
        self.check(state)
        if self.setup.mode is not None:
            return self.longest()
        if _is_first(state):
            return len(self.grid.bins)
        workload, own = self.opened(state)
        return workload.length(own)

    def longest(self) -> int:
        """Return the length of the first round, or that of the workload with the most bins."""
        return max(len(self.grid.bins), self._public.longest())

    def rehearse(self, records: Records | None = None) -> None:
        """Sum made-up records in the first round, and in those of the workload."""
        self._rehearse(records, iter([(self.initial_state(), 1)]))
        self._public.rehearse(records)

    def num_parameters(self, state: State) -> int:
        """Return those of the workload."""
        workload, own = self.opened(state)
        return 0 if _is_first(state) else workload.num_parameters(own)

    def weights(self, state: State, query: Query, records: Any) -> Vector:
        """Return those of the workload; in the first round how often each record counts."""
        self.check(state)
        if _is_first(state):
            return super().weights(state, query, records)
        workload, own = self.opened(state)
        return workload.weights(own, _asked(query), records)

    def silenced(
        self, state: State, query: Query, records: Any, least: float
    ) -> tuple[Workload, int]:
        """Return this workload, silent about what the workload is silent about."""
        self.check(state)
        if _is_first(state):
            return self, 0
        workload, own = self.opened(state)
        silent, num_parts = workload.silenced(own, _asked(query), records, least)
        assert isinstance(silent, TableSum)  # noqa: S101
        other = type(self)(self.setup, self._kind)
        other._last = state.arrays[_EDGES].tobytes(), silent
        return other, num_parts

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Find the edges in the first round, then do what the workload does."""
        edges = state.arrays[_EDGES]
        if _is_first(state):
            edges = self._edges(aggregate.total)
            own = self._over(self.grid.table(edges)).initial_state()
        else:
            workload, own = self.opened(state)
            # Under privacy the rest of the vector is noise.
            total = aggregate.total[: workload.length(own)]
            own = workload.apply(own, replace(aggregate, total=total), server_round - 1, step)
        return State({_EDGES: edges} | own.arrays, own.header)

    def is_finished(self, state: State) -> bool:
        """Return whether the workload is."""
        workload, own = self.opened(state)
        return not _is_first(state) and workload.is_finished(own)

    def published(self, state: State) -> State:
        """Return the edges, and what the workload leaves."""
        if _is_first(state):
            return state
        workload, own = self.opened(state)
        found = workload.published(own)
        return State({_EDGES: state.arrays[_EDGES]} | found.arrays, found.header)

    def ending(self, state: State) -> dict[str, Any]:
        """Return what the workload says of its end."""
        workload, own = self.opened(state)
        return workload.ending(own)

    def predict(self, state: State, columns: Floats) -> Floats:
        """Return what the workload says of the rows."""
        workload, own = self.opened(state)
        return workload.predict(own, columns)

    def report(self, state: State) -> Report | None:
        """Return what the workload tells."""
        workload, own = self.opened(state)
        return workload.report(own)

    @property
    def _weight(self) -> float:
        is_exact = self.setup.mode is None
        return 1.0 if is_exact else len(self.grid.numbers) ** -0.5

    @cached_property
    def _public(self) -> TableSum:
        """Return the workload over the public bins, which are as many as there may be."""
        return self._over(self.table)

    def _over(self, table: Table) -> TableSum:
        """Return the workload over a table."""
        chosen = self.setup.algorithm
        algorithm = replace(chosen, binning=Binning.public, fine_bins=None)
        rounds = max(1, self.setup.num_rounds - 1)
        found = self._kind(replace(self.setup, algorithm=algorithm, num_rounds=rounds))
        found.own_table = table
        return found

    def _edges(self, total: Floats) -> np.ndarray:
        counts = total[: len(self.grid.bins)]
        if self.setup.mode is None:
            return self.grid.edges(counts * 2.0**-FRACTION_BITS, 0.0)
        return self.grid.edges(counts / self._weight, self.setup.noise / self._weight)

    def _entries(self, state: State, query: Query, records: Any) -> Entries:
        if not _is_first(state):
            workload, own = self.opened(state)
            return workload._entries(own, _asked(query), records)
        places = self.grid.bins.places(records.columns[:, self.grid.numbers])
        return Entries(places, np.full(places.shape, self._weight))

    def _chunk(self, state: State) -> int:
        workload, own = self.opened(state)
        return super()._chunk(state) if _is_first(state) else workload._chunk(own)


def binned(kind: type[TableSum], setup: Setup) -> TableSum:
    """Return a workload, behind a round that finds its edges where those are asked for."""
    if setup.algorithm.binning is Binning.quantile:
        return QuantileBinned(setup, kind)
    return kind(setup)


def _is_first(state: State) -> bool:
    """Return whether edges are still to be found."""
    return state.arrays.keys() == {_EDGES}


def _asked(query: Query) -> Query:
    """Return what a round asks of the workload, whose first round is the second."""
    return replace(query, server_round=query.server_round - 1)
