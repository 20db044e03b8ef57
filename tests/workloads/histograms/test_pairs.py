"""Pairs of columns: what one record adds, what tables come out, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from app.config.load import ConfigError
from app.results.model_file import ModelFileError, load_model
from app.simulation.in_process import simulate
from tests.workloads.histograms.tables import COLUMNS, ebm, queries, records, some_state
from tests.workloads.histograms.test_bound import KINDS, adversarial, squares, summed
from tests.workloads.histograms.test_labels import run_config as _run_config
from workloads.decisions import NotExportedError
from workloads.histograms.bins import Bins
from workloads.histograms.config import EbmConfig
from workloads.histograms.pairs import Pairs
from workloads.histograms.schedule import private_shares
from workloads.values import Query, State, StateRefusedError

NAMED = [["age", "gain"], ["visits", "ward"], ["ward", "age"]]
LAST = Query(6)
run_config = _run_config


def with_pairs(kind: str, **keys):
    return ebm(kind, interactions=NAMED, interaction_bins=6, **keys)


# What one record adds


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_is_longer_than_the_bound(kind):
    workload, worst = with_pairs(kind), adversarial(kind)
    for size in (0.0, 0.3, 3.0, 1e30):
        state = some_state(workload, size)
        workload.check(state)
        for query in queries():
            found = squares(workload, state, query, worst)
            assert np.isfinite(found).all()
            assert found.max() <= 1 + 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_finds_none_that_is_longer_and_comes_near(kind):
    workload, worst = with_pairs(kind), adversarial(kind)
    draws, longest = np.random.default_rng(0), 0.0
    for size in (0.5, 1.0, 2.0, 20.0):
        state = some_state(workload, size)
        for _ in range(25):
            tried = State(
                {
                    n: a + draws.normal(scale=0.3, size=a.shape) * size
                    for n, a in state.arrays.items()
                }
            )
            found = squares(workload, tried, LAST, worst).max()
            assert found <= 1 + 1e-12
            if found > longest:
                longest, state = found, tried
    assert longest > 0.97


def test_the_worst_record_is_as_long_as_the_bound():
    """It is sure of the wrong class: a residual of 1 in one cell of each pair."""
    workload, one = with_pairs("binary"), records("binary", 1)
    one.targets[:] = 1
    state = workload.initial_state()
    state.arrays["intercepts"] = np.array([-800.0])
    assert squares(workload, state, LAST, one) == pytest.approx(1, abs=1e-12)
    (row,) = workload.terms(state, LAST, one)
    np.testing.assert_allclose(row[row > 0], np.full(3, 3**-0.5))


def test_columns_and_pairs_at_once_are_as_long_as_the_root_of_their_number():
    """What a round without noise asks for: residuals over k columns and p pairs."""
    workload = with_pairs("binary", mode=None)
    one, state = records("binary", 1), workload.initial_state()
    one.targets[:] = 1
    state.arrays["intercepts"] = np.array([-800.0])
    assert squares(workload, state, LAST, one) == pytest.approx(len(COLUMNS) + len(NAMED))
    assert squares(workload, state, Query(5), one) == pytest.approx(len(COLUMNS))


@pytest.mark.parametrize("kind", KINDS)
def test_one_record_moves_the_real_sum_by_no_more_than_the_bound(kind):
    workload, examples = with_pairs(kind), adversarial(kind)
    state, everyone = some_state(workload, 1.5), np.arange(len(examples))
    whole = summed(workload, state, LAST, examples).integers
    for left_out in everyone[:: len(everyone) // 5]:
        rest = examples.take(np.delete(everyone, left_out))
        change = whole - summed(workload, state, LAST, rest).integers
        assert sum(int(value) ** 2 for value in change) <= 2**60


@pytest.mark.parametrize("kind", KINDS)
def test_a_records_term_does_not_depend_on_its_place(kind):
    workload, examples = with_pairs(kind), records(kind, 67)
    state = some_state(workload, 2.0)
    rows = workload.terms(state, LAST, examples)
    for first in (0, 1, 3, 8, 31):
        part = examples.take(np.arange(first, len(examples)))
        np.testing.assert_array_equal(rows[first:], workload.terms(state, LAST, part))


def test_rounds_of_pairs_are_the_last_ones_and_the_budget_is_whole():
    shares = [private_shares(r, 8, pairs=True) for r in range(1, 9)]
    assert [share.pairs for share in shares] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert shares[:6] == [private_shares(r, 6) for r in range(1, 7)]
    assert all(s.counts + s.scalars + s.residuals + s.pairs == 1 for s in shares)


@pytest.mark.parametrize("name", ["pairs", "pair_curvature"])
@pytest.mark.parametrize("wrong", ["missing", "short", "nan"])
def test_a_state_with_other_tables_is_refused(name, wrong):
    workload = with_pairs("binary")
    arrays = dict(workload.initial_state().arrays)
    whole = arrays.pop(name)
    if wrong != "missing":
        arrays[name] = whole[:, :-1] if wrong == "short" else np.full_like(whole, np.nan)
    with pytest.raises(StateRefusedError):
        workload.check(State(arrays))


# Tables


def pairs_of(workload, max_bins: int = 6, named=None) -> Pairs:
    return Pairs(Bins(workload.table, 32), named or NAMED, max_bins)


def test_every_record_is_in_one_cell_of_each_pair():
    workload, examples = ebm("binary"), adversarial("binary")
    pairs = pairs_of(workload)
    assert pairs.shapes == [(7, 7), (7, 4), (4, 7)]
    cells = pairs.places(workload.bins.places(examples.columns))
    assert ((cells >= pairs.firsts[:-1]) & (cells < pairs.firsts[1:])).all()
    # Missing values are the last row, and the last column.
    both = np.isnan(examples.columns[:, 0]) & np.isnan(examples.columns[:, 1])
    assert (cells[np.isnan(examples.columns[:, 0]), 0] >= 42).all()
    assert (cells[both, 0] == 48).all()


def test_a_step_leaves_what_one_column_says_to_its_curve():
    pairs = pairs_of(ebm("binary"), named=[["age", "gain"]])
    draws = np.random.default_rng(0)
    weight, none = draws.uniform(5, 50, 49), np.zeros((1, 49))
    effect = np.add.outer(np.linspace(-1, 1, 7), np.linspace(2, -2, 7)).ravel()
    flat = pairs.step(none, (weight * effect)[None], weight[None], ridge=1e-3, smoothing=0.0)
    assert np.abs(flat).max() < 0.01
    crossed = np.outer([-1, -1, -1, 1, 1, 1, 0], [-1, -1, -1, 1, 1, 1, 0]).ravel()
    found = pairs.step(none, (weight * crossed)[None], weight[None], ridge=1e-3, smoothing=0.0)
    assert np.corrcoef(found[0], crossed)[0, 1] > 0.97
    table, weight = found.reshape(7, 7), weight.reshape(7, 7)
    for axis in (0, 1):
        np.testing.assert_allclose((table * weight).sum(axis=axis), 0, atol=1e-5)


def test_neighbours_are_tied_along_both_columns_but_not_to_missing_values():
    pairs = pairs_of(ebm("binary"), named=[["age", "gain"]])
    penalty = pairs._penalty(0).toarray()
    table = np.zeros((7, 7))
    table[2, 3] = 1.0
    pulled = (penalty @ table.ravel()).reshape(7, 7)
    tied = {(int(a), int(b)) for a, b in zip(*np.nonzero(pulled), strict=True)}
    assert tied == {(2, 3), (1, 3), (3, 3), (2, 2), (2, 4)}
    assert pulled.sum() == pytest.approx(0)
    table = np.zeros((7, 7))
    table[6, 6] = 1.0
    assert not (penalty @ table.ravel()).any()
    # Categories have no order.
    wards = pairs_of(ebm("binary"), named=[["ward", "ward"]])._penalty(0)
    assert not wards.toarray().any()


def test_bins_of_a_pair_are_told_in_the_columns_own_units():
    workload = ebm("binary")
    pairs = pairs_of(workload)
    edges = pairs.edges(0)
    assert edges[0][:2] == ("bin 0", None)
    assert edges[-1] == ("missing", None, None)
    assert len(edges) == 7
    values = np.linspace(0, 90, 500)
    coarse = pairs.coarse(0)[workload.table.columns[0].bins(values, 32)]
    begins = np.array([-np.inf if begin is None else begin for _, begin, _ in edges[:-1]])
    np.testing.assert_array_equal(coarse, np.searchsorted(begins[1:], values, side="right"))
    assert [name for name, *_ in pairs.edges(3)] == ["a", "b", "c", "missing"]


# What is refused


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (10, "takes the joint histograms of all pairs"),
        (0.5, "takes the joint histograms of all pairs"),
        (True, "takes the joint histograms of all pairs"),
        ("age", "must be a list of pairs"),
        (["age", "gain"], "must be a list of pairs"),
        ([["age", "gain", "ward"]], "must be a list of pairs"),
        ([["age", 3]], "must be a list of pairs"),
        ([["age", "age"]], "age with itself is no pair"),
        ([["age", "gain"], ["gain", "age"]], "there twice"),
    ],
)
def test_what_are_no_pairs_is_refused(given, told):
    with pytest.raises(ValueError, match=told):
        EbmConfig(interactions=given)


def test_unknown_columns_and_too_many_cells_are_refused():
    with pytest.raises(ValueError, match="weight is no column; there are age, gain, visits"):
        ebm("binary", interactions=[["age", "weight"]]).rehearse()
    columns = tuple(
        replace(COLUMNS[3], name=name, categories=tuple(map(str, range(number))))
        for name, number in (("town", 200), ("street", 150))
    )
    table = replace(ebm("binary").table, columns=columns)
    with pytest.raises(ValueError, match="201 times 151 cells are more than 4096; lower"):
        Pairs(Bins(table, 32), [["town", "street"]], 32)


# Runs over a made-up table in which no column says anything alone

XOR = """defaults:
  - csv_schema
  - _self_
