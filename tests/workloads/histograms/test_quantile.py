"""Edges from one round: where they lie, what one record adds, what a server may send."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from privacy.bounding.bounded_sum import FINENESS
from tasks.base import DataSource
from tasks.records import LocalData
from tasks.table import Column, Scale, Table
from tests.workloads.histograms.tables import (
    DISTRIBUTED,
    LABELS,
    ebm,
    records,
    some_state,
    table,
)
from tests.workloads.histograms.test_bound import KINDS, adversarial, squares, summed
from tests.workloads.histograms.test_runs import ALL, UNEVEN
from tests.workloads.histograms.test_runs import DISTRIBUTED as PRIVATE_RUN
from tests.workloads.histograms.test_runs import records as breast_cancer
from tests.workloads.trees.tables import nothing, random_states, random_trees, workload
from workloads.base import Workload
from workloads.histograms.config import Binning
from workloads.histograms.fine_grid import FineGrid
from workloads.histograms.quantile import QuantileBinned
from workloads.values import Aggregate, Query, State, StateRefusedError

NUM_FINE, MAX_BINS = 64, 8


def quantile(plain: Workload) -> QuantileBinned:
    """Return a workload of the tables' tests behind a round that finds edges."""
    algorithm = replace(
        plain.setup.algorithm, binning=Binning.quantile, fine_bins=NUM_FINE, max_bins=MAX_BINS
    )
    found = type(plain).build(replace(plain.setup, algorithm=algorithm))
    assert isinstance(found, QuantileBinned)
    return found


def any_edges(found: QuantileBinned, seed: int) -> np.ndarray:
    """Return edges as a server may choose them."""
    draws, grid = np.random.default_rng(seed), found.grid
    may = np.flatnonzero(grid.may_begin())
    owner = np.searchsorted(grid.bins.firsts, may, side="right")
    own = [may[owner == number] for number in np.unique(owner)]
    chosen = [
        draws.choice(places, draws.integers(1, MAX_BINS), replace=False) for places in own
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int32)


def with_edges(found: QuantileBinned, edges: np.ndarray, own: State | None = None) -> State:
    inner, _ = found.opened(State({"edges": edges, "any": np.zeros(1)}))
    own = own or inner.initial_state()
    return State({"edges": edges} | own.arrays, own.header)


# What it finds


def grid_of(*columns: Column, max_bins: int = 32, num_fine: int = 2048) -> FineGrid:
    return FineGrid(Table(columns, ("a", "b"), LABELS["binary"]), max_bins, num_fine)


def counted(grid: FineGrid, values: np.ndarray) -> np.ndarray:
    places = grid.bins.places(values)
    return np.bincount(places.ravel(), minlength=len(grid.bins)).astype(float)


def test_bins_have_equal_counts_whatever_the_spread():
    draws = np.random.default_rng(0)
    grid = grid_of(Column("even", 0, 1), Column("tail", 0, 1e5), Column("both", -1e4, 1e4))
    values = np.stack(
        [
            draws.uniform(size=20_000),
            draws.lognormal(3, 1.5, 20_000),
            draws.standard_t(2, 20_000),
        ],
        axis=1,
    )
    found = grid.table(grid.edges(counted(grid, values), 0.0))
    for column, own in zip(found.columns, values.T, strict=True):
        counts = np.bincount(column.bins(own, 32), minlength=33)[:32]
        assert 28 <= len(column.edges) <= 31
        assert counts.max() < 3 * 20_000 / 32, column.name
        # Of the public bins the fullest has more, but in the first column.
        public = np.bincount(Column("", column.low, column.high).bins(own, 32))
        assert column.name == "even" or public.max() > 10 * 20_000 / 32


def test_a_common_value_has_a_bin_for_itself_and_the_rest_the_others():
    draws = np.random.default_rng(0)
    values = np.where(draws.random(10_000) < 0.9, 0.0, draws.uniform(2_000, 9_000, 10_000))
    grid = grid_of(Column("gain", 0, 99_999))
    (column,) = grid.table(grid.edges(counted(grid, values[:, None]), 0.0)).columns
    counts = np.bincount(column.bins(values, 32), minlength=33)
    assert counts[0] == (values == 0).sum()
    assert len(column.edges) == 31
    assert np.diff(column.edges).min() < 300


