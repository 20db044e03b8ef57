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
    RESUMED,
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
from strategies.secagg.crypto.identity import fingerprint, pin
from strategies.secagg.signed_sum import FalseSignatureError, SignedSum
from tests.kits.ruled_nodes import RuledNodes
from tests.kits.run_logs import history_of, rewritten

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


def made_anew(folder, change=lambda history: None):
    """Write the whole log as a coordinator can who has every file and no participant's key."""
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")

    def as_the_files_are(history):
        for entry in history:
            if entry["kind"] == BEGUN:
                entry["config"] = hash_of(folder / "config.yaml")
            if entry["kind"] == CLOSED:
                entry["line"] = hash_of_bytes(lines[entry["round"] - 1])
        history[-1]["files"] = files_of(folder)
        change(history)

    rewritten(folder, as_the_files_are)


def without_signatures(history):
    for entry in history:
        entry.pop(SIGNED, None)


def test_an_honest_run_names_its_participants(nodes, keys):
    found = verify(nodes.folder / "run1", keys=keys, node_file=nodes.folder / "0.sqlite")
    text = "\n".join(found.lines)
    for name in ("n0", "n1", "n2", "n3"):
        assert f"{name} has signed its part in 3 rounds" in text
    assert "3 of 3 rounds carry" in text
    assert "n0, n1, n2, n3: have signed that they scored model.safetensors" in text
    # Of the three rounds and the last scores.
    assert "each of the 4 heads" in text
    assert "are that have signed" not in "\n".join(found.not_verified)
    assert "log.jsonl, lines 5 to 5: nobody" in "\n".join(found.not_verified)


def strangers_sign(keys):
    """Return what replaces all participants but n0 by keys of the coordinator's own."""
    known = fingerprint(keys["n0"]).hex()

    def change(history):
        for entry in history:
            for one in entry.get(SIGNED, {}).get("inputs", ()):
                if one[0] != known:
                    one[0] = hash_of_bytes(one[0].encode())

    return change


def test_signatures_of_strangers_show_nothing(nodes, copy, keys, tmp_path):
    """A coordinator can make any number of keys, and a colluding node signs what it wants."""
    found = verify(copy)
    assert not any("sign" in line for line in found.lines)
    assert "whose signatures 3 of 3 rounds carry" in "\n".join(found.not_verified)
    strange = {name: new_key(tmp_path / f"{name}.key") for name in keys}
    with pytest.raises(VerificationError, match="no round carries a signature by one of them"):
        verify(copy, keys=strange)
    made_anew(copy, strangers_sign(keys))
    # Of the last sum, over the log as it now is, n0's own signature is missing.
    with pytest.raises(VerificationError, match="another log"):
        verify(copy, keys=keys)


def test_who_has_signed_nothing_is_named(copy, keys):
    """So that whoever reads it sees that only a colluding node is known."""

    def only_first(history):
        without_signatures(history[2:])
        strangers_sign(keys)(history)

    made_anew(copy, only_first)
    found = verify(copy, keys=keys)
    assert "n0 has signed its part in 1 rounds" in found.lines
    assert "n3 has signed its part in 0 rounds" in found.lines
    assert any("1 of 3 rounds carry" in line for line in found.lines)
    assert any("log.jsonl, lines 2 to 5: nobody" in line for line in found.not_verified)


def test_rounds_that_a_resume_discards_do_not_count(copy, keys):
    """A coordinator leaves the signed rounds in the log, and does all of them again alone."""

    def done_again(history):
        begun, *rest = json.loads(json.dumps(history))
        without_signatures(rest)
        history[-1:] = [begun | {"kind": RESUMED, "round": 0}, *rest]

    made_anew(copy, done_again)
    with pytest.raises(VerificationError, match="no round carries a signature by one of them"):
        verify(copy, keys=keys)


def test_a_model_whose_signatures_were_taken_out_is_not_called_signed(copy, keys):
    changes_the_model(copy)
    made_anew(copy, lambda history: history[-1].pop(SIGNED))
    found = verify(copy, keys=keys)
    assert not any("have signed that they scored" in line for line in found.lines)
    assert any("model.safetensors: nobody" in line for line in found.not_verified)


