"""What a workload of trees does in a round: the part that depends on how trees come about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Table
from workloads.decisions import Decisions
from workloads.histograms.bins import Bins, Floats
from workloads.histograms.entries import Entries
from workloads.histograms.losses import Loss, loss_of
from workloads.report import Report
from workloads.trees.ensemble import LEAF, Nodes, Trees
from workloads.values import State


class Growth(ABC):
    """How trees come about, both halves of it.

    Parameters
    ----------
    table : Table
        The columns.
    max_bins : int
        See ``Bins``.
    seed : int
        Public; what is drawn is drawn by it.
    """

    def __init__(self, table: Table, max_bins: int, seed: int) -> None:
        self.bins, self.loss, self.seed = Bins(table, max_bins), loss_of(table), seed
        self.table = table

    table: Table
    bins: Bins
    loss: Loss
    #: Nodes of which nothing is said, shape (nodes,); None for none.
    silent: NDArray[np.bool_] | None = None

    @abstractmethod
    def initial_state(self) -> State:
        """Return the state before the first round."""

    @abstractmethod
    def check(self, state: State) -> None:
        """Refuse a state that is none, see ``Workload.check``."""

    @abstractmethod
    def length(self, state: State) -> int:
        """Return the length of the vector that a round about this state sums."""

    def longest(self) -> int:
        """Return the longest that it can be."""
        return self.length(self.initial_state())

    @abstractmethod
    def entries(self, state: State, records: Any) -> Entries:
        """Return what records add, see ``TableSum``."""

    @abstractmethod
    def next(self, state: State, total: Floats) -> State:
        """Return the next state by the sum of what records add, in its units."""

    @abstractmethod
    def predict(self, state: State, columns: Floats) -> Floats:
        """Return what the trees say, see ``Workload.predict``."""

    @abstractmethod
    def as_trees(self, state: State) -> Decisions:
        """Return what ``predict`` sums, see ``Workload.as_trees``."""

    def is_finished(self, state: State) -> bool:
        """Return whether no round can add to a state."""
        return False

    def chunk(self, state: State, usual: int) -> int:
        """Return how many records are worked on at once, where ``usual`` are usually."""
        return usual

    @abstractmethod
    def small_nodes(self, state: State, records: Any, least: float) -> NDArray[np.bool_]:
        """Return the nodes with some of these records, but fewer than ``least``, (nodes,)."""

    def memberships(self, state: State, records: Any) -> Floats:
        """Return in how many nodes that are asked about each record is, shape (n,)."""
        return np.ones(len(records))

    def within(self, columns: Floats) -> Nodes:
        """Return the bin of each value within its column, shape (n, columns)."""
        return self.bins.places(np.asarray(columns, np.float64)) - self.bins.firsts

    @abstractmethod
    def report(self, state: State) -> Report:
        """Return what a person reads of the trees."""

    def _report(self, state: State, chosen: range, importance: Floats, what: str) -> Report:
        """Return how large the trees are and what each column has brought them.

        Parameters
        ----------
        state : State
            With trees.
        chosen : range
            Those that are told of.
        importance : ndarray, shape (columns,)
            By column.
        what : str
            What the importance is.
        """
        trees = Trees.of(state.arrays)
        is_told = np.isin(trees.owners(), np.array(chosen))
        num_leaves = int((is_told & (trees.column <= LEAF)).sum())
        facts = {"trees": len(chosen), "leaves": num_leaves}
        whole = max(float(importance.sum()), np.finfo(np.float64).tiny)
        ranked = np.argsort(-importance, kind="stable")
        rows = [
            (self.bins.columns[number].name, float(importance[number] / whole))
            for number in ranked
        ]
        return Report("trees", facts, ("column", what), rows)
