"""Statistics over masked sums equal those of the pooled records, bit for bit."""

import csv
import json

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.records import joined
from tasks.table import Column, Scale
from tests.kits.csv_kit import write
from tests.workloads.statistics.tables_kit import (
    DISTRIBUTED,
    NAN,
    exact_state,
    examples,
    records,
    statistics,
    tables_of,
)
from workloads.statistics.layout import MOST_ENTRIES
from workloads.values import Query, State, StateRefusedError

FAST = "rounds.deadline_seconds=2"
COLUMNS = 'algorithm.columns=["mean texture","mean smoothness","mean symmetry"]'
NAMES = ("mean texture", "mean smoothness", "mean symmetry")


def run(tmp_path, num_nodes=5, aggregation="secagg", free=COLUMNS, **keys):
    """Describe records; return the last state and the report that the folder holds."""
    folder = tmp_path / f"{aggregation}-{num_nodes}"
    given = {"task": "breast_cancer", "output-dir": str(folder), "algorithm": "statistics"}
    given |= {"aggregation": aggregation, "overrides": f"{FAST} {free}"}
    outcome = simulate(given | {key.replace("_", "-"): v for key, v in keys.items()}, num_nodes)
    return outcome, json.loads((folder / "report.json").read_text())


def pooled(task, num_nodes, data_dir=None):
    """Return all records of a task as one table, and its columns by name."""
    workload = build_workload(load_config({"task": task, "algorithm": "statistics"}))
    parts = [workload.task.load(DataSource(n, num_nodes, data_dir)) for n in range(num_nodes)]
    some = joined([part for data in parts for part in (data.train, data.test)])
    return workload.task.table, some


def check_equal(report, table, some):
    """Hold every figure against numpy's of the pooled records."""
    rows = {row["column"]: row for row in report["rows"]}
    numbers = [(i, c) for i, c in enumerate(table.columns) if not c.is_categorical]
    numbers = [(place, column) for place, column in numbers if column.name in rows]
    clipped = {
        column.name: np.clip(some.columns[:, place], column.low, column.high)
        for place, column in numbers
    }
    assert rows.keys() == clipped.keys()
    quantiles = report["tables"]["quantiles"]
    for place, column in numbers:
        values = some.columns[:, place]
        values, row = clipped[column.name], rows[column.name]
        present = values[~np.isnan(values)]
        assert row["missing"] == pytest.approx(np.isnan(values).mean())
        assert row["mean"] == pytest.approx(present.mean(), rel=1e-8)
        assert row["sd"] == pytest.approx(present.std(ddof=1), rel=1e-7)
        for share, at in (("at or below min", column.low), ("at or above max", column.high)):
            if row[share] != "hidden":
                assert row[share] == pytest.approx((present == at).mean())
        for one in (one for one in quantiles if one["column"] == column.name):
            found = np.quantile(present, one["probability"], method="inverted_cdf")
            assert one["from"] <= found <= one["to"]
            assert one["from"] <= one["quantile"] <= one["to"]
    complete = ~np.isnan(list(clipped.values())).any(axis=0)
    for one in report["tables"]["correlations"]:
        pair = [clipped[one[side]][complete] for side in ("column", "other")]
        assert one["correlation"] == pytest.approx(np.corrcoef(pair)[0, 1], rel=1e-6, abs=1e-9)
    found = report["records without a missing number"]
    assert found in ("hidden", complete.sum())
    for one in report["tables"]["histograms"]:
        if one["from"] is None or one["count"] == "hidden":
            continue
        inside = (clipped[one["column"]] >= one["from"]) & (clipped[one["column"]] <= one["to"])
        # A value on an edge is in one of two bins.
        assert inside.sum() >= one["count"]


