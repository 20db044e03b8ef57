"""Every option of privacy over every legal aggregation: what is planned, spent and reported."""

import json
import logging
import math
import re

import pytest
from safetensors.numpy import load_file
from torch import nn

import app.private_handlers
from app.config import ConfigError, load_config
from app.history import RunFolderError
from app.in_process import simulate
from app.planning import plan_run
from app.run_folder import RunFolder
from strategies.base import RunStoppedError
from strategies.secure_settings import SecAggSettings
from tasks.breast_cancer import BreastCancer
from tests.private_kit import (
    DELTA,
    MATRIX,
    Nodes,
    Traced,
    kind_of,
    planned_epsilon,
    reports_of,
    run_config_of,
)

TOLD = {"epsilon", "epsilon_model_only", "delta", "unit", "neighbours", "accountant"}

ADAPTIVE = "privacy.adaptive_clip.bit_noise=5"
METRICS = "privacy.metrics.every=2 privacy.metrics.noise_multiplier=3"
# Four clients count for four: with more noise the count is often below zero, and no metric.
CLIENT_METRICS = "privacy.metrics.every=2 privacy.metrics.noise_multiplier=0.02"


def run_with_ledgers(tmp_path, option, aggregation, free="", number=4, fault=None, **keys):
    nodes = Nodes(tmp_path, number)
    keys = {"simulation_nodes": str(nodes.file), "population": number, **keys}
    run_config = run_config_of(tmp_path, option, aggregation, free, **keys)
    traced = Traced(run_config, number, *([fault] if fault else []))
    return traced, nodes


def check_agreement(traced, nodes, num_charges):
    """Plan, server and every node's own ledger say the same, to the last digit that counts."""
    plan, summary = traced.plan(), traced.summary()
    told = summary["privacy"]
    expected = planned_epsilon(plan)
    assert told["epsilon"] == pytest.approx(expected, rel=0, abs=1e-9)
    assert told["epsilon_model_only"] == pytest.approx(
        plan.adversaries[0].epsilon, rel=0, abs=1e-9
    )
    assert traced.outcome.privacy == told
    for node in range(nodes.number):
        spent = nodes.spent(node)
        assert spent.epsilon == pytest.approx(expected, rel=0, abs=1e-9)
        assert spent.num_charges == num_charges
        assert (spent.unit, spent.neighbours) == (told["unit"], told["neighbours"])
    assert traced.grid.num_trips == plan.num_trips


@pytest.mark.parametrize(("option", "aggregation"), MATRIX)
def test_three_rounds_cost_what_was_planned_and_every_report_says_it(
    tmp_path, option, aggregation
):
    traced, nodes = run_with_ledgers(tmp_path, option, aggregation)
    check_agreement(traced, nodes, num_charges=3)
    reports = traced.reports()
    unit, _, place = option.partition("_")
    for number, report in enumerate(reports, start=1):
        told = report["privacy"]
        assert told.keys() >= TOLD
        assert (told["delta"], told["unit"]) == (DELTA, unit)
        assert (told["num_updates"], told["num_metrics"]) == (number, 0)
        # Nothing of it was paid for.
        assert (report["train_loss"], report["metrics"]) == (None, {})
        assert "num_examples" not in json.dumps(report)
    spent = [report["privacy"]["epsilon"] for report in reports]
    assert 0 < spent[0] < spent[1] < spent[2]
    assert traced.summary()["privacy"] == reports[-1]["privacy"]
    assert traced.summary()["metrics"] == {}
    model_only = reports[-1]["privacy"]["epsilon_model_only"]
    assert (model_only < spent[2]) == (place == "distributed")
    assert "evaluate" not in {kind_of(message) for message, _ in traced.messages}


RICH = [
    ("example_distributed", "secagg", METRICS),
    ("example_central", "plain", METRICS),
    ("example_local", "secagg", METRICS),
    ("client_distributed", "secagg", f"{CLIENT_METRICS} {ADAPTIVE}"),
    ("client_central", "secagg", f"{CLIENT_METRICS} {ADAPTIVE}"),
    ("client_local", "plain", f"{CLIENT_METRICS} {ADAPTIVE}"),
]


