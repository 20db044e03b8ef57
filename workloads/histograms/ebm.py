"""Glass-box boosting: an additive model of one curve for each column, from masked histograms.

The model of an explainable boosting machine (Nori et al. 2019, arXiv 1909.09223): the scores of
a record are the sums of its columns' curves, which a person can read, plot and edit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from privacy.bounding.bounded_sum import sum_of_sparse_terms
from privacy.mode import Place
from privacy.noise.sampling import poisson_sample
from privacy.unit import Unit
from workloads.base import Privacy, Records, Step
from workloads.histograms.bins import Bins, Floats
from workloads.histograms.boosting import Boosting
from workloads.histograms.config import EbmConfig
from workloads.histograms.curves import FIRST_SCALAR, MOMENTUM, Smoother
from workloads.histograms.entries import Asked, Entries, Layout, Weights, scores
from workloads.histograms.losses import Loss, loss_of
from workloads.histograms.schedule import (
    counts_before,
    exact_shares,
    private_shares,
)
from workloads.table_model import TableWorkload
from workloads.values import (
    Aggregate,
    Arrays,
    Contribution,
    PrivateContribution,
    Query,
    State,
    StateRefusedError,
    Vector,
)

# Without privacy an entry is rounded to 2^-24, record by record: sums of whole numbers below
# 2^53 are exact, which are those of half a billion records.
_FRACTION_BITS = 24
# Records that are worked on at once, to bound the memory; whole numbers add up in any order.
_CHUNK = 2**15
_NUM_MADE_UP = 8


class Ebm(TableWorkload):
    """Sum the histograms of labels and residuals, and what moves scalars of the curves.

    Guarantees
    ----------
    Unit: one record, of whichever node. Its term has an L2 norm of 1 at most, in every round.
    A record is in one bin of each of k columns, as missing values have a bin of their own. The
    parts of a round's vector have these norms: histograms of the label sqrt(k) times 1 for
    classes, sqrt 2 for a number; histograms of residuals sqrt(k) times 1, or sqrt 2 for three
    classes and more; gradient and curvature along the curves, whose values at a record are cut
    to a norm l, the root of (b l)^2 + (l^2 / 4)^2, b being 1 or sqrt 2 as before. Each part is
    divided by its norm and times the root of its share; the shares of a round add up to 1.
    Assumes nothing of the state, whose values the server chooses.
    """

    Config = EbmConfig
    serves = frozenset({(Unit.EXAMPLE, Place.DISTRIBUTED), (Unit.EXAMPLE, Place.CENTRAL)})
    is_integer = True
    needs_clip_norm = False

    def bound(self) -> float:
        """Return 1: the weights of the parts see to it."""
        return 1.0

    @cached_property
    def loss(self) -> Loss:
        """Return the loss that suits the label."""
        return loss_of(self.table)

    @cached_property
    def bins(self) -> Bins:
        """Return the bins of the columns."""
        return Bins(self.table, self.setup.algorithm.max_bins)

    @cached_property
    def layout(self) -> Layout:
        """Return the parts of the vector."""
        return Layout(self.bins, self.loss)

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
        return State(arrays)

    def check(self, state: State) -> None:
        """Refuse arrays of other names or shapes, or not finite."""
        due = self.initial_state().arrays
        if state.arrays.keys() != due.keys():
            raise StateRefusedError(f"arrays {sorted(state.arrays)}, not {sorted(due)}")
        for name, array in state.arrays.items():
            if array.shape != due[name].shape or array.dtype != np.float64:
                raise StateRefusedError(f"{name} is {array.dtype} of shape {array.shape}")
            if not np.isfinite(array).all():
                raise StateRefusedError(f"{name} is not finite")

    def rehearse(self, records: Records | None = None) -> None:
        """Sum made-up records in every kind of round."""
        made_up, state = self.task.made_up(_NUM_MADE_UP), self.initial_state()
        for server_round in range(1, min(self.setup.num_rounds, 4) + 1):
            self._entries(state, Query(server_round), made_up)
        columns = None if records is None else records.train.columns
        if records is not None and (
            columns is None or columns.shape[1:] != (self.bins.num_columns,)
        ):
            raise ValueError("the task's records have not the columns of its table")

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return the sum of this node's records, each as whole numbers of its own.

        The state is scored as it came, on the records that are held out.
        """
        self.check(state)
        total = np.zeros(len(self.layout), np.int64)
        for part in _chunks(records.train):
            found = self._entries(state, query, part)
            coded = np.rint(found.values * 2.0**_FRACTION_BITS)
            whole = np.where(np.isfinite(coded), coded, 0.0).astype(np.int64)
            np.add.at(total, found.places.ravel(), whole.ravel())
        return Contribution(total.astype(np.float64), self.score(state, records))

    def terms(self, state: State, query: Query, records: Any) -> Vector:
        """Return each record's term, its norm at most 1."""
        found = self._entries(state, query, records)
        rows = np.zeros((len(found.places), len(self.layout)))
        np.put_along_axis(rows, found.places, found.values, axis=1)
        return rows

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Draw records by Poisson sampling and return the sum of their few entries."""
        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        found = self._entries(state, query, records.train.take(drawn))
        return PrivateContribution(
            sum_of_sparse_terms(found.places, found.values, len(self.layout), self.bound())
        )

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Average the counts, then move the curves: by scalars, by steps, or as a whole."""
        num_rounds, total = self.setup.num_rounds, aggregate.total
        before, now = 0.0, 1.0
        if self.setup.mode is None:
            total = total * 2.0**-_FRACTION_BITS
        else:
            before = counts_before(server_round, num_rounds)
            now = private_shares(server_round, num_rounds).counts
        arrays = self._boosting.next(
            state.arrays, total, self._weights(server_round), before, now
        )
        return State(arrays)

    def outputs(self, state: State, columns: Floats) -> Floats:
        """Return the sum of each record's curves, shape (n, scores)."""
        places = self.bins.places(columns)
        return scores(state.arrays["intercepts"], state.arrays["curves"], places)

    def predict(self, state: State, columns: Floats) -> Floats:
        """Return probabilities (n, classes), or values in the label's unit (n,)."""
        return self.loss.published(self.outputs(state, np.asarray(columns, np.float64)))

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
        if self.setup.mode is None:
            shares = exact_shares(server_round)
            return Weights(shares.counts, shares.scalars, shares.residuals)
        return self.layout.weights(private_shares(server_round, self.setup.num_rounds))

    def _entries(self, state: State, query: Query, records: Any) -> Entries:
        arrays = state.arrays
        # Where the momentum leads by itself.
        ahead = arrays["curves"] + MOMENTUM * arrays["velocity"]
        asked = Asked(arrays["intercepts"], ahead, arrays["base"])
        weights = self._weights(query.server_round)
        return self.layout.entries(asked, records.columns, records.targets, weights)


def _chunks(records: Any) -> Iterator[Any]:
    for first in range(0, len(records), _CHUNK):
        yield records.take(np.arange(first, min(first + _CHUNK, len(records))))
