"""Boosting with trees of random structure, of which only the leaves' sums are asked.

Splits that are chosen by noisy histograms cost more than they find (Maddock et al. 2022, arXiv
2210.02910). Here the first rounds are those of ``ebm``: histograms of the label, and how far
each column's curve goes. Then trees follow, many in a round, whose splits are drawn from what
those rounds released.
"""

from __future__ import annotations

from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Table
from workloads.decisions import Decisions
from workloads.histograms.bins import Floats, Places
from workloads.histograms.boosting import Boosting
from workloads.histograms.curve_report import curves_of
from workloads.histograms.curves import FIRST_SCALAR, Smoother
from workloads.histograms.entries import Asked, Entries, Layout, Weights, scores
from workloads.histograms.schedule import Shares
from workloads.report import Report
from workloads.trees.decisions import nodes_of
from workloads.trees.ensemble import Nodes, Trees, sum_of_values
from workloads.trees.growth import Growth, are_few
from workloads.trees.structure import Drawing
from workloads.values import Arrays, State, StateRefusedError, require_arrays

COUNTS, SCALARS, LEAVES = "counts", "scalars", "leaves"
# Of the rounds after the first: their counts are averaged with those before.
_COUNTS_AGAIN = 0.5
# Of the curves before the trees; those of ``ebm``.
_RIDGE, _SMOOTHING = 0.1, 30.0
# How much of the noise's deviation counts as curvature of a leaf.
_NOISE_AS_CURVATURE = 1.5


