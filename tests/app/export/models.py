"""Small trained models of every workload and label, and rows that search their edges."""

from functools import cache
from types import SimpleNamespace

import numpy as np

from app.results.model_file import TableModel
from tasks.records import Examples
from tasks.table import Column, Scale, Table
from tests.workloads.trees.tables import pooled
from workloads.base import Setup
from workloads.decisions import Decisions
from workloads.histograms.config import EbmConfig
from workloads.histograms.ebm import Ebm
from workloads.trees.config import ForestConfig, GbdtConfig, Structure, TreeConfig
from workloads.trees.forest import Forest, Tree
from workloads.trees.gbdt import Gbdt
from workloads.values import State

COLUMNS = (
    Column("age", 0, 90),
    Column("net gain", -10, 10, edges=(-5.0, -1.1, 0.0, 0.1, 2.5)),
    Column("visits", 0, 5, scale=Scale.integer),
    Column("dose", 0, 10_000, scale=Scale.log),
    Column("ward", categories=tuple("abcdefg")),
    # More categories than a word has bits.
    Column("town", categories=tuple(f"town {number}" for number in range(40))),
)
LABELS = {
    "binary": Column("ill", categories=("no", "yes")),
    "three": Column("kind", categories=("x", "y", "z")),
    "number": Column("days", 10, 90),
}
WORKLOADS = {
    "greedy": (Gbdt, lambda: GbdtConfig(max_depth=4, max_bins=64, min_data_in_leaf=5), 25),
    "random": (Gbdt, lambda: GbdtConfig(structure=Structure.random, max_bins=16), 5),
    "forest": (Forest, lambda: ForestConfig(num_trees=7, feature_fraction=0.5, max_depth=6), 8),
    "tree": (Tree, lambda: TreeConfig(min_data_in_leaf=5), 9),
    "ebm": (Ebm, EbmConfig, 6),
}
MODELS = [(name, label) for name in WORKLOADS for label in LABELS]


def records(label: str, num: int, seed: int = 0) -> Examples:
    """Return records whose label depends on all columns, and of which some miss values."""
    draws = np.random.default_rng(seed)
    columns = np.stack(
        [
            draws.integers(len(column.categories), size=num)
            if column.is_categorical
            else draws.uniform(column.low, column.high, num)
            for column in COLUMNS
        ],
        axis=1,
    ).astype(np.float64)
    score = (columns[:, 0] - 45) ** 2 / 400 - 2 + 2 * (columns[:, 1] > 0)
    score += np.isin(columns[:, 4], [1, 4, 5]) * (1 + columns[:, 2] / 2)
    score += np.isin(columns[:, 5] % 7, [0, 3]) - columns[:, 3] / 5000
    missing = draws.random(columns.shape) < 0.1
    score += 1.0 * missing[:, 0] - missing[:, 4] + draws.normal(scale=0.3, size=num)
    columns[missing] = np.nan
    targets = {
        "binary": (score > 0.5).astype(np.int64),
        "three": np.digitize(score, [-0.3, 1.2]),
        "number": np.clip(score / 4, -1, 1).astype(np.float32),
    }
    return Examples(np.zeros((num, 1), np.float32), targets[label], columns)


@cache
def model(name: str, label: str) -> TableModel:
    """Return what a run of one node over a thousand records learns."""
    kind, config, num_rounds = WORKLOADS[name]
    chosen = config()
    chosen.settle(None, num_rounds, is_settled=False)
    table = Table(COLUMNS, LABELS[label].categories, LABELS[label])
    task = SimpleNamespace(table=table, made_up=lambda num: records(label, num), seed=7)
    workload = kind(Setup(task=task, algorithm=chosen, num_rounds=num_rounds))
    return TableModel(workload, pooled(workload, records(label, 1000), num_rounds)[-1])


def trees(name: str, label: str) -> Decisions:
    """Return that model as trees."""
    return trees_of(model(name, label))


def trees_of(found: TableModel) -> Decisions:
    return found.workload.as_trees(found.state)


def any_splits(name: str, label: str, seed: int) -> TableModel:
    """Return that model with other bins to the left of its splits.

    Of numbers those from one to another, or only missing ones; any categories.
    """
    found, draws = model(name, label), np.random.default_rng(seed)
    arrays, sizes = dict(found.state.arrays), found.workload.growth.bins.sizes
    flags = np.zeros((len(arrays["left"]), 8 * arrays["left"].shape[1]), bool)
    for node in np.flatnonzero(arrays["column"] >= 0):
        column = arrays["column"][node]
        size = sizes[column]
        first, last = np.sort(draws.integers(0, size, 2))
        flags[node, first:last] = True
        if COLUMNS[column].is_categorical:
            flags[node, :size] = draws.random(size) < 0.5
        flags[node, size - 1] = draws.random() < 0.5
        if draws.random() < 0.1:
            flags[node, : size - 1] = not flags[node, size - 1]
    arrays["left"] = np.packbits(flags, axis=1)
    return TableModel(found.workload, State(arrays, found.state.header))


def rows(cuts: tuple[np.ndarray, ...], num: int = 20_000) -> np.ndarray:
    """Return rows of values on the edges, the next float64 to both sides, and beyond bounds."""
    draws = np.random.default_rng(3)
    found = np.empty((num, len(COLUMNS)))
    for place, (column, edges) in enumerate(zip(COLUMNS, cuts, strict=True)):
        if column.is_categorical:
            # The last is no category, as is one more than there are: both count as missing.
            values = np.arange(len(column.categories) + 1.0)
        else:
            on = np.append(edges, [column.low, column.high])
            beyond = [column.low - 7, column.high + 7, -1e300, 1e300]
            around = [np.nextafter(on, -np.inf), np.nextafter(on, np.inf)]
            usual = draws.uniform(column.low, column.high, 20)
            values = np.concatenate([on, *around, beyond, usual])
        found[:, place] = draws.choice(values, num)
    found[draws.random(found.shape) < 0.1] = np.nan
    return found
