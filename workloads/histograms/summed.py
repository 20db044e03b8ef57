"""What all workloads of histograms have in common: a record adds a few entries to a sum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from privacy.bounding.bounded_sum import one_term, sum_of_sparse_terms
from privacy.noise.sampling import poisson_sample
from tasks.table import Table
from workloads.base import Privacy, Records, Setup
from workloads.early_stopping import EarlyStopping
from workloads.histograms.bins import Bins, Floats
from workloads.histograms.entries import Entries
from workloads.histograms.losses import Loss, loss_of
from workloads.record_weights import RecordWeights
from workloads.table_model import TableWorkload
from workloads.values import (
    Contribution,
    PrivateContribution,
    Query,
    State,
    Vector,
)

#: Without privacy an entry is rounded to 2^-24, record by record: sums of whole numbers below
#: 2^53 are exact, which are those of half a billion records.
FRACTION_BITS = 24
# Records that are worked on at once, to bound the memory; whole numbers add up in any order.
_CHUNK = 2**15
_NUM_MADE_UP = 8
# The mean of many different records is a half as long as each, or less. A public number: with 2
# the AUC on Adult was 0.001 to 0.003 lower, with 1 0.006 to 0.02 (2,000 clients, epsilon 4, 1).
_STRETCH = 3.0


class TableSum(TableWorkload):
    """Sum a few entries of each record, which lie in the bins of the task's table.

    Its subclasses say which entries, and of which norm. Without privacy each entry is a whole
    number of steps of 2^-24, so that the sum does not depend on who has which records.

    Guarantees
    ----------
    Of the client unit. Unit: one node, with all of its records. Neighbours: its term replaced
    by zeros, which a node without records adds. Its term is three times the mean of its
    records' terms, cut to their bound, which is public: the largest weight of a record. So
    nodes count alike, however many records they have. The mean is no longer than the bound
    anyway; but records differ, so it is shorter as a rule, and without the stretch the noise
    would be made for what hardly ever is. Assumes nothing of records nor state.
    """

    is_integer = True
    needs_clip_norm = False
    #: The table with other bins than the task's, where they were found; None for none.
    own_table: Table | None = None

    @property
    def table(self) -> Table:
        """Return the table whose bins are summed over."""
        return super().table if self.own_table is None else self.own_table

    takes_weights = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._record_weights = RecordWeights.of(setup.algorithm.class_weight, self.table)

    def bound(self) -> float:
        """Return the largest weight of a record, by its class and its own; 1 without weights.

        The entries of a record that counts once have a norm of 1 at most; and a node's term,
        under the client unit, is cut to this.
        """
        return self._record_weights.largest

    def weights(self, state: State, query: Query, records: Any) -> Vector:
        """Return how often each record counts."""
        found = self._record_weights.of_records(records)
        return np.ones(len(records)) if found is None else found

    @cached_property
    def loss(self) -> Loss:
        """Return the loss that suits the label."""
        return loss_of(self.table)

    @cached_property
    def bins(self) -> Bins:
        """Return the bins of the columns."""
        return Bins(self.table, self.setup.algorithm.max_bins)

    @property
    def kept_of_best(self) -> tuple[str, ...]:
        """Return the arrays that a model of another round needs, for early stopping."""
        return ()

    def _anew(self) -> Self:
        """Return this workload over the same bins, with nothing worked out yet."""
        found = type(self)(self.setup)
        found.own_table = self.own_table
        return found

    @cached_property
    def _stopping(self) -> EarlyStopping:
        return EarlyStopping.of(self.setup.algorithm, self.kept_of_best)

    def is_finished(self, state: State) -> bool:
        """Return whether early stopping ends the run."""
        return self._stopping.is_over(state)

    def ending(self, state: State) -> dict[str, Any]:
        """Return the best iteration and why the run ended, with early stopping."""
        return self._stopping.facts(state)

    @abstractmethod
    def _entries(self, state: State, query: Query, records: Any) -> Entries:
        """Return what each record adds: a function of that record alone."""

    def _chunk(self, state: State) -> int:
        """Return how many records are worked on at once."""
        return _CHUNK

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return the sum of this node's records, each as whole numbers of its own.

        The state is scored as it came, on the records that are held out.
        """
        self.check(state)
        total = np.zeros(self.length(state), np.int64)
        for part in _parts(records.train, self._chunk(state)):
            found = self._entries(state, query, part)
            coded = np.rint(found.values * 2.0**FRACTION_BITS)
            if (factors := self._factors(found, part)) is not None:
                # After the coding: a record of weight 2 adds what two records add.
                coded = np.rint(factors * coded)
            whole = np.where(np.isfinite(coded), coded, 0.0).astype(np.int64)
            np.add.at(total, found.places.ravel(), whole.ravel())
        return Contribution(total.astype(np.float64), self.score(state, records))

    def terms(self, state: State, query: Query, records: Any) -> Vector:
        """Return each record's term, its norm at most ``bound``."""
        found = self._weighted(state, query, records)
        rows = np.zeros((len(found.places), self.length(state)))
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
        """Return the sum of the few entries of records that are drawn by Poisson sampling.

        Under the client unit that of all records is the node's one term: their mean, stretched,
        and cut to the bound. Without records it is zeros.
        """
        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        found = self._weighted(state, query, records.train.take(drawn))
        length = self.length(state)
        total = sum_of_sparse_terms(found.places, found.values, length, self.bound())
        if privacy.mode.hides_clients:
            stretched = total.in_units_of(max(1, len(drawn)) / _STRETCH)
            total = one_term(stretched, self.bound()).bounded
        return PrivateContribution(total)

    def _weighted(self, state: State, query: Query, records: Any) -> Entries:
        """Return what each record adds, times how often it counts."""
        found = self._entries(state, query, records)
        factors = self._factors(found, records)
        return found if factors is None else replace(found, values=factors * found.values)

    def _factors(self, entries: Entries, records: Any) -> Floats | None:
        """Return what each row of entries is multiplied by, shape (n, 1); None for 1."""
        found = self._record_weights.of_records(records)
        if found is None:
            return None
        owners = entries.owners
        return (found if owners is None else found[owners])[:, np.newaxis]

    def _rehearse(self, records: Records | None, states: Iterator[tuple[State, int]]) -> None:
        """Sum made-up records in some rounds; hold real ones against the table."""
        made_up = self.task.made_up(_NUM_MADE_UP)
        for state, server_round in states:
            self._weighted(state, Query(server_round), made_up)
        if records is not None:
            self.table.require_columns(records.train.columns)


def _parts(records: Any, size: int) -> Iterator[Any]:
    for first in range(0, len(records), size):
        yield records.take(np.arange(first, min(first + size, len(records))))
