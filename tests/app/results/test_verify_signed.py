"""The signatures of a run's participants, and what becomes of a history that is made anew."""

import dataclasses
import json
import random
import shutil
from pathlib import Path

import pytest

from app.cli.main import main
from app.node.identity import new_key, read_peers
from app.node.protocol_memory import signed_log_heads
from app.results.log_observer import RunLogObserver
from app.results.run_log import (
    BEGUN,
    CLOSED,
    ENDED,
    SIGNED,
    Head,
    RunLog,
    files_of,
    hash_of,
    hash_of_bytes,
)
from app.results.verify import VerificationError, verify
from app.simulation.in_process import simulate
from strategies.rounds.observer import Observer
from strategies.rounds.strategy import RoundStrategy
from strategies.secagg.crypto.identity import pin
from strategies.secagg.signed_sum import FalseSignatureError, SignedSum
from tests.kits.ruled_nodes import RuledNodes

STEPS = "task.training.num_steps=2"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    made = RuledNodes(tmp_path_factory.mktemp("signed"), 4, signed=True)
    made.run(STEPS, algorithm="fedavg", num_rounds=3)
    return made


@pytest.fixture(scope="module")
def keys(nodes):
    return read_peers(nodes.folder / "peers.yaml")


@pytest.fixture
def copy(nodes, tmp_path):
    return shutil.copytree(nodes.folder / "run1", tmp_path / "copy")


def history_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def made_anew(folder, change=lambda history: None):
    """Write the whole log as a coordinator can who has every file and no participant's key."""
    history = history_of(folder)
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")
    for entry in history:
        if entry["kind"] == BEGUN:
            entry["config"] = hash_of(folder / "config.yaml")
        if entry["kind"] == CLOSED:
            entry["line"] = hash_of_bytes(lines[entry["round"] - 1])
    history[-1]["files"] = files_of(folder)
    change(history)
    for name in ("log.jsonl", "head.json"):
        (folder / name).unlink()
    log = RunLog(folder)
    for entry in history:
        log.append(entry.pop("kind"), entry)


def without_signatures(history):
    for entry in history:
        entry.pop(SIGNED, None)


def test_an_honest_run_names_its_participants(nodes, keys):
    found = verify(nodes.folder / "run1", keys=keys, node_file=nodes.folder / "0.sqlite")
    text = "\n".join(found.lines)
    for name in ("n0", "n1", "n2", "n3"):
        assert f"{name} has signed its part in 3 rounds" in text
    assert "3 of 3 rounds carry" in text
    assert "scored model.safetensors" in text
    # Of the three rounds and the last scores.
    assert "each of the 4 heads" in text
    assert "more have signed" not in text


def test_who_is_not_known_is_counted_and_not_believed(nodes, keys):
    some = {name: key for name, key in keys.items() if name != "n2"}
    text = "\n".join(verify(nodes.folder / "run1", keys=some).lines)
    assert "1 more have signed, whose keys are not given" in text
    assert "n2" not in text


def changes_a_metric(folder):
    file = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["num_asked"] = 5
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def changes_the_configuration(folder):
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("num_steps: 2", "num_steps: 9"))


def changes_the_model(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-2] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (changes_a_metric, "another log"),
        (changes_the_configuration, "another configuration"),
        (changes_the_model, "another model"),
    ],
)
def test_a_coordinator_who_makes_the_whole_folder_anew_is_found_out(copy, keys, attack, words):
    attack(copy)
    made_anew(copy, without_signatures)
    # A folder without signatures is as its own log says.
    verify(copy)
    with pytest.raises(VerificationError, match="no round carries a signature"):
        verify(copy, keys=keys)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (changes_a_metric, "another log"),
        (changes_the_configuration, "another configuration"),
        (changes_the_model, "another model"),
    ],
)
def test_signatures_that_are_kept_do_not_fit_another_history(copy, keys, attack, words):
    attack(copy)
    made_anew(copy)
    with pytest.raises(VerificationError, match=words):
        verify(copy, keys=keys)


def swapped(history):
    one, two = (entry for entry in history if entry.get("round") in (1, 2))
    one[SIGNED], two[SIGNED] = two[SIGNED], one[SIGNED]


def one_for_two(history):
    inputs = history[1][SIGNED]["inputs"]
    inputs[1] = inputs[0]


def fewer(history):
    history[1][SIGNED]["inputs"].pop()


def others_survived(history):
    history[1][SIGNED]["survivors"][0] = "999"
    history[1][SIGNED]["cohort"][0] = "999"


def another_asked(history):
    history[1][SIGNED]["asked"] = "00" * 32


def another_run(history):
    history[0]["run_id"] = "2"


@pytest.mark.parametrize(
    "change", [swapped, one_for_two, fewer, others_survived, another_asked, another_run]
)
def test_signatures_are_of_this_run_and_round_alone(copy, keys, change):
    made_anew(copy, change)
    with pytest.raises(VerificationError, match="line "):
        verify(copy, keys=keys)


def test_another_key_signs_for_nobody(copy, keys, tmp_path):
    """A name that is given with another key has signed nothing."""
    other = keys | {"n1": new_key(tmp_path / "other.key")}
    lines = verify(copy, keys=other).lines
    assert not any("n1 has" in line for line in lines)

    def forged(history):
        from strategies.secagg.crypto.identity import fingerprint

        for entry in history:
            if SIGNED in entry:
                entry[SIGNED]["inputs"][0][0] = fingerprint(other["n1"]).hex()

    made_anew(copy, forged)
    with pytest.raises(VerificationError, match="is not over this"):
        verify(copy, keys=other)


