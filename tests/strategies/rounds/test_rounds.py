"""Whole runs in one process, with clients that fail in every way."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message

import app.node.settings
from app.config.load import ConfigError, load_config
from app.server import run
from app.simulation.in_process import InProcessGrid, make_clients, simulate
from strategies.codec.run_state import TOTAL_WEIGHT
from strategies.refusals import Reason, refusal_reply
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.transport import PollingGrid
from tests.kits.traced import Traced, kind_of

FAST = "rounds.deadline_seconds=0.3 rounds.max_attempts=2 task.training.num_steps=3"


@pytest.fixture
def run_config(tmp_path):
    return {
        "task": "breast_cancer",
        "aggregation": "plain",
        "num-rounds": 3,
        "deterministic": True,
        "output-dir": str(tmp_path / "run"),
        "overrides": FAST,
    }


def with_faults(run_config, faults, num_nodes=4):
    """Return real clients, some of them replaced by ``faults[node]``."""
    clients = make_clients(run_config, num_nodes)
    real = dict(clients)
    for node, fault in faults.items():
        clients[node] = lambda message, node=node, fault=fault: fault(message, real[node])
    return clients


def reports(run_config):
    text = (Path(run_config["output-dir"]) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def raises(message, real):
    return refusal_reply(Reason.INTERNAL_ERROR, message)


def silent(message, real):
    return None


def answers_nan(message, real):
    reply = real(message)
    record = reply.content.array_records.get("update")
    if record:
        values = record["update"].numpy().copy()
        if values.size:
            values[0] = np.nan
        record["update"] = type(record["update"])(values)
    return reply


def answers_garbage(message, real):
    return Message(message.content, reply_to=message)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (raises, "internal_error"),
        (silent, "no_answer"),
        (answers_nan, "malformed_reply"),
        (answers_garbage, "malformed_reply"),
    ],
)
def test_a_round_goes_on_without_a_failed_client(run_config, fault, reason):
    outcome = simulate(run_config, 4, with_faults(run_config, {1002: fault}))
    assert outcome.num_rounds == 3
    for report in reports(run_config):
        assert (report["num_asked"], report["num_replies"]) == (4, 3)
        assert report["failures"] == {"1002": reason}
    assert np.isfinite(outcome.metrics["loss"])


@pytest.mark.parametrize("fault", [raises, silent, answers_nan])
def test_a_round_stops_at_a_failed_client_if_asked(run_config, fault):
    run_config["overrides"] += " rounds.on_client_failure=stop"
    with pytest.raises(RunStoppedError, match=r"round 1: client 1002 failed: \w+ \(rounds.on"):
        simulate(run_config, 4, with_faults(run_config, {1002: fault}))
    assert reports(run_config) == []


def test_the_run_stops_with_a_reason_when_too_few_answer(run_config):
    run_config["overrides"] += " rounds.min_replies=3"
    faults = dict.fromkeys((1000, 1001), silent)
    with pytest.raises(
        RunStoppedError,
        match=r"client 1000: no_answer.*; round 1: too few clients .* rounds.min_replies=3$",
    ):
        simulate(run_config, 4, with_faults(run_config, faults))
    summary = json.loads((Path(run_config["output-dir"]) / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert "rounds.min_replies=3" in summary["reason"]


def test_a_failed_attempt_leaves_the_model_and_is_tried_again(run_config):
    """A client that is away for one attempt only: the run is as if it had not been."""
    away = iter([True])

    def away_once(message, real):
        return None if next(away, False) else real(message)

    straight = simulate({**run_config, "output-dir": run_config["output-dir"] + "2"}, 2)
    faults = {1000: away_once}
    outcome = simulate(run_config, 2, with_faults(run_config, faults, num_nodes=2))
    for name, array in straight.arrays.items():
        np.testing.assert_array_equal(outcome.arrays[name].numpy(), array.numpy())


def test_a_client_that_refuses_for_good_is_left_out(run_config, caplog):
    asked = []

    def refuses(message, real):
        asked.append(message.metadata.message_id)
        return refusal_reply(Reason.DATA_REFUSED, message)

    logging.getLogger("flwr").addHandler(caplog.handler)
    simulate(run_config, 4, with_faults(run_config, {1003: refuses}))
    assert len(asked) == 1
    assert [r["num_asked"] for r in reports(run_config)] == [4, 3, 3]
    assert "client 1003 is left out of the run: data_refused" in caplog.text


def test_the_same_seed_gives_the_same_model_and_another_seed_another(run_config, tmp_path):
    models = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = {**run_config, "seed": seed, "output-dir": str(tmp_path / name)}
        models.append(simulate(config, 3).arrays)
    for name in models[0]:
        np.testing.assert_array_equal(models[0][name].numpy(), models[1][name].numpy())
    assert any((models[0][n].numpy() != models[2][n].numpy()).any() for n in models[0])


def test_without_deterministic_the_batch_order_is_the_operating_systems(run_config, tmp_path):
    models = []
    for name in ("a", "b"):
        config = {**run_config, "deterministic": False, "output-dir": str(tmp_path / name)}
        models.append(simulate(config, 3).arrays)
    assert any((models[0][n].numpy() != models[1][n].numpy()).any() for n in models[0])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "fedadam"])
@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_the_model_goes_to_the_cohort_in_its_order_with_the_round(
    run_config, aggregation, algorithm
):
    traced = Traced(run_config | {"aggregation": aggregation, "algorithm": algorithm}, 4)
    asked = [m for m, _ in traced.messages if kind_of(m) in ("train", "evaluate")]
    assert [(kind_of(m), m.metadata.dst_node_id) for m in asked] == [
        (kind, node) for kind in ["train"] * 3 + ["evaluate"] for node in range(1000, 1004)
    ]
    told = [dict(m.content["config"]) for m in asked]
    # What the last sum weighed, of which each node knows its own part.
    weights = [one.pop(TOTAL_WEIGHT, None) for one in told]
    assert [weight is not None for weight in weights] == [False] * 4 + [True] * 12
    assert told == [{"server-round": number} for number in (1, 2, 3, 4) for _ in range(4)]


@pytest.mark.slow
def test_cohorts_are_drawn_anew_each_round(run_config):
    run_config["overrides"] += " rounds.cohort_fraction=0.5"
    run_config["num-rounds"] = 8
    seen: list[set[int]] = []

    def note(message, real):
        server_round = message.content["config"]["server-round"]
        if message.metadata.message_type == "train":
            while len(seen) < server_round:
                seen.append(set())
            seen[server_round - 1].add(message.metadata.dst_node_id)
        return real(message)

    faults = dict.fromkeys(range(1000, 1006), note)
    simulate(run_config, 6, with_faults(run_config, faults, num_nodes=6))
    assert [len(cohort) for cohort in seen] == [3] * 8
    assert len({frozenset(cohort) for cohort in seen}) > 1


def test_one_round_is_one_trip_and_the_last_evaluation_one_more(run_config):
    trips = set()

    def note(message, real):
        trips.add((message.metadata.message_type, message.content["config"]["server-round"]))
        return real(message)

    faults = dict.fromkeys(range(1000, 1004), note)
    simulate(run_config, 4, with_faults(run_config, faults))
    assert trips == {("train", 1), ("train", 2), ("train", 3), ("evaluate", 4)}


def test_early_stopping_ends_a_plateau(run_config):
    run_config["num-rounds"] = 30
    run_config["overrides"] += " early_stopping.patience=2 early_stopping.min_delta=10"
    outcome = simulate(run_config, 3)
    # No loss can fall by 10, so the first two after the initial one end it.
    assert outcome.stopped_early
    assert outcome.num_rounds == 3


def test_a_run_that_improves_is_not_stopped(run_config):
    run_config["num-rounds"] = 6
    run_config["overrides"] += " early_stopping.patience=2"
    outcome = simulate(run_config, 3)
    assert not outcome.stopped_early
    assert outcome.num_rounds == 6


@pytest.mark.slow
def test_too_few_connected_clients_is_a_clear_error(run_config):
    run_config["overrides"] += " rounds.min_clients=5"
    with pytest.raises(ConfigError, match=r"4 simulated clients, rounds.min_clients=5: start"):
        simulate(run_config, 4)
    assert not Path(run_config["output-dir"]).exists()


@pytest.mark.slow
def test_more_replies_than_clients_is_refused_before_any_is_contacted(run_config):
    run_config["overrides"] += " rounds.min_replies=5"
    with pytest.raises(ConfigError, match=r"4 simulated clients, rounds.min_replies=5"):
        simulate(run_config, 4)


def test_nobody_at_the_last_evaluation_ends_the_run_without_a_score(run_config, monkeypatch):
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", True)
    grid = InProcessGrid(make_clients(run_config, 3))
    first = grid._clients[1000]

    def last_one_out(message):
        reply = first(message)
        if message.content["config"]["server-round"] == 3:
            grid._clients = {}
        return reply

    grid._clients[1000] = last_one_out
    grid._clients = dict(reversed(grid._clients.items()))
    outcome = run(PollingGrid(grid), load_config(run_config), 1, simulated=True)
    assert outcome.num_rounds == 3
    assert outcome.metrics == {}


def test_a_deployment_waits_for_clients_that_can_still_come(run_config, monkeypatch):
    """Two are there, one of them refuses for good; a third comes later."""
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", True)
    run_config |= {"deterministic": False, "overrides": "rounds.deadline_seconds=60"}
    clients = make_clients(run_config, 3)
    refuses = lambda message: refusal_reply(Reason.DATA_REFUSED, message)  # noqa: E731
    inner = InProcessGrid({1000: clients[1000], 1001: refuses})
    grid = PollingGrid(inner)
    grid._sleep = lambda seconds: inner._clients.setdefault(1002, clients[1002])
    outcome = run(grid, load_config(run_config), 1, simulated=False)
    assert outcome.num_rounds == 3


def test_the_run_stops_at_once_when_all_clients_are_left_out(run_config):
    def refuses(message, real):
        return refusal_reply(Reason.DATA_REFUSED, message)

    run_config["overrides"] += " rounds.deadline_seconds=300"
    faults = dict.fromkeys(range(1000, 1004), refuses)
    with pytest.raises(
        RunStoppedError, match=r"1003: data_refused in round 1; 0 usable clients .* 4 are left"
    ):
        simulate(run_config, 4, with_faults(run_config, faults))


def test_a_deployment_in_which_every_client_refuses_does_not_wait_for_others(
    run_config, monkeypatch
):
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", True)
    run_config |= {"deterministic": False, "overrides": "rounds.deadline_seconds=600"}
    refuses = lambda message: refusal_reply(Reason.POLICY_REFUSED, message)  # noqa: E731
    grid = PollingGrid(InProcessGrid(dict.fromkeys((1000, 1001, 1002), refuses)))

    def sleep(seconds):
        raise AssertionError("nobody is worth waiting for")

    grid._sleep = sleep
    with pytest.raises(RunStoppedError, match=r"policy_refused.*; 0 usable clients .* 3 are"):
        run(grid, load_config(run_config), 1, simulated=False)


def test_a_task_that_cannot_be_spread_so_is_refused_before_the_folder_is_made(run_config):
    run_config |= {"task": "heart"}
    with pytest.raises(ConfigError, match=r"task=heart: .* 4 hospitals but 3 nodes"):
        simulate(run_config, 3)
    assert not Path(run_config["output-dir"]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi"])
def test_every_algorithm_learns(run_config, algorithm):
    run_config |= {"algorithm": algorithm, "num-rounds": 10, "overrides": ""}
    outcome = simulate(run_config, 4)
    assert outcome.metrics["accuracy"] > 0.9
