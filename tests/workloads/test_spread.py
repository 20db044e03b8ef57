"""The participants' own accuracies as a histogram: what it says, and when it is refused."""

import json

import numpy as np
import pytest

from app.builders.privacy import privacy_plan
from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_config
from app.simulation.in_process import simulate
from strategies.rounds.attempt import RunStoppedError
from tasks.base import DataSource
from tests.kits.ruled_nodes import RuledNodes
from workloads.scoring import spread

ON = "rounds.participant_spread=true"
TEN = f"{ON} aggregation.min_survivors=10 rounds.deadline_seconds=2"
CLIENTS = (
    "privacy.noise_multiplier=1 privacy.delta=1e-5 privacy.learning_rate=1"
    " aggregation.min_survivors=60 privacy.clip_norm=1"
)


def own_accuracies(outcome, config, num_nodes):
    """Return each node's accuracy, from its own records and the published model alone."""
    loaded = load_config(config)
    workload, task = build_workload(loaded), build_task(loaded)
    task.keeps_missing = True
    found = []
    for node in range(num_nodes):
        test = task.load(DataSource(node, num_nodes)).test
        right = workload.predict(outcome.state, test.columns).argmax(axis=1) == test.targets
        found.append(right.mean())
    return np.array(found)


def test_the_histogram_is_that_of_the_nodes_own_accuracies(tmp_path):
    config = {"task": "breast_cancer", "algorithm": "ebm", "num-rounds": 2}
    config |= {"aggregation": "secagg", "output-dir": str(tmp_path), "overrides": TEN}
    outcome = simulate(config, 10)
    own = own_accuracies(outcome, config, 10)
    told = json.loads((tmp_path / "evaluation.json").read_text())
    rows = told["tables"]["participants"]
    expected, _ = np.histogram(own + 1e-12, bins=[*np.linspace(0, 0.95, 20), 2.0])
    found = {row["accuracy from"]: row["participants"] for row in rows}
    for number, count in enumerate(expected):
        assert found.get(number / 20, 0) == count
    worst = told["worst tenth of the participants"]
    assert worst == outcome.metrics["worst_decile"]
    assert abs(worst - own.min()) <= 0.025 + 1e-9
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all("worst_decile" in json.loads(line)["metrics"] for line in lines)
    assert "eval_spread" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_neural_model_has_one_too(tmp_path):
    config = {"task": "breast_cancer", "num-rounds": 1, "aggregation": "secagg"}
    outcome = simulate(config | {"output-dir": str(tmp_path), "overrides": TEN}, 10)
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert sum(row["participants"] for row in told["tables"]["participants"]) == 10
    assert 0.5 < outcome.metrics["worst_decile"] < 1


def test_a_node_that_holds_nothing_out_is_in_no_bin():
    assert not spread.own_counts(None).any()
    assert not any(spread.own_sums({"eval_num_examples": 0.0}).values())
    one = spread.own_sums({"eval_num_examples": 8.0, "eval_accuracy": 8.0})
    assert one["eval_spread_19"] == sum(one.values()) == 1


@pytest.mark.parametrize(
    ("accuracies", "worst"),
    [
        (np.full(10, 0.91), 0.925),
        ([0.5, *np.full(9, 0.91)], 0.525),
        # Two of twenty are the worst tenth, one of five is half of it.
        ([0.3, 0.5, *np.full(18, 0.91)], (0.325 + 0.525) / 2),
        ([0.3, *np.full(4, 0.91)], 0.325),
        ([], 0.5),
    ],
)
def test_the_worst_tenth(accuracies, worst):
    counts = sum((spread.own_counts(each) for each in accuracies), np.zeros(20))
    assert spread.worst_decile(counts) == pytest.approx(worst)


