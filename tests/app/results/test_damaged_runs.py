"""Run folders with a damaged history, configuration, checkpoint or model: clear refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from app.config.load import load_config
from app.results.model_file import ModelFileError, load_checkpoint, load_model
from app.results.run_folder import RunFolder, RunFolderError
from app.simulation.in_process import simulate
from tests.kits.killed_runs import KilledError, plain_run, resumed, run_until
from tests.kits.traced import reports_of


@pytest.fixture
def run_config(tmp_path):
    return plain_run(tmp_path)


def test_a_line_without_its_checkpoint_does_not_count(run_config):
    """Killed between the two writes, or in the middle of the line."""
    run_until(run_config, 2)
    folder = Path(run_config["output-dir"])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps(reports_of(folder)[-1] | {"round": 3}) + "\n" + '{"round": 4, "se'
        )
    simulate(resumed(run_config), 3)
    assert [line["round"] for line in reports_of(folder)] == [1, 2, 3, 4]


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
        ({}, {"workload": "x"}, "workload 'x' is none of"),
        ({}, {"workload": "ebm"}, "not in 'EbmConfig'"),
        ({}, {"task": "tabular"}, "task 'tabular' is none of acrobot, adult"),
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"round": "-5"}, "is no round"),
        ({"round": "1_0"}, "is no round"),
        ({"round": "9" * 5000}, "is no round"),
        ({"order": '"w"'}, "is no list"),
        ({"order": '["v"]'}, "is missing"),
        ({"header": "null"}, "is no dict"),
        ({"header": "[" * 100_000 + "]" * 100_000}, "JSON"),
    ],
)
def test_a_checkpoint_with_other_metadata_is_refused(tmp_path, changes, words):
    metadata = {"format": "tacet-checkpoint-1", "order": '["w"]', "round": "1", "header": "{}"}
    file = tmp_path / "checkpoint.safetensors"
    tensors = {"model/w": np.zeros(2, np.float32)}
    file.write_bytes(save(tensors, metadata=metadata))
    assert load_checkpoint(file)[0] == 1
    file.write_bytes(save(tensors, metadata=metadata | changes))
    with pytest.raises(ModelFileError, match=words):
        load_checkpoint(file)