@pytest.mark.slow
def test_a_run_that_went_on_after_its_end_verifies(nodes, keys):
    """Its first part has scored a model that is no longer there, under fewer rounds."""
    config = nodes.config(STEPS, algorithm="fedavg", num_rounds=1)
    simulate(config, 4, run_id=20)
    folder = Path(config["output-dir"])
    more = {"output-dir": "", "resume-from": str(folder), "num-rounds": 2}
    simulate(config | more, 4, run_id=21)
    text = "\n".join(verify(folder, keys=keys).lines)
    assert "2 of 2 rounds carry" in text
    assert "n3 has signed its part in 2 rounds" in text

    def of_another_model(history):
        # Participants have signed the begin; so only what came after round 1 can be made anew.
        history[0]["config"] = begun
        history[3]["config"] = hash_of(folder / "config.yaml")
        without_signatures(history[2:])

    begun = history_of(folder)[0]["config"]
    made_anew(folder, of_another_model)
    verify(folder, keys=keys)
    changes_the_configuration(folder)
    made_anew(folder, of_another_model)
    with pytest.raises(VerificationError, match=r"line 2: .* another configuration"):
        verify(folder, keys=keys)


def test_a_configuration_that_the_log_never_named_is_no_excuse(nodes, keys, monkeypatch):
    """The coordinator logs some hash at the begin, which participants cannot check."""
    honest = RunLogObserver._hash
    monkeypatch.setattr(
        RunLogObserver,
        "_hash",
        lambda self, name: "00" * 32 if name == "config.yaml" else honest(self, name),
    )
    config = nodes.config(STEPS, algorithm="fedavg", num_rounds=1)
    simulate(config, 4, run_id=30)
    folder = Path(config["output-dir"])
    changes_the_configuration(folder)
    log = (folder / "log.jsonl").read_text().splitlines()
    ended = json.loads(log[-1]) | {"files": files_of(folder)}
    (folder / "log.jsonl").write_text("\n".join(log[:-1]) + "\n")
    (folder / "head.json").unlink()
    RunLog(folder).append(ended.pop("kind"), ended)
    with pytest.raises(VerificationError, match=r"config\.yaml: the log's end names another"):
        verify(folder, keys=keys)
    begun = json.loads(log[0]) | {"round": 1, "config": hash_of(folder / "config.yaml")}
    ended.pop(SIGNED)
    begun.pop("kind")
    anew = RunLog(folder)
    anew.append(RESUMED, begun)
    anew.append(ENDED, ended)
    with pytest.raises(VerificationError, match=r"line 2: .* another configuration"):
        verify(folder, keys=keys)


def test_who_is_not_known_is_counted_and_not_believed(nodes, keys):
    some = {name: key for name, key in keys.items() if name != "n2"}
    found = verify(nodes.folder / "run1", keys=some)
    assert "who 1 more are that have signed" in "\n".join(found.not_verified)
    assert "n2" not in "\n".join(found.lines)


def changes_a_metric(folder):
    file = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["num_asked"] = 5
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def changes_the_configuration(folder):
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("num_steps: 2", "num_steps: 9"))


def refers_to_references(folder):
    bomb = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    (folder / "config.yaml").write_text("\n".join(bomb) + "\n")


def is_no_configuration(folder):
    (folder / "config.yaml").write_bytes(b"a: [\x00")


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
    with pytest.raises(VerificationError, match="no round carries a signature by one"):
        verify(copy, keys=keys)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (changes_a_metric, "another log"),
        (changes_the_configuration, "another configuration"),
        (changes_the_model, "another model"),
        (refers_to_references, "references, which no run writes"),
        (is_no_configuration, "config.yaml: no configuration"),
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


def one_is_hidden(history):
    history[1][SIGNED]["inputs"].pop()
    history[1][SIGNED]["survivors"].pop()
    history[1]["num_replies"] = 3


