"""Real runs through `flwr run`, on a SuperLink that the tests start and stop."""

import csv
import json
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from sklearn.datasets import load_breast_cancer

from app.results.html.page import write_page
from app.results.html.shown import number
from app.results.model_file import load_model
from app.results.summary import take_lock
from app.simulation.flwr_run import flwr_run, read_summary
from app.simulation.superlink import SUPERLINK_PID, SimulationError, descendants, superlink
from tests.kits.pages import page_in

# One process for all: a SuperLink is dear, and two at once would wait for each other's clients.
pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("end_to_end")]

CSV_COLUMNS = {
    "radius": "mean radius",
    "texture": "mean texture",
    "area": "mean area",
    "smoothness": "mean smoothness",
    "compactness": "mean compactness",
    "concavity": "mean concavity",
    "symmetry": "mean symmetry",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with superlink(tmp_path_factory.mktemp("flwr")) as environment:
        yield environment


@pytest.mark.slow
def test_a_run_trains_and_leaves_its_folder(environment, tmp_path):
    folder = tmp_path / "run"
    output = flwr_run(
        environment,
        'task="breast_cancer" algorithm="fedprox" aggregation="secagg" num-rounds=5'
        f' output-dir="{folder}" overrides="task.model=mlp"',
        num_clients=3,
    )
    summary = read_summary(folder)
    assert summary["num_rounds"] == 5
    assert summary["metrics"]["accuracy"] > 0.8  # 0.95 or so; 0.63 are benign
    assert f"run folder: {folder}" in output
    for server_round in range(1, 6):
        assert re.search(rf"round {server_round}/5 \| .* s \| 3 of 3 answered \|", output)
    load_model(folder / "model.safetensors")
    assert f"report: {folder / 'report.html'}" in output
    page = page_in(folder)
    assert page.tiles["Accuracy"][0] == number(summary["metrics"]["accuracy"])
    assert "can open single inputs" in page.text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_deterministic_runs_give_the_same_model(environment, tmp_path):
    """Also of three out of four clients, whose ids are drawn anew in each run."""
    models = []
    for name in ("one", "two"):
        flwr_run(
            environment,
            'task="breast_cancer" deterministic=true num-rounds=2'
            f' output-dir="{tmp_path / name}" overrides="rounds.cohort_fraction=0.7"',
            num_clients=4,
        )
        assert read_summary(tmp_path / name)["num_rounds"] == 2
        models.append(load_file(tmp_path / name / "model.safetensors"))
    assert models[0].keys() == models[1].keys()
    for name, values in models[0].items():
        assert values.tobytes() == models[1][name].tobytes()


@pytest.mark.slow
def test_a_misspelt_key_is_one_clear_line(environment, tmp_path):
    folder = tmp_path / "run"
    output = flwr_run(
        environment,
        f'task="breast_cancer" algorithm="fedprox" num-rounds=5 output-dir="{folder}"'
        ' overrides="task.modle=mlp"',
        num_clients=2,
    )
    told = [line for line in output.splitlines() if "task.modle" in line]
    assert len(told) == 1
    assert told[0].endswith(
        "task.modle is not a key of this configuration; did you mean task.model?"
    )
    assert "Traceback" not in output
    assert not folder.exists()
    with pytest.raises(SimulationError, match="left nothing"):
        read_summary(folder)


def write_hospital(path: Path, rows, names: list[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


@pytest.mark.slow
def test_csv_clients_train_and_one_with_a_wrong_column_is_left_out(environment, tmp_path):
    records = load_breast_cancer()
    all_names = list(records.feature_names)
    columns = records.data[:, [all_names.index(name) for name in CSV_COLUMNS.values()]]
    names = ["patient_id", *CSV_COLUMNS, "diagnosis"]
    for hospital in range(5):
        labels = np.where(records.target == 0, "malignant", "benign")[hospital::5]
        parts = zip(columns[hospital::5], labels, strict=True)
        rows = [[i, *row, label] for i, (row, label) in enumerate(parts)]
        wrong = ["radios" if name == "radius" and hospital == 4 else name for name in names]
        write_hospital(tmp_path / f"hospital{hospital}.csv", rows, wrong)
    entries = [{"data-path": f"hospital{hospital}.csv"} for hospital in range(5)]
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(entries))
    folder = tmp_path / "run"
    output = flwr_run(
        environment,
        f'task="csv_breast_cancer" num-rounds=5 output-dir="{folder}"'
        f' simulation-nodes="{tmp_path}/nodes.yaml"',
        num_clients=5,
    )
    summary = read_summary(folder)
    assert summary["metrics"]["accuracy"] > 0.85
    text = (folder / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["num_asked"], line["num_replies"]) for line in lines] == [
        (5, 4),
        *[(4, 4)] * 4,
    ]
    (left_out,) = re.findall(r"client (\d+) is left out of the run: data_refused", output)
    assert lines[0]["failures"] == {left_out: "data_refused"}
    page = page_in(folder)
    assert page.table("node", "reason").rows[0][:2] == ["node 1", "data_refused"]
    assert left_out not in page.html
    # The node's own log says what is wrong and where.
    assert f"{left_out} (partition 4) refuses" in output
    assert "hospital4.csv, line 1, column radius: it is missing" in output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_is_resumed(environment, tmp_path):
    folder = tmp_path / "run"
    run_config = 'task="breast_cancer" algorithm="fedavgm" num-rounds={}'
    endless = run_config.format(100000) + f' output-dir="{folder}"'
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_after_round, environment, folder, 2, over)
        try:
            with pytest.raises(SimulationError) as told:
                flwr_run(environment, endless, num_clients=3)
        finally:
            over.set()
    assert killed.result(), told.value
    num_kept = len((folder / "metrics.jsonl").read_text().splitlines())
    assert 2 <= num_kept < 100000, told.value
    with pytest.raises(SimulationError, match="failed: its process was killed"):
        read_summary(folder)
    write_page(folder)
    done = json.loads((folder / "summary.json").read_text())["num_rounds"]
    assert f"{done} of 100000 rounds" in page_in(folder).text
    assert "its process was killed" in page_in(folder).text
    num_rounds = num_kept + 3
    output = flwr_run(
        environment, run_config.format(num_rounds) + f' resume-from="{folder}"', num_clients=3
    )
    assert read_summary(folder)["num_rounds"] == num_rounds
    text = (folder / "metrics.jsonl").read_text()
    rounds = [json.loads(line)["round"] for line in text.splitlines()]
    assert rounds == list(range(1, num_rounds + 1))
    assert "resumed after round" in output
    assert f"{num_rounds} of {num_rounds} rounds" in page_in(folder).text


def kill_after_round(environment, folder: Path, num_rounds: int, over) -> list[int]:
    """Kill the ServerApp's process, and `flwr run`, when it has written so many rounds."""
    metrics = folder / "metrics.jsonl"
    end = time.monotonic() + 600
    while not (metrics.exists() and metrics.read_text().count("\n") >= num_rounds):
        if over.wait(0.02):
            return []
        if time.monotonic() > end:
            break
    found = descendants(int(environment[SUPERLINK_PID]), "flwr-simulation")
    # It would stream until the SuperLink misses the ServerApp, a minute later.
    for process in [*found, *descendants(os.getpid(), "bin/flwr run")]:
        os.kill(process, signal.SIGKILL)
    # The kernel takes its time over a large process, which keeps the folder's lock meanwhile.
    while (lock := take_lock(folder)) is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    lock.close()
    return found
