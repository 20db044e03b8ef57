"""docs/using-a-model.md, docs/python.md and docs/tour.ipynb do what they say, as they stand."""

import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.cli.main import main
from app.config.load import load_config
from app.config.pairs import parse_pairs
from app.simulation.in_process import simulate
from tests import ROOT
from tests.kits import backbones

DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [text for kind, text in found if kind == language]


def environment(folder: Path) -> dict[str, str]:
    """Return one in which this tree is what is imported, and a home of its own."""
    commands = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    more = {"HOME": str(folder), "PATH": commands, "PYTHONPATH": str(ROOT)}
    return {**os.environ, **more, "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1"}


def done(folder: Path, *command: str) -> str:
    """Run a command in a folder; return what it prints."""
    found = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def script(folder: Path, code: list[str]) -> str:
    """Run blocks of code one after another, in one program."""
    (folder / "script.py").write_text("\n".join(code))
    return done(folder, sys.executable, "-W", "error::SyntaxWarning", "script.py")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_commands_lead_from_files_to_predictions(tmp_path):
    page = (DOCS / "using-a-model.md").read_text()
    make_files, _ = blocks(page, "python")
    script(tmp_path, [make_files])
    tool = tmp_path / "bin" / "tacet"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m app.cli.main "$@"\n')
    tool.chmod(0o755)
    commands = blocks(page, "bash")
    (three,) = (one for one in commands if "python -m app.simulation" in one)
    (export,) = (one for one in commands if "tacet export my-run" in one)
    assert len(three.splitlines()) == 3
    said = done(tmp_path, "bash", "-e", "-c", three).splitlines()
    # As the page shows it, but for the figures of a random order of batches.
    due = next(block for block in blocks(page, "") if block.startswith("new.csv")).splitlines()
    assert said[-3:-1] == due[:2]
    number = re.compile(r"\d\.\d{4}")
    assert number.sub("x", said[-1]) == number.sub("x", due[2])
    (accuracy, *_) = number.findall(said[-1])
    assert float(accuracy) > 0.8
    with (tmp_path / "predictions.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 49
    assert [*found[0]][-3:] == ["prediction", "probability_benign", "probability_malignant"]
    done(tmp_path, "bash", "-e", "-c", export)
    for name in ("model.onnx", "model.pt", "plain.safetensors"):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.slow
def test_smaller_files_have_the_sizes_and_nearly_the_accuracy(tmp_path, monkeypatch, capsys):
    """As the page has it, with digits in place of MNIST, which is no part of this project."""
    page = (DOCS / "using-a-model.md").read_text()
    _, measure = blocks(page, "python")
    (commands,) = (one for one in blocks(page, "bash") if "mnist-run" in one)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = {"task": "digits", "num-rounds": 3, "deterministic": True}
    simulate({**config, "output-dir": str(tmp_path / "mnist-run")}, 3)
    for command in commands.splitlines():
        _, *words = shlex.split(command.replace("~/", f"{tmp_path}/"))
        assert main(words) == 0, capsys.readouterr().err
    capsys.readouterr()
    exec(measure, {})
    found = {
        name: float(accuracy)
        for name, accuracy in (line.split() for line in capsys.readouterr().out.splitlines())
    }
    assert [*found] == ["whole", "int8", "half", "both"]
    assert found["whole"] > 0.8
    assert found["int8"] > found["whole"] - 0.02
    assert min(found.values()) > found["whole"] - 0.05
    sizes = {name: (tmp_path / f"{name}.onnx").stat().st_size for name in found}
    assert sizes["both"] == sizes["int8"] < 0.3 * sizes["whole"]
    assert sizes["half"] == sizes["whole"]


def test_a_model_is_shared_and_begun_with_as_the_page_says(tmp_path, monkeypatch, capsys):
    page = (DOCS / "using-a-model.md").read_text()
    make_files, _ = blocks(page, "python")
    commands = blocks(page, "bash")
    (begin,) = (one for one in commands if "initial-model" in one)
    (share,) = (one for one in commands if "tacet models" in one)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    exec(make_files, {})
    quick = {"simulation-nodes": str(tmp_path / "nodes.yaml"), "num-rounds": 1}
    quick |= {"task": "csv_breast_cancer", "overrides": "task.training.num_steps=1"}
    first = tmp_path / ".tacet" / "runs" / "123"
    simulate({**quick, "output-dir": str(first)}, 3)
    for command in share.splitlines():
        here = command.replace("~/", f"{tmp_path}/").replace("/mnt/", f"{tmp_path}/")
        _, *words = shlex.split(here)
        assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "ok  heart-risk:1 is signed by coordinator.key.pub" in said
    assert "new.csv: 49 rows" in said
    # The page's own keys; what it leaves out is how much noise and for how many.
    *_, given = shlex.split(begin.replace("/home/me", str(tmp_path)))
    config = parse_pairs(given.removesuffix(" ..."))
    assert [*config] == ["initial-model", "output-dir", "privacy"]
    noise = "aggregation.min_survivors=3 privacy.noise_multiplier=2 privacy.delta=1e-4"
    counts = "privacy.population=3 privacy.sampling_rate=1 privacy.expected_batch_size=100"
    more = {"overrides": f"{noise} {counts}", "aggregation": "secagg"}
    simulate({**quick, **config, **more}, 3)
    record = json.loads((tmp_path / "second" / "initial-model.json").read_text())
    assert record["path"] == config["initial-model"]
    summary = json.loads((tmp_path / "second" / "summary.json").read_text())
    assert "had no differential privacy" in summary["initial_model"]["no_sum_because"]


def test_the_command_for_adapters_names_their_base(tmp_path):
    commands = blocks((DOCS / "using-a-model.md").read_text(), "bash")
    (command,) = (one for one in commands if "task.adapters" in one)
    base = tmp_path / ".tacet" / "runs" / "123" / "model.safetensors"
    base.parent.mkdir(parents=True)
    base.write_bytes(b"any file")
    shell = f'HOME="{tmp_path}"; flwr() {{ printf %s "${{@: -1}}"; }}; {command}'
    given = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    config = load_config(parse_pairs(given.stdout.removesuffix(" ...")))
    assert config.task.adapters.rank == 64
    assert config.task.adapters.base == str(base)
    assert config.task.adapters.sha256 == hashlib.sha256(b"any file").hexdigest()


@pytest.mark.slow
def test_folders_of_images_lead_to_predictions(tmp_path, monkeypatch, capsys):
    page = (DOCS / "your-own-images.md").read_text()
    (keys,), (draw,) = (blocks(page, kind) for kind in ("yaml", "python"))
    commands, _, on_top = blocks(page, "bash")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "task" / "shapes.yaml").write_text(keys)
    monkeypatch.setattr("app.config.load.CONF_DIR", tmp_path / "conf")
    exec(draw, {})
    check, train, predict = commands.replace("$PWD", str(tmp_path)).splitlines()
    assert main(shlex.split(check)[1:]) == 0
    (due,) = blocks(page, "")
    assert capsys.readouterr().out == due
    *_, given = shlex.split(train)
    simulate(parse_pairs(given), 3)
    capsys.readouterr()
    assert main(shlex.split(predict)[1:]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "images/new: 40 files, 40 images"
    accuracy = re.search(r"scored by the label of 40 rows: accuracy (\d\.\d+)", said[-1])
    assert accuracy
    assert float(accuracy[1]) > 0.9
    with (tmp_path / "predictions.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [*found[0]] == ["file", "prediction", "probability_disc", "probability_ring"]
    assert found[0]["file"] == "disc/0.png"
    # In place of the file that torchvision would have downloaded, and on small images.
    torch.save(backbones.made_up(), tmp_path / "resnet18.pth")
    train, predict = on_top.replace("task.side=224", "task.side=32").splitlines()
    shell = f'cd "{tmp_path}"; python() {{ printf %s "${{@: -1}}"; }}; {train}'
    given = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    simulate(parse_pairs(given.stdout), 3)
    assert main(shlex.split(predict)[1:]) == 0
    said = capsys.readouterr().out
    assert "scored by the label of 40 rows" in said
    assert (tmp_path / "predictions-by-backbone.csv").exists()


@pytest.mark.slow
def test_every_block_of_python_works(tmp_path):
    code = blocks((DOCS / "python.md").read_text(), "python")
    said = script(tmp_path, code).splitlines()
    assert said[0].startswith("{'auc': ") or said[0].startswith("{'loss': ")
    assert any("epsilon" in line for line in said)
    assert any(line.startswith("(Intercept)") for line in said)
    assert any(line.startswith("{'accuracy': ") for line in said)


@pytest.mark.slow
def test_every_cell_of_the_tour_works(tmp_path):
    tour = json.loads((DOCS / "tour.ipynb").read_text())
    cells = [one for one in tour["cells"] if one["cell_type"] == "code"]
    # Outputs are whoever's who runs it.
    assert all(not one["outputs"] and one["execution_count"] is None for one in cells)
    said = script(tmp_path, ["".join(one["source"]) for one in cells])
    assert said.count("in truth") == 5
    assert "last model:" in said
    assert "epsilon" in said