def test_given_edges_whole_numbers_and_categories_stay_as_they_are():
    columns = (
        Column("given", 0, 9, edges=(1.0, 2.0)),
        Column("whole", 0, 5, scale=Scale.integer),
        Column("ward", categories=("a", "b")),
        Column("open", 0, 9),
    )
    grid = grid_of(*columns)
    assert grid.numbers.tolist() == [3]
    found = grid.table(grid.edges(np.ones(len(grid.bins)), 0.0))
    assert found.columns[:3] == columns[:3]
    assert len(found.columns[3].edges) == 31


@pytest.mark.parametrize("counts", ["none", "one value", "negative", "noise"])
def test_nothing_to_go_by_gives_edges_all_the_same(counts):
    grid = grid_of(Column("x", 0, 1), Column("y", 0, 1, scale=Scale.log))
    draws = np.random.default_rng(0)
    found = {
        "none": np.zeros(len(grid.bins)),
        "one value": np.eye(len(grid.bins))[7] * 500,
        "negative": np.full(len(grid.bins), -3.0),
        "noise": draws.normal(scale=50, size=len(grid.bins)),
    }[counts]
    edges = grid.edges(found, 50.0 if counts in ("negative", "noise") else 0.0)
    assert grid.objection(edges) == ""


def test_noise_moves_edges_a_little_and_makes_bins_fewer():
    draws = np.random.default_rng(0)
    values = draws.lognormal(3, 1, 20_000)[:, None]
    grid = grid_of(Column("x", 0, 1000), num_fine=512)
    counts = counted(grid, values)
    for noise, most, widest in ((0.0, 31, 2.0), (20.0, 31, 3.0), (500.0, 9, 8.0)):
        noised = counts + draws.normal(scale=noise or 1e-9, size=len(counts))
        (column,) = grid.table(grid.edges(noised, noise)).columns
        shares = np.bincount(column.bins(values[:, 0], 32), minlength=33) / 20_000
        assert len(column.edges) <= most
        assert shares.max() < widest / min(32, most + 1)


# What one record adds


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_is_longer_than_the_bound_whatever_the_edges(kind):
    found, worst = quantile(ebm(kind)), adversarial(kind)
    first = squares(found, found.initial_state(), Query(1), worst)
    # As long as it may be: one entry in each of two columns.
    np.testing.assert_allclose(first, 1, atol=1e-12)
    for seed in range(6):
        inner, _ = found.opened(with_edges(found, any_edges(found, seed)))
        state = with_edges(found, any_edges(found, seed), some_state(inner, 3.0, seed))
        found.check(state)
        for number in range(2, 7):
            assert squares(found, state, Query(number), worst).max() <= 1 + 1e-12


def test_nor_with_trees():
    found, worst = quantile(random_trees("binary")), adversarial("binary")
    for seed in range(3):
        edges = any_edges(found, seed)
        inner, _ = found.opened(with_edges(found, edges))
        for own in random_states(inner, 2.0, seed).values():
            state = with_edges(found, edges, own)
            found.check(state)
            assert squares(found, state, Query(3), worst).max() <= 1 + 1e-12


def test_one_record_moves_the_real_sum_by_no_more_than_the_bound():
    found, examples = quantile(ebm("binary")), adversarial("binary")
    everyone = np.arange(len(examples))
    later = with_edges(found, any_edges(found, 1))
    for number, state in enumerate((found.initial_state(), later), start=1):
        whole = summed(found, state, Query(number), examples).integers
        # Under privacy all rounds have one length.
        assert len(whole) == found.length(state) == found.longest()
        for left_out in everyone[::9]:
            rest = examples.take(np.delete(everyone, left_out))
            change = whole - summed(found, state, Query(number), rest).integers
            assert sum(int(value) ** 2 for value in change) <= int(FINENESS) ** 2


