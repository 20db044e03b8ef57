"""The support vector machine of a CSV file: loss, kernel, what is refused, whole runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC, LinearSVC

from app.builders.workload import build_task
from app.config.load import load_config
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.csv.task import Csv
from tasks.records import Examples
from tasks.svm import RandomFourierFeatures, hinge_loss
from tasks.training.local import get_parameters, initial_model
from tasks.training.model_check import check_model
from tasks.training.record_gradients import RecordGradient
from tasks.training.rehearsal import rehearse
from tests.kits.csv_kit import REGRESSION, config_with, make
from tests.kits.per_record import clipped_sum, reference
from tests.tasks.csv.test_task import breast_cancer_files

DECAY, GAMMA = 0.002, 0.5
LINEAR = "task.model=svm"
RBF = f"task.model=svm task.rbf_features=500 task.rbf_gamma={GAMMA}"


# Of two features of two inputs, gamma 0.5, seed 7: frequencies, then phases.
RECORDED = ([[-1.37893844, 1.30662930], [-0.60782057, -2.01702118]], [5.58955574, 1.62026668])


def task_of(num_classes: int = 2, seed: int = 5, **keys) -> Csv:
    classes = [f"class {number}" for number in range(num_classes)]
    keys = {"label": {"column": "ill", "classes": classes}, "model": "svm", **keys}
    return Csv(config_with(**keys), seed)


def by_hand(weights: np.ndarray, bias: np.ndarray, x: np.ndarray, target: int):
    """Return the loss of one record and a sub-gradient by weights, then biases."""
    scores = weights @ x + bias
    moves = np.zeros(len(bias))
    if len(bias) == 1:
        sign = 2 * target - 1
        loss = 1 - sign * scores[0]
        moves[0] = -sign
    else:
        others = np.where(np.arange(len(bias)) == target, -np.inf, scores)
        loss = 1 + others.max() - scores[target]
        moves[others.argmax()] = 1
        moves[target] = -1
    if loss <= 0:
        return 0.0, np.zeros(weights.size + bias.size)
    return loss, np.concatenate([np.outer(moves, x).ravel(), moves])


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_loss_and_sub_gradient_are_those_by_hand(num_classes):
    task = task_of(num_classes)
    model = initial_model(task)
    rng = np.random.default_rng(num_classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))
    weights, bias = (values.astype(np.float64) for values in get_parameters(model).values())
    inputs = rng.uniform(-1, 1, (40, 7)).astype(np.float32)
    records = Examples(inputs, rng.integers(num_classes, size=40))
    one, met = RecordGradient(task, model, 1.0), 0
    for record in records.one_by_one(np.arange(40)):
        loss, expected = by_hand(weights, bias, record.inputs[0], int(record.targets[0]))
        np.testing.assert_allclose(one.gradient(record).numpy(), expected, atol=1e-12)
        assert float(one.losses(record).detach()) == pytest.approx(loss, abs=1e-12)
        met += loss > 0
    assert 0 < met < 40  # both sides of the hinge


def test_at_the_hinge_itself_the_sub_gradient_is_zero():
    for outputs, target in (([[1.0]], 1), ([[-1.0]], 0), ([[0.5, 1.5, -3.0]], 1)):
        margins = torch.tensor(outputs, requires_grad=True)
        loss = hinge_loss(margins, torch.tensor([target]))
        (found,) = torch.autograd.grad(loss.sum(), margins)
        assert float(loss.detach()) == 0
        assert not found.any()


def test_features_come_near_the_kernel():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.uniform(-1, 1, (30, 6)))
    kernel = torch.exp(-GAMMA * torch.cdist(x, x) ** 2)
    errors = []
    for size in (200, 20_000):
        z = RandomFourierFeatures(6, size, GAMMA, seed=3).double()(x)
        errors.append(float((z @ z.T - kernel).abs().max()))
        assert float(z.norm(dim=1).max()) <= 2**0.5
    assert errors[1] < 0.03 < errors[0] < 0.35


def test_features_follow_from_the_seed_and_are_not_exchanged():
    """Recorded numbers: a model file is of no use if they become others."""
    first = RandomFourierFeatures(2, 2, 0.5, seed=7)
    np.testing.assert_allclose(first.frequencies.numpy(force=True), RECORDED[0], rtol=1e-6)
    np.testing.assert_allclose(first.phases.numpy(force=True), RECORDED[1], rtol=1e-6)
    task = task_of(rbf_features=9)
    model = initial_model(task)
    shapes = {name: values.shape for name, values in get_parameters(model).items()}
    assert shapes == {"1.weight": (1, 9), "1.bias": (1,)}
    torch.rand(3)
    inputs = torch.from_numpy(task.made_up(4).inputs)
    assert torch.equal(model[0](inputs), initial_model(task)[0](inputs))
    other = initial_model(task_of(rbf_features=9, seed=6))
    assert not torch.equal(model[0](inputs), other[0](inputs))


def test_a_gamma_of_zero_is_one_through_the_inputs():
    given, default = (
        initial_model(task_of(rbf_features=4, rbf_gamma=gamma))[0] for gamma in (1 / 7, 0)
    )
    assert torch.equal(given.frequencies, default.frequencies)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("features", [0, 20])
def test_records_are_clipped_one_by_one(num_classes, features):
    task = task_of(num_classes, rbf_features=features)
    model, records = initial_model(task), task.made_up(6)
    assert check_model(model) == []
    assert list(model.buffers()) == []
    rehearse(task, model, alone=True)
    for norm in (0.5, 10.0):
        found = clipped_sum(task, model, records, np.arange(6), norm)
        expected = reference(task, model, records, range(6), norm)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2.0**-27 * norm)


def test_of_the_rbf_kernel_no_gradient_is_longer_than_the_root_of_three():
    """What the page says of the clip norm."""
    task = task_of(rbf_features=50)
    one, records = RecordGradient(task, initial_model(task), 1.0), task.made_up(200)
    norms = [float(one.gradient(record).norm()) for record in records.one_by_one(range(200))]
    assert 1.2 < max(norms) <= 3**0.5


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"rbf_features": -1}, r"task.rbf_features=-1: must be 0 \(a linear kernel\) or above"),
        ({"rbf_gamma": -0.5}, r"task.rbf_gamma=-0.5: must be finite, and 0"),
        ({"rbf_gamma": float("inf")}, r"task.rbf_gamma=inf: must be finite"),
        ({"rbf_gamma": float("nan")}, r"task.rbf_gamma=nan: must be finite"),
    ],
)
def test_a_kernel_that_is_none_is_refused(keys, told):
    with pytest.raises(ValueError, match=told):
        config_with(model="svm", **keys)


def test_a_number_has_no_support_vector_machine():
    with pytest.raises(ValueError, match=r"task.model=svm: must be linear or mlp for a label"):
        make({**REGRESSION, "model": "svm"})


@pytest.mark.parametrize(
    ("free", "told"),
    [
        ("task.rbf_features=9", "task.rbf_features has no effect here: task.model=logistic"),
        (
            "task.model=mlp task.rbf_gamma=1",
            "task.rbf_gamma has no effect here",
        ),
        ("task.model=svm task.rbf_gamma=1", "task.rbf_features=0 is a linear kernel; give"),
        ("task.model=svm task.hidden=3", "task.hidden has no effect here: task.model=svm"),
    ],
)
def test_keys_of_another_model_are_refused(free, told):
    with pytest.raises(ValueError, match=told):
        load_config({"task": "csv_breast_cancer", "overrides": free})


def test_a_workload_of_tables_has_no_kernel():
    keys = {"task": "csv_breast_cancer", "algorithm": "ebm"}
    with pytest.raises(ValueError, match=r"task.rbf_features has no effect here: this"):
        load_config(keys | {"overrides": "task.rbf_features=9"})


def run(folder: Path, free: str, **keys):
    """Return the outcome of a run over four files, and all nodes' training and test parts."""
    files = breast_cancer_files(folder, 4)
    nodes = folder / "nodes.yaml"
    nodes.write_text(yaml.safe_dump([{"data-path": str(file)} for file in files]))
    config = {
        "task": "csv_breast_cancer",
        "aggregation": "secagg",
        "deterministic": True,
        "simulation-nodes": str(nodes),
        "output-dir": str(folder / "run"),
        "seed": 1,
        "overrides": f"{free} task.test_fraction=0.3",
        **keys,
    }
    outcome = simulate(config, 4)
    task = build_task(load_config(config))
    parts = [task.load(DataSource(node, 4, file)) for node, file in enumerate(files)]
    sides = ([part.train for part in parts], [part.test for part in parts])
    return outcome, *(
        tuple(
            np.concatenate([getattr(part, name) for part in side])
            for name in ("inputs", "targets")
        )
        for side in sides
    )


