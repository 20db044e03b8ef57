"""One message, one version of the policy: read once, checked and charged as it was read."""

import sqlite3
from collections import Counter
from contextlib import closing

import pytest

import app.node.policy
from privacy.ledger.ledger import Budget, Ledger
from strategies.masked.messages import ADVERT, SHARE, UNMASK
from strategies.refusals import Reason, reason_of
from strategies.secagg.client.transitions import Stage
from tests.kits.private_kit import DELTA, policy, run_config_of, write_policy
from tests.kits.real_node import RealNode, real_node
from tests.kits.traced import Traced, kind_of

NODE = 1003


@pytest.fixture
def after_each_read(monkeypatch):
    """Return a list of what is called with the path after each read of a policy file."""
    calls = []
    read = app.node.policy._read_yaml

    def noted(path):
        values = read(path)
        for call in calls:
            call(path)
        return values

    monkeypatch.setattr(app.node.policy, "_read_yaml", noted)
    return calls


@pytest.mark.parametrize(
    ("option", "aggregation", "kinds"),
    [
        ("client_distributed", "secagg", {ADVERT, SHARE, "train", UNMASK}),
        ("client_local", "plain", {"train"}),
    ],
)
def test_each_message_reads_the_policy_once(
    tmp_path, monkeypatch, after_each_read, option, aggregation, kinds
):
    run_config = run_config_of(tmp_path, option, aggregation, num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, option)
    num_reads: list[tuple[str, int]] = []
    reads: list[object] = []
    after_each_read.append(reads.append)

    def fault(message, real):
        if message.metadata.dst_node_id != NODE:
            return real(message)
        reads.clear()
        reply = node.answer(message)
        num_reads.append((kind_of(message), len(reads)))
        assert not reply.has_error()
        return reply

    traced = Traced(run_config, 4, fault)
    assert traced.reports()[0]["failures"] == {}
    assert kinds <= Counter(kind for kind, _ in num_reads).keys()
    assert {number for _, number in num_reads} == {1}


class Rewritten:
    """A real node whose owner writes another policy while its training message is answered.

    The policy becomes ``later`` as soon as it was read for the message, for the whole rest of
    it and for all that follow.
    """

    def __init__(self, tmp_path, monkeypatch, after_each_read, first: dict, later: dict):
        run_config = run_config_of(tmp_path, "client_distributed", "secagg", num_rounds=1)
        self.node: RealNode = real_node(tmp_path, monkeypatch, run_config, "client_distributed")
        file = self.node.folder / "policy.yaml"
        self.replies: dict[str, Reason | None] = {}

        def fault(message, real):
            if message.metadata.dst_node_id != NODE:
                return real(message)
            kind = kind_of(message)
            if kind == "train":
                write_policy(file, policy("client_distributed", **first))
                after_each_read.append(
                    lambda path: write_policy(path, policy("client_distributed", **later))
                )
            reply = self.node.answer(message)
            self.replies[kind] = reason_of(reply) if reply.has_error() else None
            return reply

        Traced(run_config, 4, fault)


def test_what_is_checked_is_what_is_charged(tmp_path, monkeypatch, after_each_read):
    """The second version has another ledger and another cap; only later messages see it."""
    later = {"dataset": "others", "max_epsilon": 1e-3, "min_survivors": 4}
    run = Rewritten(tmp_path, monkeypatch, after_each_read, {}, later)
    assert run.replies["train"] is None
    assert run.node.charges() == [(1, 0)]
    spent = Ledger(run.node.state, "records").spent(DELTA)
    assert (spent.dataset, spent.budget) == ("records", Budget(1e6, DELTA))
    assert run.replies[UNMASK] is Reason.POLICY_REFUSED
    # The secrets of the attempt that was refused are gone with it.
    with closing(sqlite3.connect(run.node.state)) as database:
        query = "SELECT round, stage, length(secrets) FROM secagg ORDER BY round"
        assert database.execute(query).fetchall()[0] == (1, Stage.CLOSED, 0)


@pytest.mark.parametrize(
    ("strict", "reason"),
    [
        ({"max_epsilon": 1e-3}, Reason.BUDGET_EXHAUSTED),
        ({"min_noise_multiplier": 2.001}, Reason.POLICY_REFUSED),
    ],
)
def test_a_policy_that_is_loosened_meanwhile_still_refuses(
    tmp_path, monkeypatch, after_each_read, strict, reason
):
    run = Rewritten(tmp_path, monkeypatch, after_each_read, strict, {})
    assert run.replies["train"] is reason
    assert run.node.charges() == []