def test_the_state_after_the_first_round_is_that_of_the_edges():
    found = quantile(ebm("binary"))
    state = found.apply(found.initial_state(), nothing(found, found.initial_state()), 1, None)
    found.check(state)
    inner, own = found.opened(state)
    assert not isinstance(inner, QuantileBinned)
    assert inner.setup.num_rounds == found.setup.num_rounds - 1
    assert own.arrays["curves"].shape == (1, len(inner.bins))
    assert inner.table.columns[2] == table("binary").columns[2]


# What a server may send


def wrong(edges: np.ndarray, grid: FineGrid) -> dict[str, np.ndarray]:
    last = len(grid.bins)
    many = np.flatnonzero(grid.may_begin())
    own = many[many < grid.bins.sizes[0]]
    return {
        "descending": edges[::-1].copy(),
        "twice": np.sort(np.append(edges, edges[0])).astype(np.int32),
        "of another type": edges.astype(np.int64),
        "numbers with a point": edges.astype(np.float64),
        "of another shape": edges[np.newaxis],
        "beyond": np.append(edges, last).astype(np.int32),
        "negative": np.insert(edges, 0, -1).astype(np.int32),
        "at the first fine bin": np.insert(edges, 0, 0).astype(np.int32),
        "at missing values": np.append(edges, last - 1).astype(np.int32),
        "none of a column": edges[edges >= grid.bins.firsts[1]],
        "too many": np.sort(np.union1d(edges, own[: MAX_BINS + 1])).astype(np.int32),
        "none": np.zeros(0, np.int32),
    }


NAMES = tuple(wrong(np.zeros(1, np.int32), grid_of(Column("x", 0, 1), Column("y", 0, 1))))


@pytest.mark.parametrize("name", NAMES)
def test_edges_that_are_none_are_refused(name):
    found = quantile(ebm("binary"))
    state = with_edges(found, any_edges(found, 0))
    found.check(state)
    bad = State({**state.arrays, "edges": wrong(state.arrays["edges"], found.grid)[name]})
    with pytest.raises(StateRefusedError):
        found.check(bad)
    # A message's state is measured before it is looked at otherwise.
    with pytest.raises(StateRefusedError):
        found.length(bad)


@pytest.mark.parametrize(
    "name", ["no edges", "curves of other bins", "edges alone", "a header"]
)
def test_states_that_are_none_are_refused(name):
    found = quantile(ebm("binary"))
    state = with_edges(found, any_edges(found, 0))
    other = with_edges(found, any_edges(found, 3))
    bad = {
        "no edges": State({n: a for n, a in state.arrays.items() if n != "edges"}),
        "curves of other bins": State({**state.arrays, "edges": other.arrays["edges"]}),
        "edges alone": State({"edges": state.arrays["edges"]}),
        "a header": State({"edges": np.zeros(0, np.int32)}, {"step": "x"}),
    }[name]
    with pytest.raises(StateRefusedError):
        found.check(bad)


def test_a_node_keeps_silent_about_small_nodes_of_trees_as_ever():
    plain = workload("gbdt", max_depth=4, min_data_in_leaf=5)
    found, data = quantile(plain), records("binary", 400)
    state, states = found.initial_state(), []
    for number in range(1, 5):
        total = found.contribute(state, Query(number), LocalData(data, data), None).update
        state = found.apply(state, Aggregate(total, {}, 1.0), number, None)
        states.append(state)
    few = data.take(np.arange(25))
    silent, num = found.silenced(state, Query(5), few, 8)
    inner, own = found.opened(state)
    _, due = inner.silenced(own, Query(4), few, 8)
    assert num == due > 0
    local = LocalData(few, few)
    told = silent.contribute(state, Query(5), local, None).update
    whole = found.contribute(state, Query(5), local, None).update
    assert (told != whole).any()
    assert not told[told != whole].any()
    # The first round has no nodes, and all records count in it.
    assert found.silenced(found.initial_state(), Query(1), few, 8) == (found, 0)
    np.testing.assert_array_equal(found.weights(found.initial_state(), Query(1), few), 1)


# Runs

EXACT = {"task": "breast_cancer", "num-rounds": 7}
_QUANTILE = "algorithm.binning=quantile algorithm.fine_bins=128 algorithm.max_bins=32"
FREE = {
    "ebm": _QUANTILE,
    "gbdt": f"{_QUANTILE} algorithm.max_depth=3",
    "forest": f"{_QUANTILE} algorithm.num_trees=3",
    "tree": _QUANTILE,
}