def says_more_replied(history):
    history[3]["num_replies"] = 9
    history[-1].pop(SIGNED)


def others_survived(history):
    history[1][SIGNED]["survivors"][0] = "999"
    history[1][SIGNED]["cohort"][0] = "999"


def another_asked(history):
    history[1][SIGNED]["asked"] = "00" * 32


def odd_begin(history):
    history[0]["round"] = "x"


def another_run(history):
    history[0]["run_id"] = "2"


@pytest.mark.parametrize(
    "change",
    [
        swapped,
        one_for_two,
        fewer,
        one_is_hidden,
        says_more_replied,
        others_survived,
        another_asked,
        another_run,
        odd_begin,
    ],
)
def test_signatures_are_of_this_run_and_round_alone(copy, keys, change):
    made_anew(copy, change)
    with pytest.raises(VerificationError, match="line "):
        verify(copy, keys=keys)


def test_another_key_signs_for_nobody(copy, keys, tmp_path):
    """A name that is given with another key has signed nothing."""
    other = keys | {"n1": new_key(tmp_path / "other.key")}
    assert "n1 has signed its part in 0 rounds" in verify(copy, keys=other).lines

    def forged(history):
        for entry in history:
            if SIGNED in entry:
                entry[SIGNED]["inputs"][0][0] = fingerprint(other["n1"]).hex()

    made_anew(copy, forged)
    with pytest.raises(VerificationError, match="is not over this"):
        verify(copy, keys=other)


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_nobody_is_left_out_of_a_sum_unsigned(nodes, keys):
    """An input signs the cohort; that a member's own is missing the others have to sign."""
    signed = SignedSum.from_dict(history_of(nodes.folder / "run1")[1][SIGNED])
    peers = pin(list(keys.values()))
    hidden = dataclasses.replace(
        signed, inputs=signed.inputs[:-1], survivors=signed.survivors[:-1]
    )
    with pytest.raises(FalseSignatureError, match="3 of 4 gave to the sum, and 0 have signed"):
        hidden.signers(peers)
    forged = ((signed.inputs[0].identity, bytes(64)),)
    with pytest.raises(FalseSignatureError, match="is not over this"):
        dataclasses.replace(hidden, views=forged).signers(peers)
    stranger = ((bytes(32), bytes(64)),)
    with pytest.raises(FalseSignatureError, match="others have signed"):
        dataclasses.replace(hidden, views=stranger).signers(peers)


def test_signatures_that_were_collected_in_another_run_are_not_of_this_one(
    nodes, keys, monkeypatch
):
    """A server can have the nodes of one run sign the log of another."""
    honest = RunLogObserver.__init__

    def another(self, folder, config, run_id, *rest):
        honest(self, folder, config, run_id + 1, *rest)

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
    assert "not verified: log.jsonl, lines 5 to 5: nobody with these keys" in told
    assert main(["verify", run]) == 0
    assert "made anew" in capsys.readouterr().out
    # Wrong arguments are no folders that were changed.
    for words, why in (
        ([run, "--peers", str(copy / "summary.json")], "not a peers file"),
        ([run, "--node-state", str(copy / "none.sqlite")], "no such file"),
        ([str(copy / "summary.json")], "is no folder; give that of a run"),
        ([str(copy / "none")], "there is no such folder; give that of a run"),
    ):
        assert main(["verify", *words]) == 2
        assert why in capsys.readouterr().err


def test_a_node_that_has_signed_nothing_is_not_agreement(nodes, copy, tmp_path):
    """Neither one of another run, nor a log whose run was given another number."""
    file = nodes.folder / "3.sqlite"
    before = file.read_bytes()
    file.chmod(0o400)
    try:
        verify(copy, node_file=file)
        for number in ("2", "9" * 40, "-1", "none"):

            def another(history, number=number):
                without_signatures(history)
                history[0]["run_id"] = number

            made_anew(copy, another)
            with pytest.raises(VerificationError):
                verify(copy, node_file=file)
    finally:
        file.chmod(0o600)
    assert file.read_bytes() == before
