"""Every option of privacy over every legal aggregation: what is planned, spent and reported."""

import json
import logging
import math
import re

import pytest
from torch import nn

from app.config.load import ConfigError
from tasks.breast_cancer import BreastCancer
from tests.kits.private_kit import (
    ADAPTIVE,
    DELTA,
    MATRIX,
    planned_epsilon,
    run_config_of,
    run_with_ledgers,
    sent_by,
)
from tests.kits.traced import Traced, kind_of

TOLD = {"epsilon", "epsilon_model_only", "delta", "unit", "neighbours", "accountant"}

METRICS = "privacy.metrics.every=2 privacy.metrics.noise_multiplier=3"
# Four clients count for four: with more noise the count is often below zero, and no metric.
CLIENT_METRICS = "privacy.metrics.every=2 privacy.metrics.noise_multiplier=0.02"


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert set(reports[1]["metrics"]) <= {"loss", "accuracy", "auc", "auc_se"}
    assert [report["privacy"]["num_metrics"] for report in reports] == [0, 1, 1]
    assert summary["privacy"]["num_metrics"] == 2
    assert all(math.isfinite(value) for value in summary["metrics"].values())
    norms = [report["privacy"]["clip_norm"] for report in reports]
    # It may go back to where it was, but never stays.
    assert (len(set(norms)) > 1) == (ADAPTIVE in free)
    assert "train_loss" not in reports[1]["metrics"]
    assert all(report["train_loss"] is None for report in reports)


@pytest.mark.slow
def test_sampled_records_are_planned_and_charged_alike(tmp_path):
    """With the accountant of privacy loss distributions: slow, so one round."""
    free = "task.training.num_steps=3"
    traced, nodes = run_with_ledgers(
        tmp_path, "example_local", "plain", free, num_rounds=1, rate=0.1, number=2
    )
    check_agreement(traced, nodes, num_charges=1)
    assert traced.outcome.privacy["accountant"] == "pld"


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "aggregation", "batch", "says"),
    [
        ("example_distributed", "secagg", 20, True),
        ("example_distributed", "secagg", 2000, False),
        ("example_local", "plain", 20, False),
    ],
)
def test_more_records_than_all_were_expected_to_have_are_said_in_the_nodes_log(
    tmp_path, caplog, option, aggregation, batch, says
):
    """Only a sum is cut down: what is private before it is summed keeps all of its records."""
    logging.getLogger("flwr").addHandler(caplog.handler)
    free = f"privacy.sampling_rate=1 privacy.expected_batch_size={batch}"
    Traced(run_config_of(tmp_path, option, aggregation, free, num_rounds=1), 4)
    told = [r.getMessage() for r in caplog.records if "is cut down" in r.getMessage()]
    assert (len(told) >= 4) == says
