"""Runs of boosting through both apps, with and without privacy."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.results.model_file import ModelFileError, TableModel, load_model
from app.simulation.in_process import simulate
from tasks.base import DataSource

EXACT = {"task": "breast_cancer", "algorithm": "ebm", "num-rounds": 8}
ALL = "task.test_fraction=0"
UNEVEN = f"{ALL} task.partition.scheme=size_skew task.partition.alpha=2"
PRIVATE = (
    f"{ALL} privacy.delta=1e-4 privacy.population=5 privacy.sampling_rate=1"
    " privacy.expected_batch_size=569"
)
DISTRIBUTED = f"{PRIVATE} aggregation.min_survivors=4"


def run(folder: Path, num_nodes: int, free: str, **keys):
    given = {key.replace("_", "-"): value for key, value in keys.items()}
    config = EXACT | {"output-dir": str(folder), "overrides": free} | given
    return simulate(config, num_nodes).state


def records(num_nodes: int = 1, free: str = ALL):
    """Return the training records of all nodes together."""
    task = build_task(load_config({"task": "breast_cancer", "overrides": free}))
    parts = [task.load(DataSource(node, num_nodes)).train for node in range(num_nodes)]
    columns = np.concatenate([part.columns for part in parts])
    return columns, np.concatenate([part.targets for part in parts]), parts


@pytest.mark.slow
def test_the_masked_model_is_the_pooled_one_bit_for_bit(tmp_path):
    """However the records are spread: one node, seven uneven ones, masked or in the clear."""
    _, _, parts = records(7, UNEVEN)
    assert min(map(len, parts)) * 3 < max(map(len, parts))
    alone = f"{ALL} rounds.min_clients=1 rounds.min_replies=1"
    pooled = run(tmp_path / "one", 1, alone, aggregation="plain")
    for aggregation in ("secagg", "plain"):
        found = run(tmp_path / aggregation, 7, UNEVEN, aggregation=aggregation)
        assert found.arrays.keys() == pooled.arrays.keys()
        for name, values in pooled.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], values)
    assert np.abs(pooled.arrays["velocity"]).max() > 1e-3


def test_the_counts_are_those_of_the_records(tmp_path):
    state = run(tmp_path / "run", 3, ALL, num_rounds=1)
    columns, targets, _ = records()
    slots = state.arrays["slots"]
    # The last bin of a column is that of missing values; here are none.
    assert slots.sum() == columns.size
    np.testing.assert_array_equal(slots.sum(axis=1), np.bincount(targets) * columns.shape[1])


@pytest.mark.slow
def test_it_learns_without_privacy(tmp_path):
    run(tmp_path / "run", 3, "", num_rounds=30)
    task, model = load_model(tmp_path / "run" / "model.safetensors")
    held_out = [task.load(DataSource(node, 3)).test for node in range(3)]
    columns = np.concatenate([part.columns for part in held_out])
    targets = np.concatenate([part.targets for part in held_out])
    assert roc_auc_score(targets, model.predict(columns)[:, 1]) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["example_distributed", "example_central"])
def test_it_learns_under_privacy_and_the_model_file_predicts(tmp_path, privacy):
    free = DISTRIBUTED if privacy == "example_distributed" else PRIVATE
    free = f"{free} privacy.epsilon=8"
    state = run(tmp_path / "run", 5, free, num_rounds=6, privacy=privacy)
    columns, targets, _ = records()
    task, model = load_model(tmp_path / "run" / "model.safetensors")
    assert task.table is not None
    assert isinstance(model, TableModel)
    found = model.predict(columns)
    assert found.shape == (569, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # Five seeds of a model of this, with the same noise, gave 0.985 and more.
    assert roc_auc_score(targets, found[:, 1]) > 0.95
    np.testing.assert_array_equal(state.arrays["curves"], model.state.arrays["curves"])
    assert state.arrays["curves"].shape[1] == 30 * 33


def test_the_sum_has_the_noise_that_the_server_is_told(tmp_path):
    """In its first round the difference from the counts has the deviation of the plan."""
    free = f"{DISTRIBUTED} privacy.noise_multiplier=3"
    found = run(tmp_path / "run", 5, free, num_rounds=1, privacy="example_distributed")
    exact = run(tmp_path / "exact", 5, f"{ALL} algorithm.max_bins=32", num_rounds=1)
    noise = found.arrays["slots"] - exact.arrays["slots"]
    # Five shares, of which T - c = 3 make up the noise; a record's part has k = 30 entries.
    due = 3 * np.sqrt(5 / 3) * np.sqrt(30)
    # 1,980 numbers: 6 standard errors are 9.5 %, with a probability of 2e-9.
    assert noise.std() == pytest.approx(due, rel=0.095)


@pytest.mark.parametrize("privacy", ["example_distributed", "example_central"])
def test_the_server_is_told_the_noise_of_its_sums(privacy):
    """At least: of T survivors. With four of which T - c = 3 are certain it is 2/sqrt(3)."""
    free = DISTRIBUTED if privacy == "example_distributed" else PRIVATE
    config = load_config(
        EXACT
        | {"privacy": privacy, "overrides": f"{free} privacy.noise_multiplier=3"}
        | {"num-rounds": 1}
    )
    workload = build_workload(config)
    length = workload.length(workload.initial_state())
    strategy = build_strategy(config, RunFacts(1, 5, workload, length))
    due = 3 * (2 / np.sqrt(3) if privacy == "example_distributed" else 1)
    assert strategy.workload.setup.noise == pytest.approx(due)
    assert workload.setup.noise == 0


def test_a_plan_says_what_it_costs(tmp_path):
    config = EXACT | {
        "privacy": "example_distributed",
        "num-rounds": 6,
        "overrides": f"{DISTRIBUTED} privacy.epsilon=1",
    }
    plan = plan_run(load_config(config))
    assert plan.workload == "ebm"
    assert plan.guarantee["epsilon"] <= 1
    (release,) = plan.guarantee["releases"]
    assert (release["name"], release["times"]) == ("update", 6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "free", "told"),
    [
        ({"task": "digits"}, "", "it has no columns for the workload ebm"),
        ({}, "task.model=mlp", "no neural model"),
        ({}, "task.training.momentum=0.5", "trains no model on a node"),
        ({}, "aggregation.codec.clip_range=2", "whole numbers are summed"),
        ({}, "algorithm.max_bins=1", "must be from 2"),
        ({}, "algorithm.learning_rate=0", "must be above 0"),
        ({}, "algorithm.reg_lambda=0", "must be above 0"),
        ({}, "algorithm.smoothing=-1", "must be finite and not negative"),
        ({}, "algorithm.server_momentum=0.5", "not a key"),
        (
            {"privacy": "example_distributed"},
            f"{DISTRIBUTED} privacy.epsilon=1 privacy.clip_norm=2",
            "it has no effect on the workload ebm",
        ),
        (
            {"privacy": "client_local"},
            "privacy.epsilon=1 privacy.delta=1e-3 privacy.population=5",
            "it has no bound for the unit client",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, keys, free, told):
    with pytest.raises(ConfigError, match=told):
        simulate(EXACT | {"output-dir": str(tmp_path / "run"), "overrides": free} | keys, 3)


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    run(tmp_path / "run", 3, "", num_rounds=1)
    file = tmp_path / "run" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'\\"max_bins\\": 255', b'\\"max_bins\\": 254', 1))
    with pytest.raises(ModelFileError, match="of shape"):
        load_model(file)


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path):
    whole = run(tmp_path / "whole", 3, "", num_rounds=7)
    run(tmp_path / "run", 3, "", num_rounds=5)
    config = EXACT | {"resume-from": str(tmp_path / "run"), "num-rounds": 7}
    found = simulate(config, 3).state
    for name, values in whole.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["none", "example_central"])
def test_the_curves_are_written_for_a_person_to_read(tmp_path, privacy):
    """What the report's curves add up to is what the model predicts."""
    free = ALL if privacy == "none" else PRIVATE + " privacy.epsilon=3"
    state = run(tmp_path / "run", 5, free, privacy=privacy, aggregation="plain")
    told = json.loads((tmp_path / "run" / "report.json").read_text())
    config = load_config(
        EXACT | {"privacy": privacy, "overrides": free, "aggregation": "plain"}
    )
    workload = build_workload(config)
    columns, _, _ = records(5, free if privacy == "none" else ALL)
    logits = np.full(len(columns), told["intercept of log-odds of benign"])
    curves = told["tables"]["curves"]
    for number, column in enumerate(workload.table.columns):
        own = [
            line
            for line in curves
            if line["column"] == column.name and line["bin"] != "missing"
        ]
        begins = np.array([-np.inf if x["from"] is None else x["from"] for x in own])
        place = np.searchsorted(begins[1:], columns[:, number], side="right")
        logits += np.array([x["log-odds of benign"] for x in own])[place]
    predicted = workload.predict(state, columns)[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), predicted, rtol=1e-9)
    importance = [row["mean absolute score"] for row in told["rows"]]
    assert importance == sorted(importance, reverse=True)
    assert len(importance) == 30
    assert importance[0] > 0.1
    assert (tmp_path / "run" / "report-curves.csv").read_text().startswith("column,bin,from,to")