def test_figures_equal_those_of_the_pooled_records(tmp_path):
    outcome, report = run(tmp_path)
    table, some = pooled("breast_cancer", 1)
    check_equal(report, table, some)
    assert report["records"] == 569
    assert outcome.num_rounds == 1
    classes = report["tables"]["categories"]
    assert [(one["category"], one["count"]) for one in classes] == [
        (name, int((some.targets == code).sum())) for code, name in enumerate(table.classes)
    ]
    folder = tmp_path / "secagg-5"
    for name, rows in (*report["tables"].items(), ("", report["rows"])):
        file = folder / ("report.csv" if not name else f"report-{name}.csv")
        written = list(csv.DictReader(file.read_text().splitlines()))
        assert [list(row) for row in written] == [list(row) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["adult", "heart"])
def test_real_records(tmp_path, data_dir, task):
    place = data_dir / task
    free = "" if task == "heart" else "algorithm.tables=[[race,sex]]"
    _, report = run(tmp_path, 4, task=task, data_dir=str(place), free=free)
    table, some = pooled(task, 4, place)
    check_equal(report, table, some)
    label = {name: code for code, name in enumerate(table.classes)}
    names = {column.name: number for number, column in enumerate(table.columns)}
    hidden = 0
    for one in report["tables"]["tables"]:
        if one["count"] == "hidden":
            hidden += 1
            continue
        if one["row"] in names:
            own = table.columns[names[one["row"]]].categories
            rows = cells(some, names[one["row"]], own, one["category"])
        else:
            rows = some.targets == label[one["category"]]
        own = table.columns[names[one["column"]]].categories
        columns = cells(some, names[one["column"]], own, one["column category"])
        assert one["count"] == (rows & columns).sum()
        assert one["count"] == 0 or one["count"] >= 3
    assert (hidden > 0) == (task == "adult")


def cells(some, place, categories, name):
    values = some.columns[:, place]
    return np.isnan(values) if name == "(missing)" else values == categories.index(name)


def test_however_records_are_spread_the_sums_are_the_same_bit_for_bit(tmp_path):
    uneven = "task.partition.scheme=size_skew task.partition.min_examples=3"
    alone = "rounds.min_clients=1 rounds.min_replies=1"
    one, first = run(tmp_path, 1, "plain", free=alone)
    assert len(one.state.arrays["sums"]) > 8000
    for aggregation in ("secagg", "plain"):
        seven, report = run(tmp_path, 7, aggregation, free=uneven)
        np.testing.assert_array_equal(seven.state.arrays["sums"], one.state.arrays["sums"])
        assert report == first


FILE = """
defaults: [csv_schema, _self_]
label: {column: ill, classes: ["no", "yes"]}
numeric: {x: {min: 0, max: 10}, same: {min: 0, max: 9}}
categorical: {sex: {categories: [f, m]}}
"""


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """Give four nodes a file each: one has no record, one only one class, some miss values."""
    import shutil

    from app.config import load as loading

    conf = tmp_path / "conf"
    shutil.copytree(loading.CONF_DIR, conf)
    (conf / "task" / "small.yaml").write_text(FILE)
    monkeypatch.setattr(loading, "CONF_DIR", conf)
    draws, rows = np.random.default_rng(3), []
    for node, number in enumerate((0, 12, 20, 30)):
        own = [
            (
                "?" if draws.random() < 0.2 else f"{draws.uniform(-1, 11):.3f}",
                "fm"[draws.integers(2)],
                "no" if node == 1 else ("no", "yes")[draws.integers(2)],
            )
            for _ in range(number)
        ]
        lines = [f"{x},7,{sex},{ill}" for x, sex, ill in own]
        write(tmp_path, *lines, header="x,same,sex,ill", name=f"{node}.csv")
        rows += own
    paths = [f"- data-path: {tmp_path}/{node}.csv" for node in range(4)]
    (tmp_path / "nodes.yaml").write_text("\n".join(paths))
    return rows


