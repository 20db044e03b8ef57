"""Runs of a trial federation, and what they leave."""

import json
import os
import signal
import time

from app.simulation.superlink import descendants

RUN = (
    'task="csv_breast_cancer" num-rounds={rounds} output-dir="{folder}" overrides="'
    "aggregation.identities=true aggregation.min_survivors={threshold}"
    " aggregation.max_colluding=0 aggregation.threshold={threshold}"
    " aggregation.peers_file={peers} aggregation.secrets_seconds=1000"
    " rounds.min_clients=2 rounds.min_replies=2 rounds.deadline_seconds={deadline}"
    ' {steps} {more}"'
)


def run_config(federation, name, rounds, *, deadline=120, more="", threshold=2) -> str:
    return RUN.format(
        rounds=rounds,
        folder=federation.home / name,
        peers=federation.home / "peers",
        deadline=deadline,
        more=more,
        threshold=threshold,
        # The gradient sum takes one step a round, whatever a node would do by itself.
        steps="" if "example_distributed" in more else "task.training.num_steps=2",
    )


def lines(federation, name) -> list[dict]:
    """Return a run's ``metrics.jsonl`` so far."""
    file = federation.home / name / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def num_replies(federation, name) -> list[int]:
    return [line["num_replies"] for line in lines(federation, name)]


def summary(federation, name) -> dict:
    return json.loads((federation.home / name / "summary.json").read_text())


def wait_for(federation, seen, log="superlink"):
    """Look often: some wait for what is soon over."""
    end = time.monotonic() + 300
    while not seen():
        assert time.monotonic() < end, federation.log(log)[-3000:]
        time.sleep(0.05)


def kill_serverapp(federation, submitted):
    """Kill the ServerApp, and the process that submitted it and streams its log."""
    submitted.kill()
    found = descendants(federation.superlink.pid, "flwr-serverapp")
    assert found, "the ServerApp had ended already"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def spent(federation, number) -> dict:
    """Return what a node's ledger says."""
    state = federation.node_home(number) / "state.sqlite"
    if not state.exists():
        return {"num_charges": 0}
    file = federation.home / "spent.json"
    federation.tacet("ledger", "show", str(state), "--json", str(file))
    return json.loads(file.read_text())
