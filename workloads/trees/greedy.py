"""Trees that are grown level by level, each node by its best split, from exact sums."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Table
from workloads.decisions import Decisions
from workloads.histograms.bins import Floats
from workloads.histograms.entries import Entries
from workloads.report import Report
from workloads.trees.bags import in_bags
from workloads.trees.decisions import nodes_of
from workloads.trees.ensemble import Nodes, Trees, sum_of_values
from workloads.trees.goals import Goal
from workloads.trees.growth import Growth, are_few
from workloads.trees.levels import Level, Settings
from workloads.trees.splits import Asked
from workloads.values import Arrays, State, StateRefusedError, require_arrays

START, GROW, END = "start", "grow", "end"
# Numbers that a round may sum, 1 GiB.
_LONGEST = 2**27
# Entries that are worked on at once, about.
_MOST_ENTRIES = 2**22


class Greedy(Growth):
    """Grow trees level by level: a round asks for the histograms of all open nodes.

    The state has the trees so far, of which the last grow, and where the scores begin. A
    record is in one open node at most of each tree that grows.

    Parameters
    ----------
    table, max_bins, seed : Table, int, int
        See ``Growth``.
    settings : Settings
    goal : Goal
    """

    kept_of_best = ("gain",)

    def __init__(
        self, table: Table, max_bins: int, seed: int, settings: Settings, goal: Goal
    ) -> None:
        super().__init__(table, max_bins, seed)
        self._settings, self._goal = settings, goal
        self._level = Level(self.bins, goal, settings)

    def initial_state(self) -> State:
        """Return no trees, or the roots of those that need no scores to begin with."""
        width, outputs = int(self.bins.sizes.max()), self._goal.num_outputs
        trees = Trees.none(width, outputs)
        if not self._goal.goes_on:
            trees = trees.with_roots(self._goal.num_at_once)
        arrays = trees.arrays | {
            "intercepts": np.zeros(outputs),
            "gain": np.zeros(self.bins.num_columns),
        }
        step = START if self._goal.goes_on else GROW
        return State(arrays, {"step": step, "complete": 0, "depth": 0})

    def check(self, state: State) -> None:
        """Refuse what is no tree, steps that there are not, or a vector that is too long."""
        if not self.length(state) and state.header["step"] != END:
            raise StateRefusedError("no node is open, so nothing is asked")

    def _check_form(self, state: State) -> None:
        """Refuse arrays of another form, what is no tree, or steps that there are not."""
        arrays, due = state.arrays, self.initial_state().arrays
        if arrays.keys() != due.keys():
            raise StateRefusedError(f"arrays {sorted(arrays)}, not {sorted(due)}")
        own = ("intercepts", "gain")
        require_arrays({name: arrays[name] for name in own}, {name: due[name] for name in own})
        trees = Trees.of(arrays)
        trees.check(self.bins.sizes, self._goal.num_outputs, self._settings.max_depth)
        self._check_header(state.header, len(trees))

    def _check_header(self, header: Mapping[str, Any], num_trees: int) -> None:
        if header.get("step") not in (START, GROW, END):
            raise StateRefusedError(f"step={header.get('step')!r} is none")
        growing = num_trees - self._goal.num_at_once
        least = {"complete": max(0, growing), "depth": 0}
        most = {"complete": num_trees, "depth": self._settings.max_depth}
        for name, value in most.items():
            found = header.get(name)
            if type(found) is not int or not least[name] <= found <= value:
                raise StateRefusedError(
                    f"{name}={found!r} is not from {least[name]} to {value}"
                )

    def length(self, state: State) -> int:
        """Return the bins that are asked for, times the numbers of each.

        Raises
        ------
        StateRefusedError
            As of ``check``: a message's state is measured before it is looked at otherwise.
        """
        self._check_form(state)
        if state.header["step"] == START:
            return self.loss.num_slots
        if state.header["step"] == END:
            return 0
        length = self._goal.criterion.num_stats * self._asked(state).size
        if length > _LONGEST:
            raise StateRefusedError(
                f"{length} numbers to sum; at most {_LONGEST}: lower algorithm.max_depth,"
                " max_bins or feature_fraction"
            )
        return length

    def longest(self) -> int:
        """Return the length of the deepest level, if every node above is split."""
        widest = int(np.sort(self.bins.sizes)[-self._num_columns :].sum())
        nodes = self._goal.num_at_once << (self._settings.max_depth - 1)
        return self._goal.criterion.num_stats * widest * nodes

    def chunk(self, state: State, usual: int) -> int:
        """Return fewer where many trees grow at once."""
        columns = self._num_columns * self._goal.criterion.num_stats
        each = max(1, columns * (len(state.arrays["roots"]) - state.header["complete"]))
        return max(64, min(usual, _MOST_ENTRIES // each))

    def entries(self, state: State, records: Any) -> Entries:
        """Return what records add: a row for each tree in whose open nodes and bag one is."""
        if state.header["step"] == START:
            slots = self.loss.slots(records.targets)
            return Entries(np.broadcast_to(np.arange(slots.shape[1]), slots.shape), slots)
        if state.header["step"] != GROW:
            raise StateRefusedError("these trees are grown, and nothing is left to ask")
        bins = self.within(records.columns)
        ranks = self._ranks(state, bins, records)
        if self.silent is not None:
            is_silent = np.append(self.silent[Trees.of(state.arrays).open_nodes], True)
            ranks = np.where(is_silent[ranks], -1, ranks)
        rows, trees = np.nonzero(ranks >= 0)
        stats = self._goal.stats(records.targets, self._scores(state, bins))
        stats = stats[rows, np.minimum(trees, stats.shape[1] - 1)]
        asked, ranks = self._asked(state), ranks[rows, trees]
        bins = bins[rows[:, np.newaxis], asked.columns[ranks]]
        places = asked.firsts[ranks] + bins
        num = stats.shape[1]
        return Entries(
            np.concatenate([stat * asked.size + places for stat in range(num)], axis=1),
            np.repeat(stats, places.shape[1], axis=1),
            rows,
        )

    def memberships(self, state: State, records: Any) -> Floats:
        """Return in how many open nodes each record is; all count in the first round."""
        if state.header["step"] != GROW:
            return np.ones(len(records))
        ranks = self._ranks(state, self.within(records.columns), records)
        return (ranks >= 0).sum(axis=1).astype(np.float64)

    def small_nodes(
        self, state: State, records: Any, weights: Floats, least: float
    ) -> NDArray[np.bool_]:
        """Return the open nodes with fewer of these records than ``least``, but some.

        Their siblings too, or the sum of their parent, which was told before, gives them away.
        """
        trees = Trees.of(state.arrays)
        small = np.zeros(len(trees.column), bool)
        if state.header["step"] != GROW:
            return small
        ranks = self._ranks(state, self.within(records.columns), records)
        open_nodes = trees.open_nodes
        rows, growing = np.nonzero(ranks >= 0)
        inside = ranks[rows, growing]
        small[open_nodes] = are_few(inside, weights[rows], len(open_nodes), least)
        left = trees.child[trees.column >= 0]
        either = small[left] | small[left + 1]
        small[left[either]] = small[left[either] + 1] = True
        return small

    def iteration(self, state: State, num_rounds: int) -> int | None:
        """Return how many times trees were grown to their end; None while some grow."""
        header = state.header
        if header["step"] == START or header["depth"]:
            return None
        return header["complete"] // self._goal.num_at_once

    def cut_to(self, state: State, iteration: int, kept: Arrays) -> State:
        """Return a state of the first trees alone, of which none grows."""
        trees = Trees.of(state.arrays).first(iteration * self._goal.num_at_once)
        header = {"step": END, "complete": len(trees), "depth": 0}
        return State(state.arrays | kept | trees.arrays, {**state.header, **header})

    def is_finished(self, state: State) -> bool:
        """Return whether nothing is left that could be split."""
        return state.header["step"] == END

    def next(self, state: State, total: Floats) -> State:
        """Split the open nodes, or begin other trees where none is left."""
        arrays, header = dict(state.arrays), dict(state.header)
        trees = Trees.of(arrays)
        if header["step"] == START:
            arrays["intercepts"], _ = self.loss.start(total)
            header["step"] = GROW
            trees = trees.with_roots(self._goal.num_at_once)
            return State(arrays | trees.arrays, header)
        asked, level = self._asked(state), self._level
        sums = total.reshape(-1, asked.size)
        splits = level.split(sums, asked)
        if not header["depth"]:
            trees = level.with_values(trees, sums, asked, header["complete"])
        trees = level.grown(trees, splits, header["complete"], header["depth"])
        arrays["gain"], good = arrays["gain"].copy(), level.is_split(splits)
        np.add.at(arrays["gain"], splits.column[good], splits.gain[good])
        header["depth"] += 1
        if not len(trees.open_nodes):
            began = trees.column[trees.roots[header["complete"] :]]
            header |= {"complete": len(trees), "depth": 0}
            if self._goal.goes_on and (began >= 0).any():
                trees = trees.with_roots(self._goal.num_at_once)
            else:
                header["step"] = END
        return State(arrays | trees.arrays, header)

    def report(self, state: State) -> Report:
        """Return the share of each column in what all splits have gained."""
        trees = range(len(state.arrays["roots"]))
        return self._report(state, trees, state.arrays["gain"], "share of the gain")

    def predict(self, state: State, columns: Floats) -> Floats:
        """Return what all trees say, those that are not grown to the end too."""
        trees = Trees.of(state.arrays)
        scores = sum_of_values(
            trees, self.within(columns), state.arrays["intercepts"], range(len(trees))
        )
        return self._goal.published(scores)

    def as_trees(self, state: State) -> Decisions:
        """Return all trees, those that are not grown to the end too."""
        trees = Trees.of(state.arrays)
        nodes = nodes_of(trees, self.bins, range(len(trees)))
        start, link = state.arrays["intercepts"], self._goal.link
        return Decisions(self.table, self.bins.cuts, nodes, start, link)

    @property
    def _num_columns(self) -> int:
        return max(1, ceil(self._settings.feature_fraction * self.bins.num_columns))

    def _asked(self, state: State) -> Asked:
        """Return which columns are asked of each open node, drawn by the public seed."""
        nodes, k = Trees.of(state.arrays).open_nodes, self.bins.num_columns
        by_node, header = self._settings.by_node, state.header
        key = [self.seed, header["complete"], header["depth"] if by_node else 0]
        draws = np.random.default_rng(key).random((len(nodes) if by_node else 1, k))
        columns = np.sort(np.argsort(draws, axis=1)[:, : self._num_columns], axis=1)
        columns = np.broadcast_to(columns, (len(nodes), self._num_columns))
        return Asked.of(columns, self.bins)

    def _ranks(self, state: State, bins: Nodes, records: Any) -> Nodes:
        """Return each record's open node in each growing tree, by rank; -1 for none."""
        trees, first = Trees.of(state.arrays), state.header["complete"]
        growing = range(first, len(trees))
        rank = np.full(len(trees.column), -1)
        rank[trees.open_nodes] = np.arange(len(trees.open_nodes))
        found = rank[trees.nodes_of(bins, np.array(growing, np.intp))]
        bags = in_bags(
            records.columns,
            records.targets,
            self.seed,
            growing,
            self._settings.bagging_fraction,
        )
        return np.where(bags, found, -1)

    def _scores(self, state: State, bins: Nodes) -> Floats:
        """Return the scores of records where the complete trees have led."""
        if not self._goal.goes_on:
            return np.zeros((len(bins), 0))
        complete = range(state.header["complete"])
        return sum_of_values(Trees.of(state.arrays), bins, state.arrays["intercepts"], complete)
