"""The workload `statistics` over made-up tables, and records at every edge of them."""

from types import SimpleNamespace

import numpy as np

from privacy.mode import Mode, Place
from privacy.unit import Unit
from tasks.records import Examples, LocalData
from tasks.table import Column, Scale, Table
from workloads.base import Setup
from workloads.statistics.config import StatisticsConfig
from workloads.statistics.statistics import Statistics
from workloads.values import Aggregate, Query, State

COLUMNS = (
    Column("age", 0, 90),
    Column("gain", -50, 10_000, scale=Scale.log),
    Column("visits", 0, 5, scale=Scale.integer),
    Column("ward", categories=("a", "b", "c")),
    Column("sex", categories=("f", "m")),
)
LABELS = {
    "classes": Column("ill", categories=("no", "yes")),
    "number": Column("days", 0, 80),
}
DISTRIBUTED = Mode(Unit.EXAMPLE, Place.DISTRIBUTED)
NAN = float("nan")


def statistics(label: str = "classes", mode: Mode | None = None, table=COLUMNS, **keys):
    """Return the workload over a table with this label."""
    config = StatisticsConfig(**keys)
    config.settle(mode, 1, is_settled=False)
    own = LABELS[label]
    task = SimpleNamespace(table=Table(table, own.categories, own))
    task.made_up = lambda num: records(num, label, columns=table)
    return Statistics(Setup(task=task, algorithm=config, mode=mode))


def records(num: int, label: str = "classes", seed: int = 0, missing=0.1, columns=COLUMNS):
    """Return records of which some miss values and some are at a bound, or beyond."""
    draws = np.random.default_rng([seed, 1])
    rows = np.empty((num, len(columns)))
    for place, column in enumerate(columns):
        if column.is_categorical:
            rows[:, place] = draws.integers(len(column.categories), size=num)
        else:
            span = column.high - column.low
            values = column.low + span * draws.uniform(-0.1, 1.1, num)
            rows[:, place] = np.rint(values) if column.scale is Scale.integer else values
    rows[draws.random(rows.shape) < missing] = np.nan
    is_number = label == "number"
    return examples(
        rows, draws.uniform(-1, 1, num) if is_number else draws.integers(2, size=num)
    )


def examples(rows, targets) -> Examples:
    rows = np.asarray(rows, np.float64)
    return Examples(np.zeros((len(rows), 1), np.float32), np.asarray(targets), rows)


def exact_state(workload: Statistics, some: Examples) -> State:
    """Return the state after the one round over these records, without noise."""
    data = LocalData(some, some.take(np.zeros(0, np.intp)))
    given = workload.contribute(
        workload.initial_state(), Query(1), data, np.random.default_rng(0)
    )
    total = given.update.astype(np.float64)
    return workload.apply(workload.initial_state(), Aggregate(total, {}, 1.0), 1, None)


def noised_state(workload: Statistics, sums, noise: float, seed: int) -> State:
    """Return the state of sums with noise drawn here, not by the code under test."""
    drawn = np.random.default_rng(seed).normal(scale=noise, size=len(sums))
    aggregate = Aggregate(sums + drawn, {}, 1.0, noise)
    return workload.apply(workload.initial_state(), aggregate, 1, None)


def tables_of(report) -> dict[str, list[dict]]:
    return report.to_dict()["tables"] | {"columns": report.to_dict()["rows"]}