label: {column: kind, classes: [x, y]}
numeric:
  age: {min: 0, max: 100}
  dose: {min: 0, max: 10}
categorical:
  ward: {categories: [a, b, c]}
"""
PAIR = "algorithm.interactions=[[age,dose]]"


def crossed(num: int, seed: int):
    draws = np.random.default_rng([seed, 5])
    age, dose = draws.uniform(0, 100, num), draws.uniform(0, 10, num)
    label = ((age > 50) ^ (dose > 5)) ^ (draws.random(num) < 0.02)
    columns = np.stack([age, dose, draws.integers(3, size=num)], axis=1)
    return columns, label.astype(int), [*"xy"]


def private(epsilon: float) -> str:
    return (
        f"privacy.epsilon={epsilon} privacy.delta=1e-5 privacy.population=3"
        " privacy.sampling_rate=1 privacy.expected_batch_size=1200"
        " aggregation.min_survivors=3 task.test_fraction=0"
    )


def auc(folder: Path) -> float:
    _, model = load_model(folder / "model.safetensors")
    columns, label, _ = crossed(4000, 99)
    return roc_auc_score(label, model.predict(columns)[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free", "keys", "least", "most"),
    [
        ("", {"num-rounds": 12}, 0.4, 0.6),
        (PAIR, {"num-rounds": 12}, 0.9, 1.0),
        (
            f"{PAIR} {private(4)}",
            {"num-rounds": 8, "privacy": "example_distributed"},
            0.9,
            1.0,
        ),
        (f"{PAIR} algorithm.binning=quantile", {"num-rounds": 13}, 0.9, 1.0),
    ],
)
def test_what_only_two_columns_tell_together_takes_the_pair(
    tmp_path, run_config, free, keys, least, most
):
    config = run_config("crossed", XOR, crossed) | keys
    simulate(config | {"overrides": free}, 3)
    assert least < auc(tmp_path / "run") <= most


@pytest.mark.slow
def test_the_masked_tables_are_the_pooled_ones_bit_for_bit(tmp_path):
    found = []
    pairs = "algorithm.interactions=[[worst area,mean texture],[worst area,mean smoothness]]"
    one = "rounds.min_clients=1 rounds.min_replies=1"
    for num, uneven, aggregation in (
        (1, one, "plain"),
        (7, "task.partition.scheme=size_skew task.partition.alpha=2", "secagg"),
    ):
        config = {"task": "breast_cancer", "algorithm": "ebm", "num-rounds": 8}
        config |= {"output-dir": str(tmp_path / aggregation), "aggregation": aggregation}
        config |= {"overrides": f"task.test_fraction=0 {uneven} '{pairs}'"}
        found.append(simulate(config, num).state.arrays)
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name])
    assert np.abs(found[0]["pairs"]).max() > 0.01


def test_the_report_adds_up_to_what_the_model_predicts(tmp_path, run_config):
    config = run_config("crossed", XOR, crossed) | {"num-rounds": 9, "overrides": PAIR}
    simulate(config, 3)
    told = json.loads((tmp_path / "run" / "report.json").read_text())
    assert told["rows"][0]["column"] == "age x dose"
    assert told["rows"][0]["mean absolute score"] > 0.3
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    columns, _, _ = crossed(300, 7)
    logits = np.full(len(columns), told["intercept of log-odds of y"])
    by_name = {"age": columns[:, 0], "dose": columns[:, 1]}

    def within(begin, end, values):
        low = -np.inf if begin is None else begin
        return (values >= low) & (values < (np.inf if end is None else end))

    for row in told["tables"]["curves"]:
        if row["column"] == "ward":
            inside = columns[:, 2] == "abc".find(row["bin"])
        else:
            inside = within(row["from"], row["to"], by_name[row["column"]])
        logits += np.where(inside & (row["bin"] != "missing"), row["log-odds of y"], 0.0)
    for row in told["tables"]["pairs"]:
        if "missing" in (row["bin 1"], row["bin 2"]):
            continue
        inside = within(row["from 1"], row["to 1"], by_name[row["column 1"]])
        inside &= within(row["from 2"], row["to 2"], by_name[row["column 2"]])
        logits += np.where(inside, row["log-odds of y"], 0.0)
    predicted = model.predict(columns)[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), predicted, rtol=1e-9)
    header = (tmp_path / "run" / "report-pairs.csv").read_text().splitlines()[0]
    due = "column 1,bin 1,from 1,to 1,column 2,bin 2,from 2,to 2,log-odds of y"
    assert header == due


def test_a_file_with_other_pairs_is_refused(tmp_path, run_config):
    config = run_config("crossed", XOR, crossed) | {"num-rounds": 6, "overrides": PAIR}
    simulate(config, 3)
    file = tmp_path / "run" / "model.safetensors"
    text = b'\\"interaction_bins\\": %d'
    file.write_bytes(file.read_bytes().replace(text % 32, text % 31))
    with pytest.raises(ModelFileError, match="float64 of shape"):
        load_model(file)


def test_a_model_with_tables_is_not_exported_as_curves_alone():
    workload = with_pairs("binary")
    with pytest.raises(NotExportedError, match=r"report-pairs.csv"):
        workload.as_trees(workload.initial_state())


@pytest.mark.parametrize(
    ("free", "rounds", "told"),
    [
        ("algorithm.interactions=3", 8, "name them, as in"),
        (PAIR.replace("dose", "height"), 8, "height is no column; there are age, dose, ward"),
        (PAIR, 5, "num-rounds=5: .* give at least 6 rounds"),
        (f"{PAIR} algorithm.binning=quantile", 6, "give at least 7 rounds"),
        ("algorithm.interaction_bins=4", 8, "has no effect: no pair of columns"),
        (f"{PAIR} algorithm.interaction_bins=1", 8, "must be from 2"),
    ],
)
def test_what_it_cannot_do_is_refused(run_config, free, rounds, told):
    config = run_config("crossed", XOR, crossed) | {"num-rounds": rounds, "overrides": free}
    with pytest.raises(ConfigError, match=told):
        simulate(config, 3)
