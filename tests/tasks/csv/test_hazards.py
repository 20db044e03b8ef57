"""Networks of hazards: their loss, their score, what they predict, and runs of them."""

import csv

import numpy as np
import pytest
import torch

from app.cli.main import main
from app.export.export import export
from app.prediction.saved_model import SavedModel
from tasks.base import DataSource
from tasks.csv.task import Csv
from tasks.hazards import brier_scores, hazard_loss
from tasks.survival import expected_times, median_times, survival_curves
from tasks.training.local import evaluate, initial_model, outputs_of, train
from tasks.training.model_check import check_model
from tasks.training.rehearsal import rehearse, require_made_up
from tests.kits import clinic
from tests.kits.csv_kit import make
from tests.kits.per_record import clipped_sum, reference
from workloads.survival.efron import concordance

ENDS = (2.0, 4.0, 8.0)
KEYS = {
    "label": {"time": {"column": "months", "max": 40}, "event": "died"},
    **clinic.FEATURES,
    "drop": ["id", "ill", "kind", "days"],
}


def by_hand(hazards: list[float], time: float, is_event: bool) -> float:
    """Return the loss of a record, interval by interval."""
    loss, first = 0.0, 0.0
    for hazard, last in zip(hazards, ENDS, strict=True):
        if is_event and first < time <= last:
            return loss - np.log(hazard)
        if not is_event and time < (first + last) / 2:
            return loss
        loss -= np.log(1 - hazard)
        first = last
    return loss


@pytest.mark.parametrize("is_event", [True, False])
@pytest.mark.parametrize("time", [0.5, 1.0, 1.5, 2.0, 2.1, 3.0, 4.0, 5.9, 6.0, 7.9, 8.0])
def test_the_loss_is_the_likelihood_of_each_interval(time, is_event):
    hazards = [0.1, 0.5, 0.9]
    logits = torch.logit(torch.tensor([hazards], dtype=torch.float64))
    targets = torch.tensor([[time, float(is_event)]], dtype=torch.float64)
    found = hazard_loss(logits, targets, ENDS)
    assert float(found) == pytest.approx(by_hand(hazards, time, is_event), abs=1e-12)


def test_without_censoring_the_likelihood_of_all_times_is_one():
    """The chances of an event in each interval, and of none, sum to 1."""
    logits = torch.tensor([[-1.0, 0.3, 2.0]], dtype=torch.float64).repeat(4, 1)
    targets = torch.tensor([[1.0, 1], [3, 1], [7, 1], [8, 0]], dtype=torch.float64)
    assert float(torch.exp(-hazard_loss(logits, targets, ENDS)).sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("time", "is_event", "due"),
    [
        # The curve at the ends: 0.8, 0.4, 0.1.
        (1.0, True, (0.8**2 + 0.4**2 + 0.1**2) / 3),
        (4.0, True, (0.2**2 + 0.4**2 + 0.1**2) / 3),
        (4.5, False, (0.2**2 + 0.6**2) / 2),
        (0.5, False, 0.2**2),
        (8.0, False, (0.2**2 + 0.6**2 + 0.9**2) / 3),
    ],
)
def test_the_brier_score_is_over_what_is_known(time, is_event, due):
    logits = torch.logit(torch.tensor([[0.2, 0.5, 0.75]], dtype=torch.float64))
    targets = torch.tensor([[time, float(is_event)]], dtype=torch.float64)
    assert float(brier_scores(logits, targets, ENDS)) == pytest.approx(due, abs=1e-12)


def test_curves_medians_and_expected_times():
    logits = np.log(np.array([[0.2, 0.5, 0.75], [0.1, 0.1, 0.1]]))
    logits -= np.log1p(-np.exp(logits))
    curves = survival_curves(logits)
    np.testing.assert_allclose(curves[0], [0.8, 0.4, 0.1], atol=1e-12)
    # From 0.8 at 2 to 0.4 at 4: a half at 3.5. The other never falls so far.
    np.testing.assert_allclose(median_times(curves, ENDS), [3.5, np.nan], atol=1e-12)
    area = 2 * 0.9 + 2 * 0.6 + 4 * 0.25
    np.testing.assert_allclose(expected_times(curves, ENDS)[0], area, atol=1e-12)
    assert expected_times(np.ones((1, 3)), ENDS)[0] == 8


@pytest.fixture(params=["logistic", "mlp"])
def task(request) -> Csv:
    return Csv(make({**KEYS, "model": request.param}), seed=3)


@pytest.fixture
def data(task, tmp_path):
    return task.load(DataSource(data_path=clinic.write(tmp_path / "a.csv", clinic.rows(80, 0))))


def test_a_record_is_trained_on_and_scored_alone(task, data):
    """So that it can be protected: the bound is that of its own clipped gradient."""
    model = initial_model(task)
    assert check_model(model) == []
    rehearse(task, model, alone=True)
    require_made_up(task, data.train)
    few = data.train.take(np.arange(6))
    found = clipped_sum(task, model, few, np.arange(6), 0.5)
    np.testing.assert_allclose(found, reference(task, model, few, range(6), 0.5), atol=1e-7)
    alone = [evaluate(task, model, few.take(np.array([place]))) for place in range(6)]
    together = evaluate(task, model, few)
    for name in ("loss", "brier_score"):
        assert together[name] == pytest.approx(sum(one[name] for one in alone), rel=1e-5)
    assert task.metric_names(task.config) == ("brier_score",)


