"""Charge first, then release: kills, caps and refusals through the real client handlers."""

import logging
import os
import sqlite3
import warnings
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict

import app.client
import app.contributing
import app.node
import app.secagg_client
from app.build_privacy import privacy_plan
from app.config import load_config
from app.in_process import InProcessGrid
from privacy.accounting import epsilon
from privacy.database import DatabaseError
from strategies.secagg.client import ClientRole
from tests.private_kit import (
    DELTA,
    Nodes,
    Traced,
    kind_of,
    policy,
    run_config_of,
    write_policy,
)


@pytest.fixture
def told(caplog):
    """Return what the nodes log."""
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


class RealNode:
    """A node as in a deployment: its state is in SQLite, and it has a policy.

    Every answer is made from its files alone, as each message is a process of its own there.
    """

    def __init__(self, folder: Path, monkeypatch, run_config, part=3, of=4, **config) -> None:
        self._patch, self.folder = monkeypatch, folder / "real"
        self.folder.mkdir(exist_ok=True)
        self.state = self.folder / "state.sqlite"
        self._context = {
            "run_id": 1,
            "node_id": 1000 + part,
            "run_config": dict(run_config),
            "node_config": {"partition-id": part, "num-partitions": of} | config,
        }

    def answer(self, message: Message) -> Message:
        with self._patch.context() as patched:
            patched.setattr(app.client, "in_simulation", lambda: False)
            context = Context(state=RecordDict(), **self._context)
            return app.client.app(message, context)

    def charges(self) -> list[tuple[int, int]]:
        """Return (round, attempt) of all charges, in order."""
        if not self.state.exists():
            return []
        with closing(sqlite3.connect(self.state)) as database:
            names = database.execute("SELECT name FROM sqlite_master").fetchall()
            if ("ledger_charges",) not in names:
                return []
            query = "SELECT round, attempt FROM ledger_charges ORDER BY sequence"
            return database.execute(query).fetchall()


def real_node(tmp_path, monkeypatch, run_config, option, **changes) -> RealNode:
    node = RealNode(tmp_path, monkeypatch, run_config)
    file = write_policy(node.folder / "policy.yaml", policy(option, **changes))
    config = {"state-path": str(node.state), "policy-file": str(file)}
    node._context["node_config"] |= config
    return node


# Kills


def die(*_):
    os._exit(9)


def before_the_charge(patch):
    patch.setattr(app.contributing, "charge", die)


def inside_the_charge(patch):
    # The row is written and not yet committed.
    patch.setattr("privacy.ledger.append", dying_after("privacy.ledger.append"))


def after_the_charge(patch):
    patch.setattr(ClientRole, "mask", die)


def before_the_commit(patch):
    # Masked in memory; the stage has not moved.
    patch.setattr("strategies.secagg.stages.Stages.commit", die)


def after_the_commit(patch):
    patch.setattr(ClientRole, "mask", dying_after("strategies.secagg.client.ClientRole.mask"))


def dying_after(name: str):
    module, _, attribute = name.rpartition(".")
    owner = ClientRole if attribute == "mask" else __import__(module, fromlist=[attribute])
    real = getattr(owner, attribute)

    def call(*args):
        real(*args)
        os._exit(9)

    return call


