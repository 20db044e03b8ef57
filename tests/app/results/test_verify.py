"""The log of a run, and what becomes of a folder in which anything was changed."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from app.cli.main import main
from app.results.run_log import CLOSED, RunLog, files_of, hash_of_bytes
from app.results.verify import Head, VerificationError, verify
from app.simulation.in_process import simulate
from strategies.rounds.observer import Observer
from strategies.rounds.strategy import RoundStrategy
from tests.kits.killed_runs import plain_run
from tests.kits.run_logs import rewritten

PRIVATE = {
    "task": "digits",
    "privacy": "example_distributed",
    "num-rounds": 3,
    "overrides": "aggregation.max_colluding=0 aggregation.min_survivors=3 privacy.epsilon=4"
    " privacy.delta=1e-4 privacy.population=3 privacy.sampling_rate=0.2"
    " privacy.expected_batch_size=250 privacy.metrics.every=2"
    " privacy.metrics.noise_multiplier=20",
}
#: A model of three numbers, and one round: small enough to change every byte.
SMALL = {
    "task": "breast_cancer",
    "aggregation": "plain",
    "num-rounds": 1,
    "overrides": "task.training.num_steps=1",
}


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private") / "run"
    simulate({**PRIVATE, "output-dir": str(folder)}, 3)
    return folder


@pytest.fixture
def copy(private, tmp_path):
    return shutil.copytree(private, tmp_path / "copy")


def head(folder):
    return Head(**json.loads((folder / "head.json").read_text()))


@pytest.mark.slow
def test_an_honest_run_is_as_its_log_says(private):
    found = verify(private)
    text = "\n".join(found.lines)
    summary = json.loads((private / "summary.json").read_text())
    assert f"epsilon {summary['privacy']['epsilon']:.6g} at delta 0.0001" in text
    assert "3 rounds as they were logged" in text
    assert "model.safetensors" in text
    assert found.head == head(private)


def test_a_head_that_was_kept_is_grown_from(tmp_path):
    run_config = plain_run(tmp_path)
    folder, heads = Path(run_config["output-dir"]), []

    class Keeps(Observer):
        def round_closed(self, closed):
            heads.append(head(folder))

    simulate(run_config, 3, observers=(Keeps(),))
    assert [one.size for one in heads] == [2, 3, 4, 5]
    for one in heads:
        assert "begins with" in verify(folder, one).lines[1]
    with pytest.raises(VerificationError, match="not those that were seen"):
        verify(folder, Head(3, heads[1].root[::-1]))
    with pytest.raises(VerificationError, match="99 were seen"):
        verify(folder, Head(99, heads[1].root))


@pytest.mark.slow
def test_every_single_byte_that_is_changed_is_found_and_named(tmp_path):
    folder = tmp_path / "run"
    simulate({**SMALL, "output-dir": str(folder)}, 2)
    covered = {*files_of(folder), "log.jsonl", "head.json"}
    assert covered >= {"config.yaml", "metrics.jsonl", "model.safetensors", "summary.json"}
    changed = 0
    for name in sorted(covered):
        file = folder / name
        content = file.read_bytes()
        for place in range(len(content)):
            other = bytearray(content)
            other[place] ^= 1 << place % 8
            file.write_bytes(other)
            with pytest.raises(VerificationError) as found:
                verify(folder)
            # A log that does not fit its head may be either's fault.
            named = (name, "head.json") if name == "log.jsonl" else (name,)
            assert any(one in str(found.value) for one in named), (name, place)
            changed += 1
        file.write_bytes(content)
    assert changed > 5000
    verify(folder)


FILES = ["model.safetensors", "summary.json", "metrics.jsonl", "log.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(VerificationError, match=name):
        verify(copy)


def test_an_epsilon_that_the_releases_do_not_come_to_is_found(copy):
    """By somebody who makes the whole log anew, but for the releases."""

    def smaller(history):
        for entry in history:
            if "epsilon" in entry:
                entry["epsilon"] *= 0.9

    rewritten(copy, smaller)
    with pytest.raises(VerificationError, match="come to"):
        verify(copy)


def test_a_log_made_anew_differs_from_the_head_that_was_kept(copy):
    kept = head(copy)
    rewritten(copy, lambda history: history[1].update(num_replies=2))
    verify(copy)
    with pytest.raises(VerificationError, match="not those that were seen"):
        verify(copy, kept)


@pytest.mark.parametrize(
    "change",
    [
        lambda history: history.pop(0),
        lambda history: history.pop(2),
        lambda history: history.insert(1, dict(history[0])),
        lambda history: history.append(dict(history[1])),
        lambda history: history[0].update(format="tacet-log-9"),
        lambda history: history[1].update(kind="else"),
        lambda history: history[1].pop("line"),
        lambda history: history[-1].update(releases=[["x", 1]]),
        lambda history: history[-1].update(delta=0.0),
        lambda history: history[-1].update(files=["summary.json"]),
    ],
)
def test_a_history_that_cannot_be_is_refused(copy, change):
    rewritten(copy, change)
    with pytest.raises(VerificationError):
        verify(copy)


def test_a_resumed_run_is_one_history(tmp_path):
    run_config = plain_run(tmp_path)
    folder = Path(run_config["output-dir"])

    class Killed(Observer):
        def round_closed(self, closed):
            if closed.report.round == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(run_config, 3, observers=(Killed(),))
    assert "the run ended: failed" in verify(folder).lines
    del run_config["output-dir"]
    simulate({**run_config, "resume-from": str(folder)}, 3)
    lines = verify(folder).lines
    assert "the run ended: completed" in lines
    lines = (folder / "log.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    half = ["closed", "closed", "ended"]
    assert kinds == ["begun", *half, "resumed", *half]


def test_an_observer_that_raises_at_the_end_makes_a_run_that_failed(tmp_path):
    run_config = {**SMALL, "output-dir": str(tmp_path / "run")}

    class Raises(Observer):
        def finished(self, outcome):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(run_config, 2, observers=(Raises(),))
    assert "the run ended: failed" in verify(tmp_path / "run").lines


@pytest.mark.slow
def test_what_a_round_that_failed_has_released_counts(tmp_path):
    """Nodes were charged when they were asked, and the log says so."""
    folder = tmp_path / "run"

    class Raises(Observer):
        def releasing(self, privacy):
            if privacy["num_updates"] == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate({**PRIVATE, "output-dir": str(folder)}, 3, observers=(Raises(),))
    spent = json.loads((folder / "summary.json").read_text())["privacy"]["epsilon"]
    assert any(f"epsilon {spent:.6g} at delta" in line for line in verify(folder).lines)


def test_a_run_that_goes_on_is_verified_as_far_as_it_is(tmp_path):
    run_config = plain_run(tmp_path)
    folder, found = Path(run_config["output-dir"]), []

    class Looks(Observer):
        def round_closed(self, closed):
            found.append(verify(folder).lines)

    simulate(run_config, 3, observers=(Looks(),))
    assert all(any("goes on" in line for line in lines) for lines in found)


def test_a_round_of_a_run_that_goes_on_is_held_to_its_entry(tmp_path):
    """Its files are not in the log yet; each round's line is."""
    run_config = plain_run(tmp_path)
    file, found = Path(run_config["output-dir"]) / "metrics.jsonl", []

    class Changes(Observer):
        def round_closed(self, closed):
            before = file.read_bytes()
            file.write_bytes(before.replace(b'"num_replies": 3', b'"num_replies": 2'))
            with pytest.raises(VerificationError, match="line 1: not as") as told:
                verify(file.parent)
            file.write_bytes(before)
            found.append(told)

    simulate(run_config, 3, observers=(Changes(),))
    assert len(found) == 4


