"""Runs under the client unit through both apps, and what is refused before one begins."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tests.workloads.histograms.test_bound import summed

ALL = "task.test_fraction=0 privacy.delta=1e-4"


def given(free: str, num_nodes: int, **keys) -> dict:
    words = f"privacy.population={num_nodes} task.partition.min_examples=1 {free}"
    named = {key.replace("_", "-"): value for key, value in keys.items()}
    return {"task": "breast_cancer", "algorithm": "ebm", "overrides": words} | named


def run(folder: Path, num_nodes: int, free: str, **keys):
    config = given(free, num_nodes, output_dir=str(folder), **keys)
    return simulate(config, num_nodes).state, config


def auc_of(folder: Path) -> float:
    task = build_task(load_config({"task": "breast_cancer", "overrides": ALL.split()[0]}))
    records = task.load(DataSource(0, 1)).train
    _, model = load_model(folder / "model.safetensors")
    return float(roc_auc_score(records.targets, model.predict(records.columns)[:, 1]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "num_rounds", "free"),
    [
        ("ebm", 3, "algorithm.binning=quantile algorithm.fine_bins=64"),
        ("gbdt", 3, "algorithm.trees_per_round=4"),
    ],
)
def test_it_learns_with_the_noise_of_many_clients(tmp_path, algorithm, num_rounds, free):
    free = f"{ALL} privacy.noise_multiplier=0.3 {free}"
    keys = {"algorithm": algorithm, "num_rounds": num_rounds}
    run(tmp_path / "run", 12, free, privacy="client_central", aggregation="plain", **keys)
    assert auc_of(tmp_path / "run") > 0.95


def test_the_masked_sum_has_the_terms_of_all_and_the_noise_that_the_server_is_told(tmp_path):
    """Of uneven nodes; two are without a record. The deviation is that of the plan."""
    free = f"{ALL} privacy.noise_multiplier=3 aggregation.min_survivors=5"
    free = f"{free} task.partition.scheme=size_skew task.partition.alpha=0.5"
    keys = {"privacy": "client_distributed", "aggregation": "secagg", "num_rounds": 1}
    found, config = run(tmp_path / "run", 6, free, **keys)
    loaded = load_config(config)
    workload, task = build_workload(loaded), build_task(loaded)
    state = workload.initial_state()
    query = workload.query(state, 1)
    terms = [
        summed(workload, state, query, task.load(DataSource(node, 6)).train).in_units_of(1.0)
        for node in range(6)
    ]
    weight = 30**-0.5
    due = workload.layout.split(np.sum(terms, axis=0))[0] / weight
    noise = found.arrays["slots"] - due
    # Six shares, of which T - c = 4 make up the noise.
    deviation = 3 * np.sqrt(6 / 4) / weight
    # 1,980 numbers: 6 standard errors are 9.5 %, with a probability of 2e-9.
    assert noise.std() == pytest.approx(deviation, rel=0.095)
    assert abs(noise.mean()) < 6 * deviation / np.sqrt(noise.size)
    facts = RunFacts(1, 6, workload, workload.length(state))
    # At least that of T = 5.
    told = build_strategy(loaded, facts).workload.setup.noise
    assert told == pytest.approx(3 * np.sqrt(5 / 4))


@pytest.mark.slow
def test_early_stopping_and_the_participants_spread(tmp_path):
    free = (
        "privacy.delta=1e-4 privacy.noise_multiplier=0.5 algorithm.early_stopping_rounds=1"
        " privacy.metrics.every=1 privacy.metrics.noise_multiplier=0.2"
        " rounds.participant_spread=true"
    )
    keys = {"privacy": "client_central", "aggregation": "plain", "num_rounds": 1}
    told = simulate(given(free, 100, output_dir=str(tmp_path / "run"), **keys), 100).metrics
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    # The first model that was scored is the empty one, and the last was not compared.
    assert summary["best_iteration"] == 0
    assert told["accuracy"] > 0.85
    assert 0.1 < told["worst_decile"] < 0.9


def test_the_plan_has_one_term_of_each_client_and_round():
    free = f"{ALL} privacy.epsilon=2 aggregation.min_survivors=80"
    keys = {"privacy": "client_distributed", "aggregation": "secagg", "num_rounds": 6}
    found = plan_run(load_config(given(free, 100, **keys)))
    assert found.guarantee["unit"] == "client"
    assert found.guarantee["num_releases"] == 6
    assert found.guarantee["sampling_rate"] == 1
    assert found.guarantee["epsilon"] == pytest.approx(2, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "free", "told"),
    [
        (
            {},
            "privacy.clip_norm=0.5",
            r"privacy\.clip_norm=0\.5: it has no effect.*take it out",
        ),
        (
            {},
            "privacy.adaptive_clip.bit_noise=5",
            r"privacy\.adaptive_clip\.bit_noise=5: the workload .* no clip norm .*take it out",
        ),
        ({}, "privacy.learning_rate=1", r"privacy\.learning_rate has no effect"),
        (
            {"privacy": "client_local"},
            "",
            r"no bound for the unit client with local noise.*client_central or"
            r" client_distributed",
        ),
        ({"algorithm": "forest"}, "", r"workload forest: it has no bound .*privacy=none"),
    ],
)
@pytest.mark.parametrize("algorithm", ["ebm", "gbdt"])
def test_what_has_no_effect_or_no_bound_is_refused(algorithm, keys, free, told):
    words = f"{ALL} privacy.noise_multiplier=1 {free}"
    named = {"privacy": "client_central", "algorithm": algorithm, "aggregation": "plain"}
    with pytest.raises(ConfigError, match=told):
        load_config(given(words, 10, **(named | keys)))


def test_best_splits_have_no_client_unit_either():
    free = f"{ALL} privacy.noise_multiplier=1 algorithm.structure=greedy"
    keys = {"privacy": "client_central", "algorithm": "gbdt", "aggregation": "plain"}
    with pytest.raises(ConfigError, match=r"structure=greedy.*take structure=random"):
        load_config(given(free, 10, **keys))
