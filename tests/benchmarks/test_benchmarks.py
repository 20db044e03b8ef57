import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from app.builders.workload import build_task, build_workload
from app.config.load import load_config
from app.node.admission import admit
from app.node.policy import load_policy
from app.node.session import NodeSession
from app.node.settings import NodeSettings
from benchmarks import (
    deployment,
    flamby_heart,
    flower_fedavg,
    large_model,
    process_tree,
    report,
    round_trip,
    training_floor,
)
from deploy.trial_home import TrialHome
from tasks.base import DataSource
from tasks.heart import HOSPITALS
from tests import ROOT


def run_flamby(folder: Path, json_file: Path, *more: str) -> int:
    options = ["--data-dir", str(folder), "--rounds", "1", "--json", str(json_file)]
    return flamby_heart.main([*options, *(more or ("--seeds", "42"))])


def check_table_against_json(text: str, figures) -> None:
    """Check that each row of the JSON stands in the table as it would be rounded."""
    lines = text.splitlines()[2:]
    for row, line in zip(figures["rows"], lines, strict=False):
        assert line.startswith(row["system"])
        assert row["settings"] in line
        assert f"  {row['mean']:.3f}" in line
        for hospital in HOSPITALS:
            assert f" {row['hospitals'][hospital]:.3f}" in line


def test_flamby_prints_what_it_writes(made_up_hospitals, tmp_path, capsys):
    json_file = tmp_path / "new" / "figures.json"
    status = run_flamby(made_up_hospitals, json_file)
    figures = json.loads(json_file.read_text())
    check_table_against_json(capsys.readouterr().out, figures)
    assert status == (0 if figures["within_published_spread"] else 1)
    assert figures["seeds"] == [42]
    published = [row["system"] for row in figures["rows"] if "published" in row["system"]]
    ours = [row for row in figures["rows"] if row["system"] == "Tacet, FedAvg"]
    assert len(published) == 2
    assert [row["settings"] for row in ours] == [
        "flamby, sgd 0.001, 1 rounds x 100 steps, batch 4",
        "public_bounds, sgd 0.05, 1 rounds x 100 steps, batch 4",
    ]
    for row in ours:
        assert row["deviation"] is None
        assert row["mean"] == pytest.approx(np.mean(list(row["hospitals"].values())))
    # The made-up label is plain to see.
    assert ours[1]["mean"] > 0.8


def test_flamby_scores_real_hospitals_with_a_spread(data_dir, tmp_path, capsys):
    json_file = tmp_path / "figures.json"
    run_flamby(data_dir / "heart", json_file, "--seeds", "42", "43")
    figures = json.loads(json_file.read_text())
    text = capsys.readouterr().out
    check_table_against_json(text, figures)
    for row in figures["rows"]:
        assert f"{row['mean']:.3f} +- {row['deviation']:.3f}" in text
    # Held-out patients of Cleveland, Hungary, Switzerland, Long Beach: FLamby's split.
    for name, size in zip(HOSPITALS, (104, 89, 16, 45), strict=True):
        one_seed_hits = figures["rows"][3]["hospitals"][name] * 2 * size
        assert one_seed_hits == pytest.approx(round(one_seed_hits), abs=1e-6)


def test_the_published_spread_is_a_bound_on_both_sides():
    def at(mean: float) -> bool:
        row = flamby_heart.Row("x", "y", mean, None, {})
        return flamby_heart.is_within_published_spread(row)

    assert at(0.658)
    assert at(0.712)
    assert not at(0.656)
    assert not at(0.714)


def test_missing_data_is_one_clear_line(tmp_path, capsys):
    status = run_flamby(tmp_path / "nowhere", tmp_path / "figures.json")
    assert status == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{tmp_path}/nowhere" in error
    assert not (tmp_path / "figures.json").exists()


def test_a_round_trip_row_leaves_the_first_round_out():
    seconds, cpu = [9.0, 0.5, 0.7, 0.4], [3.0, 1.0, 1.5]
    row = round_trip.Row("plain", 5, seconds, 0.25, 2.0, cpu, flower_cpu=6.0)
    figures = row.figures()
    assert (figures["first_round"], figures["median_round"]) == (9.0, 0.5)
    assert (figures["training_share"], figures["times_floor"]) == (0.5, 2.0)
    assert figures["times_flower"] == figures["times_flower_cpu"] == 0.25
    cells = ["plain", "5", "9.000", "0.500", "0.250", "50%", "2.0", "0.25", "1.50", "0.25"]
    assert row.cells() == cells
    assert len(row.cells()) == len(round_trip.HEADERS)


