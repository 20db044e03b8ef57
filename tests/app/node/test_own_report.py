"""A node's own report: what it holds, that nothing of it leaves, and that it breaks nothing."""

import logging
import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest
from flwr.app import Message

import app.node.noting as noting
import app.node.own_report as own_report
import app.node.session
from app.node.own_report import Answer, Noted, OwnReport, read_own
from app.simulation.in_process import make_clients, simulate
from privacy.database import DatabaseError
from privacy.ledger.budget import LedgerError
from tests.kits.private_kit import DELTA, Nodes, policy, run_config_of

_PLAIN = {
    "task": "breast_cancer",
    "aggregation": "plain",
    "num-rounds": 2,
    "deterministic": True,
    "overrides": "rounds.deadline_seconds=2 task.training.num_steps=3",
}


def plain(tmp_path, **more):
    nodes = Nodes(tmp_path, 3)
    config = {"simulation-nodes": str(nodes.file), "output-dir": str(tmp_path / "run")}
    return {**_PLAIN, **config, **more}, nodes


def content(message: Message):
    """Return all of a reply, as plain values."""
    return {
        name: {
            key: value.data if hasattr(value, "data") else value
            for key, value in record.items()
        }
        for name, record in message.content.items()
    }


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_it_has_what_the_node_gave_and_how_the_model_does_there(tmp_path, aggregation):
    config, nodes = plain(tmp_path, aggregation=aggregation)
    outcome = simulate(config, 3)
    runs = [read_own(nodes.state(node)).runs for node in range(3)]
    assert [len(own) for own in runs] == [1, 1, 1]
    for [run] in runs:
        assert [(one["round"], one["kind"]) for one in run.rounds] == [
            (1, "train"),
            (2, "train"),
            (3, "evaluate"),
        ]
        assert run.about["task"] == "breast_cancer"
        assert run.about["dataset"] == "simulated"
        assert run.num_messages == (3 if aggregation == "plain" else 8)
        assert run.bytes_in >= sum(one["bytes_in"] for one in run.rounds) > 1000
        assert run.bytes_out >= sum(one["bytes_out"] for one in run.rounds) > 100
        assert all(one["num_train"] > 100 and one["train_loss"] for one in run.rounds[:2])
        assert run.rounds[2]["train_loss"] is None
    # The mean of all nodes' own scores is what the server gets from the sum.
    last = [run.rounds[-1] for [run] in runs]
    counts = np.array([one["num_test"] for one in last], float)
    for name in ("loss", "accuracy"):
        own = np.array([one["metrics"][name] for one in last])
        expected = outcome.metrics[name]
        np.testing.assert_allclose(own @ counts / counts.sum(), expected, rtol=1e-5)


@pytest.mark.slow
def test_a_private_round_has_what_is_scored_anyway_and_what_was_charged(tmp_path):
    metrics = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=1"
    option = "client_distributed"
    nodes = Nodes(tmp_path, 4, {0: policy(option, max_epsilon=200.0)})
    config = run_config_of(
        tmp_path, option, "secagg", metrics, simulation_nodes=str(nodes.file)
    )
    simulate(config, 4)
    [run] = read_own(nodes.state(0)).runs
    assert run.about["dataset"] == "records"
    assert 0 < run.rounds[0]["train_loss"] < 2
    # Without noise: 28 held-out records give accuracies of so many parts.
    accuracy = run.rounds[0]["metrics"]["accuracy"] * run.rounds[0]["num_test"]
    assert accuracy == pytest.approx(round(accuracy), abs=1e-6)
    epsilons = [one["epsilon"] for one in run.rounds]
    assert epsilons == sorted(epsilons)
    assert nodes.spent(0, "records").epsilon <= epsilons[-1] <= 200
    assert {one["max_epsilon"] for one in run.rounds} == {200.0}
    assert {one["delta"] for one in run.rounds} == {DELTA}


def test_a_round_without_metrics_scores_nothing_for_the_report(tmp_path, monkeypatch):
    import tasks.training.dp_sgd as training

    scored = []
    original = training.metric_vectors
    monkeypatch.setattr(
        training, "metric_vectors", lambda *a, **k: scored.append(1) or original(*a, **k)
    )
    nodes = Nodes(tmp_path, 4)
    option = "client_distributed"
    config = run_config_of(tmp_path, option, "secagg", simulation_nodes=str(nodes.file))
    simulate(config, 4)
    [run] = read_own(nodes.state(0)).runs
    assert [one["metrics"] for one in run.rounds] == [{}] * 3
    assert not scored


def replies_of(config, num_nodes):
    """Return the content of every reply of a run."""
    found = []

    def listening(client):
        def answer(message):
            reply = client(message)
            found.append((message.metadata.dst_node_id, content(reply)))
            return reply

        return answer

    clients = make_clients(config, num_nodes)
    simulate(config, num_nodes, {node: listening(one) for node, one in clients.items()})
    return found