def test_what_a_kill_left_half_written_is_dropped(private, tmp_path):
    folder = shutil.copytree(private, tmp_path / "copy")
    before = (folder / "log.jsonl").read_bytes()
    (folder / "log.jsonl").write_bytes(before + b'{"kind":"closed"}\n{"ki')
    RunLog(folder)
    assert (folder / "log.jsonl").read_bytes() == before
    verify(folder)


@pytest.mark.slow
def test_a_thousand_rounds_take_seconds(tmp_path, private):
    """The aim is 5 s; what is asserted is that it is not quadratic."""
    folder = shutil.copytree(private, tmp_path / "copy")
    history = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    line = (folder / "metrics.jsonl").read_bytes().splitlines()[0]
    closed = next(entry for entry in history if entry["kind"] == CLOSED)
    for name in ("log.jsonl", "head.json"):
        (folder / name).unlink()
    (folder / "metrics.jsonl").write_bytes((line + b"\n") * 1000)
    log = RunLog(folder)
    log.append("begun", {k: v for k, v in history[0].items() if k != "kind"})
    for number in range(1, 1001):
        entry = {
            **closed,
            "round": number,
            "line": hash_of_bytes(line),
        }
        log.append(entry.pop("kind"), entry)
    spent = {name: history[-1][name] for name in ("epsilon", "delta", "releases")}
    log.append("ended", {"status": "completed", "files": files_of(folder), **spent})
    started = time.process_time()
    verify(folder)
    print(f"{time.process_time() - started:.2f} s for 1,000 rounds")


