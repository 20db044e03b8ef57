"""Scores of held-out records: what a run says of them, and how far one record moves them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from app.builders.privacy import privacy_plan
from app.builders.workload import build_task, build_workload
from app.config.load import load_config
from app.simulation.in_process import simulate
from privacy.plan.plan import SCALAR_ONE
from tasks.base import DataSource
from tasks.records import LocalData
from tests.workloads.histograms.tables import ebm, records, some_state
from workloads.values import Query

KINDS = ("binary", "softmax", "squared")
TABLES = {"task": "breast_cancer", "num-rounds": 2}


def ended(folder, num_nodes, free="", **keys):
    config = TABLES | {"output-dir": str(folder), "overrides": free} | keys
    outcome = simulate(config, num_nodes)
    return outcome, json.loads((folder / "evaluation.json").read_text())


def held_out(num_nodes):
    task = build_task(load_config(TABLES))
    return [task.load(DataSource(node, num_nodes)).test for node in range(num_nodes)]


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["secagg", "plain"])
def test_a_run_tells_the_area_of_all_held_out_records(tmp_path, aggregation):
    outcome, told = ended(tmp_path, 4, algorithm="ebm", aggregation=aggregation)
    workload = build_workload(load_config(TABLES | {"algorithm": "ebm"}))
    parts = held_out(4)
    columns = np.concatenate([part.columns for part in parts])
    targets = np.concatenate([part.targets for part in parts])
    probability = workload.predict(outcome.state, columns)
    area = roc_auc_score(targets, probability[:, 1])
    assert abs(outcome.metrics["auc"] - area) < 1e-3
    assert told["records"] == len(targets)
    assert told["area under the ROC curve"] == outcome.metrics["auc"]
    assert outcome.metrics["loss"] == pytest.approx(log_loss(targets, probability), abs=1e-4)
    right = (probability.argmax(axis=1) == targets).mean()
    assert outcome.metrics["accuracy"] == pytest.approx(right, abs=1e-6)
    assert (tmp_path / "evaluation.csv").read_text().startswith("predicted from,to,records")


def test_a_neural_model_is_scored_in_the_same_way(tmp_path):
    masked, told = ended(tmp_path / "masked", 4, aggregation="secagg", deterministic=True)
    clear, same = ended(tmp_path / "clear", 4, aggregation="plain", deterministic=True)
    assert 0.9 < masked.metrics["auc"] <= 1
    assert masked.metrics["auc"] == pytest.approx(clear.metrics["auc"], abs=2e-3)
    assert told["records"] == same["records"] == sum(map(len, held_out(4)))


def test_rounds_are_scored_too(tmp_path):
    ended(tmp_path, 3, algorithm="ebm", aggregation="secagg")
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    areas = [json.loads(line)["metrics"]["auc"] for line in lines]
    # An empty model, then one of a round.
    assert areas[0] == 0.5
    assert areas[1] > 0.9


def test_a_private_run_tells_the_area_with_the_error_of_its_noise(tmp_path):
    free = (
        "privacy.epsilon=5 privacy.delta=1e-4 privacy.population=4 privacy.sampling_rate=1"
        " privacy.expected_batch_size=400 aggregation.min_survivors=3"
        " privacy.metrics.every=2 privacy.metrics.noise_multiplier=2"
    )
    outcome, told = ended(
        tmp_path, 4, free, algorithm="ebm", aggregation="secagg", privacy="example_distributed"
    )
    # Four shares where T - c = 2 make it up; one record moves the scores by 2.
    deviation = 2 * 2 * np.sqrt(4 / 2)
    assert told["standard deviation of each count"] == pytest.approx(deviation, rel=1e-6)
    assert told["standard error of the area by noise"] > 0.005
    least = min(0.5, told["standard error of the area by noise"])
    assert least <= outcome.metrics["auc_se"] <= 0.5


def scored(workload, state, examples):
    nobody = examples.take(np.zeros(0, np.intp))
    privacy = SimpleNamespace(loss_clip=3.0, mode=workload.setup.mode)
    found = workload.bounded_metrics(state, LocalData(nobody, examples), privacy)
    return found.in_units_of(1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e30, 1e300])
def test_one_record_moves_the_scores_by_no_more_than_is_accounted(kind, size):
    """Count, loss, metric, and one bin: whatever state the server sends."""
    workload, examples = ebm(kind), records(kind, 40)
    state = some_state(workload, size)
    assert workload.scores_bound == 2.0
    longest = 0.0
    with np.errstate(all="ignore"):
        whole = scored(workload, state, examples)
        for number in range(len(examples)):
            others = np.delete(np.arange(len(examples)), number)
            moved = whole - scored(workload, state, examples.take(others))
            assert moved[0] == pytest.approx(1, abs=1e-6)
            assert moved[-len(workload.score_bins) :].sum() == pytest.approx(1, abs=1e-6)
            longest = max(longest, float(np.linalg.norm(moved)))
    assert longest <= workload.scores_bound + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_records_scores_do_not_depend_on_its_place(kind):
    workload, examples = ebm(kind, mode=None), records(kind, 67)
    state = some_state(workload, 1.0)
    whole = workload._scored(state, examples)
    for first in (0, 1, 2, 3, 5, 8, 31):
        part = workload._scored(state, examples.take(np.arange(first, 67)))
        for name, values in part.items():
            np.testing.assert_array_equal(whole[name][first:], values)


def test_the_exact_scores_are_sums_over_records():
    workload, examples = ebm("softmax", mode=None), records("softmax", 60)
    state, nobody = some_state(workload, 1.0), examples.take(np.zeros(0, np.intp))

    def score(indices):
        part = examples.take(np.array(indices))
        return workload.evaluate(state, Query(1), LocalData(nobody, part)).sums

    whole, one, other = score(range(60)), score(range(13)), score(range(13, 60))
    for name, value in whole.items():
        assert value == pytest.approx(one[name] + other[name], rel=1e-12)
    assert list(whole) == list(workload.score_names)


@pytest.mark.parametrize(
    ("privacy", "bound"),
    [
        # Count, loss, accuracy in [0, 1] and a 1 in one bin, or a client's shares of the bins.
        ("client_central", 2.0),
        # Another client's in its place: entries are not negative, so at most a right angle.
        ("client_local", 2.0 * np.sqrt(2)),
    ],
)
def test_the_plan_knows_how_far_a_client_moves_the_scores(privacy, bound):
    free = (
        "privacy.noise_multiplier=1 privacy.delta=1e-5 privacy.population=8"
        " privacy.clip_norm=1 privacy.learning_rate=1"
        " privacy.metrics.every=1 privacy.metrics.noise_multiplier=3"
    )
    aggregation = "plain" if privacy == "client_local" else "secagg"
    config = load_config(
        TABLES | {"privacy": privacy, "overrides": free, "aggregation": aggregation}
    )
    workload = build_workload(config)
    plan = privacy_plan(config, workload, workload.length(workload.initial_state()))
    release = plan.metrics_release()
    assert release.l2_sensitivity / SCALAR_ONE == pytest.approx(bound, rel=1e-6)
    assert release.dimension == len(workload.score_names) == 3 + 100