def test_nothing_of_it_leaves(tmp_path, monkeypatch):
    config, _ = plain(tmp_path)
    with_report = replies_of(config, 3)
    monkeypatch.setattr(app.node.session.NodeSession, "own_report", None)
    config = {**config, "output-dir": str(tmp_path / "other")}
    assert replies_of(config, 3) == with_report
    assert len(with_report) == 9
    # The same files, and so not more of them.
    assert {name for _, one in with_report for name in one} == {"update", "sums"}


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), DatabaseError("locked"), ValueError()]
)
def test_a_report_that_cannot_be_written_fails_no_round(tmp_path, monkeypatch, caplog, error):
    failed = []

    def fail(*_):
        failed.append(1)
        raise error

    monkeypatch.setattr(OwnReport, "note_answer", fail)
    config, _ = plain(tmp_path)
    with caplog.at_level(logging.WARNING, "flwr.tacet"):
        outcome = simulate(config, 3)
    assert outcome.num_rounds == 2
    assert len(failed) == 9
    assert any("own report lacks" in one.getMessage() for one in caplog.records)


def test_scores_that_cannot_be_read_fail_no_round(tmp_path, monkeypatch):
    def fail(_):
        raise ArithmeticError("a score")

    monkeypatch.setattr(noting, "own_metrics", fail)
    config, nodes = plain(tmp_path)
    assert simulate({**config, "num-rounds": 1}, 3).num_rounds == 1
    [run] = read_own(nodes.state(0)).runs
    assert [one["metrics"] for one in run.rounds] == [{}, {}]


def test_a_file_that_somebody_holds_fails_no_round(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(own_report, "_BUSY_SECONDS", 0.05)
    config, nodes = plain(tmp_path)
    nodes.state(0).parent.mkdir()
    with closing(sqlite3.connect(nodes.state(0), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        with caplog.at_level(logging.WARNING, "flwr.tacet"):
            outcome = simulate(config, 3)
        # Three answers, each of which would wait for 30 seconds as the ledger does.
        assert time.monotonic() - started < 60
        other.execute("ROLLBACK")
    assert outcome.num_rounds == 2
    assert any("own report lacks" in one.getMessage() for one in caplog.records)
    assert read_own(nodes.state(0)).runs == []
    assert len(read_own(nodes.state(1)).runs) == 1


def test_a_simulation_keeps_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config, _ = plain(tmp_path)
    del config["simulation-nodes"]
    simulate(config, 3)
    assert not list((tmp_path / "home").rglob("*.sqlite"))


def test_a_refusal_is_kept_and_its_run_is_not(tmp_path):
    config, _ = plain(tmp_path)
    # Over the file that is there.
    nodes = Nodes(tmp_path, 3, {0: policy("client_distributed", max_epsilon=1.0)})
    config["overrides"] += " rounds.min_replies=2"
    simulate(config, 3)
    kept = read_own(nodes.state(0))
    assert kept.runs == []
    assert kept.refusals
    for one in kept.refusals:
        assert (one["run_id"], one["kind"], one["reason"]) == (1, "train", "policy_refused")
    assert read_own(nodes.state(1)).refusals == []


def answer(run_id, kind="train"):
    return Answer(run_id=run_id, kind=kind, seconds=1.0, bytes_in=10, bytes_out=5)


def test_it_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(own_report, "KEPT_RUNS", 3)
    monkeypatch.setattr(own_report, "KEPT_ROUNDS", 5)
    monkeypatch.setattr(own_report, "KEPT_REFUSALS", 4)
    report = OwnReport(tmp_path / "state.sqlite", clock=iter(range(1000)).__next__)
    for run in range(6):
        for number in (1, 2, 3):
            report.note_answer(answer(run), {}, Noted(round=number))
        report.note_refusal(run, "train", "policy_refused")
    kept = read_own(tmp_path / "state.sqlite")
    assert [run.run_id for run in kept.runs] == [3, 4, 5]
    rounds = [(run.run_id, one["round"]) for run in kept.runs for one in run.rounds]
    assert rounds == [(4, 2), (4, 3), (5, 1), (5, 2), (5, 3)]
    assert [one["run_id"] for one in kept.refusals] == [2, 3, 4, 5]


def test_a_round_that_is_asked_for_again_is_one_round(tmp_path):
    report = OwnReport(tmp_path / "state.sqlite")
    report.note_answer(answer(2**64 - 1, "train.advert"), {"task": "x"}, Noted())
    for loss in (0.7, float("nan")):
        noted = Noted(round=1, train_loss=loss, metrics={"loss": loss})
        report.note_answer(answer(2**64 - 1), {"task": "x"}, noted)
    [run] = read_own(tmp_path / "state.sqlite").runs
    assert (run.run_id, run.num_messages, run.seconds) == (2**64 - 1, 3, 3.0)
    [one] = run.rounds
    assert (one["num_attempts"], one["bytes_in"], one["seconds"]) == (2, 20, 2.0)
    assert one["train_loss"] is None
    assert one["metrics"] == {"loss": None}


def test_it_is_read_from_a_node_only(tmp_path):
    with pytest.raises(LedgerError, match="no such file"):
        read_own(tmp_path / "state.sqlite")
    assert not (tmp_path / "state.sqlite").exists()
