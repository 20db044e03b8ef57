"""`marginals` through both apps: exact sums, noise as charged, and a file that reads back."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.cli.main import main
from app.config import load as loading
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.records import joined
from tests.kits.csv_kit import write
from tests.workloads.marginals.marginals_kit import counted, marginals, records
from workloads.marginals import mixture
from workloads.values import Query

FAST = "rounds.deadline_seconds=2"
NUMBERS = ("mean radius", "mean texture", "mean symmetry")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(mixture, "_NUM_STEPS", 60)


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Give seven uneven nodes, and one with all their records, of a small task ``wards``."""
    conf = tmp_path / "conf"
    shutil.copytree(loading.CONF_DIR, conf)
    (conf / "task" / "wards.yaml").write_text(
        "defaults: [csv_schema, _self_]\n"
        'label: {column: ill, classes: ["no", "yes; very"]}\n'
        "numeric: {age: {min: 0, max: 90}, dose: {min: -1, max: 1}}\n"
        'categorical: {ward: {categories: [a, "b;c", "d \\"e\\""]}}\n'
        'missing_values: ["-", "?"]\ndelimiter: ";"\ntest_fraction: 0.1\n'
    )
    monkeypatch.setattr(loading, "CONF_DIR", conf)
    draws, lines = np.random.default_rng(3), []
    for _ in range(700):
        age = draws.uniform(-5, 95)
        ward = ("a", '"b;c"', '"d ""e"""', "?")[min(3, int(draws.exponential()))]
        ill = '"yes; very"' if age + draws.normal() * 10 > 50 else "no"
        dose = "-" if draws.random() < 0.1 else f"{draws.normal() / 2:.3f}"
        lines.append(f"{age:.1f};{dose};{ward};{ill}")
    header = "age;dose;ward;ill"
    write(tmp_path, *lines, header=header, name="all.csv")
    cuts = [0, 3, 10, 40, 120, 300, 301, 700]
    for node, (first, last) in enumerate(pairwise(cuts)):
        write(tmp_path, *lines[first:last], header=header, name=f"{node}.csv")
    for name, files in {"one": ["all"], "seven": range(7)}.items():
        paths = [f"- data-path: {tmp_path}/{file}.csv" for file in files]
        (tmp_path / f"{name}.yaml").write_text("\n".join(paths))
    return tmp_path


def run(folder, name, nodes, num_nodes, aggregation="secagg", free="", **keys):
    out = folder / name
    given = {"algorithm": "marginals", "task": "wards", "num-rounds": 3}
    given |= {"simulation-nodes": str(folder / f"{nodes}.yaml"), "output-dir": str(out)}
    given |= {"aggregation": aggregation, "overrides": f"{FAST} {free}"} | keys
    return simulate(given, num_nodes), out


@pytest.mark.slow
def test_however_records_are_spread_the_sums_are_the_same_bit_for_bit(task):
    alone = "rounds.min_clients=1 rounds.min_replies=1"
    one, first = run(task, "first", "one", 1, "plain", alone)
    assert one.num_rounds == 2
    for aggregation in ("secagg", "plain"):
        seven, other = run(task, aggregation, "seven", 7, aggregation)
        for name, values in one.state.arrays.items():
            np.testing.assert_array_equal(seven.state.arrays[name], values)
        assert (other / "synthetic.csv").read_bytes() == (first / "synthetic.csv").read_bytes()
    pooled = build_workload(load_config({"task": "wards", "algorithm": "marginals", **R3}))
    data = pooled.task.load(DataSource(data_path=task / "all.csv"))
    # The counts themselves, by an own count of the pooled records.
    table = next(iter(pooled._layout.singles(one.state.arrays["singles"])))
    age = data.train.columns[:, 0]
    for label in (0, 1):
        own = data.train.targets == label
        assert table[label].sum() == own.sum()
        assert table[label, 0] == (own & (age <= 0)).sum()
        assert table[label, -2] == (own & (age >= 90)).sum()
    assert all(
        table.sum() == len(data.train)
        for _, _, table in pooled._layout.tables(one.state.arrays["tables"])
    )


R3 = {"num-rounds": 3}


@pytest.mark.slow
def test_the_file_reads_back_and_trains_another_run(task, capsys):
    _, out = run(task, "run", "seven", 7)
    file = out / "synthetic.csv"
    status = main(["data", "check", str(file), "--task", "wards"])
    told = capsys.readouterr().out
    assert status == 0, told
    assert "misfit" not in told
    assert "outside the bounds" not in told
    assert "not a listed category" not in told
    nodes = task / "again.yaml"
    nodes.write_text(f"- data-path: {file}\n- data-path: {file}\n")
    again, _ = run(task, "again", "again", 2, algorithm="ebm")
    assert again.metrics["accuracy"] > 0.75
    summary = json.loads((out / "report.json").read_text())
    real = build_workload(load_config({"task": "wards", "algorithm": "marginals", **R3})).task
    made = real.load(DataSource(data_path=file))
    assert summary["records"] == len(made.train) + len(made.test)
    told = {row["category"]: row["count"] for row in summary["tables"]["categories"]}
    ages = [row for row in summary["tables"]["histograms"] if row["column"] == "age"]
    assert sum(row["count"] for row in ages) == pytest.approx(summary["records"], abs=50)
    assert [row["from"] for row in ages][:2] == [0, 0]
    assert all(count % 5 == 0 for count in told.values())
    both = joined([made.train, made.test])
    assert (both.columns[:, 2] == 0).sum() == pytest.approx(told["a"], abs=30)
    assert np.isnan(both.columns[:, 2]).sum() == pytest.approx(told["(missing)"], abs=30)


