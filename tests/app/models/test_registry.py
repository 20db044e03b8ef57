"""`tacet models`: what a tag leaves, and what becomes of a registry that others may write."""

import json
import os
import shutil
from pathlib import Path

import pytest
import rfc8785

from app.cli.main import main
from app.models import registry as registry_module
from app.models.check import check, signers_of
from app.models.registry import FILES, entries_of, find
from app.node.identity import load_key, new_key
from app.node.model_entry import MOST_BYTES, EntryError, SignedEntry
from app.results.initial_model import read_initial_model
from app.results.run_log import files_of, hash_of
from app.simulation.in_process import simulate
from tasks.breast_cancer import BreastCancer
from tests.app.results.test_starting_model import PLAIN, PRIVATE, begun, refused, summary_of
from tests.app.results.test_verify import rewritten


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry with `masses:1` of a private run, and `masses:2`, which began with it."""
    folder = tmp_path_factory.mktemp("registry")
    new_key(folder / "coordinator.key")
    new_key(folder / "other.key")
    run = begun(folder / "run", PRIVATE)
    assert tag(folder, run) == 0
    entry = folder / "models" / "masses" / "1"
    second = folder / "second"
    given = {**PRIVATE, "initial-model": str(entry), "output-dir": str(second)}
    # With the words on the run, from which the card has what was not promised.
    simulate(given, 3, draws_page=True)
    assert tag(folder, second) == 0
    return folder


def tag(folder, run, name="masses", key="coordinator.key"):
    words = ["models", "tag", run, name, "--key", folder / key, "--registry", folder / "models"]
    return main([str(word) for word in words])


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def told(capsys, *words):
    status = main(["models", *(str(word) for word in words)])
    said = capsys.readouterr()
    return status, said.out + said.err


def verified(capsys, folder, reference="masses:1", signer="coordinator.key.pub"):
    place = ["--registry", folder / "models", "--signer", folder / signer]
    return told(capsys, "verify", reference, *place)


def test_an_entry_is_a_folder_that_predict_and_api_take(made, tmp_path):
    from app.api import load_model

    folder = made / "models" / "masses" / "1"
    assert {one.name for one in folder.iterdir()} == {*FILES, "entry.json"}
    rows = {name: [1.0] for name in columns_of_the_task()}
    predicted = load_model(folder).predict(rows).columns
    assert predicted == load_model(made / "run").predict(rows).columns


def columns_of_the_task():
    from app.config.load import load_config

    config = load_config(PLAIN)
    return [column.name for column in BreastCancer(config.task, 0).table.columns]


def test_the_card_says_what_a_user_needs(made):
    text = (made / "models" / "masses" / "2" / "MODEL.md").read_text()
    first, second = (summary_of(made / run)["privacy"] for run in ("run", "second"))
    total = first["epsilon"] + second["epsilon"]
    for part in (
        "# masses, version 2",
        "It predicts",
        "| mean radius | numbers from",
        "The run did not score its last model.",
        f"epsilon **{total:.6g}** at delta 0.0002",
        "taken as masses:1, whose model it began with: epsilon",
        "Robustness against poisoned updates",
        "Participants asked in its last round:** 3",
        "tacet predict REGISTRY/masses/2 --input new.csv",
        hash_of(made / "second" / "model.safetensors"),
        "Head of the log of run 1:** ",
        "not for readers of log.jsonl, which says who took part",
    ):
        assert part in text


def test_the_card_of_a_run_without_privacy_says_so(copy, tmp_path, capsys):
    assert tag(copy, begun(tmp_path / "open", PLAIN), "open") == 0
    assert "privacy: no bound" in capsys.readouterr().out
    text = (copy / "models" / "open" / "1" / "MODEL.md").read_text()
    assert "**No bound**: 1 of 1 runs had no differential privacy" in text
    score = summary_of(tmp_path / "open")["metrics"]["accuracy"]
    assert f"- **accuracy:** {score:.6g}" in text


def test_list_and_show(made, capsys):
    status, said = told(capsys, "list", "--registry", made / "models")
    assert status == 0
    rows = [line.split() for line in said.splitlines() if line.startswith("masses")]
    assert [row[1] for row in rows] == ["1", "2"]
    assert "nothing was verified" in said
    _, said = told(
        capsys, "list", "--registry", made / "models", "--signer", made / "coordinator.key.pub"
    )
    assert said.count("coordinator.key.pub") == 2
    assert told(capsys, "show", "masses", "--registry", made / "models")[1].startswith(
        "# masses, version 2"
    )
    assert told(capsys, "show", "masses:1", "--registry", made / "models")[1].startswith(
        "# masses, version 1"
    )


def test_an_honest_entry_verifies(made, capsys):
    status, said = verified(capsys, made)
    assert status == 0
    assert "masses:1 is signed by coordinator.key.pub" in said
    assert "which made this model" in said
    status, said = verified(capsys, made, "masses")
    assert status == 0
    model = hash_of(made / "run" / "model.safetensors")
    assert f"it began with the model {model}, as the entry says" in said
    assert "not verified: run 1 before it: `tacet verify` on its folder" in said
    assert "not verified: metrics, participants and the time" in said


def test_others_signatures_do_not_count(made, capsys):
    status, said = verified(capsys, made, signer="other.key.pub")
    assert status == 1
    assert "which is none of other.key.pub" in said


@pytest.mark.slow
def test_every_file_of_an_entry_is_covered(copy):
    """One byte in seven of the entry and the card, and one in 97 of the larger files."""
    folder = copy / "models" / "masses" / "2"
    keys = signers_of(copy / "coordinator.key.pub")
    changed = 0
    for name in (*FILES, "entry.json"):
        file = folder / name
        content = file.read_bytes()
        step = 7 if name in ("entry.json", "MODEL.md") else 97
        for place in range(0, len(content), step):
            other = bytearray(content)
            other[place] ^= 1 << place % 8
            file.write_bytes(other)
            with pytest.raises(ValueError, match=rf"{name}|entry\.json"):
                check(find(copy / "models", "masses:2"), keys)
            changed += 1
        file.write_bytes(content)
    assert changed > 500
    check(find(copy / "models", "masses:2"), keys)


def signed_anew(folder, change, key):
    """Change the values of an entry and sign them with a key."""
    entry = json.loads((folder / "entry.json").read_bytes())["entry"]
    change(entry)
    entry["signer"] = key.public_key().public_bytes_raw().hex()
    found = registry_module.ModelEntry.of(entry)
    signed = SignedEntry(found, key.sign(found.to_sign()))
    (folder / "entry.json").write_bytes(signed.to_bytes())


LIES = [
    (lambda e: e["runs"][0]["privacy"].update(epsilon=0.1), "epsilon or delta is more than"),
    (lambda e: e["runs"][0].update(privacy=None), "epsilon or delta is more than"),
    (lambda e: e["runs"].pop(), "began with another model"),
    (lambda e: e["runs"][1].update(privacy=None), "began with another model"),
    (lambda e: e["runs"][0].update(head="3:" + "0" * 64), "its head is not"),
    (lambda e: e.update(state="0" * 64), "has other numbers"),
    (lambda e: e["runs"][0].update(model="0" * 64), "has other numbers"),
    (lambda e: e.update(workload="gbdt"), "is of gradient_sum on"),
    (lambda e: e["files"].pop("log.jsonl"), "and an entry has"),
    (lambda e: e["files"].update({"../../x": "0" * 64}), "and an entry has"),
]


@pytest.mark.parametrize(("change", "why"), LIES)
def test_a_signers_own_lies_are_held_against_the_log(copy, capsys, change, why):
    folder = copy / "models" / "masses" / "2"
    signed_anew(folder, change, load_key(copy / "coordinator.key"))
    status, said = verified(capsys, copy, "masses:2")
    assert status == 1
    assert why in said


def test_a_signature_of_another_key_is_none(copy, capsys):
    """Signed by one key, in the name of another."""
    folder, key = copy / "models" / "masses" / "1", load_key(copy / "coordinator.key")
    values = json.loads((folder / "entry.json").read_bytes())
    signed_anew(folder, lambda e: None, load_key(copy / "other.key"))
    other = json.loads((folder / "entry.json").read_bytes())
    values["signature"] = other["signature"]
    (folder / "entry.json").write_bytes(rfc8785.dumps(values) + b"\n")
    status, said = verified(capsys, copy)
    assert (status, "the entry was changed" in said) == (1, True)
    assert key.public_key().public_bytes_raw().hex() == values["entry"]["signer"]


def test_a_copy_under_another_name_or_version_is_none(copy, capsys):
    models = copy / "models"
    shutil.copytree(models / "masses" / "1", models / "masses" / "3")
    shutil.copytree(models / "masses" / "1", models / "lungs" / "1")
    for reference in ("masses:3", "lungs"):
        status, said = verified(capsys, copy, reference)
        assert (status, "it is a copy of masses:1" in said) == (1, True)
    status, said = told(capsys, "list", "--registry", models)
    assert status == 1
    assert said.count("DAMAGED") == 2


def test_links_and_odd_names_are_not_followed(copy, capsys):
    models, entry = copy / "models", copy / "models" / "masses" / "1"
    (models / "linked").symlink_to(models / "masses")
    (models / "masses" / "7").symlink_to(entry)
    (models / "..odd").mkdir()
    (models / "UPPER" / "1").mkdir(parents=True)
    assert [f"{one.name}:{one.version}" for one in entries_of(models)] == [
        "masses:1",
        "masses:2",
    ]
    for reference in (
        "../masses",
        "masses/..:1",
        "masses:-1",
        "masses:1x",
        "linked",
        "masses:7",
    ):
        status, said = told(capsys, "show", reference, "--registry", models)
        assert (status, said.count("\n")) == (2, 1)
    model = entry / "model.safetensors"
    model.rename(copy / "elsewhere")
    model.symlink_to(copy / "elsewhere")
    assert "model.safetensors: is missing, or a link" in verified(capsys, copy)[1]
    (entry / "entry.json").rename(copy / "entry")
    (entry / "entry.json").symlink_to(copy / "entry")
    assert "is no plain file" in verified(capsys, copy)[1]


def test_more_files_are_named(copy, capsys):
    (copy / "models" / "masses" / "1" / "run\nme.sh").write_text("")
    said = verified(capsys, copy)[1]
    assert "of which the entry does not speak: 'run\\nme.sh'" in said


BROKEN = [
    b"",
    b"\xff",
    b"[" * 100_000,
    b"[]",
    b'{"entry": 1}',
    b'{"entry":{},"signature":NaN}',
    b" " * (MOST_BYTES + 1),
]


@pytest.mark.parametrize("content", BROKEN)
def test_what_is_no_entry_is_told_in_a_line(copy, capsys, content):
    file = copy / "models" / "masses" / "1" / "entry.json"
    file.write_bytes(content)
    with pytest.raises(EntryError):
        SignedEntry.parse(content)
    status, said = verified(capsys, copy)
    assert (status, said.count("\n")) == (1, 1)


FIELDS = [
    ("name", "../x"),
    ("name", "a..b"),
    ("version", 0),
    ("version", True),
    ("version", 10**30),
    ("created", "today"),
    ("signer", "ff"),
    ("state", 1),
    ("task", "a\x1b[2Jb"),
    ("status", "x" * 10_000),
    ("participants", -1),
    ("metrics", {"auc": "high"}),
    ("metrics", {"\x1b": 1}),
    ("runs", []),
    ("runs", [{}]),
    ("files", {"x": "y"}),
    ("format", "tacet-model-entry-0"),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_field_that_is_none_is_named(made, field, value):
    values = json.loads((made / "models" / "masses" / "1" / "entry.json").read_bytes())
    values["entry"][field] = value
    with pytest.raises(EntryError):
        SignedEntry.parse(json.dumps(values).encode())


def test_numbers_that_are_none_are_refused(made):
    content = (made / "models" / "masses" / "1" / "entry.json").read_bytes()
    for word in (b"NaN", b"Infinity", b"1e999", b"-1"):
        changed = content.replace(b'"delta":0.0001', b'"delta":' + word)
        assert changed != content
        with pytest.raises(EntryError):
            SignedEntry.parse(changed)


def test_a_tag_that_is_cut_off_leaves_no_entry(copy, monkeypatch, capsys):
    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert tag(copy, copy / "run") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(one.name for one in (copy / "models").iterdir()) == ["masses"]
    assert [one.version for one in entries_of(copy / "models")] == [1, 2]


def test_two_tags_at_once_are_two_versions(copy, monkeypatch):
    """The second takes the next number where the first was quicker."""
    honest, taken = registry_module._renamed, []

    def renamed(registry, folder, files):
        if not taken:
            taken.append(folder)
            shutil.copytree(folder.parent / "1", folder)
        return honest(registry, folder, files)

    monkeypatch.setattr(registry_module, "_renamed", renamed)
    assert tag(copy, copy / "run") == 0
    assert sorted(one.name for one in (copy / "models" / "masses").iterdir()) == list("1234")
    assert find(copy / "models", "masses").entry.version == 4


def complaint(capsys, folder, run, **more):
    assert tag(folder, run, **more) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_what_is_no_run_is_not_signed(copy, tmp_path, capsys):
    assert "is no name of a model" in complaint(capsys, copy, copy / "run", name="../x")
    assert "is an entry of a registry" in complaint(
        capsys, copy, copy / "models" / "masses" / "1"
    )
    (copy / "other.key").chmod(0o644)
    assert "others may read it" in complaint(capsys, copy, copy / "run", key="other.key")
    (copy / "run" / "config.yaml").write_text("{}")
    assert "config.yaml: not as it was logged" in complaint(capsys, copy, copy / "run")
    simulate({**STATISTICS, "output-dir": str(tmp_path / "tables")}, 3)
    assert "tables as its result and no model" in complaint(capsys, copy, tmp_path / "tables")


STATISTICS = {
    "task": "breast_cancer",
    "algorithm": "statistics",
    "aggregation": "plain",
    "overrides": 'algorithm.columns=["mean texture"]',
}


def test_a_run_begins_with_an_entry_whose_files_are_its_own(copy, tmp_path):
    folder = copy / "models" / "masses" / "1"
    record = read_initial_model(copy / "second")
    assert record.runs[0].entry == "masses:1"
    assert json.loads(record.entry)["entry"]["name"] == "masses"
    given = {
        **PRIVATE,
        "initial-model": str(folder),
        "output-dir": str(tmp_path / "refused"),
    }
    content = (folder / "entry.json").read_bytes()
    signed_anew(folder, lambda e: e.update(state="0" * 64), load_key(copy / "coordinator.key"))
    assert "has other numbers than its entry.json names" in refused(given)
    values = json.loads(content)
    values["entry"]["runs"][0]["privacy"]["epsilon"] = 0.1
    (folder / "entry.json").write_bytes(rfc8785.dumps(values) + b"\n")
    assert "was changed since the key that it names signed it" in refused(given)
    (folder / "entry.json").write_bytes(content[:-3])
    assert "tag the model anew" in refused(given)
    (folder / "entry.json").write_bytes(content)
    shutil.copy(copy / "second" / "model.safetensors", folder / "model.safetensors")
    assert "is not the one that its entry.json names" in refused(given)
    assert not Path(given["output-dir"]).exists()


def log_anew(folder, change):
    """Change the log of a folder, whose end names the files as they are."""

    def changed(history):
        history[-1]["files"] = files_of(folder)
        change(history)

    rewritten(folder, changed)


def test_a_chain_that_was_cut_is_not_signed(copy, capsys):
    """Without the record of what it began with, a model would have spent its own run only."""
    run = copy / "second"
    record = (run / "initial-model.json").read_bytes()
    (run / "initial-model.json").unlink()
    log_anew(run, lambda history: None)
    assert tag(copy, run) == 2
    assert "its end does not name initial-model.json" in capsys.readouterr().err
    # Nor is one whose begin was silent.
    (run / "initial-model.json").write_bytes(record)
    log_anew(run, lambda history: history[0].pop("initial"))
    assert tag(copy, run) == 2
    assert "begin does not speak of it" in capsys.readouterr().err


def test_a_log_whose_epsilon_cannot_be_read_is_none(copy, capsys):
    folder = copy / "models" / "masses" / "1"

    def without(history):
        for entry in history:
            entry.pop("delta", None)

    rewritten(folder, without)
    head = json.loads((folder / "head.json").read_text())

    def fitting(entry):
        entry["runs"][0]["head"] = f"{head['size']}:{head['root']}"
        entry["files"] |= {name: hash_of(folder / name) for name in ("log.jsonl", "head.json")}

    signed_anew(folder, fitting, load_key(copy / "coordinator.key"))
    status, said = verified(capsys, copy)
    assert (status, "epsilon or delta is missing, or no number" in said) == (1, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["list", "--registry", "none"],
            "there is no such folder; `tacet models tag` makes it",
        ),
        (["tag", "file", "m", "--key", "coordinator.key"], "it is no run's folder"),
        (["tag", "none", "m", "--key", "coordinator.key"], "it is no run's folder"),
        (["tag", "run", "m", "--key", "coordinator.key.pub"], "is a public key; give"),
        (
            ["verify", "m", "--signer", "coordinator.key"],
            "is a private key; give the public one",
        ),
    ],
)
def test_a_wrong_argument_is_told_with_the_mend(copy, capsys, monkeypatch, words, why):
    (copy / "file").write_text("")
    monkeypatch.chdir(copy)
    status, said = told(capsys, *words)
    assert (status, why in said) == (2, True), said