@pytest.mark.parametrize(
    ("option", "aggregation", "free"), RICH, ids=[option for option, *_ in RICH]
)
def test_metrics_and_clip_bits_are_planned_charged_and_reported(
    tmp_path, option, aggregation, free
):
    traced, nodes = run_with_ledgers(tmp_path, option, aggregation, free)
    # Three updates and the last evaluation.
    check_agreement(traced, nodes, num_charges=4)
    reports, summary = traced.reports(), traced.summary()
    assert [bool(report["metrics"]) for report in reports] == [False, True, False]
    assert set(reports[1]["metrics"]) <= {"loss", "accuracy"}
    assert [report["privacy"]["num_metrics"] for report in reports] == [0, 1, 1]
    assert summary["privacy"]["num_metrics"] == 2
    assert all(math.isfinite(value) for value in summary["metrics"].values())
    norms = [report["privacy"]["clip_norm"] for report in reports]
    # It may go back to where it was, but never stays.
    assert (len(set(norms)) > 1) == (ADAPTIVE in free)
    assert "train_loss" not in reports[1]["metrics"]
    assert all(report["train_loss"] is None for report in reports)


def test_sampled_records_are_planned_and_charged_alike(tmp_path):
    """With the accountant of privacy loss distributions: slow, so one round."""
    free = "task.training.num_steps=3"
    traced, nodes = run_with_ledgers(
        tmp_path, "example_local", "plain", free, num_rounds=1, rate=0.1, number=2
    )
    check_agreement(traced, nodes, num_charges=1)
    assert traced.outcome.privacy["accountant"] == "pld"


# T = 6 of 8 drawn with 0.9: 3 rounds draw fewer with a chance of 0.11, which delta pays for.
POISSON = (
    "rounds.cohort_fraction=0.9 privacy.delta=0.2 aggregation.min_survivors=6"
    " aggregation.threshold=5"
)


def cohorts(traced) -> list[set[int]]:
    """Return the nodes that were asked to train, by round."""
    found: dict[int, set[int]] = {}
    for message, _ in traced.messages:
        if kind_of(message) == "train":
            number = message.content["config"]["server-round"]
            found.setdefault(number, set()).add(message.metadata.dst_node_id - 1000)
    return [found[number] for number in sorted(found)]


def test_a_poisson_cohort_charges_those_who_were_in_it(tmp_path):
    traced, nodes = run_with_ledgers(
        tmp_path, "client_distributed", "secagg", POISSON, number=8, deterministic=True, seed=1
    )
    told, drawn = traced.summary()["privacy"], cohorts(traced)
    expected = planned_epsilon(traced.plan())
    assert told["epsilon"] == pytest.approx(expected, rel=0, abs=1e-9)
    # Not above it, though the chance of an abort takes half of delta here.
    assert told["epsilon_model_only"] < told["epsilon"]
    assert [report["num_asked"] for report in traced.reports()] == [len(d) for d in drawn]
    assert 18 <= sum(map(len, drawn)) < 24
    for node in range(8):
        times = sum(node in cohort for cohort in drawn)
        spent = nodes.spent(node, delta=0.2)
        assert spent.num_charges == times > 0
        whole = pytest.approx(expected, rel=0, abs=1e-9)
        assert spent.epsilon == whole if times == 3 else spent.epsilon < expected


def test_a_cohort_under_t_is_drawn_again_and_nothing_is_sent(tmp_path, monkeypatch):
    draws = iter([0.95] * 8 + [0.5] * 80)

    class Coins:
        def __init__(self, *_):
            pass

        def random(self):
            return next(draws)

    monkeypatch.setattr("random.SystemRandom", Coins)
    traced, nodes = run_with_ledgers(
        tmp_path, "client_distributed", "secagg", POISSON, number=8, num_rounds=1
    )
    assert cohorts(traced) == [set(range(8))]
    assert traced.grid.num_trips == traced.plan().num_trips
    assert [nodes.spent(node, delta=0.2).num_charges for node in range(8)] == [1] * 8
    assert traced.summary()["privacy"]["num_updates"] == 1


def test_cohorts_drawn_again_are_likelier_than_delta_so_nothing_is_amplified(tmp_path):
    free = POISSON.replace("delta=0.2", "delta=1e-3")
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", free, population=8)
    plan = plan_run(load_config(run_config))
    # Who sees models only learns what the server without colluders does.
    assert plan.adversaries[0].epsilon == plan.adversaries[1].epsilon
    assert plan.adversaries[1].num_colluding == 0