def killed(call, arrange, monkeypatch) -> None:
    """Make the call in a process that dies in it: nothing is cleaned up."""
    with warnings.catch_warnings():
        # Later Pythons warn of forks beside threads; the child only computes and dies.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            arrange(monkeypatch)
            call()
        finally:
            # Not reached if it was killed in time.
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize(
    ("arrange", "is_charged", "then"),
    [
        (before_the_charge, False, "answered"),
        (inside_the_charge, False, "answered"),
        (after_the_charge, True, "ledger_refused"),
        (before_the_commit, True, "ledger_refused"),
        (after_the_commit, True, "protocol"),
    ],
)
def test_a_kill_leaves_no_reply_without_its_charge_and_none_twice(
    tmp_path, monkeypatch, arrange, is_charged, then
):
    """The node dies in round 1, starts again and gets the same message twice more."""
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", num_rounds=2)
    node = real_node(tmp_path, monkeypatch, run_config, "client_distributed")
    history: list[list[tuple[int, int]]] = []
    deaths: list[Message] = []

    def fault(message, real):
        if message.metadata.dst_node_id != 1003:
            return real(message)
        first = kind_of(message) == "train" and not deaths
        if first:
            deaths.append(message)
            killed(lambda: node.answer(message), arrange, monkeypatch)
            assert bool(node.charges()) == is_charged
            history.append(node.charges())
        reply = node.answer(message)
        history.append(node.charges())
        if kind_of(message) == "train" and not reply.has_error():
            # Whatever is answered was charged before, once.
            assert node.charges()[-1][0] == message.content["config"]["server-round"]
        if first:
            assert reply.has_error() == (then != "answered")
            if then == "ledger_refused":
                assert reply.error.reason == then
            again = node.answer(message)
            assert again.has_error()
            history.append(node.charges())
            assert len(history[-1]) == 1
        return reply

    traced = Traced(run_config, 4, fault)
    assert len(deaths) == 1
    assert traced.outcome.num_rounds == 2
    for earlier, later in pairwise(history):
        assert later[: len(earlier)] == earlier
    charges = node.charges()
    assert len(set(charges)) == len(charges)
    assert charges[0][0] == 1
    # The first node of round 1 is in its sum or is not; a refusal of the ledger is for good.
    assert traced.reports()[0]["num_replies"] == (4 if then == "answered" else 3)


def test_nothing_leaves_if_the_charge_cannot_be_synced(tmp_path, monkeypatch):
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_distributed")

    def fails(*_):
        raise DatabaseError("the disk is full")

    def fault(message, real):
        if message.metadata.dst_node_id != 1003:
            return real(message)
        if kind_of(message) != "train":
            return node.answer(message)
        with monkeypatch.context() as patched:
            patched.setattr("privacy.ledger.append", fails)
            return node.answer(message)

    traced = Traced(run_config, 4, fault)
    assert traced.reports()[0]["failures"] == {"1003": "ledger_refused"}
    assert node.charges() == []


def test_a_plain_node_pays_for_every_time_it_is_asked(tmp_path, monkeypatch):
    """Plain aggregation has no attempts: the same request again is one more release."""
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_local")
    replies = []

    def fault(message, real):
        if message.metadata.dst_node_id != 1003:
            return real(message)
        replies.extend(node.answer(message) for _ in range(3))
        return replies[-1]

    Traced(run_config, 4, fault)
    assert node.charges() == [(1, 0), (1, 1), (1, 2)]
    sent = {reply.content["update"]["update"].numpy().tobytes() for reply in replies}
    assert len(sent) == 3


# Caps


@pytest.mark.parametrize(
    ("option", "aggregation", "free"),
    [
        ("client_distributed", "secagg", "aggregation.min_survivors=4"),
        ("example_distributed", "secagg", "aggregation.min_survivors=4"),
        ("client_local", "plain", ""),
    ],
)
def test_a_node_at_its_cap_refuses_and_the_others_go_on(tmp_path, option, aggregation, free):
    run_config = run_config_of(tmp_path, option, aggregation, free, num_rounds=5, population=5)
    plan = privacy_plan(load_config(run_config), 31)
    two, three = (epsilon(plan.schedule(n), DELTA) for n in (2, 3))
    cap = (two + three) / 2
    nodes = Nodes(tmp_path, 5, {4: policy(option, max_epsilon=cap)})
    traced = Traced(run_config | {"simulation-nodes": str(nodes.file)}, 5)
    reports = traced.reports()
    assert [r["num_replies"] for r in reports] == [5, 5, 4, 4, 4]
    assert [r["num_asked"] for r in reports] == [5, 5, 5, 4, 4]
    refused = {"1004": "budget_exhausted"}
    assert [r["failures"] for r in reports] == [{}, {}, refused, {}, {}]
    assert traced.summary()["status"] == "completed"
    spent = nodes.spent(4, "records")
    assert spent.num_charges == 2
    assert two - 1e-9 <= spent.epsilon <= cap
    assert nodes.spent(0).num_charges == 5


