"""What happens when parts of a real federation die, lie, or were not invited.

One federation of three nodes, TLS, node authentication, identities and guards; T = 2, so that
a round survives one node. `docs/deployment.md` states the outcomes that are asserted here.
"""

import json
import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing, suppress

import pytest

from app.superlink import descendants
from deploy.trial import Trial
from deploy.trial_home import ROOT

#: The node that suffers.
LAST = 2

RUN = (
    'task="csv_breast_cancer" num-rounds={rounds} output-dir="{folder}" overrides="'
    "aggregation.identities=true aggregation.min_survivors=2 aggregation.max_colluding=0"
    " aggregation.threshold=2 aggregation.peers_file={peers}"
    " rounds.min_clients=2 rounds.min_replies=2 rounds.deadline_seconds={deadline}"
    " task.training.num_steps=2 aggregation.secrets_seconds=1000 {more}"
    '"'
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    with Trial(tmp_path_factory.mktemp("trial"), 3, max_epsilon=50) as trial:
        yield trial


def run_config(trial, name, rounds=3, deadline=40, more=""):
    return RUN.format(
        rounds=rounds,
        folder=trial.home / name,
        peers=trial.home / "peers",
        deadline=deadline,
        more=more,
    )


def lines(trial, name) -> list[dict]:
    file = trial.home / name / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for_rounds(trial, name, count, seconds=300):
    end = time.monotonic() + seconds
    while len(lines(trial, name)) < count:
        assert time.monotonic() < end, trial.log("superlink")[-3000:]
        time.sleep(0.2)


def summary(trial, name) -> dict:
    return json.loads((trial.home / name / "summary.json").read_text())


PRIVATE = (
    "privacy=example_distributed privacy.noise_multiplier=20 privacy.delta=1e-3"
    " privacy.clip_norm=0.25 privacy.population=3 privacy.sampling_rate=1"
    " privacy.expected_batch_size=456"
)


def test_a_node_that_is_killed_is_left_out_and_comes_back(trial):
    """Kill -9 before keys, during training, and between masked input and unmask."""
    before = [num_charges(trial, node) for node in (0, LAST)]
    process = trial.start_run(run_config(trial, "kills", rounds=10, more=PRIVATE), "kills.log")
    keys = kill_when(trial, ["Receiving: train.advert"])
    trial.restart_node(LAST)
    kill_when_charged(trial)
    trial.restart_node(LAST)
    unmask = kill_when(trial, ["Sending: train message", "Sent successfully"])
    trial.restart_node(LAST)
    process.wait(400)
    assert summary(trial, "kills")["status"] == "completed", trial.log("kills")
    answers = [line["num_replies"] for line in lines(trial, "kills")]
    # Where its masked input had arrived, it counts.
    assert [answers[r - 1] for r in (keys, unmask)] == [2, 3]
    assert answers[-1] == 3, "it came back as the same identity, with its state"
    # Charged before it trained, and never lost: once more than came of it.
    others, own = (
        num_charges(trial, node) - count for node, count in zip((0, LAST), before, strict=True)
    )
    assert others == len(answers)
    assert own == answers.count(3) + 1


def kill_when_charged(trial):
    """Kill the last node when its ledger has a charge, before what was charged has left."""
    uri = f"file:{trial.node_home(LAST) / 'state.sqlite'}?mode=ro"
    count, before, end = 0, len(trial.log(f"node-{LAST}")), time.monotonic() + 300
    while not count:
        assert time.monotonic() < end, trial.log(f"node-{LAST}")[before:]
        time.sleep(0.05)
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(uri, uri=True)) as file,
        ):
            (count,) = file.execute("SELECT COUNT(*) FROM ledger_charges").fetchone()
    trial.kill_node(LAST)
    assert "Sending: train message" not in trial.log(f"node-{LAST}")[before:]


def kill_when(trial, words) -> int:
    """Kill the last node when its log has said these words; return the round."""
    name = f"node-{LAST}"
    place = len(trial.log(name))
    for text in words:
        end = time.monotonic() + 300
        while (found := trial.log(name).find(text, place)) < 0:
            assert time.monotonic() < end, trial.log(name)[place:]
            time.sleep(0.05)
        place = found + len(text)
    trial.kill_node(LAST)
    assert "Sending" not in trial.log(name)[place:]
    return len(lines(trial, "kills")) + 1


def num_charges(trial, number) -> int:
    has_file = (trial.node_home(number) / "state.sqlite").exists()
    return spent(trial, number)["num_charges"] if has_file else 0


def test_a_killed_serverapp_is_resumed_and_the_ledger_goes_on(trial):
    process = trial.start_run(run_config(trial, "server", 3, more=PRIVATE), "server.log")
    wait_for_rounds(trial, "server", 1)
    for pid in descendants(trial.superlink.pid, "flwr-serverapp"):
        os.kill(pid, signal.SIGKILL)
    process.wait(300)
    before = spent(trial, 0)
    assert before["num_charges"] >= 1
    done = len(lines(trial, "server"))
    config = run_config(trial, "server", 3, more=PRIVATE)
    trial.run(config.replace("output-dir=", "resume-from="))
    assert summary(trial, "server")["status"] == "completed"
    reports = lines(trial, "server")
    assert [line["round"] for line in reports] == [1, 2, 3]
    updates = [line["privacy"]["num_updates"] for line in reports]
    assert updates == sorted(updates)
    assert updates[-1] >= 3
    after = spent(trial, 0)
    assert after["num_charges"] >= before["num_charges"] + 3 - done
    assert after["epsilon"] > before["epsilon"]


