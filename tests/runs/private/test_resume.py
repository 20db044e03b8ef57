"""Private runs that are stopped and resumed: what is spent, the noise and the average go on."""

import json
import logging

import pytest
from safetensors.numpy import load_file

from app.builders.privacy import privacy_plan
from app.builders.step import learning_rate
from app.builders.workload import build_workload
from app.config.load import load_config
from app.results.history import RunFolderError
from app.results.run_folder import RunFolder
from app.simulation.in_process import simulate
from tests.kits.killed_runs import resumed
from tests.kits.private_kit import ADAPTIVE, Nodes, planned_epsilon, run_config_of, sent_by
from tests.kits.traced import Traced, reports_of


def stop_after(monkeypatch, rounds: int) -> None:
    """Let the run be interrupted when so many rounds are kept."""
    keep = RunFolder.write_round

    def write(self, closed):
        keep(self, closed)
        if closed.report.round == rounds:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_round", write)


def test_a_resumed_run_goes_on_where_its_report_stood(tmp_path, monkeypatch):
    nodes = Nodes(tmp_path, 4)
    free = f"{ADAPTIVE} privacy.metrics.every=2 privacy.metrics.noise_multiplier=0.02"
    keys = {"num_rounds": 4, "simulation_nodes": str(nodes.file)}
    run_config = run_config_of(tmp_path, "client_local", "plain", free, **keys)
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            Traced(run_config, 4)
    folder = tmp_path / "run"
    before = reports_of(folder)
    norms = []

    def fault(message, real):
        norms.append(message.content["config"].get("clip-norm"))
        return real(message)

    again = resumed(run_config)
    traced = Traced(again, 4, fault)
    reports = reports_of(folder)
    assert reports[:2] == before
    assert norms[:4] == [before[1]["privacy"]["clip_norm"]] * 4
    assert [r["privacy"]["num_updates"] for r in reports] == [1, 2, 3, 4]
    assert [r["privacy"]["num_metrics"] for r in reports] == [0, 1, 1, 2]
    spent = [r["privacy"]["epsilon"] for r in reports]
    assert spent == sorted(set(spent))
    summary = json.loads((folder / "summary.json").read_text())["privacy"]
    assert (summary["num_updates"], summary["num_metrics"]) == (4, 3)
    expected = planned_epsilon(traced.plan())
    assert summary["epsilon"] == pytest.approx(expected, rel=0, abs=1e-9)
    for node in range(4):
        assert nodes.spent(node).num_charges == 5
        assert nodes.spent(node).epsilon == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize(
    ("given", "is_refused"), [("epsilon=20", True), ("noise_multiplier=2", False)]
)
def test_calibrated_noise_is_for_its_own_number_of_rounds(tmp_path, given, is_refused):
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    text = run_config["overrides"].replace("noise_multiplier=2", given)
    run_config["overrides"] = text
    Traced(run_config, 4)
    more = resumed(run_config, **{"num-rounds": 2})
    if is_refused:
        assert sent_by(more, 4, RunFolderError, "num_rounds was 1, now 2") == []
    else:
        simulate(more, 4)
        assert reports_of(tmp_path / "run")[-1]["privacy"]["num_updates"] == 2


@pytest.mark.parametrize(
    ("free", "is_refused"),
    [
        ("rounds.cohort_fraction=0.8", True),
        ("rounds.min_replies=3", True),
        ("rounds.min_clients=3 rounds.max_attempts=7 rounds.deadline_seconds=50", False),
    ],
)
def test_past_rounds_are_not_accounted_for_as_if_other_cohorts_had_been_drawn(
    tmp_path, free, is_refused
):
    """ "Model only" counts on how cohorts were drawn, in every round alike."""
    run_config = run_config_of(tmp_path, "client_central", "plain", num_rounds=1)
    Traced(run_config, 4)
    more = resumed(run_config, **{"num-rounds": 2})
    more["overrides"] += f" {free}"
    if is_refused:
        key = free.partition("=")[0]
        assert sent_by(more, 4, RunFolderError, f"{key} was") == []
    else:
        simulate(more, 4)


def test_without_privacy_rounds_may_be_drawn_otherwise(tmp_path):
    run_config = {"task": "breast_cancer", "num-rounds": 1, "output-dir": str(tmp_path / "run")}
    simulate(run_config, 4)
    more = resumed(run_config, **{"num-rounds": 2, "overrides": "rounds.cohort_fraction=0.6"})
    assert simulate(more, 4).num_rounds == 2


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_steps_of_its_first_part(tmp_path, caplog):
    """Of another number of rounds another step would follow."""
    logging.getLogger("flwr").addHandler(caplog.handler)
    free = "algorithm.average_from=2"
    run_config = run_config_of(tmp_path, "example_central", "plain", free, num_rounds=2)
    noisy = run_config["overrides"].replace("noise_multiplier=2", "noise_multiplier=400")
    run_config["overrides"] = noisy
    Traced(run_config, 4)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    rate = summary["learning_rate"]
    assert rate > 0
    caplog.clear()
    more = resumed(run_config, **{"num-rounds": 5})
    config = load_config(more)
    workload = build_workload(config)
    length = workload.length(workload.initial_state())
    assert learning_rate(config, privacy_plan(config, workload, length)) < 0.9 * rate
    simulate(more, 4)
    assert f"each step has the learning rate {rate:.4g}" in caplog.text
    again = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert again["learning_rate"] == rate


def test_a_step_that_cannot_be_read_is_named(tmp_path):
    run_config = run_config_of(tmp_path, "example_central", "plain", num_rounds=1)
    Traced(run_config, 4)
    file = tmp_path / "run" / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"learning_rate": "fast"}))
    more = resumed(run_config, **{"num-rounds": 2})
    assert sent_by(more, 4, RunFolderError, "learning_rate='fast' is no positive number") == []


@pytest.mark.parametrize("stop", [1, 3])
def test_the_average_of_models_is_the_same_bit_for_bit(tmp_path, monkeypatch, stop):
    """Without privacy, where runs repeat; averaging begins with round 2."""
    run_config = {
        "task": "breast_cancer",
        "algorithm": "fedavgm",
        "aggregation": "plain",
        "num-rounds": 4,
        "deterministic": True,
        "output-dir": str(tmp_path / "whole"),
        "overrides": "task.training.num_steps=2 algorithm.average_from=2",
    }
    whole = simulate(run_config, 3)
    parts = run_config | {"output-dir": str(tmp_path / "parts")}
    with monkeypatch.context() as patched:
        stop_after(patched, stop)
        with pytest.raises(KeyboardInterrupt):
            simulate(parts, 3)
    rest = simulate(resumed(parts), 3)
    for name in whole.arrays:
        assert whole.arrays[name].numpy().tobytes() == rest.arrays[name].numpy().tobytes()
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "parts")]
    models = [load_file(file) for file in files]
    assert models[0].keys() == models[1].keys()
    assert all(models[0][n].tobytes() == models[1][n].tobytes() for n in models[0])
    assert whole.metrics == rest.metrics
