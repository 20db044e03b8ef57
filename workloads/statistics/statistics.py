"""Descriptive statistics of a table in one round: what ``summary()`` and ``table()`` give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from privacy.bounding.bounded_sum import sum_of_sparse_parts
from privacy.mode import Place
from privacy.noise.sampling import poisson_sample
from privacy.unit import Unit
from workloads.base import Privacy, Records, Step, Workload
from workloads.report import Report
from workloads.statistics.config import EXACT_BINS, StatisticsConfig
from workloads.statistics.layout import Layout, Marks
from workloads.statistics.summaries import Summaries
from workloads.statistics.tables import report_of
from workloads.statistics.variables import Places, Variable, variables_of
from workloads.values import (
    Aggregate,
    Contribution,
    PrivateContribution,
    Query,
    State,
    Vector,
    require_arrays,
)

#: Fraction bits of a number within [-1, 1]: those of 134 million records fit 64 bits.
FRACTION_BITS = 36
_UNIT = 2.0**FRACTION_BITS
# Numbers that are worked on at once, to bound the memory; whole numbers add up in any order.
_CHUNK = 2**21
_NUM_MADE_UP = 8
# Each is rounded and measured: a thousand records take some seconds.
_MOST_IN_TERM = 20_000


class Statistics(Workload):
    """Sum counts, moments, histograms, two-way tables and products of all records, once.

    Guarantees
    ----------
    Unit: one record, of whichever node. Its term has at most the L2 norm of ``Layout.bound``,
    from the numbers of variables, tables and pairs: 1 for the count, 1 for the cell of each
    variable, as missing values have one, |u| <= 1 and u^2 <= 1 for each number u, mapped from
    its public bounds to [-1, 1] and clipped, 1 for the cell of each table, and, for
    correlations, 1, |u|, u^2 and |u v| over records that miss no number. A record with all
    numbers at a bound has this norm. The state says nothing that a term depends on.

    Without privacy an entry is a whole number, record by record: the masked sum is that of the
    pooled records bit for bit, however they are spread. Up to 2^27 records fit the ring.
    """

    Config = StatisticsConfig
    serves = frozenset({(Unit.EXAMPLE, Place.DISTRIBUTED), (Unit.EXAMPLE, Place.CENTRAL)})
    is_integer = True
    needs_table = True
    needs_clip_norm = False
    holds_out = False
    most_rounds = 1
    begins_afresh = "its result is tables of counts and no model; take initial-model out"
    takes_samples = False

    def __init__(self, setup: Any) -> None:
        super().__init__(setup)
        config: StatisticsConfig = setup.algorithm
        table, bins = self.task.table, config.max_bins or EXACT_BINS
        variables = variables_of(table, config.columns, bins)
        self._layout = Layout(variables, _pairs(variables, config.tables), config.correlations)
        entries = round(self._layout.bound**2)
        if setup.mode is not None and entries > _MOST_IN_TERM:
            raise ValueError(
                f"algorithm=statistics under privacy: a record adds {entries:,} numbers, but at"
                f" most {_MOST_IN_TERM:,}, and the noise grows with their root; take"
                " algorithm.correlations=false, or name fewer algorithm.columns"
            )

    def bound(self) -> float:
        """Return the largest norm of a record's term."""
        return self._layout.bound

    def num_parameters(self, state: State) -> int:
        """Return the number of columns whose products are summed, as of a regression's."""
        return len(self._layout.numbers) if self._layout.correlates else 0

    def length(self, state: State) -> int:
        """Return the length of all parts."""
        return len(self._layout)

    def initial_state(self) -> State:
        """Return no sums."""
        return State({"sums": np.zeros(0)}, {"noise": 0.0, "num_withheld": 0})

    def check(self, state: State) -> None:
        """Refuse what are no sums of this length."""
        size = len(self._layout) if np.size(state.arrays.get("sums", ())) else 0
        require_arrays(state.arrays, {"sums": np.zeros(size)})

    def rehearse(self, records: Records | None = None) -> None:
        """Describe made-up records; refuse records that have not the table's columns."""
        made_up = self.task.made_up(_NUM_MADE_UP)
        for _ in self._layout.parts(made_up):
            pass
        if records is not None:
            self.task.table.require_columns(records.train.columns)

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return the sum of this node's records, each as whole numbers of its own."""
        self.check(state)
        total = np.zeros(len(self._layout), np.int64)
        for some in self._chunks(records.train, 2 * len(self._layout.numbers) + 1):
            for part in self._layout.parts(some):
                if isinstance(part, Marks):
                    counts = np.bincount(part.places)
                    total[part.first : part.first + len(counts)] += counts
                else:
                    whole = np.rint(part.values * _UNIT).astype(np.int64)
                    total[part.first : part.first + whole.shape[1]] += whole.sum(axis=0)
        return Contribution(total, {})

    def terms(self, state: State, query: Query, records: Any) -> Vector:
        """Return each record's term, its norm at most the bound."""
        rows = np.zeros((len(records), len(self._layout)))
        places, values = self._entries(records)
        np.put_along_axis(rows, places, values, axis=1)
        return rows

    def bounded(
        self,
        state: State,
        query: Query,
        records: Records,
        rng: np.random.Generator,
        privacy: Privacy,
    ) -> PrivateContribution:
        """Return the sum of the records' few entries; the plan draws all of them."""
        self.check(state)
        drawn = poisson_sample(len(records.train), privacy.plan.terms.sampling_rate, rng)
        chunks = self._chunks(records.train.take(drawn), round(self.bound() ** 2))
        parts = (self._entries(some) for some in chunks)
        return PrivateContribution(sum_of_sparse_parts(parts, len(self._layout), self.bound()))

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Return the sums in their units, with what is known of their noise."""
        total = aggregate.total
        if self.setup.mode is None:
            total = np.where(self._layout.is_number, total / _UNIT, total)
        withheld = round(aggregate.sums.get("num_withheld", 0.0))
        return State({"sums": total}, {"noise": aggregate.noise, "num_withheld": withheld})

    def is_finished(self, state: State) -> bool:
        """Return whether the one round was taken."""
        return len(state.arrays["sums"]) > 0

    def report(self, state: State) -> Report | None:
        """Return the tables; None before the round."""
        if not self.is_finished(state):
            return None
        config: StatisticsConfig = self.setup.algorithm
        noise, withheld = float(state.header["noise"]), int(state.header["num_withheld"])
        z = _normal_quantile((1 + config.confidence) / 2)
        hides = config.min_cell or 0
        found = Summaries(self._layout, state.arrays["sums"], noise, hides, z)
        facts = {"nodes that kept their records back": withheld} if withheld else {}
        return report_of(found, facts, config.confidence)

    def _entries(self, records: Any) -> tuple[Places, Vector]:
        """Return where a record's term is not zero, and what it is there, shapes (n, m)."""
        places: list[Places] = []
        values: list[Vector] = []
        for part in self._layout.parts(records):
            if isinstance(part, Marks):
                places.append((part.first + part.places)[:, np.newaxis])
                values.append(np.ones((len(records), 1)))
            else:
                at = part.first + np.arange(part.values.shape[1])
                places.append(np.broadcast_to(at, part.values.shape))
                values.append(part.values)
        return np.concatenate(places, axis=1), np.concatenate(values, axis=1)

    def _chunks(self, records: Any, width: int) -> Iterator[Any]:
        size = max(1, _CHUNK // width)
        for first in range(0, len(records), size):
            yield records.take(np.arange(first, min(first + size, len(records))))


def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri  # pyright: ignore[reportMissingTypeStubs]

    return float(ndtri(probability))


def _pairs(variables: tuple[Variable, ...], chosen: list[list[str]]) -> list[tuple[int, int]]:
    """Return the two-way tables: label by each category, then the chosen pairs.

    Raises
    ------
    ValueError
        Naming a pair that names no variable, one variable twice, or what is there already.
    """
    names = [one.name for one in variables]
    found: list[tuple[int, int]] = []
    if not variables[0].is_number:
        found += [(0, i) for i, one in enumerate(variables) if i and not one.is_number]
    for pair in chosen:
        for name in pair:
            if name not in names:
                raise ValueError(
                    f"algorithm.tables: {name!r} of {pair} is none of the variables"
                    f" {', '.join(names)}"
                )
        one, other = (names.index(name) for name in pair)
        if one == other:
            raise ValueError(f"algorithm.tables: {pair} is one column twice; name two")
        if (one, other) in found or (other, one) in found:
            raise ValueError(f"algorithm.tables: {pair} is there already; take it out")
        found.append((one, other))
    return found
