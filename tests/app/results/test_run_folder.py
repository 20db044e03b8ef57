"""What a run leaves, and going on with it after it was killed."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

import app.results.run_folder
import app.server
import app.simulation.in_process
from app.config.load import ConfigError, load_config
from app.results import model_file, summary
from app.results.model_file import load_model
from app.results.run_folder import RunFolder, RunFolderError, folder_path
from app.results.summary import read_summary
from app.simulation.flwr_run import summary_time
from app.simulation.in_process import simulate
from deploy import job
from strategies.rounds.observer import Observer
from tasks.base import DataSource
from tasks.training.local import evaluate
from tests import ROOT
from tests.kits.killed_runs import KilledError, plain_run, resumed, run_until
from tests.kits.traced import reports_of
from workloads.values import State


@pytest.fixture
def run_config(tmp_path):
    return plain_run(tmp_path)


def summary_of(folder):
    return json.loads((Path(folder) / "summary.json").read_text())


def test_a_finished_run_leaves_everything(run_config):
    outcome = simulate(run_config, 3)
    folder = Path(run_config["output-dir"])
    assert {p.name for p in folder.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "model.safetensors",
        "checkpoint.safetensors",
        "summary.json",
        "evaluation.json",
        "evaluation.csv",
        "events",
        "log.jsonl",
        "head.json",
        ".lock",
    }
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["algorithm"]["name"] == "fedavgm"
    assert config["task"]["training"]["num_steps"] == 3
    assert [line["round"] for line in reports_of(folder)] == [1, 2, 3, 4]
    assert [line["evaluated_round"] for line in reports_of(folder)] == [0, 1, 2, 3]
    summary = summary_of(folder)
    assert summary["status"] == "completed"
    assert summary["num_rounds"] == 4
    assert summary["metrics"] == outcome.metrics


def test_the_model_file_says_how_to_load_itself(run_config):
    outcome = simulate(run_config, 3)
    task, model = load_model(Path(run_config["output-dir"]) / "model.safetensors")
    sums = {"num_examples": 0.0, "accuracy": 0.0}
    for partition in range(3):
        scores = evaluate(task, model, task.load(DataSource(partition, 3)).test)
        sums = {name: sums[name] + scores[name] for name in sums}
    accuracy = sums["accuracy"] / sums["num_examples"]
    assert accuracy == pytest.approx(outcome.metrics["accuracy"])


def test_the_configuration_becomes_text_once_for_all_rounds(run_config, monkeypatch):
    texts: list[object] = []
    real = model_file.to_dict
    monkeypatch.setattr(model_file, "to_dict", lambda given: texts.append(given) or real(given))
    model_file._of_run.cache_clear()
    simulate(run_config, 3)
    # Of the task and of the algorithm.
    assert len(texts) == len({id(given) for given in texts}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "fedavgm", "fedadam", "fedyogi"])
@pytest.mark.parametrize("done", [0, 2])
def test_a_resumed_run_is_as_one_that_never_stopped(run_config, tmp_path, algorithm, done):
    run_config["algorithm"] = algorithm
    straight = simulate({**run_config, "output-dir": str(tmp_path / "straight")}, 3)
    run_until(run_config, done)
    assert len(reports_of(run_config["output-dir"])) == done
    again = simulate(resumed(run_config), 3)
    assert again.num_rounds == 4
    for name, array in straight.arrays.items():
        np.testing.assert_array_equal(again.arrays[name].numpy(), array.numpy())
    history = [
        [line["metrics"] for line in reports_of(tmp_path / n)] for n in ("straight", "run")
    ]
    assert history[0] == history[1]
    assert again.metrics == straight.metrics


def test_a_finished_run_can_go_on_for_more_rounds(run_config, tmp_path):
    long = {**run_config, "num-rounds": 6, "output-dir": str(tmp_path / "straight")}
    straight = simulate(long, 3)
    simulate(run_config, 3)
    again = simulate(resumed(run_config, **{"num-rounds": 6}), 3)
    np.testing.assert_array_equal(
        again.arrays["weight"].numpy(), straight.arrays["weight"].numpy()
    )
    # The folder says what the run is now.
    config = yaml.safe_load((Path(run_config["output-dir"]) / "config.yaml").read_text())
    assert config["num_rounds"] == 6


def test_a_checkpoint_of_another_versions_model_is_refused_before_a_node_is_asked(run_config):
    simulate(run_config, 3)
    folder = Path(run_config["output-dir"])
    file, log_file = folder / "checkpoint.safetensors", folder / "log.jsonl"
    number, state, kept = model_file.load_checkpoint(file)
    other = State({f"columns.{name}": array for name, array in state.arrays.items()})
    config = load_config(run_config)
    model_file.save_checkpoint(file, config, number, other, kept)
    before = log_file.read_bytes()
    with pytest.raises(ConfigError, match=r"resume-from=.* go on with the version that wrote"):
        simulate(resumed(run_config, **{"num-rounds": 6}), 3)
    assert log_file.read_bytes() == before


def test_every_summary_says_how_far_the_run_is(run_config):
    folder = Path(run_config["output-dir"])
    run_until(run_config, 2)
    failed = summary_of(folder)
    assert (failed["status"], failed["num_rounds"]) == ("failed", 2)
    assert failed["metrics"] == reports_of(folder)[-1]["metrics"]
    assert failed["evaluated_round"] == 1
    with RunFolder.resume(folder, load_config(resumed(run_config)))[0] as again:
        assert summary_of(folder)["status"] == "running"
        assert summary_of(folder)["num_rounds"] == 2
        again.fail("OSError: full")
    assert summary_of(folder)["metrics"] == failed["metrics"]


def test_a_run_that_ends_before_its_loop_is_told_as_failed(run_config, monkeypatch):
    """Its observers have not been told: the folder itself says so."""

    def die(*_):
        raise KilledError("no loop")

    monkeypatch.setattr(app.server, "RoundLoop", die)
    with pytest.raises(KilledError):
        simulate(run_config, 3)
    summary = summary_of(run_config["output-dir"])
    assert (summary["status"], summary["reason"]) == ("failed", "KilledError: no loop")


def test_a_folder_that_is_refused_is_left_as_it_was(run_config):
    simulate(run_config, 3)
    before = summary_of(run_config["output-dir"])
    with pytest.raises(RunFolderError, match="holds a run already"):
        simulate(run_config, 3)
    assert summary_of(run_config["output-dir"]) == before


def test_a_run_that_somebody_stopped_is_told_as_stopped(run_config):
    path = Path(run_config["output-dir"])
    with RunFolder.create(path, load_config(run_config), run_id=17) as folder:
        folder.stop()
        # What unwinds afterwards does not make a failure of it.
        folder.fail("SystemExit: 1")
    found = read_summary(path)
    assert (found["status"], found["run_id"]) == (summary.STOPPED, "17")
    assert "resume-from" in found["reason"]
    folder, _ = RunFolder.resume(path, load_config(run_config))
    with folder:
        assert summary_of(path)["status"] == "running"


def test_a_run_that_has_ended_cannot_be_stopped(run_config):
    simulate(run_config, 3)
    path = Path(run_config["output-dir"])
    folder, _ = RunFolder.resume(path, load_config({**run_config, "num-rounds": 5}))
    with folder:
        folder.fail("a reason")
        folder.stop()
    assert summary_of(path)["reason"] == "a reason"


def test_flower_is_asked_to_tell_the_folder_of_its_exit(run_config, monkeypatch):
    """Flower stops a run by an exit handler's call: in a simulation no exception tells."""
    stops = []

    class StopsInRoundTwo(Observer):
        def round_closed(self, closed):
            if closed.report.round == 2:
                [stop] = stops
                stop()
                raise SystemExit(1)

    with_exit = partial(app.server.run, at_exit=stops.append)
    monkeypatch.setattr(app.simulation.in_process, "run", with_exit)
    with pytest.raises(SystemExit):
        simulate(run_config, 3, observers=(StopsInRoundTwo(),))
    found = summary_of(run_config["output-dir"])
    assert (found["status"], found["num_rounds"]) == (summary.STOPPED, 2)


