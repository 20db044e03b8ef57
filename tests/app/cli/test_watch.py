"""``tacet watch``: what it reads, shows and asks."""

import io
import json
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from app.cli import watch
from app.cli.main import main
from app.config.load import load_config
from app.results.progress import read_progress
from app.results.run_folder import RunFolder
from app.simulation.in_process import simulate
from tests.kits.killed_runs import plain_run

PRIVATE = {
    "privacy": "example_distributed",
    "overrides": "aggregation.max_colluding=0 aggregation.min_survivors=3 privacy.epsilon=4"
    " privacy.delta=1e-4 privacy.population=3 privacy.sampling_rate=0.2"
    " privacy.expected_batch_size=250",
}


@pytest.fixture
def run_config(tmp_path):
    return plain_run(tmp_path)


@pytest.fixture
def running(tmp_path):
    """A folder whose run goes on, after 2 of 4 rounds, with one line half written."""
    given = {"task": "digits", "num-rounds": 4, "output-dir": str(tmp_path / "r")}
    folder = RunFolder.create(tmp_path / "r", load_config(given | PRIVATE), run_id=17)
    with folder:
        folder.note_release({"epsilon": 1.5})
        summary = json.loads((tmp_path / "r" / "summary.json").read_text())
        (tmp_path / "r" / "summary.json").write_text(json.dumps(summary | {"num_rounds": 2}))
        same = {"num_replies": 3, "num_asked": 3, "metrics": {"loss": 2.0}}
        lines = [{"round": r, "seconds": 10.0 * r, **same} for r in (1, 2)]
        text = "".join(json.dumps(line) + "\n" for line in lines) + '{"round": 3, "sec'
        (tmp_path / "r" / "metrics.jsonl").write_text(text)
        yield tmp_path / "r"


def drawn(progress):
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(watch._screen(progress))
    return console.export_text()


def test_a_finished_run_is_told_line_by_line(run_config, capsys):
    simulate(run_config, 3)
    assert main(["watch", run_config["output-dir"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == [
        f"round {r} of 4" for r in range(1, 5)
    ]
    assert "3 of 3 answered" in lines[0]
    assert lines[4] == "completed after 4 rounds"


def test_a_run_that_failed_says_why(run_config, capsys):
    path = Path(run_config["output-dir"])
    with RunFolder.create(path, load_config(run_config)) as folder:
        folder.fail("OSError: a reason")
    assert main(["watch", str(path)]) == 1
    assert capsys.readouterr().out == "failed after 0 rounds: OSError: a reason\n"


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    assert main(["watch", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_running_one_shows_rounds_epsilon_and_time_left(running):
    progress = read_progress(running)
    assert progress.is_running
    assert (progress.run_id, progress.num_rounds, progress.planned_rounds) == ("17", 2, 4)
    assert (progress.spent, progress.cap) == (1.5, 4.0)
    assert progress.seconds_left == pytest.approx(15 * 2)
    text = drawn(progress)
    for part in ("round 2 of 4", "epsilon 1.5 of 4", "about 0:00:30 left", "loss 2"):
        assert part in text


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", '{"status": "running"}'])
def test_a_damaged_summary_is_one_line(run_config, text, capsys):
    simulate(run_config, 3)
    path = Path(run_config["output-dir"])
    (path / "summary.json").write_text(text)
    assert main(["watch", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "expected"), [(["x", "s"], "s"), (["Leave"], "l"), (["w"], "w"), ([], "l")]
)
def test_ctrl_c_asks_until_it_is_answered(typed, expected, monkeypatch):
    left = iter(typed)

    def answer(_):
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    assert watch._ask() == expected


@pytest.mark.parametrize(("answer", "stops"), [("s", True), ("l", False)])
def test_ctrl_c_stops_only_what_one_says(running, answer, stops, monkeypatch):
    called = []

    def ran(command, **_):
        called.append(command[1:])
        return subprocess.CompletedProcess(command, 0)

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", ran)
    monkeypatch.setattr(watch.time, "sleep", interrupted)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    status, lines = watch._watch_terminal(running, "trial")
    assert status == 0
    assert called == ([["stop", "17", "trial"]] if stops else [])
    assert ("stopped" in lines[0]) == stops
