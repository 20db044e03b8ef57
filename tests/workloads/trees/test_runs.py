"""Runs of trees through both apps, with and without privacy."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.results.model_file import ModelFileError, load_model
from app.simulation.in_process import simulate
from tests.workloads.histograms.test_runs import ALL, DISTRIBUTED, PRIVATE, UNEVEN, records

KINDS = {
    "gbdt": "algorithm.max_depth=3 algorithm.bagging_fraction=.8 algorithm.feature_fraction=.5",
    "forest": "algorithm.num_trees=5",
    "tree": "algorithm.min_data_in_leaf=10",
}
NUM_ROUNDS = 8


def run(folder: Path, num_nodes: int, free: str, name: str, **keys):
    given = {key.replace("_", "-"): value for key, value in keys.items()}
    config = {"task": "breast_cancer", "algorithm": name, "num-rounds": NUM_ROUNDS}
    config |= {"output-dir": str(folder), "overrides": free}
    return simulate(config | given, num_nodes)


def assert_same(found, other):
    assert found.header == other.header
    assert found.arrays.keys() == other.arrays.keys()
    for name, values in other.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS, "random"])
def test_the_masked_trees_are_the_pooled_ones_bit_for_bit(tmp_path, name):
    """However the records are spread: one node, seven uneven ones, masked or in the clear."""
    free = KINDS.get(name, "algorithm.structure=random algorithm.max_depth=3")
    algorithm = name if name in KINDS else "gbdt"
    alone = f"{ALL} rounds.min_clients=1 rounds.min_replies=1 {free}"
    pooled = run(tmp_path / "one", 1, alone, algorithm, aggregation="plain").state
    for aggregation in ("secagg", "plain"):
        found = run(
            tmp_path / aggregation, 7, f"{UNEVEN} {free}", algorithm, aggregation=aggregation
        )
        assert_same(found.state, pooled)
    assert len(pooled.arrays["column"]) > 6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_rounds"), [("gbdt", 26), ("forest", 14), ("tree", 14)])
def test_it_learns_and_ends_by_itself(tmp_path, name, num_rounds):
    outcome = run(tmp_path / "run", 3, ALL, name, num_rounds=num_rounds)
    columns, targets, _ = records()
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    found = model.predict(columns)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert roc_auc_score(targets, found[:, 1]) > 0.97
    if name != "gbdt":
        # As many levels as there may be, not as many rounds.
        assert outcome.num_rounds <= 10
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["rows"][0]["share of the gain"] > 0.2
    assert report["trees"] == {"gbdt": len(outcome.state.arrays["roots"])}.get(
        name, {"forest": 30, "tree": 1}.get(name)
    )


def test_one_tree_is_scikit_learns(tmp_path):
    """On the same bins, without categories or missing values, where no two splits tie."""
    free = f"{ALL} algorithm.max_depth=3 algorithm.min_data_in_leaf=20"
    run(tmp_path / "run", 3, free, "tree")
    columns, targets, _ = records()
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    bins = model.workload.growth.within(columns)
    peer = DecisionTreeClassifier(max_depth=3, min_samples_leaf=20, random_state=0)
    peer.fit(bins, targets)
    np.testing.assert_allclose(model.predict(columns), peer.predict_proba(bins), atol=1e-12)


@pytest.mark.slow
def test_boosting_is_near_scikit_learns(tmp_path):
    """On the same bins: the loss on the records, which trees grown alike lower alike."""
    free = f"{ALL} algorithm.max_depth=3 algorithm.lambda_l2=0 algorithm.learning_rate=0.1"
    run(tmp_path / "run", 2, free, "gbdt", num_rounds=31)
    columns, targets, _ = records()
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    bins = np.minimum(model.workload.growth.within(columns), 254)
    peer = HistGradientBoostingClassifier(
        max_iter=10, max_depth=3, max_leaf_nodes=None, early_stopping=False, random_state=0
    )
    peer.fit(bins, targets)
    np.testing.assert_allclose(
        model.predict(columns)[:, 1], peer.predict_proba(bins)[:, 1], atol=0.02
    )


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["example_distributed", "example_central"])
def test_random_trees_learn_under_privacy(tmp_path, privacy):
    free = DISTRIBUTED if privacy == "example_distributed" else PRIVATE
    free = f"{free} privacy.epsilon=8"
    state = run(tmp_path / "run", 5, free, "gbdt", num_rounds=6, privacy=privacy).state
    columns, targets, _ = records()
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    found = model.predict(columns)
    assert roc_auc_score(targets, found[:, 1]) > 0.95
    # Four rounds of trees are fitted, and the trees of the next are drawn.
    assert (state.header["complete"], len(state.arrays["roots"])) == (40, 50)
    value = state.arrays["value"]
    assert value[: state.arrays["roots"][40]].any()
    assert not value[state.arrays["roots"][40] :].any()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["trees"] == 40


def test_a_plan_says_what_it_costs():
    config = {"task": "breast_cancer", "algorithm": "gbdt", "num-rounds": 12}
    config |= {
        "privacy": "example_distributed",
        "overrides": f"{DISTRIBUTED} privacy.epsilon=1",
    }
    plan = plan_run(load_config(config))
    assert plan.workload == "gbdt"
    assert plan.guarantee["epsilon"] <= 1
    workload = build_workload(load_config(config))
    assert plan.num_parameters == workload.length(workload.initial_state())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "keys", "free", "told"),
    [
        ("gbdt", {"task": "digits"}, "", "it has no columns for the workload gbdt"),
        ("gbdt", {}, "algorithm.max_depth=0", "must be from 1 to 20"),
        ("gbdt", {}, "algorithm.max_bins=1", "must be from 2"),
        ("gbdt", {}, "algorithm.learning_rate=0", "must be above 0"),
        ("gbdt", {}, "algorithm.lambda_l1=-1", "must be finite and not negative"),
        ("gbdt", {}, "algorithm.feature_fraction=1.5", "must be in"),
        ("gbdt", {}, "algorithm.bagging_fraction=0", "must be in"),
        ("gbdt", {}, "algorithm.min_data_in_leaf=0", "must be at least 1"),
        ("gbdt", {}, "algorithm.trees_per_round=3", "no effect: structure=greedy"),
        ("gbdt", {}, "algorithm.structure=random algorithm.lambda_l1=1", "no effect"),
        ("gbdt", {}, "algorithm.structure=random algorithm.bagging_fraction=.5", "no effect"),
        ("gbdt", {}, "algorithm.structure=random algorithm.learning_rate=2", "below 2"),
        ("gbdt", {}, "algorithm.structure=random algorithm.lambda_l2=0", "must be above 0"),
        ("gbdt", {}, "algorithm.structure=oblivious", "Invalid value"),
        (
            "gbdt",
            {"privacy": "example_central"},
            f"{PRIVATE} privacy.epsilon=1 algorithm.structure=greedy",
            "take structure=random, or privacy=none",
        ),
        (
            "gbdt",
            {"privacy": "client_local"},
            "privacy.epsilon=1 privacy.delta=1e-3 privacy.population=5",
            "it has no bound for the unit client",
        ),
        (
            "forest",
            {"privacy": "example_central"},
            f"{PRIVATE} privacy.epsilon=1",
            "it has no bound for the unit example",
        ),
        ("forest", {}, "algorithm.num_trees=0", "must be at least 1"),
        ("tree", {}, "algorithm.num_trees=3", "not a key"),
        ("tree", {}, "task.training.momentum=0.5", "trains no model on a node"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, name, keys, free, told):
    with pytest.raises(ConfigError, match=told):
        run(tmp_path / "run", 3, free, name, **keys)


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    run(tmp_path / "run", 3, "", "tree", num_rounds=1)
    file = tmp_path / "run" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'\\"max_bins\\": 255', b'\\"max_bins\\": 100', 1))
    with pytest.raises(ModelFileError, match="left is uint8"):
        load_model(file)


@pytest.mark.slow
@pytest.mark.parametrize("free", ["algorithm.max_depth=3", "algorithm.structure=random"])
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path, free):
    whole = run(tmp_path / "whole", 3, free, "gbdt", num_rounds=7).state
    run(tmp_path / "run", 3, free, "gbdt", num_rounds=4)
    config = {"task": "breast_cancer", "algorithm": "gbdt", "num-rounds": 7}
    config |= {"resume-from": str(tmp_path / "run"), "overrides": free}
    assert_same(simulate(config, 3).state, whole)