@pytest.mark.slow
@pytest.mark.parametrize("free", [LINEAR, RBF])
def test_a_masked_run_is_as_right_as_scikit_learns_machine_of_all_records(tmp_path, free):
    """The same problem: weight_decay is 1 / (C n). And the file's model is the run's."""
    training = f"weight_decay={DECAY} num_epochs=5 momentum=0".split()
    # The features of a kernel are shorter than the inputs, and take longer steps.
    training.append(f"learning_rate={1 if free == RBF else 0.3}")
    steps = " ".join(f"task.training.{key}" for key in training)
    outcome, train, (inputs, targets) = run(tmp_path, f"{free} {steps}", **{"num-rounds": 20})
    penalty = 1 / (DECAY * len(train[0]))
    peer = (
        SVC(kernel="rbf", gamma=GAMMA, C=penalty)
        if free == RBF
        else LinearSVC(loss="hinge", C=penalty, max_iter=1_000_000)
    )
    accuracy = peer.fit(*train).score(inputs, targets)
    assert accuracy > 0.88
    assert outcome.metrics["accuracy"] == pytest.approx(accuracy, abs=0.01)
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    with torch.inference_mode():
        outputs = model(torch.from_numpy(inputs))
    margins = outputs[:, 0].numpy()
    hinge = np.maximum(0, 1 - (2 * targets - 1) * margins).mean()
    assert outcome.metrics["loss"] == pytest.approx(hinge, abs=1e-5)
    assert outcome.metrics["accuracy"] == pytest.approx(((margins > 0) == targets).mean())
    assert abs(outcome.metrics["auc"] - roc_auc_score(targets, margins)) < 1e-3
    told = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert told["records"] == len(targets)


@pytest.mark.slow
@pytest.mark.parametrize("free", [LINEAR, RBF])
def test_a_run_that_hides_records_trains(tmp_path, free):
    private = (
        "privacy.epsilon=8 privacy.delta=1e-4 privacy.population=4 privacy.sampling_rate=0.5"
        " privacy.expected_batch_size=200 privacy.clip_norm=1.75 privacy.learning_rate=1"
        " aggregation.min_survivors=3"
    )
    outcome, _, (inputs, targets) = run(
        tmp_path, f"{free} {private}", privacy="example_distributed", **{"num-rounds": 8}
    )
    _, model = load_model(tmp_path / "run" / "model.safetensors")
    with torch.inference_mode():
        margins = model(torch.from_numpy(inputs))[:, 0].numpy()
    assert not outcome.metrics  # nothing was paid for them
    # The intercept has not settled in 8 rounds, and the noise has a say in it: no accuracy.
    assert roc_auc_score(targets, margins) > 0.94  # at least 0.97 in 20 tries
    assert np.maximum(0, 1 - (2 * targets - 1) * margins).mean() < 0.8  # untrained: 1
