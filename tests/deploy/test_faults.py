"""What happens when parts of a real federation die, lie, or were not invited.

One federation of four nodes, TLS, node authentication, identities and guards; T = 3, so that a
round survives one node. `docs/deployment.md` states the outcomes that are asserted here.
"""

import json
import os
import shutil
import signal
import time

import pytest

from app.superlink import descendants
from deploy.trial import ROOT, Trial

RUN = (
    'task="csv_breast_cancer" num-rounds={rounds} output-dir="{folder}" overrides="'
    "aggregation.identities=true aggregation.min_survivors=3 aggregation.peers_file={peers}"
    " rounds.min_clients=3 rounds.min_replies=3 rounds.deadline_seconds={deadline}"
    " task.training.num_steps=2 aggregation.secrets_seconds=1000 {more}"
    '"'
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    with Trial(tmp_path_factory.mktemp("trial"), 4, max_epsilon=50, min_survivors=3) as trial:
        yield trial


def run_config(trial, name, rounds=3, deadline=60, more=""):
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
    " privacy.clip_norm=0.25 privacy.population=4 privacy.sampling_rate=1"
    " privacy.expected_batch_size=456 aggregation.max_colluding=1"
)


#: When node 3 is killed: what its log has said by then, how many seconds ago, and how many
#: inputs the sum then has.
KILLS = {
    "before keys": (["Receiving: train.advert"], 0, 3),
    "during training": (["Receiving: train message", "Received successfully"], 2, 3),
    "before unmask": (["Sending: train message", "Sent successfully"], 0, 4),
}
NUM_ROUNDS = 4