def test_adults_file_reads_back_as_one_of_the_participants_own(tmp_path):
    """Its form has two columns more than the table, of which nothing is known."""
    keys = {"task": "adult", "overrides": "task.test_fraction=0"}
    workload = build_workload(load_config({**keys, **R3, "algorithm": "marginals"}))
    task = workload.task
    rows = task.made_up(40)
    columns = rows.columns
    columns[np.isnan(columns)] = 0
    columns = np.maximum(columns, [column.low for column in task.table.columns])
    file = tmp_path / "own.csv"
    file.write_text(task.to_csv(columns, rows.targets.astype(float)))
    read = task.load(DataSource(data_path=file)).train
    np.testing.assert_array_equal(read.columns, columns)
    np.testing.assert_array_equal(read.targets, rows.targets)


@pytest.mark.parametrize(
    ("privacy", "survivors"),
    [
        ("example_distributed", 6),
        pytest.param("example_central", 7, marks=pytest.mark.slow),
    ],
)
def test_the_server_knows_the_noise_that_is_in_its_sums(task, privacy, survivors):
    """With one of seven nodes that never comes, or all."""
    free = (
        "privacy.noise_multiplier=3 privacy.delta=1e-4 privacy.population=7"
        " privacy.sampling_rate=1 privacy.expected_batch_size=600 rounds.deadline_seconds=2"
        " algorithm.max_bins=150"
    )
    if privacy == "example_distributed":
        free += " aggregation.min_survivors=6 aggregation.max_colluding=1"
    found, _ = run(task, "private", "seven", survivors, free=free, privacy=privacy)
    exact = "algorithm.max_bins=150"
    exact, _ = run(task, "exact", "seven", survivors, free=exact)
    noise = found.state.arrays["singles"] - exact.state.arrays["singles"]
    share = survivors / 5 if privacy == "example_distributed" else 1
    due = 3 * np.sqrt(share) * np.sqrt(3)
    assert found.state.header["noise"] == pytest.approx(due, rel=1e-3)
    # 600 numbers: 6 standard errors are 17 %.
    assert len(noise) > 600
    assert noise.std() == pytest.approx(due, rel=0.175)
    # Three pairs, too, in two rounds of which the mean is taken.
    due /= np.sqrt(2)
    assert found.state.header["table_noise"] == pytest.approx(due, rel=1e-3)
    tables = found.state.arrays["tables"]
    rest = tables - _pairs(task, survivors, found.state)
    assert rest.std() == pytest.approx(due, rel=6 / np.sqrt(2 * len(rest)))


def _pairs(folder, num_nodes, state):
    """Return the exact counts of pairs by the groups of a noised run's state."""
    words = "algorithm.max_bins=150 algorithm.max_groups=8"
    given = {"task": "wards", "algorithm": "marginals", "overrides": words, **R3}
    workload = build_workload(load_config(given))
    sources = (DataSource(data_path=folder / f"{node}.csv") for node in range(num_nodes))
    records = [workload.task.load(source) for source in sources]
    return sum(workload.contribute(state, Query(2), own, None).update for own in records)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free", "told"),
    [
        ("num-rounds=1", "give num-rounds=3"),
        ("algorithm.max_bins=1", "must be from 2"),
        ("algorithm.max_groups=1", "must be from 2"),
        ("algorithm.rows=0", "must be from 1"),
        ("algorithm.max_bins=65536 algorithm.max_groups=1024", "lower algorithm.max_groups"),
        ("task.training.momentum=0.5", "trains no model"),
    ],
)
def test_what_makes_no_sense_is_refused(free, told):
    given = {"task": "breast_cancer", "algorithm": "marginals", "num-rounds": 3}
    if free.startswith("num-rounds"):
        given["num-rounds"] = 1
    else:
        given["overrides"] = free
    with pytest.raises((ConfigError, ValueError), match=told):
        build_workload(load_config(given))


def test_the_plan_says_what_it_costs():
    free = (
        "privacy.epsilon=1 privacy.delta=1e-5 privacy.population=5 privacy.sampling_rate=1"
        " privacy.expected_batch_size=500 aggregation.min_survivors=4"
    )
    given = {
        "task": "breast_cancer",
        "algorithm": "marginals",
        "privacy": "example_distributed",
    }
    plan = plan_run(load_config({**given, **R3, "overrides": free}), None)
    workload = build_workload(load_config({**given, **R3, "overrides": free}))
    assert f"{workload.longest():,}" in str(plan) or str(workload.longest()) in str(plan)


def test_a_later_round_lowers_the_noise_and_the_counts_are_averaged():
    workload, some = marginals(max_groups=8), records(300)
    state = counted(workload, some)
    from tests.workloads.marginals.marginals_kit import DISTRIBUTED, noised

    private = marginals(mode=DISTRIBUTED, max_groups=8)
    assert private.setup.num_rounds == 3
    after = noised(private, some, 1e-9, 0)
    assert after.header["num_tables"] == 2
    assert not private.is_finished(after)
    np.testing.assert_allclose(after.arrays["singles"], state.arrays["singles"], atol=1e-6)
    np.testing.assert_allclose(after.arrays["tables"], state.arrays["tables"], atol=1e-6)
