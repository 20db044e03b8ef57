"""What happens when parts of a real federation die, or cannot connect.

Three nodes and T = 2, so that a round survives one node. `docs/deployment.md` states the
outcomes that are asserted here.
"""

import json
import os
import re
import signal
import sqlite3
import time
from contextlib import closing, suppress

from tests.deploy.runs import (
    kill_serverapp,
    lines,
    num_replies,
    run_config,
    spent,
    summary,
    wait_for,
)

#: The node that suffers.
LAST = 2

PRIVATE = (
    "privacy=example_distributed privacy.noise_multiplier=20 privacy.delta=1e-3"
    " privacy.clip_norm=0.25 privacy.population=3 privacy.sampling_rate=1"
    " privacy.expected_batch_size=456"
)


def test_a_node_that_is_killed_is_left_out_and_comes_back(federation):
    """Kill -9 before keys, during training, and between masked input and unmask."""
    before = [spent(federation, node)["num_charges"] for node in (0, LAST)]
    # More rounds than it takes on any machine: the run is ended when all is seen.
    # Long enough a training to be killed in it.
    config = run_config(federation, "kills", 100, deadline=90, more=PRIVATE)
    submitted = federation.start_run(config, "kills.log")
    keys = kill_when_it_says(federation, ["Receiving: train.advert"])
    federation.restart_node(LAST)
    kill_when_charged(federation)
    federation.restart_node(LAST)
    unmask = kill_when_it_says(federation, ["Sending: train message", "Sent successfully"])
    federation.restart_node(LAST)
    # It comes back as the same identity, with its state.
    wait_for(federation, lambda: 3 in num_replies(federation, "kills")[unmask:])
    kill_serverapp(federation, submitted)
    answers = num_replies(federation, "kills")
    # Where its masked input had arrived, it counts.
    assert [answers[r - 1] for r in (keys, unmask)] == [2, 3]
    # Charged before it trained, and never lost: once more than came of it. The round in which
    # the run was ended may have been charged as well.
    others, own = (
        spent(federation, node)["num_charges"] - count
        for node, count in zip((0, LAST), before, strict=True)
    )
    assert others - len(answers) in (0, 1)
    assert own - answers.count(3) - 1 in (0, 1)


def kill_when_charged(federation):
    """Kill the last node when its ledger has a charge, before what was charged has left."""
    uri = f"file:{federation.node_home(LAST) / 'state.sqlite'}?mode=ro"
    name = f"node-{LAST}"
    before = len(federation.log(name))

    def charged():
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(uri, uri=True)) as file,
        ):
            return file.execute("SELECT COUNT(*) FROM ledger_charges").fetchone()[0]

    wait_for(federation, charged, name)
    federation.kill_node(LAST)
    assert "Sending: train message" not in federation.log(name)[before:]


def kill_when_it_says(federation, words) -> int:
    """Kill the last node when its log has said these words; return the round."""
    name = f"node-{LAST}"
    start = len(federation.log(name))
    said = re.compile(".*?".join(map(re.escape, words)), re.DOTALL)
    wait_for(federation, lambda: said.search(federation.log(name), start), name)
    federation.kill_node(LAST)
    text = federation.log(name)
    assert "Sending" not in text[said.search(text, start).end() :]
    return len(lines(federation, "kills")) + 1


def test_a_run_outlives_its_serverapp_and_its_superlink(federation):
    """The ServerApp is killed; the SuperLink hangs for 30 s; it is away for 30 s."""
    # Each round in which it ends may have been charged: the plan pays for two of them, or the
    # run would end earlier.
    more = f"{PRIVATE} privacy.spare_attempts=2"
    config = run_config(federation, "server", 3, more=more)
    resumed = config.replace("output-dir=", "resume-from=")

    submitted = federation.start_run(config, "server.log")
    # A round counts from its checkpoint on, which is written after its line.
    wait_for(federation, (federation.home / "server" / "checkpoint.safetensors").exists)
    kill_serverapp(federation, submitted)
    before = spent(federation, 0)
    assert before["num_charges"] >= 1

    submitted = federation.start_run(resumed, "server.log")
    federation.wait_for("server", "resumed after round 1")
    os.kill(federation.superlink.pid, signal.SIGSTOP)
    time.sleep(30)
    os.kill(federation.superlink.pid, signal.SIGCONT)
    # Neither nodes nor run notice more than the pause.
    wait_for(federation, lambda: len(lines(federation, "server")) == 2)
    assert submitted.poll() is None

    federation.stop_superlink()
    submitted.kill()
    assert len(lines(federation, "server")) == 2
    time.sleep(30)
    federation.start_superlink()
    # Until a node's next heartbeat, at most 23 s away, the SuperLink may take it for gone.
    time.sleep(25)
    wait_for(federation, lambda: len(online(federation)) == 3)
    federation.run(resumed)

    assert summary(federation, "server")["status"] == "completed"
    reports = lines(federation, "server")
    assert [line["round"] for line in reports] == [1, 2, 3]
    # All nodes have come back by themselves.
    assert [line["num_replies"] for line in reports] == [3, 3, 3]
    updates = [line["privacy"]["num_updates"] for line in reports]
    assert updates == sorted(updates)
    assert updates[-1] >= 3
    after = spent(federation, 0)
    assert after["num_charges"] >= before["num_charges"] + 2
    assert after["epsilon"] > before["epsilon"]


def test_a_node_with_an_unregistered_key_never_takes_part(federation):
    federation.tacet("keys", "node", "stranger-key")
    key = str(federation.home / "stranger-key")
    never_connects(federation, 3, "Failed to activate SuperNode", flower_key=key)


def test_a_node_that_trusts_another_authority_never_connects(federation):
    federation.tacet("keys", "tls", "other-tls", "--host", "127.0.0.1")
    other = str(federation.home / "other-tls" / "ca.crt")
    never_connects(federation, 4, "is of a CA that", root_certificates=other)


def online(federation) -> set[str]:
    told = federation.flwr("supernode", "list", "trial", "--format", "json")
    nodes = json.loads(told)["nodes"]
    return {node["node-id"] for node in nodes if node["status"] == "online"}


def never_connects(federation, number, cause, **changes):
    """Start one SuperNode more and see that it ends, why, and that no more are online."""
    wait_for(federation, lambda: len(online(federation)) == 3)
    before = online(federation)
    federation.make_keys(number)
    federation.furnish(number)
    assert federation.start_node(number, **changes).wait(60) != 0
    assert cause in federation.log(f"node-{number}")
    assert online(federation) == before
    federation.kill_node(number)