@pytest.mark.parametrize(
    ("options", "free", "told"),
    [
        ({"aggregation": "secagg"}, f"{ON} aggregation.min_survivors=9", "over 9 participants"),
        ({"aggregation": "plain"}, ON, "over 2 participants"),
        (
            {"aggregation": "secagg", "privacy": "example_central"},
            f"{ON} privacy.epsilon=1 privacy.delta=1e-5 privacy.population=100"
            " privacy.sampling_rate=0.1"
            " privacy.expected_batch_size=9 aggregation.min_survivors=90"
            " privacy.metrics.every=1 privacy.metrics.noise_multiplier=1",
            "no sum over records",
        ),
        (
            {"aggregation": "secagg", "privacy": "client_distributed"},
            f"{ON} {CLIENTS} privacy.population=99 privacy.metrics.every=1"
            " privacy.metrics.noise_multiplier=1",
            "takes 100 participants",
        ),
        (
            {"aggregation": "secagg", "privacy": "client_distributed"},
            f"{ON} {CLIENTS} privacy.population=100",
            "releases no scores",
        ),
    ],
)
def test_too_few_or_records_of_somebody_are_refused(options, free, told):
    with pytest.raises(ConfigError, match=told):
        load_config({"task": "breast_cancer", "overrides": free} | options)


def test_a_workload_without_an_accuracy_is_refused():
    config = {"task": "breast_cancer", "algorithm": "glm", "aggregation": "secagg"}
    with pytest.raises(ValueError, match="glm has no accuracy"):
        build_workload(load_config(config | {"overrides": TEN}))


@pytest.mark.slow
@pytest.mark.parametrize("listed", [True, False])
def test_the_nodes_owner_has_to_list_it(tmp_path, listed):
    nodes = RuledNodes(
        tmp_path, 10, {"exact": ["ebm", "spread"] if listed else ["ebm"]} | {"min_records": 20}
    )
    run = {"algorithm": "ebm", "num_rounds": 1}
    free = f"{ON} aggregation.min_survivors=10 algorithm.max_bins=8"
    if listed:
        nodes.run(free, **run)
        return
    with pytest.raises(RunStoppedError, match="policy_refused"):
        nodes.run(free, **run)


def test_one_client_moves_the_scores_by_no_more_than_is_accounted():
    """Count, loss, accuracy, its records' shares of the bins, and a bin of its own."""
    free = (
        f"{ON} {CLIENTS} privacy.population=100 privacy.metrics.every=1"
        " privacy.metrics.noise_multiplier=1"
    )
    config = load_config(
        {"task": "breast_cancer", "privacy": "client_distributed", "aggregation": "secagg"}
        | {"overrides": free}
    )
    workload = build_workload(config)
    state = workload.initial_state()
    plan = privacy_plan(config, workload, workload.length(state))
    assert plan.terms.num_metrics == len(workload.score_names)
    assert plan.terms.metrics_bound == workload.scores_bound == np.sqrt(5)
    task, longest = workload.task, 0.0

    class Told:
        mode, loss_clip = config.privacy.mode, 1e-6

    for node in range(8):
        records = task.load(DataSource(node, 8))
        term = workload.bounded_metrics(state, records, Told).in_units_of(1.0)
        assert term.shape == (len(workload.score_names),)
        assert term[-20:].sum() == pytest.approx(1, abs=1e-6)
        # Released numbers are rounded towards zero.
        assert term[-20:].argmax() == min(19, int((term[2] + 1e-6) * 20))
        longest = max(longest, float(np.linalg.norm(term)))
    assert longest <= workload.scores_bound
    # Records that agree in everything reach it: losses past the clip, all right, in one bin.
    alike = task.load(DataSource(0, 8))
    first = alike.test.take(np.zeros(5, np.intp))
    term = workload.bounded_metrics(state, type(alike)(alike.train, first), Told)
    norm = float(np.linalg.norm(term.in_units_of(1.0)))
    assert norm**2 == pytest.approx(4 + term.in_units_of(1.0)[2] ** 2, abs=1e-3)
