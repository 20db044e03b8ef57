"""Workloads over made-up tables of each kind of label, with states that are not empty."""

from types import SimpleNamespace

import numpy as np

from privacy.mode import Mode, Place
from privacy.unit import Unit
from tasks.records import Examples
from tasks.table import Column, Scale, Table
from workloads.base import Setup
from workloads.histograms.config import EbmConfig
from workloads.histograms.ebm import Ebm
from workloads.values import Query, State

COLUMNS = (
    Column("age", 0, 90),
    Column("gain", 0, 10_000, scale=Scale.log),
    Column("visits", 0, 5, scale=Scale.integer),
    Column("ward", categories=("a", "b", "c")),
)
LABELS = {
    "binary": Column("ill", categories=("no", "yes")),
    "softmax": Column("kind", categories=("x", "y", "z", "w")),
    "squared": Column("days", 0, 80),
}
DISTRIBUTED = Mode(Unit.EXAMPLE, Place.DISTRIBUTED)
NUM_ROUNDS = 6


def table(kind: str) -> Table:
    return Table(COLUMNS, LABELS[kind].categories, LABELS[kind])


def ebm(kind: str, *, mode: Mode | None = DISTRIBUTED, noise: float = 0.0, **keys) -> Ebm:
    """Return the workload over a table whose label is of this kind."""
    config = EbmConfig(**keys)
    config.settle(mode, NUM_ROUNDS, is_settled=False)
    task = SimpleNamespace(table=table(kind), made_up=lambda n: records(kind, n))
    return Ebm(
        Setup(task=task, algorithm=config, mode=mode, noise=noise, num_rounds=NUM_ROUNDS)
    )


def targets(kind: str, num: int, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed)
    if kind == "squared":
        return draws.uniform(-1, 1, num).astype(np.float32)
    return draws.integers(len(LABELS[kind].categories), size=num)


def records(kind: str, num: int, seed: int = 0) -> Examples:
    """Return records of which some miss values."""
    draws = np.random.default_rng([seed, 1])
    ranges = [(c.low, c.high) if not c.is_categorical else (0, 0) for c in COLUMNS]
    columns = np.stack([draws.uniform(low, high, num) for low, high in ranges], axis=1)
    columns[:, 3] = draws.integers(3, size=num)
    columns[draws.random(columns.shape) < 0.1] = np.nan
    return Examples(np.zeros((num, 1), np.float32), targets(kind, num, seed), columns)


def some_state(workload: Ebm, size: float, seed: int = 0) -> State:
    """Return a state whose arrays are as large as asked."""
    draws = np.random.default_rng([seed, 2])
    arrays = {
        name: draws.normal(scale=size, size=array.shape)
        for name, array in workload.initial_state().arrays.items()
    }
    return State(arrays)


def queries() -> list[Query]:
    return [Query(number) for number in range(1, NUM_ROUNDS + 1)]