def test_a_full_disk_is_told_as_what_it_is(run_config, monkeypatch):
    """Room for the summary is made: the half of a model that did not fit goes."""
    path, real = Path(run_config["output-dir"]), os.fsync

    def full(handle):
        if Path(f"/proc/self/fd/{handle}").readlink().name == "model.partial":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        simulate(run_config, 3)
    monkeypatch.undo()
    found = read_summary(path)
    assert (found["status"], found["num_rounds"]) == ("failed", 0)
    assert "No space left" in found["reason"]
    assert not list(path.glob("*.partial"))


def test_a_run_that_goes_on_is_told_as_running(run_config):
    folder = Path(run_config["output-dir"])
    with RunFolder.create(folder, load_config(run_config)):
        assert read_summary(folder)["status"] == "running"


def test_a_folder_whose_run_died_at_its_start_can_be_used(run_config, monkeypatch):
    def die(_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(app.results.run_folder, "to_yaml", die)
        with pytest.raises(KilledError):
            simulate(run_config, 3)
    assert simulate(run_config, 3).num_rounds == 4


@pytest.mark.slow
def test_a_killed_process_keeps_its_rounds_and_its_folder_can_be_resumed(run_config):
    code = (
        "import sys, json; from app.simulation.in_process import simulate;"
        "simulate(json.loads(sys.argv[1]), 3)"
    )
    long = {**run_config, "num-rounds": 100000}
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(long)], cwd=ROOT)
    folder = Path(run_config["output-dir"])
    # To import everything takes a while where other tests run as well.
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if (folder / "metrics.jsonl").exists() and len(lines_if_whole(folder)) >= 3:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    num_kept = len(lines_if_whole(folder))
    assert num_kept >= 3
    assert summary_of(folder)["status"] == "running"
    # Nobody was left to write it: whoever reads it does.
    told = read_summary(folder)
    assert told["status"] == "failed"
    # The line of a round comes before its summary.
    assert num_kept - 1 <= told["num_rounds"] <= num_kept
    assert told["reason"].startswith("its process was killed")
    assert summary_of(folder) == told
    load_model(folder / "model.safetensors")
    again = simulate(resumed(run_config, **{"num-rounds": num_kept + 2}), 3)
    assert again.num_rounds == num_kept + 2


