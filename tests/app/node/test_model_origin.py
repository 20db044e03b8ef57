"""A node takes models of known origin, if its owner says so: attacks through the handlers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from app import server
from app.config.load import load_config
from app.models.registry import tag
from app.node.identity import new_key, write_peers
from app.node.model_entry import SignedEntry
from app.node.model_origin import signer_keys
from app.node.policy import Policy, PolicyError, load_policy
from app.results import starting_model
from app.simulation.in_process import make_clients, simulate
from strategies.refusals import Reason
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.strategy import RoundStrategy
from tests import ROOT
from tests.kits.killed_runs import KilledError
from workloads.values import State

RUN = {
    "task": "breast_cancer",
    "aggregation": "secagg",
    "num-rounds": 2,
    "overrides": "task.training.num_steps=1 rounds.deadline_seconds=0.3",
}
UNKNOWN = Reason.MODEL_OF_UNKNOWN_ORIGIN.value


class Federation:
    """Three nodes, and a coordinator's registry with two models of other runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        named = {name: new_key(folder / f"{name}.key") for name in ("coordinator", "stranger")}
        self.keys = named
        write_peers(folder / "peers.yaml", named)
        for name, rounds in (("one", 1), ("two", 2)):
            run = folder / name
            simulate({**RUN, "num-rounds": rounds, "output-dir": str(run)}, 3)
            tag(run, name, folder / "coordinator.key", folder / "models")
        tag(folder / "one", "foreign", folder / "stranger.key", folder / "models")

    def entry(self, name: str) -> Path:
        return self.folder / "models" / name / "1"

    def config(self, tmp_path, signers, **changes) -> dict:
        policy = {
            "dataset": "masses",
            "privacy": ["none"],
            "min_survivors": 2,
            "min_colluding": 0,
            "require_identities": False,
        }
        if signers is not None:
            policy["model_signers"] = signers
        file = tmp_path / "policy.yaml"
        file.write_text(yaml.safe_dump(policy))
        file.chmod(0o600)
        node = {"policy-file": str(file), "peers-file": str(self.folder / "peers.yaml")}
        nodes = [{**node, "state-path": str(tmp_path / f"{n}.sqlite")} for n in range(3)]
        (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
        words = f"{RUN['overrides']} aggregation.min_survivors=3"
        return {
            **RUN,
            "overrides": words,
            "simulation-nodes": str(tmp_path / "nodes.yaml"),
            "output-dir": str(tmp_path / "run"),
            **changes,
        }

    def begins(self, tmp_path, signers, model=None) -> dict:
        more = {"initial-model": str(model)} if model is not None else {}
        return self.config(tmp_path, signers, **more)


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    return Federation(tmp_path_factory.mktemp("federation"))


def refused(run_config, caplog, server_round=1):
    """Run what all nodes must refuse; return their own logs."""
    with pytest.raises(RunStoppedError, match=rf"{UNKNOWN} in round {server_round}"):
        simulate(run_config, 3)
    return caplog.text


@pytest.mark.slow
def test_a_run_that_begins_untrained_passes(federation, tmp_path):
    for number, signers in enumerate(([], ["coordinator"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        simulate(federation.begins(folder, signers), 3)


@pytest.mark.parametrize("by", ["name", "key"])
def test_a_run_that_begins_with_a_signed_model_passes_to_its_end(federation, tmp_path, by):
    listed = "coordinator" if by == "name" else federation.keys["coordinator"].hex().upper()
    simulate(federation.begins(tmp_path, [listed], federation.entry("two")), 3)


@pytest.mark.parametrize("is_on", [True, False])
def test_a_model_that_nobody_signed_gets_no_answer(federation, tmp_path, caplog, is_on):
    signers = ["coordinator"] if is_on else None
    config = federation.begins(tmp_path, signers, federation.folder / "two")
    if not is_on:
        simulate(config, 3)
        return
    told = refused(config, caplog)
    assert "the run began with a model that no entry names" in told
    assert "give such an entry's folder as initial-model, or list the signer" in told


@pytest.mark.slow
@pytest.mark.parametrize("is_on", [True, False])
def test_an_entry_of_a_key_that_is_not_listed_gets_no_answer(
    federation, tmp_path, caplog, is_on
):
    signers = ["coordinator"] if is_on else ["coordinator", "stranger"]
    config = federation.begins(tmp_path, signers, federation.entry("foreign"))
    if not is_on:
        simulate(config, 3)
        return
    told = refused(config, caplog)
    assert federation.keys["stranger"].hex() in told
    assert "which is none of coordinator" in told


def sends(monkeypatch, change):
    """Let the server send another entry with each request."""
    honest = RoundStrategy.requests

    def requests(self, server_round, state):
        self.model_entry = change(server_round)
        return honest(self, server_round, state)

    monkeypatch.setattr(RoundStrategy, "requests", requests)


@pytest.mark.slow
@pytest.mark.parametrize("is_on", [True, False])
def test_an_entry_of_another_model_gets_no_answer(
    federation, tmp_path, monkeypatch, caplog, is_on
):
    other = (federation.entry("one") / "entry.json").read_text()
    sends(monkeypatch, lambda _: other)
    signers = ["coordinator"] if is_on else None
    config = federation.begins(tmp_path, signers, federation.entry("two"))
    if not is_on:
        simulate(config, 3)
        return
    assert "and one:1 is" in refused(config, caplog)


def forged(text: str, **changes) -> str:
    """Return an entry with other values and the signature that it had."""
    signed = SignedEntry.parse(text.encode())
    values = json.loads(text)
    values["entry"] |= changes
    entry = type(signed.entry).of(values["entry"])
    return SignedEntry(entry, signed.signature).to_bytes().decode()


def test_a_forged_entry_gets_no_answer_in_any_round(federation, tmp_path, monkeypatch, caplog):
    good = (federation.entry("two") / "entry.json").read_text()
    bad = forged(good, name="three")
    sends(monkeypatch, lambda number: good if number == 1 else bad)
    config = federation.begins(tmp_path, ["coordinator"], federation.entry("two"))
    told = refused(config, caplog, server_round=2)
    assert "the signature is not coordinator's: the entry was changed" in told


@pytest.mark.parametrize("is_on", [True, False])
def test_a_model_that_the_server_slips_in_gets_no_answer(
    federation, tmp_path, monkeypatch, caplog, is_on
):
    """In place of the untrained model, with no word of it."""
    honest = server._initial_state

    def initial_state(config, workload):
        first = honest(config, workload)
        return State({n: a + np.float32(1e-4) for n, a in first.arrays.items()}, first.header)

    monkeypatch.setattr(server, "_initial_state", initial_state)
    config = federation.begins(tmp_path, ["coordinator"] if is_on else None)
    if not is_on:
        simulate(config, 3)
        return
    assert "not the untrained one of this configuration" in refused(config, caplog)


@pytest.mark.parametrize("is_on", [True, False])
def test_a_model_in_place_of_the_signed_one_gets_no_answer(
    federation, tmp_path, monkeypatch, caplog, is_on
):
    """The right entry, and numbers that differ by their last digit."""
    honest = starting_model._fitting

    def fitting(*words):
        state = honest(*words)
        arrays = {n: np.nextafter(a, np.float32(np.inf)) for n, a in state.arrays.items()}
        return State(arrays, state.header)

    monkeypatch.setattr(starting_model, "_fitting", fitting)
    signers = ["coordinator"] if is_on else None
    config = federation.begins(tmp_path, signers, federation.entry("two"))
    if not is_on:
        simulate(config, 3)
        return
    assert "the model has the hash" in refused(config, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("signed", [True, False])
def test_a_resumed_run_says_what_it_began_with(federation, tmp_path, monkeypatch, signed):
    """Killed under a policy without the rule, and resumed under one with it."""
    model = federation.entry("two") if signed else federation.folder / "two"
    config = federation.begins(tmp_path, None, model)
    first = make_clients(config, 3)

    def killer(message):
        asked = message.content.config_records.get("config", {})
        if asked.get("server-round", 0) > 1:
            raise KilledError
        return first[1000](message)

    with pytest.raises(KilledError):
        simulate(config, 3, first | {1000: killer})
    again = federation.config(tmp_path, ["coordinator"])
    again |= {"output-dir": "", "resume-from": config["output-dir"]}
    if signed:
        simulate(again, 3)
        return
    with pytest.raises(RunStoppedError, match=f"{UNKNOWN} in round 2"):
        simulate(again, 3)


@pytest.mark.slow
@pytest.mark.parametrize("told", ["", "x", "[" * 100_000, "{}", "\ud800"])
def test_what_is_no_entry_is_refused(federation, tmp_path, monkeypatch, told):
    good = federation.begins(tmp_path, ["coordinator"], federation.entry("two"))
    clients = make_clients(good, 3)

    def spoiled(message):
        config = message.content.config_records.get("config", {})
        if "model-entry" in config:
            config["model-entry"] = told
        return first(message)

    first = clients[1000]
    with pytest.raises(RunStoppedError, match=UNKNOWN):
        simulate(good, 3, clients | {1000: spoiled})


def test_names_and_keys_of_signers(federation, tmp_path):
    peers = federation.folder / "peers.yaml"
    floors = {"dataset": "d", "privacy": ("none",), "min_survivors": 2, "min_colluding": 0}
    digits = "ab" * 32
    found = signer_keys(Policy(**floors, model_signers=("coordinator", digits)), peers)
    assert found == {
        "coordinator": federation.keys["coordinator"],
        digits: bytes.fromhex(digits),
    }
    for signers, file, words in (
        (("nobody",), peers, ("'nobody' is not in", "tacet keys merge")),
        (("coordinator",), None, ("names no peers-file",)),
        (("coordinator",), tmp_path / "none.yaml", ("No such file",)),
    ):
        with pytest.raises(PolicyError) as info:
            signer_keys(Policy(**floors, model_signers=signers), file)
        assert all(word in str(info.value) for word in words)


def test_a_signer_that_no_peer_is_refuses_all(federation, tmp_path):
    with pytest.raises(RunStoppedError, match="policy_refused"):
        simulate(federation.begins(tmp_path, ["nobody"]), 3)


def test_an_empty_list_is_a_policy(tmp_path):
    file = tmp_path / "policy.yaml"
    floors = "dataset: d\nprivacy: [none]\nmin_survivors: 2\nmin_colluding: 0\n"
    for text, due in (("[]", ()), (f"[{'AB' * 32}]", ("ab" * 32,)), ("[a b]", ("a b",))):
        file.write_text(f"{floors}model_signers: {text}\n")
        file.chmod(0o600)
        assert load_policy(file).model_signers == due
    for text in ("coordinator", "[1]", "[' ']", "{}"):
        file.write_text(f"{floors}model_signers: {text}\n")
        with pytest.raises(PolicyError, match="model_signers"):
            load_policy(file)


#: Of each kind of model that a task has, and each workload with a state of its own.
STATES = [
    *({"task": name} for name in ("digits", "breast_cancer", "heart", "adult", "mnist")),
    {"task": "breast_cancer", "overrides": "task.model=mlp"},
    *(
        {"task": "csv_breast_cancer", "overrides": f"task.model={model}"}
        for model in ("mlp", "svm task.rbf_features=64")
    ),
    *(
        {"task": "breast_cancer", "algorithm": name, "overrides": words}
        for name, words in (
            ("ebm", "algorithm.binning=quantile"),
            ("gbdt", "algorithm.structure=random"),
            ("forest", ""),
            ("glm", ""),
            ("statistics", ""),
        )
    ),
]
_PROGRAM = """
import json, sys
from app.builders.workload import build_workload
from app.config.load import load_config
from workloads.model_arrays import hash_state
for given in json.loads(sys.argv[1]):
    workload = build_workload(load_config(given))
    print(hash_state(workload.initial_state(), {}, workload.loads_as).hex())
"""


def hashes(states, seed: str) -> list[str]:
    """Return the hash of each initial state, in a process with another order of sets."""
    import os

    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _PROGRAM, json.dumps(states)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_an_initial_state_follows_from_the_configuration_alone():
    for given in STATES:
        load_config(given)
    found = hashes(STATES, "1")
    assert found == hashes(STATES, "2")
    assert len(found) == len(STATES)
    reseeded = hashes([{**given, "seed": 5} for given in STATES[:1]], "1")
    assert reseeded[0] != found[0]
