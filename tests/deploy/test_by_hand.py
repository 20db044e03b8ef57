"""The commands of docs/deployment.md, as they stand there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.results.model_file import load_model
from deploy.trial_home import ROOT
from tests.deploy.pages import run_page

PAGE = ROOT / "docs" / "deployment.md"


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Run the page once and return the folder, with what it printed in ``output``."""
    folder = tmp_path_factory.mktemp("trial")
    run_page(PAGE, folder, "TRIAL", 3)
    return folder


def test_the_page_ends_with_a_trained_model(trial):
    summary = json.loads((trial / "run" / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["num_rounds"] == 5
    load_model(trial / "run" / "model.safetensors")


def test_the_model_is_good(trial):
    task, model = load_model(trial / "run" / "model.safetensors")
    assert accuracy(task, model, trial / "north" / "records.csv") > 0.8


def accuracy(task, model, records: Path) -> float:
    import torch

    from tasks.base import DataSource

    data = task.load(DataSource(data_path=records))
    with torch.no_grad():
        outputs = model(torch.from_numpy(data.train.inputs))
    scores = task.per_example_metrics(outputs, torch.from_numpy(data.train.targets))
    return float(scores["accuracy"].mean())


def test_every_node_has_charged_what_the_report_says(trial):
    spent = json.loads((trial / "run" / "summary.json").read_text())["privacy"]
    assert spent["epsilon"] <= 3
    for hospital in ("north", "east", "south"):
        file = trial / f"{hospital}.json"
        state = trial / hospital / "state.sqlite"
        shown = ["ledger", "show", str(state), "--json", str(file)]
        subprocess.run([sys.executable, "-m", "app.cli.main", *shown], cwd=ROOT, check=True)
        assert json.loads(file.read_text())["epsilon"] == pytest.approx(spent["epsilon"])


def test_every_nodes_log_says_when_what_for_whom_and_what_is_left(trial):
    for hospital in ("north", "east", "south"):
        log = (trial / hospital / "node.log").read_text(errors="replace")
        run_id = json.loads((trial / "run" / "summary.json").read_text())["run_id"]
        moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
        assert re.search(rf"{moment} run {run_id}: node \d+ has answered train", log), log
        charged = re.findall(rf"{moment} run {run_id}: charged round (\d+): spent epsilon", log)
        assert charged[:5] == ["1", "2", "3", "4", "5"]


def test_nothing_went_wrong_in_any_log(trial):
    for name in ("superlink.log", "north/node.log", "east/node.log", "south/node.log"):
        text = (trial / name).read_text(errors="replace")
        assert "Traceback" not in text, text[-3000:]
        assert "no zygote" not in text