def test_training_lowers_the_loss_and_orders_the_records(task, data):
    model = initial_model(task)
    before = evaluate(task, model, data.train)
    task.config.training.num_steps = 200
    train(task, model, data.train, np.random.default_rng(0), 0.0)
    after = evaluate(task, model, data.train)
    assert after["loss"] < before["loss"]
    assert after["brier_score"] < before["brier_score"]
    times, events = data.train.targets.T
    curves = survival_curves(outputs_of(model, data.train.inputs))
    pairs, twice = concordance(times, events == 1, -expected_times(curves, task.ends))
    assert twice / 2 / pairs > 0.6


def test_the_odds_of_the_logistic_model_are_proportional():
    task = Csv(make(KEYS), seed=3)
    model = initial_model(task)
    logits = outputs_of(model, task.made_up(5).inputs)
    differences = logits - logits[:1]
    np.testing.assert_allclose(differences, differences[:, :1] * np.ones(10), atol=1e-5)
    # A public start: one event in all intervals, about.
    np.testing.assert_allclose(model.baseline.detach(), -np.log(10), rtol=1e-6)


def test_intervals_are_of_one_length_or_given():
    time = {"column": "months", "max": 40, "intervals": 4}
    assert Csv(make({**KEYS, "label": {"time": time, "event": "died"}}), 0).ends == (
        10,
        20,
        30,
        40,
    )
    time = {"column": "months", "max": 40, "ends": [3, 12, 40]}
    assert Csv(make({**KEYS, "label": {"time": time, "event": "died"}}), 0).ends == (3, 12, 40)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"intervals": 1}, "intervals=1: must be from 2 to 200"),
        ({"intervals": 5, "ends": [20, 40]}, "give one of the two"),
        ({"ends": [20, 30]}, "the last one max=40"),
        ({"ends": [30, 20, 40]}, "that ascend"),
        ({"ends": [0, 40]}, "above 0"),
        ({"ends": [40]}, "must be 2 to 200 times"),
        ({"ends": [float("nan"), 40]}, "that ascend"),
    ],
)
def test_what_are_no_intervals_is_refused(keys, told):
    label = {"time": {"column": "months", "max": 40, **keys}, "event": "died"}
    with pytest.raises(ValueError, match=told):
        make({**KEYS, "label": label})


def test_new_rows_have_curves_and_a_concordance(tmp_path, capsys):
    folder = clinic.run("died", "fedavg", 4)
    source, out = clinic.write(tmp_path / "new.csv", clinic.rows(40, 9)), tmp_path / "out.csv"
    assert main(["predict", str(folder), "--input", str(source), "--output", str(out)]) == 0
    assert "scored by the label of 40 rows: concordance 0." in capsys.readouterr().out
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    added = [*rows[0]][len(clinic.HEADER.split(",")) :]
    ends = [f"survival_{end}" for end in range(4, 41, 4)]
    assert added == ["expected_time", "median_time", *ends]
    curves = np.array([[float(row[name]) for name in ends] for row in rows])
    assert (np.diff(curves, axis=1) < 0).all()
    assert ((curves > 0) & (curves < 1)).all()
    model = SavedModel.load(folder)
    due = survival_curves(outputs_of(model.module, model.task.new_rows(source).examples.inputs))
    np.testing.assert_allclose(curves, due, rtol=1e-9)


@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_onnxruntime_says_the_same_curves(tmp_path, model):
    import onnxruntime

    folder = clinic.run("died", "fedavg", 2, model=model)
    told = export(folder, "onnx", tmp_path / "model.onnx")
    assert told[-1] == (
        "outputs: survival: the chance to be without the event at"
        " 4, 8, 12, 16, 20, 24, 28, 32, 36, 40"
    )
    found = SavedModel.load(folder)
    inputs = found.task.made_up(20).inputs
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (curves,) = session.run(None, {"inputs": inputs})
    np.testing.assert_allclose(
        curves, survival_curves(outputs_of(found.module, inputs)), atol=1e-5
    )
    told = export(folder, "torchscript", tmp_path / "model.pt")
    assert "a logit of the hazard in each interval, that ends at 4, 8" in told[-1]


@pytest.mark.slow
def test_a_run_under_example_privacy(tmp_path):
    private = (
        "privacy.epsilon=8 privacy.delta=1e-3 privacy.sampling_rate=0.3 privacy.clip_norm=1"
        " privacy.expected_batch_size=43 privacy.population=3 aggregation.min_survivors=3"
        " privacy.learning_rate=2 privacy.metrics.every=0"
    )
    folder = clinic.run("died", "fedavg", 5, overrides=private + " privacy=example_distributed")
    found = SavedModel.load(folder).predict(
        clinic.write(tmp_path / "n.csv", clinic.rows(200, 9))
    )
    assert found.figures["concordance"] > 0.55