def test_round_trip_prints_what_it_writes(monkeypatch, tmp_path, capsys):
    def rounds(environment, run_config, num_clients, num_rounds, *, idle):
        if run_config is None:
            times = 0.5 if idle else 1.0
            return (
                [9.0] + [0.2 * times * num_clients] * (num_rounds - 1),
                [2.0 * times] * (num_rounds - 1),
            )
        assert run_config["task"] == "digits"
        return [3.0] + [0.1 * num_clients] * (num_rounds - 1), [3.0] * (num_rounds - 1)

    class NoSuperLink:
        def __init__(self, home):
            pass

        def __enter__(self):
            return {}

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(round_trip, "superlink", NoSuperLink)
    monkeypatch.setattr(round_trip, "measure_rounds", rounds)
    monkeypatch.setattr(training_floor, "_REPEATS", 2)
    json_file = tmp_path / "figures.json"
    options = ["--clients", "2", "4", "--rounds", "3", "--json", str(json_file)]
    options += ["--passes", "2"]
    assert round_trip.main(options) == 0
    figures = json.loads(json_file.read_text())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "system"
    assert [row["clients"] for row in figures["rows"]] == [2] * 5 + [4] * 5
    assert [row["system"] for row in figures["rows"][:5]] == [
        *("flower", "idle", "plain", "secagg", "hybrid")
    ]
    assert [row["times_flower"] for row in figures["rows"][:3]] == [1.0, 0.5, 0.5]
    assert [row["times_flower_cpu"] for row in figures["rows"][:3]] == [1.0, 0.5, 1.5]
    names = [one.name for one in dataclasses.fields(round_trip.Row)]
    for row, line in zip(figures["rows"], lines[2:], strict=False):
        assert row["floor"] > 0
        assert len(row["seconds"]) == 5
        assert line.split() == round_trip.Row(**{name: row[name] for name in names}).cells()


def test_the_floor_is_shared_by_the_workers_that_have_a_client(monkeypatch):
    # Each call of the clock is a second later, so each client takes exactly one.
    ticks = iter(range(10**6))
    monkeypatch.setattr(training_floor.time, "process_time", lambda: float(next(ticks)))
    config = load_config(round_trip.TRAINING)
    assert training_floor.measure_floor(config, num_clients=4, workers=2, repeats=2) == 2.0
    assert training_floor.measure_floor(config, num_clients=4, workers=16, repeats=2) == 1.0


@pytest.mark.parametrize("num_clients", [50, 1000])
def test_flowers_own_app_trains_the_same(num_clients):
    ours = build_task(load_config(round_trip.training(num_clients)))
    theirs = flower_fedavg.build_task(num_clients)
    assert (type(theirs), theirs.config, theirs.seed) == (type(ours), ours.config, ours.seed)


def test_every_one_of_a_thousand_clients_has_a_record_to_train_on():
    task = flower_fedavg.build_task(1000)
    parts = [task.load(DataSource(number, 1000)) for number in range(0, 1000, 7)]
    assert min(len(part.train) for part in parts) >= 1


def test_the_cpu_of_a_round_is_that_of_the_process_and_all_below_it(tmp_path):
    lines = tmp_path / "lines"
    busy = "import time\nwhile time.process_time() < 0.6: pass"
    with process_tree.TreeWatch(os.getpid(), lines) as watch:
        for _ in range(2):
            with lines.open("a") as file:
                file.write("{}\n")
            time.sleep(0.5)
            subprocess.run([sys.executable, "-c", busy], check=True)
    assert len(watch.rounds()) == 1
    assert 0.5 < watch.rounds()[0] < 5
    assert watch.peak_bytes > 10**7


def test_a_large_model_has_about_the_parameters_that_are_asked_for():
    config = load_config(large_model.run_config(100_000))
    workload = build_workload(config)
    length = workload.length(workload.initial_state())
    assert length == 100_000 // 32 * 32 + 1


@pytest.mark.slow
def test_a_large_models_own_work_stands_beside_its_training(tmp_path, capsys):
    file = tmp_path / "figures.json"
    options = ["--in-process", "--parameters", "3200", "--clients", "3", "--json", str(file)]
    assert large_model.main(options) == 0
    figures = json.loads(file.read_text())
    cpu = sorted(figures["cpu"])
    assert len(cpu) == 2
    assert 0 < figures["training"] < cpu[1]
    own = (sum(cpu) / 2 - figures["training"]) / figures["training"]
    assert figures["own_by_training"] == pytest.approx(own)
    assert capsys.readouterr().out.splitlines()[2].split()[-1] == f"{own:.2f}"


@pytest.mark.parametrize("option", [["--rounds", "1"], ["--clients", "1"]])
def test_round_trip_refuses_what_it_cannot_measure(option, capsys):
    with pytest.raises(SystemExit):
        round_trip.main(option)
    assert "must be at least 2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flamby_heart", "round_trip", "secagg"])
def test_help_says_what_it_does(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--json FILE" in run.stdout
    assert len(run.stdout.splitlines()) > 10
    if name != "round_trip":
        assert "exit status" in run.stdout


def test_a_table_is_aligned():
    text = report.table(["name", "n"], [["a", "1"], ["longer", "100"]])
    assert text.splitlines() == ["name      n", "------  ---", "a         1", "longer  100"]


@pytest.mark.parametrize("system", deployment.SYSTEMS)
def test_the_policies_of_the_deployed_nodes_allow_every_system(system, tmp_path):
    trial = TrialHome(
        tmp_path,
        1,
        max_epsilon=deployment.MAX_EPSILON,
        min_survivors=deployment.MIN_SURVIVORS,
    )
    trial.node_home(0).mkdir()
    trial.write_policy(0, "ab" * 32)
    policy = trial.node_home(0) / "policy.yaml"
    policy.chmod(0o600)
    overrides = deployment.SYSTEMS[system].format(peers=trial.home / "peers")
    config = load_config({"task": "digits", "overrides": overrides})
    settings = NodeSettings(policy=load_policy(policy), simulated=True)
    admit(NodeSession(Context(1, 7, {}, RecordDict(), {}), config, settings))