class RandomTrees(Growth):
    """Ask for the histograms of the label, then scalars of the curves, then sums of leaves.

    A round's vector has three parts: slots and scalars as of ``ebm``, and the residuals and
    second derivatives in each leaf of a batch of trees. A record is in one leaf of each, so
    the norm of the last part is the root of the number of trees times that of both.

    Parameters
    ----------
    table, max_bins, seed : Table, int, int
        See ``Growth``.
    depth : int
        Of every tree.
    num_at_once : int
        Trees of a round.
    learning_rate : float
        How far the mean of a round's trees goes.
    lambda_l2 : float
        Added to the curvature of a leaf, beside the noise.
    is_private : bool
        Whether a round's parts have shares of the budget, or are asked one at a time.
    noise : float
        The standard deviation of the sum's noise; the server knows it.
    """

    kept_of_best = ("curves", "intercepts")

    def __init__(
        self,
        table: Table,
        max_bins: int,
        seed: int,
        *,
        depth: int,
        num_at_once: int,
        learning_rate: float,
        lambda_l2: float,
        is_private: bool,
        noise: float,
    ) -> None:
        super().__init__(table, max_bins, seed)
        self._depth, self._num, self._rate = depth, num_at_once, learning_rate
        self._lambda, self._is_private, self._noise = lambda_l2, is_private, noise
        self._layout = Layout(self.bins, self.loss)

    @property
    def _first_leaf(self) -> int:
        return self._layout.num_slots + self._layout.num_scalars

    @property
    def _num_leaves(self) -> int:
        return self._num << self._depth

    def length(self, state: State) -> int:
        """Return the length of all parts: it is the same in every round."""
        return self._first_leaf + 2 * self.loss.num_scores * self._num_leaves

    def initial_state(self) -> State:
        """Return curves of zeros and no trees."""
        none = Trees.none(int(self.bins.sizes.max()), self.loss.num_scores)
        return State(self._curves() | none.arrays, {"step": COUNTS, "complete": 0})

    def _curves(self) -> Arrays:
        curves = np.zeros((self.loss.num_scores, len(self.bins)))
        return {
            "curves": curves,
            "base": curves,
            "intercepts": np.zeros(self.loss.num_scores),
            "scalars": np.full(self.bins.num_columns, FIRST_SCALAR),
            "slots": np.zeros((self.loss.num_slots, len(self.bins))),
        }

    def check(self, state: State) -> None:
        """Refuse arrays of another form, what is no tree, or a batch of another size."""
        due = self.initial_state().arrays
        if state.arrays.keys() != due.keys():
            raise StateRefusedError(f"arrays {sorted(state.arrays)}, not {sorted(due)}")
        curves = self._curves()
        require_arrays({name: state.arrays[name] for name in curves}, curves)
        trees = Trees.of(state.arrays)
        trees.check(self.bins.sizes, self.loss.num_scores, self._depth)
        step, complete = state.header.get("step"), state.header.get("complete")
        if step not in (COUNTS, SCALARS, LEAVES):
            raise StateRefusedError(f"step={step!r} is none")
        if type(complete) is not int or not 0 <= complete <= len(trees):
            raise StateRefusedError(f"complete={complete!r} is not from 0 to {len(trees)}")
        batch = self._num if step == LEAVES else 0
        if len(trees) - complete != batch:
            raise StateRefusedError(f"{len(trees) - complete} trees to fit, not {batch}")

    def entries(self, state: State, records: Any) -> Entries:
        """Return what each record adds to all parts that the state's step asks for."""
        arrays, step = state.arrays, state.header["step"]
        weights, weight = self._weights(step)
        places = self.bins.places(records.columns)
        bins = places - self.bins.firsts
        asked = Asked(arrays["intercepts"], arrays["curves"], arrays["base"])
        found: list[Entries] = []
        if weights.slots or weights.scalars:
            found.append(self._layout.entries(asked, records.columns, records.targets, weights))
        if weight:
            found.append(self._of_leaves(state, places, bins, records.targets, weight))
        return Entries(
            np.concatenate([part.places for part in found], axis=1),
            np.concatenate([part.values for part in found], axis=1),
        )

    def _of_leaves(
        self, state: State, places: Places, bins: Nodes, targets: Any, weight: float
    ) -> Entries:
        """Return residuals and weighted second derivatives in the leaf of each tree."""
        trees, first = Trees.of(state.arrays), state.header["complete"]
        predicted = self.loss.predicted(self._scores(state, places, bins, range(first)))
        residuals = self.loss.residuals(targets, predicted)
        hessians = self.loss.hessian_weight * self.loss.hessians(predicted)
        values = weight * np.concatenate([residuals, hessians], axis=1)
        nodes = trees.nodes_of(bins, np.arange(first, len(trees)))
        leaves = self._leaf_numbers(trees, first)[nodes]
        values = np.repeat(values, leaves.shape[1], axis=1)
        if self.silent is not None:
            values *= np.tile(~self.silent[nodes], 2 * self.loss.num_scores)
        where = [
            self._first_leaf + number * self._num_leaves + leaves
            for number in range(2 * self.loss.num_scores)
        ]
        return Entries(np.concatenate(where, axis=1), values)

    def small_nodes(
        self, state: State, records: Any, weights: Floats, least: float
    ) -> NDArray[np.bool_]:
        """Return the leaves of the batch with fewer of these records, but some."""
        trees, first = Trees.of(state.arrays), state.header["complete"]
        nodes = trees.nodes_of(self.within(records.columns), np.arange(first, len(trees)))
        every = np.repeat(weights, nodes.shape[1])
        return are_few(nodes.ravel(), every, len(trees.column), least)

    def next(self, state: State, total: Floats) -> State:
        """Average the counts, renew the curves, fit the leaves, and draw the next trees."""
        arrays, step, complete = state.arrays, state.header["step"], state.header["complete"]
        weights, weight = self._weights(step)
        trees = Trees.of(arrays)
        if weight:
            leaves = total[self._first_leaf :].reshape(2, -1, self._num_leaves) / weight
            trees = self._fitted(trees, complete, leaves, self._noise / weight)
            complete = len(trees)
        curves = self._next_curves(state, total, weights)
        header = {"step": SCALARS if step == COUNTS else LEAVES, "complete": complete}
        if header["step"] == LEAVES:
            drawing = self.drawing(curves)
            rng = np.random.default_rng([self.seed, complete])
            for _ in range(self._num):
                trees = trees.joined(drawing.tree(rng))
        return State(curves | trees.arrays, header)

    def _next_curves(self, state: State, total: Floats, weights: Weights) -> Arrays:
        known = {name: state.arrays[name] for name in self._curves()}
        still = np.zeros_like(known["curves"])
        parts = np.zeros(len(self._layout))
        parts[: self._first_leaf] = total[: self._first_leaf]
        found = self._boosting.next(
            known | {"velocity": still}, parts, weights, *self._counted(state)
        )
        return {name: found[name] for name in known}

    def cut_to(self, state: State, iteration: int, kept: Arrays) -> State:
        """Return a state with the curves and trees that so many rounds had left.

        Trees follow from the third round on. As many as a round draws are behind those that
        count, as in every state.
        """
        complete = max(0, iteration - 2) * self._num
        pending = self._num if state.header["step"] == LEAVES else 0
        trees = Trees.of(state.arrays).first(complete + pending)
        header = {**state.header, "complete": complete}
        return State(state.arrays | kept | trees.arrays, header)

    def predict(self, state: State, columns: Floats) -> Floats:
        """Return what the curves and all trees say."""
        places = self.bins.places(np.asarray(columns, np.float64))
        complete = range(state.header["complete"])
        found = self._scores(state, places, places - self.bins.firsts, complete)
        return self.loss.published(found)

    def as_trees(self, state: State) -> Decisions:
        """Return the curves, as a tree for each column, and the trees that are fitted."""
        trees, complete = Trees.of(state.arrays), range(state.header["complete"])
        curves = curves_of(self.table, self.bins, self.loss, state.arrays)
        nodes = (*curves.as_trees(), *nodes_of(trees, self.bins, complete))
        return Decisions(self.table, curves.cuts, nodes, curves.start, curves.link)

    def report(self, state: State) -> Report:
        """Return by how much the curve of each column moves scores; trees are drawn by it."""
        spread = self.drawing(state.arrays).spread
        complete = range(state.header["complete"])
        return self._report(state, complete, spread, "share of the curves' spread")

    def drawing(self, arrays: Arrays) -> Drawing:
        """Return what trees are drawn from."""
        counts = self.loss.counts(arrays["slots"])
        curves = self.bins.of_columns(arrays["scalars"]) * arrays["base"]
        return Drawing(self.bins, counts, curves, self._depth)

    @cached_property
    def _boosting(self) -> Boosting:
        smoother = Smoother(
            bins=self.bins,
            reg_lambda=_RIDGE,
            smoothing=_SMOOTHING,
            stiffness=self.loss.stiffness,
        )
        return Boosting(
            layout=self._layout, smoother=smoother, learning_rate=0.0, noise=self._noise
        )

    def _weights(self, step: str) -> tuple[Weights, float]:
        """Return the weights of slots and scalars, and of the leaves, in a round."""
        if not self._is_private:
            known = Weights(float(step == COUNTS), float(step == SCALARS), 0.0)
            return known, float(step == LEAVES)
        rest = 0.0 if step == COUNTS else 1 - _COUNTS_AGAIN
        scalars = rest if step == SCALARS else 0.0
        weights = self._layout.weights(Shares(counts=1 - rest, scalars=scalars))
        leaves = sqrt((rest - scalars) / self._num) / self.loss.pair_bound
        return weights, leaves

    def _counted(self, state: State) -> tuple[float, float]:
        """Return how much the counts before weigh in their mean, and this round's."""
        if state.header["step"] == COUNTS:
            return 0.0, 1.0
        num_after = state.header["complete"] // self._num
        num_after += state.header["step"] == LEAVES
        return 1.0 + _COUNTS_AGAIN * num_after, _COUNTS_AGAIN

    def _scores(self, state: State, places: Places, bins: Nodes, chosen: range) -> Floats:
        """Return the scores of records by the curves and some trees."""
        arrays = state.arrays
        start = scores(arrays["intercepts"], arrays["curves"], places)
        return start + sum_of_values(
            Trees.of(arrays), bins, np.zeros(self.loss.num_scores), chosen
        )

    def _leaf_numbers(self, trees: Trees, first: int) -> Nodes:
        """Return the number of each leaf of a batch within the part, shape (nodes,)."""
        owners = trees.owners()
        is_leaf = (trees.column < 0) & (owners >= first)
        numbers = np.zeros(len(owners), np.intp)
        for number, tree in enumerate(range(first, len(trees))):
            own = np.flatnonzero(is_leaf & (owners == tree))
            numbers[own] = (number << self._depth) + np.arange(len(own))
        return numbers

    def _fitted(self, trees: Trees, first: int, leaves: Floats, noise: float) -> Trees:
        """Return the trees with Newton's step in each leaf of the batch.

        All step at once, so each goes its part of the way.
        """
        residuals = leaves[0].reshape(self.loss.num_scores, -1)
        hessians = leaves[1] / self.loss.hessian_weight
        ridge = self.loss.stiffness * (self._lambda + _NOISE_AS_CURVATURE * noise)
        steps = self._rate / self._num * residuals / (np.maximum(hessians, 0.0) + ridge)
        numbers, owners = self._leaf_numbers(trees, first), trees.owners()
        own = np.flatnonzero((trees.column < 0) & (owners >= first))
        value = trees.value.copy()
        value[own] = steps.T[numbers[own]]
        return Trees(trees.roots, trees.column, trees.child, trees.left, value)