def test_the_command_says_what_it_found_and_what_it_could_not(private, copy, capsys):
    assert main(["verify", str(private)]) == 0
    told = capsys.readouterr().out
    assert told.count("ok  ") >= 4
    assert "not verified: that each node added its noise" in told
    kept = told.splitlines()[-1].removeprefix("head ")
    assert main(["verify", str(private), "--head", kept]) == 0
    (copy / "model.safetensors").write_bytes(b"another")
    capsys.readouterr()
    assert main(["verify", str(copy)]) == 1
    assert capsys.readouterr().out == "FAILED model.safetensors: not as it was logged\n"
    with pytest.raises(SystemExit):
        main(["verify", str(private), "--head", "3"])


def ended_anew(folder, change):
    """Write the log's end anew, as whoever has the folder can."""

    def changed(history):
        history[-1]["files"] = files_of(folder)
        change(history[-1])

    rewritten(folder, changed)


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "model.safetensors"])
def test_an_end_that_is_silent_on_a_file_is_none(copy, name):
    ended_anew(copy, lambda end: end["files"].pop(name))
    with pytest.raises(VerificationError, match=f"its end does not name {name}"):
        verify(copy)


@pytest.mark.parametrize(
    ("spent", "why"),
    [
        ({"epsilon": 0.1}, "summary.json: epsilon 0.1, and"),
        ({"delta": 1e-9}, "summary.json: delta 1e-09, and"),
        (None, "summary.json: no epsilon"),
        ({"epsilon": "x"}, "cannot be read"),
    ],
)
def test_a_summary_tells_the_epsilon_of_the_log(copy, spent, why):
    file = copy / "summary.json"
    summary = json.loads(file.read_text())
    summary["privacy"] = {} if spent is None else summary["privacy"] | spent
    file.write_text(json.dumps(summary))
    ended_anew(copy, lambda end: None)
    with pytest.raises(VerificationError, match=why):
        verify(copy)


def test_an_epsilon_of_no_release_is_none(copy):
    def without(history):
        history[-1]["files"] = files_of(copy)
        for entry in history:
            entry.pop("releases", None)

    rewritten(copy, without)
    with pytest.raises(VerificationError, match="and the log has none"):
        verify(copy)


@pytest.mark.slow
def test_a_run_that_fails_as_soon_as_it_is_resumed_has_spent_what_it_had(tmp_path, monkeypatch):
    folder = tmp_path / "run"

    class Raises(Observer):
        def releasing(self, privacy):
            if privacy["num_updates"] == 2:
                raise KeyboardInterrupt

    config = {**PRIVATE, "output-dir": str(folder)}
    with pytest.raises(KeyboardInterrupt):
        simulate(config, 3, observers=(Raises(),))
    spent = json.loads((folder / "summary.json").read_text())["privacy"]["epsilon"]

    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(RoundStrategy, "note_release", fails)
    with pytest.raises(KeyboardInterrupt):
        simulate(config | {"output-dir": "", "resume-from": str(folder)}, 3)
    assert any(f"epsilon {spent:.6g} at delta" in line for line in verify(folder).lines)


def test_a_hostile_folder_neither_hangs_nor_writes_on_the_terminal(copy, capsys):
    def coloured(end):
        end["status"] = "\x1b[2Jcompleted"

    ended_anew(copy, coloured)
    (copy / "a\x1b]0;b").write_text("")
    assert main(["verify", str(copy)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    for name in ("metrics.jsonl", "log.jsonl", "summary.json", "config.yaml"):
        content = (copy / name).read_bytes()
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(VerificationError, match=f"{name}: is (no file|missing)"):
            verify(copy)
        (copy / name).unlink()
        (copy / name).write_bytes(content)


def test_a_file_that_may_not_be_read_is_named(copy, monkeypatch):
    honest = Path.open

    def shut(self, *arguments, **named):
        if self.name == "summary.json":
            raise PermissionError(13, "Permission denied", str(self))
        return honest(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", shut)
    with pytest.raises(VerificationError, match=r"summary\.json: Permission denied"):
        verify(copy)
