"""Runs whose process is killed at any of its writes, and resumed: each is as its log says."""

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from app.results.history import RunFolderError
from app.results.verify import verify
from app.simulation.in_process import simulate
from tests.kits.killed_runs import resumed

RUN = {
    "task": "breast_cancer",
    "algorithm": "ebm",
    "aggregation": "plain",
    "num-rounds": 1,
    "deterministic": True,
    "overrides": "algorithm.max_bins=4",
}
_KILLED, _ENDED = 7, 0


def killed_at(run_config: dict, number: int) -> bool:
    """Run in a process that ends at a file's sync; return whether it came to that."""
    process = os.fork()
    if not process:
        left, sync = iter(range(number)), os.fsync

        def synced(file: int) -> None:
            sync(file)
            if next(left, None) is None:
                os._exit(_KILLED)

        os.fsync = synced
        try:
            simulate(run_config, 2)
        finally:
            os._exit(_ENDED)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == _KILLED


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    simulate({**RUN, "num-rounds": 2, "output-dir": str(folder)}, 2)
    return folder


def model_of(folder: Path) -> dict:
    with safe_open(folder / "model.safetensors", "numpy") as file:
        arrays = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
        return {**arrays, **file.metadata()}


@pytest.mark.slow
def test_a_run_that_was_killed_anywhere_and_resumed_is_as_its_log_says(tmp_path, whole):
    number = num_resumed = 0
    while killed_at(run_config := {**RUN, "output-dir": str(tmp_path / str(number))}, number):
        folder = tmp_path / str(number)
        if has_begun := (folder / "metrics.jsonl").exists():
            run_config = resumed(run_config)
        simulate({**run_config, "num-rounds": 2}, 2)
        num_resumed += has_begun
        assert "the run ended: completed" in verify(folder).lines, number
        assert model_of(folder) == model_of(whole), number
        lines = (folder / "log.jsonl").read_text().splitlines()
        rounds = [json.loads(line).get("round") for line in lines if '"closed"' in line]
        assert rounds == [1, 2], number
        number += 1
    assert num_resumed > 10


def test_a_run_that_was_killed_before_its_last_model_gets_it(tmp_path, whole):
    """And one of a version that wrote no log gets one."""
    folder = shutil.copytree(whole, tmp_path / "run")
    for name in ("model.safetensors", "log.jsonl", "head.json"):
        (folder / name).unlink()
    simulate(resumed({**RUN, "num-rounds": 2, "output-dir": str(folder)}), 2)
    assert model_of(folder) == model_of(whole)
    assert "metrics.jsonl: 2 rounds as they were logged" in verify(folder).lines


def test_a_log_that_was_damaged_is_named_when_the_run_is_resumed(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join([lines[0], "no entry\n", *lines[2:]]))
    with pytest.raises(RunFolderError, match="line 2: is no entry of a log; put the file back"):
        simulate(resumed({**RUN, "num-rounds": 2, "output-dir": str(folder)}), 2)