@pytest.mark.parametrize("moment", KILLS)
def test_a_killed_node_is_left_out_and_comes_back(trial, moment):
    """Kill -9 in the first round: it ends with the others; the last one has four again."""
    name, (words, seconds, num_replies) = f"killed {moment}".replace(" ", "-"), KILLS[moment]
    private = PRIVATE if moment == "during training" else ""
    before = [num_charges(trial, node) for node in (0, 3)]
    start = len(trial.log("node-3"))
    config = run_config(trial, name, rounds=NUM_ROUNDS, more=private)
    process = trial.start_run(config, f"{name}.log")
    for text in words:
        start = wait_for_text(trial, "node-3", text, start)
    time.sleep(seconds)
    trial.kill_node(3)
    assert "Sending" not in trial.log("node-3")[start:]
    wait_for_rounds(trial, name, 1)
    trial.start_node(3)
    process.wait(600)
    assert summary(trial, name)["status"] == "completed", trial.log(name)
    answers = [line["num_replies"] for line in lines(trial, name)]
    assert answers[0] == num_replies
    assert answers[-1] == 4, "it came back as the same identity, with its state"
    if private:
        # Charged before it trained, and never lost: at most once more than came of it.
        others, own = (num_charges(trial, node) - before[node // 3] for node in (0, 3))
        assert others >= NUM_ROUNDS
        assert answers.count(4) <= own <= answers.count(4) + 1


def num_charges(trial, number) -> int:
    has_file = (trial.node_home(number) / "state.sqlite").exists()
    return spent(trial, number)["num_charges"] if has_file else 0


def wait_for_text(trial, name, text, start, seconds=120) -> int:
    """Wait until a log has a text after a place, and return the place after it."""
    end = time.monotonic() + seconds
    while (found := trial.log(name).find(text, start)) < 0:
        assert time.monotonic() < end, trial.log(name)[start:]
        time.sleep(0.05)
    return found + len(text)


def test_a_killed_serverapp_is_resumed_and_the_ledger_goes_on(trial):
    process = trial.start_run(run_config(trial, "server", 4, more=PRIVATE), "server.log")
    wait_for_rounds(trial, "server", 2)
    for pid in descendants(trial.superlink.pid, "flwr-serverapp"):
        os.kill(pid, signal.SIGKILL)
    process.wait(300)
    before = spent(trial, 0)
    assert before["num_charges"] >= 2
    done = len(lines(trial, "server"))
    config = run_config(trial, "server", 4, more=PRIVATE)
    trial.run(config.replace("output-dir=", "resume-from="))
    assert summary(trial, "server")["status"] == "completed"
    reports = lines(trial, "server")
    assert [line["round"] for line in reports] == [1, 2, 3, 4]
    updates = [line["privacy"]["num_updates"] for line in reports]
    assert updates == sorted(updates)
    assert updates[-1] >= 4
    after = spent(trial, 0)
    assert after["num_charges"] >= before["num_charges"] + 4 - done
    assert after["epsilon"] > before["epsilon"]


def spent(trial, number) -> dict:
    file = trial.home / "spent.json"
    state = trial.node_home(number) / "state.sqlite"
    trial.tacet("ledger", "show", str(state), "--json", str(file))
    return json.loads(file.read_text())


def test_a_superlink_that_stops_for_30_seconds(trial):
    """Neither nodes nor run notice more than the pause."""
    process = trial.start_run(run_config(trial, "paused", rounds=3, deadline=120), "paused.log")
    wait_for_rounds(trial, "paused", 1)
    os.kill(trial.superlink.pid, signal.SIGSTOP)
    time.sleep(30)
    os.kill(trial.superlink.pid, signal.SIGCONT)
    process.wait(400)
    assert summary(trial, "paused")["status"] == "completed", trial.log("paused")


def test_a_superlink_that_is_started_again(trial):
    """Nodes come back by themselves; the run goes on in a new one."""
    process = trial.start_run(run_config(trial, "restarted", rounds=3), "restarted.log")
    wait_for_rounds(trial, "restarted", 1)
    trial.stop_superlink()
    process.wait(100)
    time.sleep(30)
    trial.start_superlink()
    trial.run(run_config(trial, "restarted").replace("output-dir=", "resume-from="))
    assert summary(trial, "restarted")["status"] == "completed"
    assert [line["round"] for line in lines(trial, "restarted")] == [1, 2, 3]
    assert lines(trial, "restarted")[-1]["num_replies"] == 4


def test_a_node_with_an_unregistered_key_never_takes_part(trial):
    trial.tacet("keys", "node", "stranger-key")
    never_connects(trial, flower_key=str(trial.home / "stranger-key"))


def test_a_node_that_trusts_another_authority_never_connects(trial):
    trial.tacet("keys", "tls", "other-tls", "--host", "127.0.0.1")
    never_connects(trial, root_certificates=str(trial.home / "other-tls" / "ca.crt"))


def online(trial) -> set[str]:
    told = trial.flwr("supernode", "list", "trial", "--format", "json")
    nodes = json.loads(told)["nodes"]
    return {node["node-id"] for node in nodes if node["status"] == "online"}


def never_connects(trial, **changes):
    """Start one SuperNode more and see that the SuperLink does not get to know it."""
    real, before = trial.nodes[3], online(trial)
    assert len(before) == 4
    trial.start_node(3, **changes)
    time.sleep(20)
    assert online(trial) == before
    trial.kill_node(3)
    trial.nodes[3] = real


@pytest.fixture
def without_node_3(trial):
    """Free node 3's place for an intruder, and give it back afterwards."""
    trial.kill_node(3)
    yield
    trial.kill_node(3)
    trial.start_node(3)


def test_an_identity_that_peers_do_not_know_is_left_out(trial, without_node_3):
    trial.tacet("keys", "new", "stranger")
    trial.start_node(3, identity_key=str(trial.home / "stranger"))
    trial.run(run_config(trial, "stranger", rounds=2))
    assert summary(trial, "stranger")["status"] == "completed"
    assert {line["num_replies"] for line in lines(trial, "stranger")} == {3}


def test_of_two_nodes_with_one_identity_one_takes_part(trial, without_node_3):
    trial.start_node(3, identity_key=str(trial.node_home(2) / "identity"))
    trial.run(run_config(trial, "twice", rounds=2))
    assert summary(trial, "twice")["status"] == "completed"
    assert {line["num_replies"] for line in lines(trial, "twice")} == {3}


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
    for number in range(4):
        assert "refused the bundle" in trial.log(f"node-{number}")
        assert not (trial.node_home(number) / "flower" / "apps").exists()