def test_means_are_over_present_values_and_an_empty_node_adds_nothing(tmp_path, nodes):
    keys = {"task": "small", "simulation_nodes": str(tmp_path / "nodes.yaml")}
    _, report = run(tmp_path, 4, free="", **keys)
    assert report["records"] == len(nodes)
    x = np.array([float(one[0]) if one[0] != "?" else NAN for one in nodes])
    row, same = report["rows"]
    assert row["missing"] == pytest.approx(np.isnan(x).mean())
    assert row["mean"] == pytest.approx(np.nanmean(np.clip(x, 0, 10)), rel=1e-9)
    assert (x <= 0).sum() == 1
    assert row["at or below min"] == "hidden"
    assert row["at or above max"] == pytest.approx((x >= 10).sum() / (~np.isnan(x)).sum())
    assert (same["mean"], same["sd"], same["50 %"]) == (
        pytest.approx(7),
        0.0,
        pytest.approx(7, abs=0.04),
    )
    assert report["tables"]["correlations"][0]["correlation"] is None


def test_a_number_as_label_is_described_in_its_own_unit():
    workload, some = statistics("number"), records(400, "number")
    report = tables_of(workload.report(exact_state(workload, some)))
    row = report["columns"][0]
    days = 40 + 40 * some.targets
    assert row["column"] == "days"
    assert row["mean"] == pytest.approx(days.mean(), rel=1e-9)
    assert row["sd"] == pytest.approx(days.std(ddof=1), rel=1e-8)
    assert "tables" not in report


def test_whole_numbers_have_whole_quantiles():
    workload, some = statistics(), records(400, missing=0.0)
    found = tables_of(workload.report(exact_state(workload, some)))["quantiles"]
    visits = np.clip(some.columns[:, 2], 0, 5)
    for one in (one for one in found if one["column"] == "visits"):
        due = np.quantile(visits, one["probability"], method="inverted_cdf")
        assert one["quantile"] == one["from"] == one["to"] == due


def test_thirty_thousand_bins():
    wide = (Column("salary", 0, 30_000, scale=Scale.integer), Column("x", 0, 1))
    workload, draws = statistics(table=wide), np.random.default_rng(0)
    rows = np.column_stack([draws.integers(30_001, size=5000), draws.uniform(size=5000)])
    state = exact_state(workload, examples(rows, draws.integers(2, size=5000)))
    report = tables_of(workload.report(state))
    median = next(one for one in report["quantiles"] if one["probability"] == 0.5)
    assert median["from"] <= np.quantile(rows[:, 0], 0.5) <= median["to"]
    counts = [one["count"] for one in report["histograms"] if one["column"] == "salary"]
    assert sum(counts) == 5000
    assert {count for count in counts if count} >= {3}
    assert min(count for count in counts if count) >= 3


def many(number):
    return tuple(Column(f"c{place}", 0, 1) for place in range(number))


def test_two_thousand_columns_fit_and_three_thousand_are_refused_with_the_number():
    workload = statistics(table=many(2000), max_bins=16)
    assert 2_000_000 < workload.length(workload.initial_state()) < MOST_ENTRIES
    says = r"5,\d+,\d+ numbers to sum .*for correlations\), but at most 4,000,000; name fewer"
    with pytest.raises(ValueError, match=says):
        statistics(table=many(3000))
    with pytest.raises(
        ValueError, match=r"a record adds 2\d\d,\d\d\d numbers, but at most 20,000"
    ):
        statistics(table=many(650), mode=DISTRIBUTED)
    statistics(table=many(650), mode=DISTRIBUTED, correlations=False)
    without = statistics(table=many(3000), correlations=False)
    assert without.length(without.initial_state()) < MOST_ENTRIES


def test_many_columns_are_for_the_files():
    workload, rows = (
        statistics(table=many(200)),
        np.random.default_rng(0).uniform(size=(50, 200)),
    )
    rows[:, 7] = rows[:, 3] ** 2
    report = workload.report(exact_state(workload, examples(rows, np.arange(50) % 2)))
    r = {(a, b): value for a, b, value in report.tables[-1].rows}
    assert r["c3", "c7"] == pytest.approx(np.corrcoef(rows[:, 3], rows[:, 7])[0, 1], rel=1e-6)
    assert len(report.lines()) < 80
    assert any("140 more rows, in report.csv" in line for line in report.lines())


