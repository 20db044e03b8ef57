"""Charge first, then release: kills and caps through the real client handlers."""

import os
import warnings
from itertools import pairwise

import pytest
from flwr.app import Message

import app.round.contribute
from app.builders.privacy import privacy_plan
from app.builders.workload import build_workload
from app.config.load import load_config
from privacy.accounting.epsilon import epsilon
from privacy.database import DatabaseError
from strategies.secagg.client.role import ClientRole
from tasks.breast_cancer import BreastCancer
from tasks.records import DataError
from tests.kits.private_kit import DELTA, Nodes, policy, run_config_of
from tests.kits.real_node import real_node
from tests.kits.traced import Traced, kind_of
from workloads.model_update import ModelUpdate

# Kills


def die(*_):
    os._exit(9)


def before_the_charge(patch):
    patch.setattr(app.round.contribute, "charge", die)


def inside_the_charge(patch):
    # The row is written and not yet committed.
    patch.setattr("privacy.ledger.ledger.append", dying_after("privacy.ledger.ledger.append"))


def after_the_charge(patch):
    patch.setattr(ClientRole, "mask", die)


def before_the_commit(patch):
    # Masked in memory; the stage has not moved.
    patch.setattr("strategies.secagg.client.stages.Stages.commit", die)


def after_the_commit(patch):
    patch.setattr(
        ClientRole, "mask", dying_after("strategies.secagg.client.role.ClientRole.mask")
    )


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


@pytest.mark.slow
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
            patched.setattr("privacy.ledger.ledger.append", fails)
            return node.answer(message)

    traced = Traced(run_config, 4, fault)
    assert traced.reports()[0]["failures"] == {"1003": "ledger_refused"}
    assert node.charges() == []


@pytest.mark.parametrize(
    ("option", "aggregation"), [("client_distributed", "secagg"), ("client_local", "plain")]
)
def test_no_record_has_a_say_before_it_is_paid_for(tmp_path, monkeypatch, option, aggregation):
    """Whether there is an answer, and after how long, may depend on the records."""
    run_config = run_config_of(tmp_path, option, aggregation, num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, option)
    paid = []

    def compute(*_):
        paid.append(node.charges())
        raise RuntimeError("a record that nobody can train on")

    traced = Traced(
        run_config, 4, _patching(monkeypatch, node, ModelUpdate, "bounded", compute)
    )
    assert traced.reports()[0]["failures"] == {}
    assert paid == [[(1, 0)]]
    assert node.charges() == [(1, 0)]


@pytest.mark.parametrize(
    ("error", "failures", "charges"),
    [
        # No record's doing, as a header's is not: it may be told, and costs nothing.
        (DataError("a header that does not fit"), {"1003": "data_refused"}, []),
        # A record might be its reason, so there is an answer, and it is paid for.
        (MemoryError("a line of a terabyte"), {}, [(1, 0)]),
    ],
)
def test_a_file_is_read_before_it_is_paid_for(tmp_path, monkeypatch, error, failures, charges):
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_local")
    paid = []

    def load(*_):
        paid.append(node.charges())
        raise error

    traced = Traced(run_config, 4, _patching(monkeypatch, node, BreastCancer, "load", load))
    assert traced.reports()[0]["failures"] == failures
    assert paid == [[]]
    assert node.charges() == charges


@pytest.mark.slow
def test_what_cannot_be_trained_is_refused_uncharged(tmp_path, monkeypatch):
    """A loss that couples records, on one node only: its code is another."""
    run_config = run_config_of(tmp_path, "example_distributed", "secagg", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "example_distributed")

    def coupled(self, outputs, targets):
        return outputs.squeeze(1).softmax(dim=0)

    fault = _patching(monkeypatch, node, BreastCancer, "per_example_loss", coupled)
    traced = Traced(run_config, 4, fault)
    assert traced.reports()[0]["failures"] == {"1003": "config_refused"}
    assert node.charges() == []


def _patching(monkeypatch, node, owner, name, function):
    """Let node 1003 answer as the real one does, with a function in place of another."""

    def fault(message, real):
        if message.metadata.dst_node_id != 1003:
            return real(message)
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, function)
            return node.answer(message)

    return fault


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


@pytest.mark.slow
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
    config = load_config(run_config)
    plan = privacy_plan(config, build_workload(config), 31)
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
    config = load_config(run_config)
    plan = privacy_plan(config, build_workload(config), 31)
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