def test_a_spent_node_is_asked_no_more_after_a_restart(tmp_path, monkeypatch):
    """Another run over the same records: the ledger is the node's, not the run's."""
    free = "aggregation.min_survivors=3"
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", free, num_rounds=1)
    plan = privacy_plan(load_config(run_config), 31)
    cap = epsilon(plan.schedule(1), DELTA) * 1.0001
    nodes = Nodes(tmp_path, 4, {2: policy("client_distributed", max_epsilon=cap)})
    run_config["simulation-nodes"] = str(nodes.file)
    first = Traced(run_config, 4)
    assert first.reports()[0]["failures"] == {}
    # Round 1 again, by another server: attempts have the same numbers in this one process.
    again = run_config | {"output-dir": str(tmp_path / "again")}
    for node in (0, 1, 3):
        nodes.state(node).unlink()
    second = Traced(again, 4)
    assert second.reports()[0]["num_replies"] == 3
    assert set(second.reports()[0]["failures"]) == {"1002"}
    assert nodes.spent(2, "records").num_charges == 1


# Refusals


def asked(run_config, node_config) -> Message:
    """Ask one node of a deployment for its first keys, or for training."""
    InProcessGrid({})
    kind = "train.advert" if run_config["aggregation"] == "secagg" else "train"
    context = Context(
        run_id=1,
        node_id=7,
        node_config={"partition-id": 0, "num-partitions": 4} | node_config,
        state=RecordDict(),
        run_config=dict(run_config),
    )
    return app.client.app(Message(RecordDict(), dst_node_id=7, message_type=kind), context)


LISTED = ["client_central", "client_local"]


@pytest.mark.parametrize(
    ("option", "aggregation", "changes", "words"),
    [
        (
            "client_distributed",
            "secagg",
            {"privacy": LISTED},
            "privacy=client_distributed, but it allows client_central, client_local",
        ),
        (
            "example_distributed",
            "secagg",
            {"privacy": LISTED, "unit": "client"},
            "privacy=example_distributed, but it allows client_central",
        ),
        (
            "client_distributed",
            "secagg",
            {"min_survivors": 4},
            "aggregation.min_survivors=3, but min_survivors=4; raise the run's",
        ),
        (
            "client_distributed",
            "secagg",
            {"min_colluding": 2},
            "aggregation.max_colluding=1, but min_colluding=2",
        ),
        (
            "client_local",
            "secagg",
            {},
            "aggregation.min_survivors=0 (two thirds of the roster, plus one), but",
        ),
        (
            "client_distributed",
            "secagg",
            {"min_noise_multiplier": 2.001},
            "noise multiplier 2, but min_noise_multiplier=2.001; raise it",
        ),
        (
            "client_distributed",
            "secagg",
            {"delta": 1e-4},
            "delta=0.001, but its own is 0.0001; lower privacy.delta",
        ),
        (
            "client_distributed",
            "secagg",
            {"require_identities": True},
            "take aggregation.identities=true",
        ),
        (
            "client_central",
            "plain",
            {"min_survivors": 3},
            "shows the server each contribution, but min_survivors=3",
        ),
        ("client_local", "plain", {"tasks": ["heart"]}, "task=breast_cancer, but it allows"),
    ],
)
def test_a_policy_refuses(tmp_path, monkeypatch, told, option, aggregation, changes, words):
    monkeypatch.setattr(app.node, "_simulated_in_process", False)
    run_config = run_config_of(tmp_path, option, aggregation)
    file = write_policy(tmp_path / "policy.yaml", policy(option, **changes))
    config = {"policy-file": str(file), "state-path": str(tmp_path / "state.sqlite")}
    reply = asked(run_config, config)
    assert reply.error.reason == "policy_refused"
    assert words in told.text
    assert not (tmp_path / "state.sqlite").exists()


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_private_run_in_a_deployment_needs_a_policy(tmp_path, monkeypatch, told, aggregation):
    monkeypatch.setattr(app.node, "_simulated_in_process", False)
    run_config = run_config_of(tmp_path, "client_local", aggregation)
    reply = asked(run_config, {"state-path": str(tmp_path / "state.sqlite")})
    assert reply.error.reason == "policy_refused"
    assert "this node has no policy-file: give its path in --node-config" in told.text


