"""Training that diverges is called that, in the clear and under masks, with what to lower."""

import json
from pathlib import Path

import pytest

from app.simulation.in_process import simulate
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.divergence import LossWatch
from strategies.rounds.report import RoundReport
from strategies.rounds.strategy import RoundStrategy
from tests.kits.killed_runs import resumed
from tests.kits.regression import regression_run
from tests.kits.traced import reports_of


@pytest.fixture
def regression(tmp_path, monkeypatch) -> dict:
    """Return the run config of a regression over three files of noise."""
    return regression_run(tmp_path, monkeypatch)


def outcome(run_config, rate: str, free: str = "task.training.num_epochs=5") -> str:
    """Return what the run says that stops; nothing of it may pass for a result."""
    run_config["overrides"] = f"task.training.learning_rate={rate} {free}"
    with pytest.raises(RunStoppedError) as told:
        simulate(run_config, 3)
    summary = json.loads((Path(run_config["output-dir"]) / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["reason"] == f"RunStoppedError: {told.value}"
    assert "malformed_reply" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_learning_rate_of_one_is_told_to_diverge(regression, aggregation):
    text = outcome(regression | {"aggregation": aggregation}, "1")
    assert text.startswith("round 1: training diverged: a loss of ")
    assert text.endswith("; lower task.training.learning_rate=1")


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_what_diverges_slowly_is_told_before_its_model_is_kept(regression, aggregation):
    free = "task.training.num_steps=2"
    run_config = regression | {"aggregation": aggregation, "num-rounds": 20}
    text = outcome(run_config, "1", free)
    assert ": training diverged: a loss of " in text
    done = reports_of(run_config["output-dir"])
    assert 1 < len(done) < 10
    # And so it is when the run is resumed.
    again = resumed(run_config, overrides=f"task.training.learning_rate=1 {free}")
    with pytest.raises(RunStoppedError, match="training diverged: a loss of "):
        simulate(again, 3)
    assert reports_of(run_config["output-dir"])[: len(done)] == done


@pytest.mark.parametrize(
    ("aggregation", "says"),
    [
        (
            "plain",
            "failed in attempt 1 at round 1: client 1000: training_diverged, client 1001:"
            " training_diverged, client 1002: training_diverged; round 1: training diverged: on"
            " 3 of 3 clients; lower task.training.learning_rate=1e+20",
        ),
        (
            "secagg",
            "round 1: training diverged: on every client; lower"
            " task.training.learning_rate=1e+20",
        ),
    ],
)
def test_numbers_that_are_not_finite_end_the_run_at_once(regression, aggregation, says):
    assert outcome(regression | {"aggregation": aggregation}, "1e20") == says


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_the_last_model_is_looked_at_too(regression, aggregation, monkeypatch):
    """Training has gone well, but what the server made of it has not."""
    step = RoundStrategy.step

    def far_away(self, number, state, aggregate):
        after = step(self, number, state, aggregate)
        return type(after)({n: a + 1e4 for n, a in after.arrays.items()}, after.header)

    monkeypatch.setattr(RoundStrategy, "step", far_away)
    run_config = regression | {"aggregation": aggregation, "num-rounds": 1}
    assert outcome(run_config, "0.01").startswith("round 2: training diverged: a loss of ")


def test_the_servers_learning_rate_is_named_where_there_is_one(regression):
    run_config = regression | {"aggregation": "plain", "algorithm": "fedavgm"}
    assert outcome(run_config, "1").endswith(
        "; lower task.training.learning_rate=1 or algorithm.server_learning_rate=1"
    )


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_lower_rate_is_let_alone(regression, aggregation):
    run_config = regression | {"aggregation": aggregation}
    run_config["overrides"] = "task.training.learning_rate=0.5 task.training.num_epochs=5"
    assert simulate(run_config, 3).metrics["loss"] < 1


# The watch by itself


@pytest.mark.parametrize(
    ("means", "is_diverged"),
    [
        ({"eval_loss": 999.0, "train_loss": 999.0}, False),
        ({"eval_loss": 1001.0}, True),
        ({"train_loss": 1001.0}, True),
        ({}, False),
    ],
)
def test_losses_are_compared_with_the_untrained_models(means, is_diverged):
    watch = LossWatch()
    assert watch.objection({"eval_loss": 1.0, "train_loss": 5.0}) is None
    assert (watch.objection(means) is not None) == is_diverged


def test_without_held_out_records_the_first_training_loss_is_the_measure():
    watch = LossWatch()
    assert watch.objection({"train_loss": 5.0}) is None
    assert watch.objection({"train_loss": 4000.0}) is None
    assert watch.objection({"train_loss": 6000.0}) is not None


def test_a_loss_below_zero_is_no_measure():
    watch = LossWatch()
    assert watch.objection({"eval_loss": -1.0}) is None
    assert watch.objection({"eval_loss": 1e9}) is None


def test_a_resumed_run_has_the_measure_of_its_first_round():
    watch = LossWatch()
    watch.resume([RoundReport(1, 0.1, 3, 3, 9.0, 0, {"loss": 1.0}), *[None] * 3])
    assert watch.objection({"eval_loss": 2000.0}) is not None