def run(folder: Path, num_nodes: int, name: str, free: str = ALL, **keys):
    given = {key.replace("_", "-"): value for key, value in keys.items()}
    config = EXACT | {"algorithm": name, "output-dir": str(folder)}
    return simulate(config | {"overrides": f"{free} {FREE[name]}"} | given, num_nodes).state


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_the_masked_model_is_the_pooled_one_bit_for_bit(tmp_path, name):
    alone = f"{ALL} rounds.min_clients=1 rounds.min_replies=1"
    pooled = run(tmp_path / "one", 1, name, alone, aggregation="plain")
    for aggregation in ("secagg", "plain"):
        found = run(tmp_path / aggregation, 7, name, UNEVEN, aggregation=aggregation)
        assert found.header == pooled.header
        assert found.arrays.keys() == pooled.arrays.keys()
        for array, values in pooled.arrays.items():
            np.testing.assert_array_equal(found.arrays[array], values)
    assert len(pooled.arrays["edges"]) > 30 * 20


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_the_model_file_predicts_by_the_edges(tmp_path, name):
    state = run(tmp_path / "run", 3, name)
    columns, targets, _ = breast_cancer()
    task, model = load_model(tmp_path / "run" / "model.safetensors")
    free = f"{ALL} {FREE[name]}"
    found = build_workload(load_config(EXACT | {"algorithm": name, "overrides": free}))
    predicted = model.predict(columns)
    np.testing.assert_array_equal(predicted, found.predict(state, columns))
    assert ((predicted[:, 1] > 0.5) == targets).mean() > 0.9
    # Whoever reads the file finds the plain workload over columns with edges.
    assert not isinstance(model.workload, QuantileBinned)
    for column, own in zip(model.workload.table.columns, columns.T, strict=True):
        counts = np.bincount(column.bins(own, 32))
        assert counts.max() < 569 / 5, column.name
    assert task.table.columns[0].edges == ()
    cuts = model.workload.as_trees(model.state).cuts
    assert tuple(cuts[3]) == model.workload.table.columns[3].edges


def test_the_report_has_the_edges(tmp_path):
    run(tmp_path / "run", 3, "ebm")
    told = json.loads((tmp_path / "run" / "report.json").read_text())["tables"]["curves"]
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    column = model.workload.table.columns[3]
    begins = [row["from"] for row in told if row["column"] == column.name][1:-1]
    np.testing.assert_array_equal(begins, column.edges)


@pytest.mark.slow
def test_it_learns_under_privacy(tmp_path):
    free = f"{PRIVATE_RUN} privacy.epsilon=8"
    state = run(tmp_path / "run", 5, "ebm", free, privacy="example_distributed")
    columns, targets, _ = breast_cancer()
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    found = model.predict(columns)[:, 1]
    assert ((found > 0.5) == targets).mean() > 0.88
    assert 30 <= len(state.arrays["edges"]) <= 30 * 31


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path):
    whole = run(tmp_path / "whole", 3, "ebm", num_rounds=6)
    run(tmp_path / "run", 3, "ebm", num_rounds=3)
    config = EXACT | {"algorithm": "ebm", "resume-from": str(tmp_path / "run")}
    found = simulate(config | {"num-rounds": 6, "overrides": f"{ALL} {FREE['ebm']}"}, 3).state
    for name, values in whole.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)


def test_a_plan_counts_the_round_and_the_longest_vector():
    config = EXACT | {
        "algorithm": "ebm",
        "privacy": "example_distributed",
        "overrides": f"{PRIVATE_RUN} privacy.epsilon=1 {FREE['ebm']}",
    }
    plan = plan_run(load_config(config))
    (release,) = plan.guarantee["releases"]
    assert (plan.num_rounds, release["times"]) == (7, 7)
    # 128 fine bins, about, and one of missing values in each of 30 columns; the curves take
    # five numbers for each bin, and the scalars 495.
    assert plan.num_parameters == max(30 * 129, 3 * 30 * 33 + 495)


