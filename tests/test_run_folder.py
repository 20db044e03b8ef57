"""What a run leaves, and going on with it after it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import app.run_folder
from app.config import load_config
from app.in_process import make_clients, simulate
from app.model_file import ModelFileError, load_model
from app.run_folder import RunFolder, RunFolderError, folder_path
from app.simulation import summary_time
from tasks.base import Node
from tasks.training import evaluate

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run_config(tmp_path):
    return {
        "task": "breast_cancer",
        "algorithm": "fedavgm",
        "aggregation": "plain",
        "num-rounds": 4,
        "deterministic": True,
        "output-dir": str(tmp_path / "run"),
        "overrides": "task.training.num_steps=3",
    }


class KilledError(Exception):
    """Stands for a process that ends in the middle of a round."""


def run_until(run_config, num_rounds, num_nodes=3):
    """Run until the first client is asked for the round after ``num_rounds``."""
    clients = make_clients(run_config, num_nodes)
    first = clients[1000]

    def killer(message):
        if message.content["config"]["server-round"] > num_rounds:
            raise KilledError
        return first(message)

    with pytest.raises(KilledError):
        simulate(run_config, num_nodes, clients | {1000: killer})


def resumed(run_config, **changes):
    return {**run_config, "output-dir": "", "resume-from": run_config["output-dir"], **changes}


def summary_of(folder):
    return json.loads((Path(folder) / "summary.json").read_text())


def lines(folder):
    text = (Path(folder) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_finished_run_leaves_everything(run_config):
    outcome = simulate(run_config, 3)
    folder = Path(run_config["output-dir"])
    assert {p.name for p in folder.iterdir()} == {
        *("config.yaml", "metrics.jsonl", "model.safetensors", "checkpoint.safetensors"),
        *("summary.json", ".lock"),
    }
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["algorithm"]["name"] == "fedavgm"
    assert config["task"]["training"]["num_steps"] == 3
    assert [line["round"] for line in lines(folder)] == [1, 2, 3, 4]
    assert [line["evaluated_round"] for line in lines(folder)] == [0, 1, 2, 3]
    summary = summary_of(folder)
    assert summary["status"] == "completed"
    assert summary["num_rounds"] == 4
    assert summary["metrics"] == outcome.metrics


def test_the_model_file_says_how_to_load_itself(run_config):
    outcome = simulate(run_config, 3)
    task, model = load_model(Path(run_config["output-dir"]) / "model.safetensors")
    sums = {"num_examples": 0.0, "accuracy": 0.0}
    for partition in range(3):
        scores = evaluate(task, model, task.load(Node(partition, 3)).test)
        sums = {name: sums[name] + scores[name] for name in sums}
    accuracy = sums["accuracy"] / sums["num_examples"]
    assert accuracy == pytest.approx(outcome.metrics["accuracy"])


@pytest.mark.parametrize("algorithm", ["fedavg", "fedavgm", "fedadam", "fedyogi"])
@pytest.mark.parametrize("done", [0, 2])
def test_a_resumed_run_is_as_one_that_never_stopped(run_config, tmp_path, algorithm, done):
    run_config["algorithm"] = algorithm
    straight = simulate({**run_config, "output-dir": str(tmp_path / "straight")}, 3)
    run_until(run_config, done)
    assert len(lines(run_config["output-dir"])) == done
    again = simulate(resumed(run_config), 3)
    assert again.num_rounds == 4
    for name, array in straight.arrays.items():
        np.testing.assert_array_equal(again.arrays[name].numpy(), array.numpy())
    history = [[line["metrics"] for line in lines(tmp_path / n)] for n in ("straight", "run")]
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


def test_every_summary_says_how_far_the_run_is(run_config):
    folder = Path(run_config["output-dir"])
    run_until(run_config, 2)
    failed = summary_of(folder)
    assert (failed["status"], failed["num_rounds"]) == ("failed", 2)
    assert failed["metrics"] == lines(folder)[-1]["metrics"]
    assert failed["evaluated_round"] == 1
    with RunFolder.resume(folder, load_config(resumed(run_config)))[0] as again:
        assert summary_of(folder)["status"] == "running"
        assert summary_of(folder)["num_rounds"] == 2
        again.fail("OSError: full")
    assert summary_of(folder)["metrics"] == failed["metrics"]


def test_a_folder_whose_run_died_at_its_start_can_be_used(run_config, monkeypatch):
    def die(_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(app.run_folder, "to_yaml", die)
        with pytest.raises(KilledError):
            simulate(run_config, 3)
    assert simulate(run_config, 3).num_rounds == 4


def test_a_line_without_its_checkpoint_does_not_count(run_config):
    """Killed between the two writes, or in the middle of the line."""
    run_until(run_config, 2)
    folder = Path(run_config["output-dir"])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(lines(folder)[-1] | {"round": 3}) + "\n" + '{"round": 4, "se')
    simulate(resumed(run_config), 3)
    assert [line["round"] for line in lines(folder)] == [1, 2, 3, 4]


def refusal(run_config):
    """Return what a resume is refused with, which must leave the history alone."""
    metrics = Path(run_config["output-dir"]) / "metrics.jsonl"
    before = metrics.read_bytes()
    with pytest.raises((RunFolderError, ModelFileError)) as error:
        simulate(resumed(run_config), 3)
    assert metrics.read_bytes() == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_history_that_does_not_fit_the_checkpoint_is_refused(run_config):
    simulate(run_config, 3)
    metrics = Path(run_config["output-dir"]) / "metrics.jsonl"
    whole = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(whole[:1] + whole[2:]))
    assert "has the rounds [1, 3, 4], the checkpoint is of round 4" in refusal(run_config)
    metrics.write_text("")
    assert "has the rounds []" in refusal(run_config)
    for broken in ('{"round": 2, "se\n', "[]\n", "{}\n", '{"failures": []}\n'):
        metrics.write_text("".join([whole[0], broken, *whole[2:]]))
        assert f"line 2: {broken.rstrip()!r} is not the report of a round" in refusal(
            run_config
        )


def test_a_history_whose_checkpoint_is_gone_is_refused(run_config):
    simulate(run_config, 3)
    folder = Path(run_config["output-dir"])
    (folder / "checkpoint.safetensors").unlink()
    assert "checkpoint.safetensors is missing" in refusal(run_config)
    (folder / "model.safetensors").unlink()
    assert "checkpoint.safetensors is missing" in refusal(run_config)


def test_a_history_is_rewritten_whole_and_only_to_cut_it(run_config, monkeypatch):
    run_until(run_config, 2)
    folder = Path(run_config["output-dir"])
    metrics = folder / "metrics.jsonl"
    before = metrics.stat()
    RunFolder.resume(folder, load_config(resumed(run_config)))[0].__exit__()
    after = metrics.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    with metrics.open("a") as file:
        file.write('{"round": 3, "se')

    def die(self, target):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KilledError):
            RunFolder.resume(folder, load_config(resumed(run_config)))
    assert metrics.read_text().count("\n") == 2
    assert simulate(resumed(run_config), 3).num_rounds == 4


@pytest.mark.parametrize("content", [b"", b"[1]", b"a: [", b"\xff\xfe", None])
def test_a_damaged_configuration_is_a_clear_error(run_config, content):
    with RunFolder.create(Path(run_config["output-dir"]), load_config(run_config)):
        pass
    file = Path(run_config["output-dir"]) / "config.yaml"
    file.unlink() if content is None else file.write_bytes(content)
    assert "config.yaml" in refusal(run_config)


def test_a_killed_process_keeps_its_rounds_and_its_folder_can_be_resumed(run_config):
    code = (
        "import sys, json; from app.in_process import simulate;"
        "simulate(json.loads(sys.argv[1]), 3)"
    )
    long = {**run_config, "num-rounds": 100000}
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(long)], cwd=ROOT)
    folder = Path(run_config["output-dir"])
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (folder / "metrics.jsonl").exists() and len(lines_if_whole(folder)) >= 3:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    num_kept = len(lines_if_whole(folder))
    assert num_kept >= 3
    assert summary_of(folder)["status"] == "running"
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


def test_a_damaged_or_foreign_model_file_is_refused(run_config, tmp_path):
    simulate(run_config, 3)
    folder = Path(run_config["output-dir"])
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="cut"):
        load_model(tmp_path / "cut")
    (folder / "checkpoint.safetensors").write_bytes(whole[:-10])
    with pytest.raises(ModelFileError, match=r"checkpoint.safetensors"):
        simulate(resumed(run_config), 3)


@pytest.mark.parametrize(
    ("tensors", "metadata", "expected"),
    [
        ({}, {"format": "tacet-model-2"}, "format 'tacet-model-2' is not 'tacet-model-1'"),
        ({}, {"task": None}, "'task' is missing"),
        ({}, {"config": None}, "'config' is missing"),
        ({}, {"task": "tabular"}, "task 'tabular' is none of breast_cancer, csv"),
        ({}, {"config": "{"}, "Expecting property name"),
        ({}, {"config": "[1]"}, "{path}"),
        ({}, {"config": '{"modle": "mlp"}'}, "Key 'modle' not in"),
        ({}, {"config": '{"hidden": "many"}'}, "Value 'many'"),
        ({}, {"seed": "one"}, "invalid literal for int"),
        ({"more": np.zeros(1, np.float32)}, {}, r"differ in ['more']"),
        ({"weight": np.zeros((1, 2), np.float32)}, {}, "weight has shape (1, 2)"),
        ({"weight": np.zeros((1, 30), np.uint64)}, {}, "uint64"),
    ],
)
def test_whatever_is_wrong_in_a_model_file_is_one_line(
    model_file, tmp_path, tensors, metadata, expected
):
    own, own_metadata = model_file
    values = {k: v for k, v in (own_metadata | metadata).items() if v is not None}
    path = tmp_path / "given.safetensors"
    save_file(own | tensors, path, values)
    with pytest.raises(ModelFileError) as error:
        load_model(path)
    text = str(error.value)
    assert expected.format(path=path) in text
    assert text.startswith(f"{path}: ")
    assert text.endswith("; give the model.safetensors of a run folder")
    assert "\n" not in text


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Tensors and metadata of the model of a run."""
    path = tmp_path_factory.mktemp("model") / "run"
    simulate({"task": "breast_cancer", "num-rounds": 1, "output-dir": str(path)}, 3)
    with safe_open(path / "model.safetensors", "numpy") as file:
        return load_file(path / "model.safetensors"), file.metadata()


def test_model_and_checkpoint_are_not_taken_for_each_other(run_config):
    simulate(run_config, 3)
    folder = Path(run_config["output-dir"])
    checkpoint = folder / "checkpoint.safetensors"
    expected = "format 'tacet-checkpoint-1' is not 'tacet-model-1'; give the model.safetensors"
    with pytest.raises(ModelFileError, match=expected):
        load_model(checkpoint)
    checkpoint.write_bytes((folder / "model.safetensors").read_bytes())
    assert "is not 'tacet-checkpoint-1'; start a new run" in refusal(run_config)
