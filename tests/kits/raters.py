"""Made-up users with tastes, files of their ratings, and the recommender over them."""

from pathlib import Path
from typing import Any

import numpy as np

from privacy.mode import Mode, Place
from privacy.unit import Unit
from tasks.ratings.raters import NOT_RATED, scaled
from tasks.ratings.schema import RatingsConfig
from tasks.ratings.task import Ratings
from tasks.records import Examples, LocalData
from workloads.als.als import Als
from workloads.als.config import AlsConfig
from workloads.base import Setup
from workloads.values import Aggregate, Query, State

NUM_ITEMS = 40
YAML = f"""
defaults: [ratings_schema, _self_]
num_items: {NUM_ITEMS}
min_rating: 1
max_rating: 5
"""


def task(**keys: Any) -> Ratings:
    return Ratings(RatingsConfig(num_items=NUM_ITEMS, min_rating=1, max_rating=5, **keys), 3)


def ratings(num_users: int, seed: int = 0, share: float = 0.5) -> np.ndarray:
    """Return ratings from 1 to 5 in halves, NaN for none: two tastes, items good and bad."""
    rng = np.random.default_rng(seed)
    own, of_items = rng.normal(size=(num_users, 2)), rng.normal(size=(NUM_ITEMS, 2))
    taste = own @ of_items.T * 0.7 + rng.normal(size=NUM_ITEMS) * 0.6
    found = 3 + taste + rng.normal(size=(num_users, 1)) * 0.4
    found += rng.normal(scale=0.3, size=found.shape)
    found = np.clip(np.round(2 * found) / 2, 1, 5)
    popular = np.linspace(1.6, 0.4, NUM_ITEMS) * share
    found[rng.random(found.shape) > popular] = np.nan
    return found


def examples(found: np.ndarray) -> Examples:
    """Return users' ratings as records to train on."""
    records = np.full(found.shape, NOT_RATED, np.float32)
    there = ~np.isnan(found)
    records[there] = scaled(found[there], task().config)
    return Examples(records, records)


def data(records: Examples) -> LocalData:
    return LocalData(records, records.take(np.zeros(0, np.intp)))


def mode(unit: str, place: str = "distributed") -> Mode:
    return Mode(Unit(unit), Place(place))


def workload(
    of: Mode | None = None, num_rounds: int = 1, noise: float = 0.0, **keys: Any
) -> Als:
    config = AlsConfig(**keys)
    config.settle(of, num_rounds, is_settled=False)
    return Als(
        Setup(task=task(), algorithm=config, mode=of, num_rounds=num_rounds, noise=noise)
    )


def fitted(work: Als, parts: list[Examples], num_rounds: int) -> State:
    """Return the state after rounds over the sums of nodes, with no aggregation between."""
    state, rng = work.initial_state(), np.random.default_rng(0)
    for number in range(1, num_rounds + 1):
        sums = [work.contribute(state, Query(number), data(p), rng).update for p in parts]
        assert all(each.dtype == np.int64 for each in sums)
        total = np.sum(sums, axis=0).astype(np.float64)
        assert total.shape == (work.length(state),)
        state = work.apply(state, Aggregate(total, {}, float(len(parts))), number, None)
    return state


def write(path: Path, found: np.ndarray, first_user: int = 0) -> Path:
    """Write users' ratings as a file in long form."""
    rows = [
        f"u{first_user + user},{item + 1},{found[user, item]:g}"
        for user, item in zip(*np.nonzero(~np.isnan(found)), strict=True)
    ]
    path.write_text("\n".join(["user,item,rating", *rows]) + "\n")
    return path


def files(folder: Path, found: np.ndarray, sizes: list[int]) -> Path:
    """Deal users to nodes, a file for each; return the list of nodes for a simulation."""
    assert sum(sizes) == len(found)
    firsts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    paths = [
        write(folder / f"{node}.csv", found[firsts[node] : firsts[node + 1]], firsts[node])
        for node in range(len(sizes))
    ]
    nodes = folder / "nodes.yaml"
    nodes.write_text("\n".join(f"- data-path: {path}" for path in paths))
    return nodes