def test_a_coordinator_who_shows_participants_another_log_is_found_out(
    nodes, keys, monkeypatch
):
    """It has shown all of them one head, and publishes a log of which that is none."""
    honest = RoundStrategy.note_log_head
    monkeypatch.setattr(
        RoundStrategy, "note_log_head", lambda self, head: honest(self, head[:-1] + b"\x07")
    )
    config = nodes.config(STEPS, algorithm="fedavg", num_rounds=2)
    simulate(config, 4, run_id=2)
    folder = Path(config["output-dir"])
    with pytest.raises(VerificationError, match="have signed another log"):
        verify(folder, keys=keys)
    made_anew(folder, without_signatures)
    verify(folder)
    nodes_file = nodes.folder / "2.sqlite"
    with pytest.raises(VerificationError, match=r"2\.sqlite has signed .* has not grown"):
        verify(folder, node_file=nodes_file)


def test_a_resumed_run_is_signed_as_one_history(nodes, keys):
    config = nodes.config(STEPS, algorithm="fedavg", num_rounds=3)
    folder = Path(config["output-dir"])

    class Killed(Observer):
        def round_closed(self, closed):
            if closed.report.round == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(config, 4, observers=(Killed(),), run_id=5)
    config |= {"output-dir": "", "resume-from": str(folder)}
    simulate(config, 4, run_id=7)
    text = "\n".join(verify(folder, keys=keys, node_file=nodes.folder / "1.sqlite").lines)
    assert "3 of 3 rounds carry" in text
    kinds = [entry["kind"] for entry in history_of(folder) if SIGNED in entry]
    assert kinds == [CLOSED, CLOSED, CLOSED, ENDED]
    assert signed_log_heads(nodes.folder / "1.sqlite", 7)


def test_one_key_does_not_sign_for_two(nodes, keys):
    """What a node has signed is not counted twice, whatever the rest of the log says."""
    signed = SignedSum.from_dict(history_of(nodes.folder / "run1")[1][SIGNED])
    known, unknown = signed.signers(pin(list(keys.values())))
    assert (len(known), unknown) == (4, [])
    twice = dataclasses.replace(signed, inputs=signed.inputs[:3] + signed.inputs[:1])
    with pytest.raises(FalseSignatureError, match="3 keys have signed"):
        twice.signers(pin(list(keys.values())))


def test_signatures_that_were_collected_in_another_run_are_not_of_this_one(
    nodes, keys, monkeypatch
):
    """A server can have the nodes of one run sign the log of another."""
    honest = RunLogObserver.__init__

    def another(self, folder, run_id, *rest):
        honest(self, folder, run_id + 1, *rest)

    monkeypatch.setattr(RunLogObserver, "__init__", another)
    config = nodes.config(STEPS, algorithm="fedavg", num_rounds=2)
    simulate(config, 4, run_id=8)
    folder = Path(config["output-dir"])
    with pytest.raises(VerificationError, match="signatures of run 8, round 1"):
        verify(folder, keys=keys)


def test_what_is_no_signature_is_refused_in_words(nodes):
    """Whatever somebody has put in its place."""
    signed = history_of(nodes.folder / "run1")[1][SIGNED]
    assert SignedSum.from_dict(signed).to_dict() == signed
    draw = random.Random(1)
    odd = [None, -1, 2**70, "x", "00", [], {}, [[]], [None], "1" * 40, 1.5, float("nan"), True]
    for _ in range(300):
        other = json.loads(json.dumps(signed))
        name = draw.choice(sorted(other))
        value = other[name]
        if isinstance(value, list) and value and draw.random() < 0.5:
            value[draw.randrange(len(value))] = draw.choice(odd)
        else:
            other[name] = draw.choice(odd)
        try:
            found = SignedSum.from_dict(other)
        except FalseSignatureError:
            continue
        # What passes has a form that could have been signed.
        assert found.to_dict().keys() == signed.keys()
    for other in ({}, signed | {"more": 1}, {k: v for k, v in signed.items() if k != "views"}):
        with pytest.raises(FalseSignatureError):
            SignedSum.from_dict(other)


def test_the_head_that_is_signed_is_the_one_that_is_written():
    head = Head(7, "ab" * 32)
    assert len(head.to_sign()) == 40
    assert Head.signed(head.to_sign()) == head


def test_the_command_takes_keys_and_a_node(nodes, copy, capsys):
    peers, state = str(nodes.folder / "peers.yaml"), str(nodes.folder / "3.sqlite")
    run = str(nodes.folder / "run1")
    assert main(["verify", run, "--peers", peers, "--node-state", state]) == 0
    told = capsys.readouterr().out
    assert "ok  n3 has signed its part in 3 rounds" in told
    assert "not verified: what was logged after the last signatures" in told
    assert main(["verify", run]) == 0
    assert "made anew" in capsys.readouterr().out
    assert main(["verify", run, "--peers", str(copy / "summary.json")]) == 1
    assert "not a peers file" in capsys.readouterr().out
    assert main(["verify", run, "--node-state", str(copy / "none.sqlite")]) == 1
    assert "no such file" in capsys.readouterr().out
