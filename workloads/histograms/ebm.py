"""Glass-box boosting: an additive model of one curve for each column, from masked histograms.

The model of an explainable boosting machine (Nori et al. 2019, arXiv 1909.09223): the scores of
a record are the sums of its columns' curves, which a person can read, plot and edit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from privacy.mode import Place
from privacy.unit import Unit
from workloads.base import Records, Setup, Step, Workload
from workloads.decisions import Curves, Decisions, NotExportedError
from workloads.histograms.bins import Floats
from workloads.histograms.boosting import Boosting
from workloads.histograms.config import EbmConfig
from workloads.histograms.curve_report import curve_report, curves_of, with_pairs
from workloads.histograms.curves import FIRST_SCALAR, MOMENTUM, Smoother
from workloads.histograms.entries import Asked, Entries, Layout, Weights
from workloads.histograms.pairs import Pairs
from workloads.histograms.quantile import binned
from workloads.histograms.schedule import (
    counts_before,
    exact_shares,
    private_shares,
)
from workloads.histograms.summed import FRACTION_BITS, TableSum
from workloads.report import Report
from workloads.values import Aggregate, Arrays, Query, State, require_arrays


class Ebm(TableSum):
    """Sum the histograms of labels and residuals, and what moves scalars of the curves.

    Guarantees
    ----------
    Unit: one record, of whichever node. Its term has an L2 norm of 1 at most, in every round,
    times how often the record counts: the bound is that of the largest weight, which is public.
    A record is in one bin of each of k columns, as missing values have a bin of their own. The
    parts of a round's vector have these norms: histograms of the label sqrt(k) times 1 for
    classes, sqrt 2 for a number; histograms of residuals sqrt(k) times 1, or sqrt 2 for three
    classes and more; gradient and curvature along the curves, whose values at a record are cut
    to a norm l, the root of (b l)^2 + (l^2 / 4)^2, b being 1 or sqrt 2 as before; joint
    histograms of p pairs of columns, a record being in one cell of each, sqrt(p) times that of
    its residuals and weighted second derivatives together, which is 1 for two classes, sqrt 2
    for more and sqrt 1.25 for a number. Each part is divided by its norm and times the root of
    its share; the shares of a round add up to 1. (Histograms of residuals over columns and
    pairs, asked with equal weights, would be sqrt(k + p) long: shares of k and p.) Assumes
    nothing of the state, whose values the server chooses. Of the client unit see ``TableSum``.
    """

    Config = EbmConfig
    serves = frozenset(
        (unit, place) for unit in Unit for place in (Place.DISTRIBUTED, Place.CENTRAL)
    )

    @classmethod
    def build(cls, setup: Setup) -> Workload:
        """Return it, behind a round that finds edges where ``algorithm.binning`` asks so."""
        return binned(cls, setup)

    @cached_property
    def layout(self) -> Layout:
        """Return the parts of the vector."""
        return Layout(self.bins, self.loss, self.pairs)

    @cached_property
    def pairs(self) -> Pairs | None:
        """Return the pairs of columns that have a table; None for none."""
        chosen = self.setup.algorithm
        if not chosen.interactions:
            return None
        return Pairs(self.bins, chosen.interactions, chosen.interaction_bins)

    @property
    def kept_of_best(self) -> tuple[str, ...]:
        """Return what ``predict`` and ``report`` look at."""
        pairs = () if self.pairs is None else ("pairs", "pair_curvature")
        return ("curves", "intercepts", *pairs)

    def length(self, state: State) -> int:
        """Return the length of all parts: it is the same in every round."""
        return len(self.layout)

    def initial_state(self) -> State:
        """Return curves of zeros."""
        curves = np.zeros((self.loss.num_scores, len(self.bins)))
        arrays: Arrays = {
            "curves": curves,
            "velocity": curves,
            "base": curves,
            "intercepts": np.zeros(self.loss.num_scores),
            "scalars": np.full(self.bins.num_columns, FIRST_SCALAR),
            "slots": np.zeros((self.loss.num_slots, len(self.bins))),
        }
        if self.pairs is not None:
            arrays["pairs"] = np.zeros((self.loss.num_scores, len(self.pairs)))
            arrays["pair_curvature"] = arrays["pairs"]
        return self._stopping.begun(State(arrays))

    def check(self, state: State) -> None:
        """Refuse arrays of other names or shapes, or not finite."""
        require_arrays(state.arrays, self.initial_state().arrays)
        self._stopping.check(state)

    def rehearse(self, records: Records | None = None) -> None:
        """Sum made-up records in every kind of round."""
        state, kinds = self.initial_state(), min(self.setup.num_rounds, 6)
        self._rehearse(records, ((state, number) for number in range(1, kinds + 1)))

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Average the counts, then move the curves: by scalars, by steps, or as a whole."""
        num_rounds, total = self.setup.num_rounds, aggregate.total
        before, now = 0.0, 1.0
        if self.setup.mode is None:
            total = total * 2.0**-FRACTION_BITS
        else:
            pairs = self.pairs is not None
            before = counts_before(server_round, num_rounds, pairs=pairs)
            now = private_shares(server_round, num_rounds, pairs=pairs).counts
        arrays = self._boosting.next(
            state.arrays, total, self._weights(server_round), before, now
        )
        return self._stopping.judged(state, State(arrays), aggregate, server_round - 1)

    def published(self, state: State) -> State:
        """Return the state with the curves of the best round, where that is not the last."""
        best = self._stopping.best(state)
        return state if best is None else State(state.arrays | best[1], state.header)

    def predict(self, state: State, columns: Floats) -> Floats:
        """Return probabilities (n, classes), or values in the label's unit (n,)."""
        places = self.bins.places(np.asarray(columns, np.float64))
        arrays = state.arrays
        asked = Asked(
            arrays["intercepts"], arrays["curves"], arrays["base"], arrays.get("pairs")
        )
        return self.loss.published(self.layout.scores(asked, places))

    def as_curves(self, state: State) -> Curves:
        """Return the curves.

        Raises
        ------
        NotExportedError
            If there are tables of pairs, without which the curves are another model.
        """
        if self.pairs is not None:
            raise NotExportedError(
                f"algorithm.interactions={self.setup.algorithm.interactions}: tables of pairs"
                " are not exported; report-pairs.csv in the run folder has them"
            )
        return curves_of(self.table, self.bins, self.loss, state.arrays)

    def as_trees(self, state: State) -> Decisions:
        """Return a tree for each column, with a leaf for each bin."""
        curves = self.as_curves(state)
        trees = curves.as_trees()
        return Decisions(curves.table, curves.cuts, trees, curves.start, curves.link)

    def report(self, state: State) -> Report:
        """Return the curves, and how much each moves."""
        arrays, classes = state.arrays, self.table.classes
        named = [f"score of {name}" for name in classes] or ["score"]
        if len(classes) == 2:
            named = [f"log-odds of {classes[1]}"]
        counts = self.loss.counts(arrays["slots"])
        report = curve_report(self.bins, counts, arrays["intercepts"], arrays["curves"], named)
        if self.pairs is not None:
            tables = arrays["pairs"], arrays["pair_curvature"]
            report = with_pairs(report, self.pairs, *tables, named)
        return replace(report, facts={**report.facts, **self.ending(state)})

    @cached_property
    def _boosting(self) -> Boosting:
        chosen, bins = self.setup.algorithm, self.bins
        return Boosting(
            layout=self.layout,
            smoother=Smoother(
                bins=bins,
                reg_lambda=chosen.reg_lambda,
                smoothing=chosen.smoothing,
                stiffness=self.loss.stiffness,
            ),
            learning_rate=chosen.learning_rate or 1 / bins.num_columns,
            noise=self.setup.noise,
        )

    def _weights(self, server_round: int) -> Weights:
        pairs = self.pairs is not None
        if self.setup.mode is None:
            shares = exact_shares(server_round, pairs=pairs)
            return Weights(shares.counts, shares.scalars, shares.residuals, shares.pairs)
        rounds = self.setup.num_rounds
        return self.layout.weights(private_shares(server_round, rounds, pairs=pairs))

    def _entries(self, state: State, query: Query, records: Any) -> Entries:
        arrays = state.arrays
        # Where the momentum leads by itself.
        ahead = arrays["curves"] + MOMENTUM * arrays["velocity"]
        asked = Asked(arrays["intercepts"], ahead, arrays["base"], arrays.get("pairs"))
        weights = self._weights(query.server_round)
        return self.layout.entries(asked, records.columns, records.targets, weights)