def test_amplification_counts_where_no_cohort_is_drawn_again(tmp_path):
    """Under 2 of 100 drawn with 0.3: a chance of 1e-14."""
    free = "rounds.cohort_fraction=0.3"
    run_config = run_config_of(tmp_path, "client_central", "plain", free, population=100)
    models, others, _ = plan_run(load_config(run_config)).adversaries
    assert models.epsilon < 0.8 * others.epsilon


# What is refused before anything is sent


def sent_by(run_config, number, error, match) -> list:
    sent = []
    clients = {1000 + n: lambda message: sent.append(message) for n in range(number)}
    with pytest.raises(error, match=match):
        simulate(run_config, number, clients)
    return sent


@pytest.mark.parametrize(
    ("option", "aggregation"),
    [("client_central", "plain"), ("client_distributed", "secagg"), ("example_local", "plain")],
)
def test_more_nodes_than_the_population_are_refused_before_anything_is_sent(
    tmp_path, option, aggregation
):
    run_config = run_config_of(tmp_path, option, aggregation, population=3)
    match = r"privacy\.population=3, but 4 clients.*give the number of all nodes"
    assert sent_by(run_config, 4, RunStoppedError, match) == []


def test_a_node_refuses_a_cohort_that_its_noise_is_not_sized_for(tmp_path, monkeypatch):
    """From a server that does not look: before it trains, and nothing is charged."""
    monkeypatch.setattr(SecAggSettings, "check_fits", lambda *_: None)
    monkeypatch.setattr(app.private_handlers, "train", lambda *_: 1 / 0)
    nodes = Nodes(tmp_path, 4)
    free = "rounds.max_attempts=1"
    keys = {"population": 3, "simulation_nodes": str(nodes.file)}
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", free, **keys)
    with pytest.raises(RunStoppedError, match=r"client 1000: config_refused"):
        Traced(run_config, 4)
    assert not any(nodes.state(node).exists() for node in range(4))


def with_batch_norm(self):
    layers = nn.Linear(30, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)
    return nn.Sequential(*layers)


def test_a_model_that_mixes_records_is_refused_before_anything_is_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(BreastCancer, "build_model", with_batch_norm)
    run_config = run_config_of(tmp_path, "example_distributed", "secagg")
    match = r"(?s)task=breast_cancer: .*BatchNorm1d.*privacy\.fix_model=true"
    assert sent_by(run_config, 4, ConfigError, match) == []


def test_its_mended_model_trains_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(BreastCancer, "build_model", with_batch_norm)
    traced, nodes = run_with_ledgers(
        tmp_path, "example_distributed", "secagg", "privacy.fix_model=true", num_rounds=1
    )
    check_agreement(traced, nodes, num_charges=1)
    # 30 x 8 + 8, a GroupNorm of 8 + 8, and 8 + 1.
    assert traced.plan().num_parameters == 273
    assert sum(a.numpy().size for a in traced.outcome.arrays.values()) == 273


@pytest.mark.parametrize(("delta", "says"), [(0.02, True), (1e-3, False)])
def test_a_delta_that_is_no_promise_is_said_in_the_nodes_log(tmp_path, caplog, delta, says):
    """Each node has about 114 training records, and says its own number to itself only."""
    logging.getLogger("flwr").addHandler(caplog.handler)
    free = f"privacy.delta={delta}"
    Traced(run_config_of(tmp_path, "example_central", "plain", free, num_rounds=1), 4)
    told = [r.getMessage() for r in caplog.records if "is not below 1 over" in r.getMessage()]
    assert (len(told) >= 4) == says
    pattern = r"privacy\.delta=0\.02 is not below 1 over this node's 1\d\d training records"
    assert all(re.fullmatch(pattern, line) for line in told)


# Resuming


def stop_after(monkeypatch, rounds: int) -> None:
    """Let the run be interrupted when so many rounds are kept."""
    keep = RunFolder.write_round

    def write(self, report, *rest):
        keep(self, report, *rest)
        if report.round == rounds:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_round", write)


def resumed(run_config: dict, **changes) -> dict:
    return run_config | {"output-dir": "", "resume-from": run_config["output-dir"]} | changes


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