def lines_if_whole(folder):
    text = (folder / "metrics.jsonl").read_text()
    return text.splitlines()[: text.count("\n")]


def test_another_run_config_is_not_a_resume(run_config):
    simulate(run_config, 3)
    changed = resumed(run_config, overrides="task.training.num_steps=4")
    expected = r"task.training.num_steps was 3, now 4; give the run config of the run"
    with pytest.raises(RunFolderError, match=expected):
        simulate(changed, 3)
    another = resumed(run_config, task="digits")
    with pytest.raises(RunFolderError, match=r"task.name was 'breast_cancer', now 'digits'"):
        simulate(another, 3)
    with pytest.raises(RunFolderError, match=r"algorithm.name was 'fedavgm', now 'fedavg'"):
        simulate(resumed(run_config, algorithm="fedavg", overrides=run_config["overrides"]), 3)


def test_the_default_folder_is_named_after_the_run(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_path(load_config({}), run_id=42) == tmp_path / ".tacet" / "runs" / "42"


def test_no_run_is_overwritten(run_config):
    simulate(run_config, 3)
    # By its summary a caller tells a run that was done from one that was refused.
    before = summary_time(Path(run_config["output-dir"]))
    with pytest.raises(RunFolderError, match="holds a run already"):
        simulate(run_config, 3)
    with pytest.raises(RunFolderError, match="seed was 0, now 1"):
        simulate(resumed(run_config, seed=1), 3)
    assert summary_time(Path(run_config["output-dir"])) == before


def test_what_is_not_there_cannot_be_resumed(run_config, tmp_path):
    with pytest.raises(RunFolderError, match="there is no run"):
        simulate(resumed(run_config, **{"resume-from": str(tmp_path / "nothing")}), 3)


def test_a_shorter_run_than_was_done_is_refused(run_config):
    simulate(run_config, 3)
    with pytest.raises(RunFolderError, match="has 4 rounds already, num-rounds=2"):
        simulate(resumed(run_config, **{"num-rounds": 2}), 3)


def test_two_processes_cannot_write_one_run(run_config):
    config = load_config(run_config)
    path = Path(run_config["output-dir"])
    busy = pytest.raises(RunFolderError, match="another process is writing")
    with RunFolder.create(path, config), busy:
        RunFolder.resume(path, config)
    with RunFolder.resume(path, config)[0]:
        pass


def test_a_folder_that_cannot_be_made_is_a_clear_error(run_config, tmp_path):
    (tmp_path / "file").write_text("")
    config = {**run_config, "output-dir": str(tmp_path / "file" / "run")}
    with pytest.raises(RunFolderError, match="output-dir="):
        simulate(config, 3)


def test_a_job_whose_run_was_killed_ends_as_failed(tmp_path, monkeypatch, capsys):
    """Its container may only read the folder, so it takes the lock without writing."""

    def leave_what_a_killed_run_leaves(command):
        lines = Path(command[-1]).read_text().splitlines()
        folder = Path(lines[0].partition("=")[2].strip().strip('"'))
        folder.mkdir()
        (folder / ".lock").touch()
        (folder / "summary.json").write_text('{"status": "running"}')

    take_lock = summary.take_lock

    def reading(folder, *, is_reader=False):
        if not is_reader:
            raise PermissionError
        return take_lock(folder, is_reader=True)

    monkeypatch.setattr(job, "RUNS", tmp_path)
    monkeypatch.setattr(job.subprocess, "run", leave_what_a_killed_run_leaves)
    monkeypatch.setattr(summary, "take_lock", reading)
    assert job.run() == 1
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "failed"
    assert "its process was killed" in told["reason"]