def test_a_billion_whole_numbers_are_refused_before_there_is_a_bin_for_each():
    with pytest.raises(ValueError, match="1,000,00"):
        statistics(table=(Column("id", 0, 1e9, scale=Scale.integer),))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"columns": ["x"]}, "'x' is no column; there are age, gain"),
        ({"columns": ["age", "age"]}, "'age' is named twice"),
        (
            {"tables": [["ward", "x"]]},
            r"'x' of \['ward', 'x'\] is none of the variables ill, age",
        ),
        ({"tables": [["ward", "ward"]]}, "one column twice"),
        ({"tables": [["ward", "ill"]]}, "is there already"),
        ({"tables": [["ward", "sex"], ["sex", "ward"]]}, "is there already"),
        (
            {"tables": [["ward"]]},
            r"must be a pair of columns; write algorithm.tables=\[\[a,b\]\]",
        ),
        ({"columns": ["age"], "tables": [["age", "ward"]]}, "none of the variables ill, age$"),
        ({"max_bins": 1}, "must be from 2"),
        ({"min_cell": -1}, "at least 0"),
        ({"confidence": 1.0}, r"must be in \(0, 1\)"),
        ({"table": (Column("x"),)}, "column x: its bounds are 0 and 0"),
        ({"table": (Column("x", 0, float("inf")),)}, "column x: its bounds are 0 and inf"),
    ],
)
def test_what_cannot_be_described_is_refused(keys, says):
    with pytest.raises(ValueError, match=says):
        statistics(**keys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "free", "says"),
    [
        ({"task": "mnist"}, "", "has no columns for the workload statistics"),
        ({}, "task.test_fraction=0.3", "holds no record out"),
        ({}, "task.training.momentum=0.5", "trains no model"),
        ({}, "task.model=mlp", "no neural model"),
        ({}, "algorithm.family=poisson", "not a key"),
        ({}, "early_stopping.patience=3", "scores nothing"),
        (
            {"privacy": "example_central"},
            "privacy.sampling_rate=0.5",
            "give privacy.sampling_rate=1",
        ),
        ({"privacy": "client_central"}, "", "no bound for the unit client"),
    ],
)
def test_keys_without_effect_or_bound_are_refused(keys, free, says):
    given = {"task": "breast_cancer", "algorithm": "statistics"} | keys
    if "privacy" in keys:
        free += " privacy.epsilon=1 privacy.delta=1e-4 privacy.population=5"
        if keys["privacy"].startswith("example"):
            free += " privacy.expected_batch_size=569"
    with pytest.raises(ValueError, match=says):
        build_workload(load_config(given | {"overrides": free}))


def test_a_run_has_one_round_and_the_plan_pays_for_one():
    private = (
        "privacy.epsilon=1 privacy.delta=1e-4 privacy.population=5 privacy.sampling_rate=1"
        " privacy.expected_batch_size=569 aggregation.min_survivors=4"
    )
    keys = {"task": "breast_cancer", "algorithm": "statistics", "num-rounds": 10}
    plan = plan_run(
        load_config(keys | {"privacy": "example_distributed", "overrides": private})
    )
    (release,) = plan.guarantee["releases"]
    assert (plan.num_rounds, release["times"]) == (1, 1)
    assert plan.guarantee["epsilon"] <= 1
    # Nothing is proposed of rounds and samples, which it has not.
    assert not plan.guarantee.keys() & {"recipe", "proposal"}


@pytest.mark.parametrize(
    "arrays", [{}, {"sums": np.zeros(3)}, {"sums": np.full(1, NAN)}, {"sums": np.zeros((0, 2))}]
)
def test_a_state_of_another_form_is_refused(arrays):
    workload, some = statistics(), records(5)
    data = type("Data", (), {"train": some, "test": some})
    with pytest.raises(StateRefusedError):
        workload.contribute(State(arrays), Query(1), data, None)
    with pytest.raises(ConfigError, match="no key"):
        load_config({"algorithms": "statistics"})


def test_nobody_at_all_is_reported_as_nobody():
    workload = statistics("number")
    report = workload.report(exact_state(workload, records(0, "number")))
    assert report.facts["records"] == 0
    assert all(row[2] is None for row in report.rows)
    assert report.lines()