@pytest.mark.parametrize(
    ("name", "keys", "free", "told"),
    [
        ("ebm", {"num-rounds": 1}, "", "num-rounds=1: algorithm.binning=quantile takes one"),
        ("tree", {"num-rounds": 1}, "", "num-rounds=1: algorithm.binning=quantile takes one"),
        ("gbdt", {}, "algorithm.fine_bins=8", "must be from 16"),
        ("ebm", {}, "algorithm.max_bins=65", "more than half"),
        ("ebm", {}, "algorithm.binning=public algorithm.fine_bins=64", "has no effect"),
        ("ebm", {}, "algorithm.binning=kmeans", "Invalid value"),
        ("forest", {"task": "heart"}, "+task.all_given=1", "not a key"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, name, keys, free, told):
    config = EXACT | {"algorithm": name, "output-dir": str(tmp_path / "run")}
    config |= {"overrides": f"{FREE[name]} {free}"} | keys
    with pytest.raises(ConfigError, match=told):
        simulate(config, 3)


def test_other_workloads_refuse_the_key(tmp_path):
    config = EXACT | {"algorithm": "glm", "output-dir": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match="not a key"):
        simulate(config | {"overrides": "algorithm.binning=quantile"}, 3)


def test_a_table_whose_edges_are_all_given_has_nothing_to_find():
    plain = ebm("binary", mode=DISTRIBUTED)
    columns = tuple(
        replace(column, scale=Scale.integer) if not column.is_categorical else column
        for column in table("binary").columns
    )
    plain.setup.task.table = Table(columns, LABELS["binary"].categories, LABELS["binary"])
    with pytest.raises(ValueError, match="no column needs edges"):
        quantile(plain)


def ended(folder, free, algorithm="gbdt", num_rounds=12, **keys):
    config = {"task": "breast_cancer", "algorithm": algorithm, "num-rounds": num_rounds}
    config |= {"output-dir": str(folder), "aggregation": "plain", "overrides": free} | keys
    return simulate(config, 3)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["gbdt", "ebm"])
def test_early_stopping_leaves_the_best_model_over_the_edges_too(tmp_path, algorithm):
    free = "algorithm.binning=quantile algorithm.fine_bins=64 algorithm.max_bins=8"
    more = " algorithm.early_stopping_rounds=1 algorithm.learning_rate=1.9"
    outcome = ended(tmp_path, free + more, algorithm, 40)
    assert outcome.num_rounds < 40
    summary = json.loads((tmp_path / "summary.json").read_text())
    best = summary["best_loss"]
    assert outcome.metrics["loss"] == pytest.approx(best, rel=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    # The edges have a round of their own, and of trees each round is a level of five.
    every = 5 if algorithm == "gbdt" else 1
    whole = [line["metrics"]["loss"] for line in lines[1::every]]
    assert best == pytest.approx(min(whole), rel=1e-6)
    assert best < whole[-1]
    _, model = load_model(tmp_path / "model.safetensors")
    found = model.predict(np.nan_to_num(breast_cancer()[0]))
    assert np.isfinite(found).all()


def test_what_few_answer_for_is_silent_over_the_edges_too(tmp_path):
    """The bins of the silent workload are those of the edges: counts fall into the same."""
    free = "algorithm.binning=quantile algorithm.fine_bins=64 algorithm.max_bins=7"
    outcome = ended(tmp_path, f"{free} algorithm.max_depth=3", num_rounds=3)
    config = {"task": "breast_cancer", "algorithm": "gbdt", "num-rounds": 3}
    workload = build_workload(
        load_config(config | {"overrides": f"{free} algorithm.max_depth=3"})
    )
    records = workload.task.load(DataSource())
    state, query = outcome.state, Query(3)
    silent, _ = workload.silenced(state, query, records.train, 0.0)
    rng = np.random.default_rng(0)
    whole = workload.contribute(state, query, records, rng).update
    np.testing.assert_array_equal(silent.contribute(state, query, records, rng).update, whole)
    least = len(records.train) / 3
    silent, num_parts = workload.silenced(state, query, records.train, least)
    assert num_parts > 0
    found = silent.contribute(state, query, records, rng).update
    assert found.shape == whole.shape
    assert np.all((found == whole) | (found == 0))