@pytest.mark.parametrize("text", ["", "privacy: [client_local", "max_epsilom: 3\n"])
def test_a_policy_that_cannot_be_read_refuses(tmp_path, monkeypatch, text):
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    file.chmod(0o644)
    run_config = run_config_of(tmp_path, "client_local", "plain")
    reason = asked(run_config, {"policy-file": str(file)}).error.reason
    # The data path may stand in it, so that the data is what is missing first.
    assert reason in ("policy_refused", "data_refused")


def test_a_policy_without_a_state_path_is_refused_before_anything_leaves(
    tmp_path, monkeypatch, told
):
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_local")
    del node._context["node_config"]["state-path"]
    monkeypatch.setenv("HOME", str(tmp_path))

    def fault(message, real):
        return (node.answer if message.metadata.dst_node_id == 1003 else real)(message)

    traced = Traced(run_config, 4, fault)
    assert traced.reports()[0]["failures"] == {"1003": "ledger_refused"}
    assert "has a policy-file but no state-path" in told.text


def test_noise_that_was_calibrated_is_held_against_the_floor(tmp_path):
    """It is known only with the model: the refusal comes with the contribution."""
    option = "client_local"
    run_config = run_config_of(tmp_path, option, "plain", num_rounds=1)
    given, calibrated = "privacy.noise_multiplier=2", "privacy.epsilon=20"
    run_config["overrides"] = run_config["overrides"].replace(given, calibrated)
    noise = privacy_plan(load_config(run_config), 31).noise_multiplier
    policies = {
        n: policy(option, min_noise_multiplier=noise * f) for n, f in ((0, 0.99), (1, 1.01))
    }
    nodes = Nodes(tmp_path, 4, policies)
    traced = Traced(run_config | {"simulation-nodes": str(nodes.file)}, 4)
    assert traced.reports()[0]["failures"] == {"1001": "policy_refused"}
    assert nodes.spent(0, "records").num_charges == 1
    assert not nodes.state(1).exists() or not nodes.spent(1, "records").num_charges


def test_a_ledger_is_of_one_unit_and_one_data_set(tmp_path):
    nodes = Nodes(tmp_path, 3, {n: policy("client_local") for n in range(3)})
    for name, option, changes, expected in (
        ("first", "client_local", {}, {}),
        ("unit", "example_local", {}, {"1000": "ledger_refused"}),
        ("relation", "client_central", {}, {"1000": "ledger_refused"}),
        ("data", "client_local", {"dataset": "others"}, {"1000": "ledger_refused"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for node in range(3):
            values = policy(option, **(changes if node == 0 else {}))
            write_policy(tmp_path / f"policy{node}.yaml", values)
            if node and name != "first":
                nodes.state(node).unlink()
        keys = {"num_rounds": 1, "simulation_nodes": str(nodes.file)}
        traced = Traced(run_config_of(folder, option, "plain", **keys), 3)
        assert traced.reports()[0]["failures"] == expected, name
    assert nodes.spent(0, "records").num_charges == 1