def spent(trial, number) -> dict:
    file = trial.home / "spent.json"
    state = trial.node_home(number) / "state.sqlite"
    trial.tacet("ledger", "show", str(state), "--json", str(file))
    return json.loads(file.read_text())


def test_a_superlink_that_stops_for_30_seconds(trial):
    """Neither nodes nor run notice more than the pause."""
    process = trial.start_run(run_config(trial, "paused", rounds=2, deadline=120), "paused.log")
    wait_for_rounds(trial, "paused", 1)
    os.kill(trial.superlink.pid, signal.SIGSTOP)
    time.sleep(30)
    os.kill(trial.superlink.pid, signal.SIGCONT)
    process.wait(400)
    assert summary(trial, "paused")["status"] == "completed", trial.log("paused")


def test_a_superlink_that_is_started_again(trial):
    """Nodes come back by themselves; the run goes on in a new one."""
    process = trial.start_run(run_config(trial, "restarted", rounds=2), "restarted.log")
    wait_for_rounds(trial, "restarted", 1)
    trial.stop_superlink()
    process.wait(100)
    time.sleep(30)
    trial.start_superlink()
    trial.run(run_config(trial, "restarted", rounds=2).replace("output-dir=", "resume-from="))
    assert summary(trial, "restarted")["status"] == "completed"
    assert [line["round"] for line in lines(trial, "restarted")] == [1, 2]
    assert lines(trial, "restarted")[-1]["num_replies"] == 3


def test_a_node_with_an_unregistered_key_never_takes_part(trial):
    trial.tacet("keys", "node", "stranger-key")
    key = str(trial.home / "stranger-key")
    never_connects(trial, "Failed to activate SuperNode", flower_key=key)


def test_a_node_that_trusts_another_authority_never_connects(trial):
    trial.tacet("keys", "tls", "other-tls", "--host", "127.0.0.1")
    other = str(trial.home / "other-tls" / "ca.crt")
    never_connects(trial, "CERTIFICATE_VERIFY_FAILED", root_certificates=other)


def online(trial) -> set[str]:
    told = trial.flwr("supernode", "list", "trial", "--format", "json")
    nodes = json.loads(told)["nodes"]
    return {node["node-id"] for node in nodes if node["status"] == "online"}


def never_connects(trial, cause, **changes):
    """Start one SuperNode more and see that it ends, why, and that no more are online."""
    real, before = trial.nodes[LAST], online(trial)
    assert len(before) == 3
    place = len(trial.log(f"node-{LAST}"))
    assert trial.start_node(LAST, **changes).wait(60) != 0
    assert cause in trial.log(f"node-{LAST}")[place:]
    assert online(trial) == before
    trial.kill_node(LAST)
    trial.nodes[LAST] = real


@pytest.fixture
def without_last_node(trial):
    """Free the last node's place for an intruder, and give it back afterwards."""
    trial.stop_node(LAST)
    yield
    trial.stop_node(LAST)
    trial.restart_node(LAST)


def test_an_identity_that_peers_do_not_know_is_left_out(trial, without_last_node):
    trial.tacet("keys", "new", "unknown-identity")
    trial.restart_node(LAST, identity_key=str(trial.home / "unknown-identity"))
    trial.run(run_config(trial, "stranger", rounds=1))
    assert summary(trial, "stranger")["status"] == "completed"
    assert {line["num_replies"] for line in lines(trial, "stranger")} == {2}


def test_of_two_nodes_with_one_identity_one_takes_part(trial, without_last_node):
    trial.restart_node(LAST, identity_key=str(trial.node_home(0) / "identity"))
    trial.run(run_config(trial, "twice", rounds=1))
    assert summary(trial, "twice")["status"] == "completed"
    assert {line["num_replies"] for line in lines(trial, "twice")} == {2}


def test_an_altered_bundle_runs_nowhere(trial, tmp_path):
    altered = tmp_path / "app"
    ignore = shutil.ignore_patterns(".git", ".venv", "__pycache__", "wheels", "runs")
    shutil.copytree(ROOT, altered, ignore=ignore)
    with (altered / "app" / "secagg_client.py").open("a") as file:
        file.write("# one refusal less\n")
    trial.run(run_config(trial, "altered", rounds=1, deadline=20), app=altered)
    told = summary(trial, "altered")
    assert told["status"] == "failed"
    assert "policy_refused" in told["reason"]
    for number in range(3):
        assert "refused the bundle" in trial.log(f"node-{number}")
        assert not (trial.node_home(number) / "flower" / "apps").exists()
