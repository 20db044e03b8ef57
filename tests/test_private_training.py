"""The clipped sum is what autograd says, one record at a time; nothing else leaves DP-SGD."""

import subprocess
import sys
from dataclasses import fields
from enum import Enum

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import nn

from tasks import clipping
from tasks.base import Classification, Examples, ModelRefusedError, Node, Regression
from tasks.clipping import clipped_gradient_sum
from tasks.models import SmallCNN, linear, mlp
from tasks.private_training import metric_vectors, poisson_sample, train_privately
from tasks.registry import TASKS
from tasks.schema import GradSampleMode, Optimizer, TaskConfig, TrainingConfig
from tasks.training import build_optimizer, get_parameters, initial_model, train
from tests.per_record import gradient, reference
from tests.test_tasks_contract import UNFIT, config_of

MODES = [GradSampleMode.hooks, GradSampleMode.ghost]
CSV_KEYS = {
    "label": {"column": "ill", "classes": ["n", "y"]},
    "numeric": {"age": {"min": 0, "max": 100}, "pulse": {"min": 30, "max": 200}},
}
INPUT_SHAPES = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "breast_cancer": (30,),
    "heart": (9,),
    "csv": (2,),
}


def choices() -> list[tuple[str, dict]]:
    """Return these tasks with every value of their keys with choices; the contract has all."""
    found = []
    for name in INPUT_SHAPES:
        kind, keys = TASKS[name], CSV_KEYS if name == "csv" else {}
        found.append((name, dict(keys)))
        found += [
            (name, keys | {key.name: choice.name})
            for key in fields(kind.Config)
            if isinstance(key.default, Enum)
            for choice in type(key.default)
            # A private run refuses flamby, which has other features.
            if (name, choice.name) not in UNFIT and choice.name != "flamby"
        ]
    return found


class Three(Classification):
    """Three classes of small vectors, for a model that the test brings."""

    Config = TaskConfig
    num_classes = 3

    def __init__(self, model: nn.Module | None = None, **training) -> None:
        super().__init__(TaskConfig(training=TrainingConfig(**training)), 0)
        self.model = model

    def load(self, node):
        raise NotImplementedError

    def build_model(self) -> nn.Module:
        return self.model or mlp(5, 3, 4)


def three(num_records: int, seed: int = 0, shape: tuple[int, ...] = (5,)) -> Examples:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(scale=2, size=(num_records, *shape)).astype(np.float32)
    return Examples(inputs, rng.integers(0, 3, num_records))


def everything(examples: Examples) -> np.ndarray:
    return np.arange(len(examples))


# The clipped sum


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "keys"), choices())
def test_sum_is_autograds_for_every_task_and_model(name, keys, mode):
    task = TASKS[name](config_of(name, keys), seed=3)
    model = initial_model(task)
    rng = np.random.default_rng(1)
    examples = Examples(
        rng.normal(size=(7, *INPUT_SHAPES[name])).astype(np.float32),
        rng.integers(0, task.num_classes, 7),
    )
    norms = [np.linalg.norm(gradient(task, model, examples, i)) for i in range(7)]
    # Some records are clipped and some are not.
    bound = float(np.median(norms))
    indices = np.array([0, 2, 3, 4, 5, 6])
    found = clipped_gradient_sum(task, model, examples, indices, bound, mode, 4)
    expected = reference(task, model, examples, indices, bound)
    assert found.dtype == np.float64
    assert found.shape == (sum(a.size for a in get_parameters(model).values()),)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * bound)


class Numbers(Regression):
    """A number from small vectors."""

    Config = TaskConfig

    def load(self, node):
        raise NotImplementedError

    def build_model(self) -> nn.Module:
        return linear(5, 1)


class Sequences(nn.Module):
    """Token numbers to embeddings, over time: Linear sees three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.first = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.last = nn.Linear(6, 3)

    def forward(self, tokens):
        hidden = torch.tanh(self.first(self.embedding(tokens.long())))
        return self.last(self.norm(hidden).mean(dim=1))


class OwnWeight(nn.Module):
    """A layer that Opacus knows nothing of, so that torch.func must do it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 5))

    def forward(self, inputs):
        return inputs * self.scale


class Twice(nn.Module):
    """One layer at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.last(torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))


def frozen() -> nn.Module:
    model = mlp(5, 3, 4)
    model[0].weight.requires_grad = False
    return model


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(2, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "build", [frozen, normalised, lambda: nn.Sequential(OwnWeight(), nn.Linear(5, 3))]
)
def test_sum_is_autograds_for_other_layers(build, mode):
    torch.manual_seed(0)
    task, model, examples = Three(), build(), three(9)
    found = clipped_gradient_sum(task, model, examples, everything(examples), 0.7, mode, 4)
    expected = reference(task, model, examples, range(9), 0.7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_sum_is_autograds_for_numbers(mode):
    examples = three(9)
    numbers = Examples(examples.inputs, examples.inputs[:, 0] * np.float32(0.3))
    task = Numbers(TaskConfig(), 0)
    model = initial_model(task)
    found = clipped_gradient_sum(task, model, numbers, everything(numbers), 1.0, mode)
    expected = reference(task, model, numbers, range(9), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_sum_is_autograds_for_sequences(mode):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tokens = Examples(rng.integers(0, 11, (9, 7)).astype(np.float32), rng.integers(0, 3, 9))
    task, model = Three(), Sequences()
    # 7 at once: as many as the sequence has moments.
    found = clipped_gradient_sum(task, model, tokens, everything(tokens), 0.5, mode, 7)
    expected = reference(task, model, tokens, range(9), 0.5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("build", [lambda: mlp(5, 3, 4), normalised])
def test_no_record_counts_for_more_than_the_clip_norm(build, mode):
    torch.manual_seed(0)
    task, model, examples = Three(), build(), three(20)
    examples.inputs[:] *= np.geomspace(1e-6, 1e12, 20, dtype=np.float32)[:, None]
    for index in range(20):
        found = clipped_gradient_sum(task, model, examples, np.array([index]), 0.3, mode)
        assert np.linalg.norm(found) <= 0.3 * (1 + 1e-12)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    num_records=st.integers(1, 12),
    clip_norm=st.floats(1e-3, 1e3),
    batch=st.integers(1, 13),
    mode=st.sampled_from(MODES),
    data=st.data(),
)
def test_one_record_moves_the_sum_by_at_most_the_clip_norm(
    seed, num_records, clip_norm, batch, mode, data
):
    torch.manual_seed(seed)
    task, model, examples = Three(), mlp(5, 3, 4), three(num_records, seed)
    removed = data.draw(st.integers(0, num_records - 1))
    if data.draw(st.booleans()):
        examples.inputs[removed] = np.inf
    rest = np.delete(everything(examples), removed)
    whole, less = (
        clipped_gradient_sum(task, model, examples, indices, clip_norm, mode, batch)
        for indices in (everything(examples), rest)
    )
    # Rounding is relative to the sum, not to the one record.
    assert np.linalg.norm(whole - less) <= clip_norm * (1 + 1e-13 * num_records)


@pytest.mark.parametrize("mode", list(GradSampleMode))
def test_an_empty_sample_gives_zeros(mode):
    task, model = Three(), mlp(5, 3, 4)
    none = np.array([], dtype=np.intp)
    for examples in (three(4), three(0)):
        found = clipped_gradient_sum(task, model, examples, none, 1.0, mode)
        assert np.array_equal(found, np.zeros(5 * 4 + 4 + 4 * 3 + 3))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("build", [lambda: mlp(5, 3, 4), lambda: linear(5, 3), normalised])
def test_a_record_without_finite_gradient_counts_as_zero(build, bad, mode):
    torch.manual_seed(0)
    task, model, examples = Three(), build(), three(8)
    others = np.array([1, 2, 3, 5, 6, 7])
    expected = reference(task, model, examples, others, 0.5)
    examples.inputs[[0, 4], 1] = bad
    found = clipped_gradient_sum(task, model, examples, everything(examples), 0.5, mode, 5)
    if np.isfinite(bad):  # float64 bears it: it is clipped like any other
        assert np.linalg.norm(found - expected) <= 2 * 0.5 * (1 + 1e-12)
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    only_bad = clipped_gradient_sum(task, model, examples, np.array([0, 4]), 0.5, mode)
    assert np.isfinite(only_bad).all()
    assert np.isfinite(bad) or not only_bad.any()


@pytest.mark.parametrize("mode", MODES)
def test_physical_batches_do_not_change_the_sum(mode):
    torch.manual_seed(0)
    task = TASKS["digits"](config_of("digits", {}), seed=0)
    model, examples = SmallCNN(8, 10), three(23, shape=(1, 8, 8))
    whole = clipped_gradient_sum(task, model, examples, everything(examples), 1.0, mode, 23)
    for batch in (1, 5, 22, 100):
        again = clipped_gradient_sum(
            task, model, examples, everything(examples), 1.0, mode, batch
        )
        np.testing.assert_allclose(again, whole, rtol=0, atol=1e-12)


def seen_batches(monkeypatch, build, mode, **limits) -> list[tuple[bool, int]]:
    """Return for each physical batch whether it was ghost clipping's and how many it had."""
    seen: list[tuple[bool, int]] = []

    def watched(ghost, original):
        def call(model, losses, inputs, targets, clip_norm):
            seen.append((ghost, len(inputs)))
            return original(model, losses, inputs, targets, clip_norm)

        return call

    with monkeypatch.context() as patch:
        for ghost, name in ((False, "sum_by_hooks"), (True, "sum_by_ghost")):
            patch.setattr(clipping, name, watched(ghost, getattr(clipping, name)))
        if "bytes" in limits:
            patch.setattr(clipping, "MAX_GRADIENT_BYTES", limits["bytes"])
        examples, model = three(12), build()
        found = clipped_gradient_sum(
            Three(), model, examples, everything(examples), 0.5, mode, limits["batch"]
        )
    np.testing.assert_allclose(
        found, reference(Three(), model, examples, range(12), 0.5), rtol=0, atol=1e-10
    )
    return seen


def test_auto_keeps_the_gradients_within_the_memory_bound(monkeypatch):
    auto, hooks = GradSampleMode.auto, GradSampleMode.hooks
    # mlp(5, 3, 4) has 39 parameters, 312 bytes a record; the one with GroupNorm 91, 728 bytes.
    build = lambda: mlp(5, 3, 4)  # noqa: E731
    assert seen_batches(monkeypatch, build, auto, batch=6) == [(False, 6)] * 2
    assert seen_batches(monkeypatch, build, auto, batch=6, bytes=1000) == [(True, 6)] * 2
    assert seen_batches(monkeypatch, build, hooks, batch=6, bytes=1000) == [(False, 3)] * 4
    # No norms for GroupNorm, none for a layer at two places: smaller batches instead.
    assert seen_batches(monkeypatch, normalised, auto, batch=6, bytes=1500) == [(False, 2)] * 6
    assert seen_batches(monkeypatch, Twice, auto, batch=6, bytes=1500) == [(False, 3)] * 4
    # Not even one fits: one it is.
    assert seen_batches(monkeypatch, normalised, auto, batch=6, bytes=1) == [(False, 1)] * 12


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    task, model, examples = Three(), mlp(5, 3, 4).eval(), three(6)
    before = get_parameters(model)
    for mode in MODES:
        clipped_gradient_sum(task, model, examples, everything(examples), 0.5, mode)
    after = get_parameters(model)
    assert not model.training
    assert all(np.array_equal(before[key], after[key]) for key in before)
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None
        assert not hasattr(parameter, "grad_sample")
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in model.modules())


@pytest.mark.parametrize(
    ("clip_norm", "batch", "message"),
    [
        (0.0, 4, r"clip_norm=0\.0"),
        (-1.0, 4, r"clip_norm=-1"),
        (float("nan"), 4, "clip_norm=nan"),
        (float("inf"), 4, "clip_norm=inf"),
        (1.0, 0, "max_physical_batch=0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(clip_norm, batch, message):
    with pytest.raises(ValueError, match=message):
        clipped_gradient_sum(
            Three(),
            mlp(5, 3, 4),
            three(2),
            np.arange(2),
            clip_norm,
            max_physical_batch=batch,
        )


# What Opacus would get wrong


class Patches(nn.Module):
    """Each record becomes two rows, and a layer sees the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs):
        rows = torch.stack([inputs, inputs.flip(1)], dim=1).reshape(-1, 5)
        return self.layer(rows).reshape(-1, 2, 3).sum(dim=1)


class TimeFirst(nn.Module):
    """A layer sees (time, records, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.layer(torch.stack([inputs, 2 * inputs, -inputs])).sum(dim=0)


class Borrowed(nn.Module):
    """A layer's weight is used outside of it as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.last(torch.tanh(self.layer(inputs)) @ self.layer.weight)


@pytest.mark.parametrize("mode", list(GradSampleMode))
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Patches, r"layer of layer.weight sees a batch of 2 where there are 1 records"),
        (TimeFirst, r"layer of layer.weight sees a batch of 3 where there are 1 records"),
        (Borrowed, "differ in the gradient of one record"),
    ],
)
def test_models_that_opacus_clips_wrongly_are_refused(kind, message, mode):
    torch.manual_seed(0)
    # 3 records: as many as TimeFirst has moments.
    with pytest.raises(ModelRefusedError, match=message):
        clipped_gradient_sum(Three(), kind(), three(3), np.arange(3), 0.5, mode)


def test_ghost_refuses_a_layer_at_two_places_and_names_the_mend():
    with pytest.raises(ModelRefusedError, match=r"grad_sample_mode=hooks"):
        clipped_gradient_sum(
            Three(), Twice(), three(3), np.arange(3), 0.5, GradSampleMode.ghost
        )


def test_a_model_that_needs_two_records_is_refused():
    # One number in each group: torch wants more than one of them in a batch.
    lonely = nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(8, 8), nn.Linear(8, 3))
    with pytest.raises(ModelRefusedError, match="takes no batch of one record"):
        clipped_gradient_sum(Three(), lonely, three(3), np.arange(3), 0.5)


def test_a_loss_that_is_not_per_record_is_refused():
    class Mean(Three):
        def per_example_loss(self, outputs, targets):
            return super().per_example_loss(outputs, targets)[:, None]

    with pytest.raises(ModelRefusedError, match=r"per_example_loss has shape \(1, 1\)"):
        clipped_gradient_sum(Mean(), mlp(5, 3, 4), three(3), np.arange(3), 0.5)


def test_importing_opacus_leaves_the_root_logger_alone():
    code = (
        "import logging, tasks.private_training as p;"
        "print(logging.root.handlers, logging.root.level == logging.WARNING)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert told.stdout.strip() == b"[] True"


def test_opacus_as_a_whole_is_imported_only_by_who_wants_it():
    code = (
        "import sys, tasks.opacus_import as ours;"
        "print('opacus' in sys.modules, 'scipy.stats' in sys.modules);"
        "from opacus import GradSampleModule, PrivacyEngine;"
        "print(GradSampleModule is ours.GradSampleModule, PrivacyEngine.__name__)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert told.stdout.split() == [b"False", b"False", b"True", b"PrivacyEngine"]


# Poisson sampling


def test_poisson_sampling_has_the_rate_and_no_other():
    num_records, rate = 100_000, 0.1
    num_drawn = len(poisson_sample(num_records, rate, np.random.default_rng()))

    def accepted(assumed: float) -> bool:
        # Two tails of 2e-10: a sound sampler fails this with chance 4e-10.
        low, high = binom.ppf([2e-10, 1 - 2e-10], num_records, assumed)
        return low <= num_drawn <= high

    assert accepted(rate)
    assert not accepted(0.7 * rate)
    assert not accepted(1.3 * rate)


def test_poisson_sampling_is_independent_over_records():
    # The variance of the number drawn: n q (1-q), which a fixed size (0) would not have.
    # Around 2000 chi-square quantiles: false failure below 1e-9, checked both ways.
    rng = np.random.default_rng()
    counts = np.array([len(poisson_sample(400, 0.25, rng)) for _ in range(2000)])
    ratio = counts.var() / (400 * 0.25 * 0.75)
    # sqrt(2 / 2000) = 0.032 is the ratio's standard deviation: +-0.21 is 6.6 of them.
    assert 0.79 < ratio < 1.21
    # Each record is drawn as often as any other: 8 standard deviations.
    hits = np.zeros(400)
    for _ in range(2000):
        hits[poisson_sample(400, 0.25, rng)] += 1
    assert abs(hits - 500).max() < 8 * np.sqrt(2000 * 0.25 * 0.75)


def test_rate_one_draws_all_and_records_are_drawn_once():
    rng = np.random.default_rng()
    assert poisson_sample(50, 1.0, rng).tolist() == list(range(50))
    drawn = poisson_sample(500, 0.5, rng)
    assert len(np.unique(drawn)) == len(drawn)
    assert drawn.dtype == np.intp
    assert len(poisson_sample(0, 0.5, rng)) == 0


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_rates_that_cannot_be_are_refused(rate):
    with pytest.raises(ValueError, match="sampling_rate="):
        poisson_sample(5, rate, np.random.default_rng())


# DP-SGD


def private(task, model, examples, **keys) -> None:
    settings = {
        "clip_norm": 0.5,
        "sampling_rate": 1.0,
        "num_steps": 3,
        "expected_batch_size": 20.0,
        "add_noise": lambda total: total,
        "rng": np.random.default_rng(),
        "mode": GradSampleMode.hooks,
        "proximal_mu": 0.0,
    }
    train_privately(task, model, examples, **(settings | keys))


def flat(model: nn.Module) -> np.ndarray:
    return np.concatenate([array.ravel() for array in get_parameters(model).values()])


@pytest.mark.parametrize("mode", MODES)
def test_without_noise_it_is_sgd_on_clipped_gradients(mode):
    examples = three(20)
    task = Three(learning_rate=0.3, momentum=0.9, weight_decay=0.01)
    model = initial_model(task)
    position, speed, start = flat(model).astype(np.float64), 0.0, flat(model)
    twin = initial_model(task)
    private(task, model, examples, mode=mode, proximal_mu=0.2)
    for _ in range(3):
        step = reference(task, twin, examples, range(20), 0.5) / 20
        step += 0.01 * position + 0.2 * (position - start)
        speed = 0.9 * speed + step
        position = position - 0.3 * speed
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(
                torch.from_numpy(position).float(), twin.parameters()
            )
    np.testing.assert_allclose(flat(model), position, rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_wide_clip_norm_gives_plain_training(optimizer):
    examples = three(16)
    task = Three(optimizer=optimizer, learning_rate=0.05, batch_size=16, num_steps=4)
    plain, clipped = initial_model(task), initial_model(task)
    train(task, plain, examples, np.random.default_rng(0), 0.1)
    wide = {"clip_norm": 1e6, "num_steps": 4, "expected_batch_size": 16.0}
    private(task, clipped, examples, proximal_mu=0.1, **wide)
    np.testing.assert_allclose(flat(clipped), flat(plain), rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_records", [0, 3])
def test_every_step_adds_noise_even_to_an_empty_batch(num_records):
    calls: list[np.ndarray] = []

    def add_noise(total: np.ndarray) -> np.ndarray:
        calls.append(total.copy())
        return total + 2.0

    task = Three(learning_rate=0.1)
    model = initial_model(task)
    before = flat(model)
    rare = {"sampling_rate": 1e-12, "num_steps": 5, "expected_batch_size": 4.0}
    private(task, model, three(num_records), add_noise=add_noise, **rare)
    assert len(calls) == 5
    # Three records at such a rate: false failure below 2e-11.
    assert not np.any(calls)
    np.testing.assert_allclose(flat(model), before - 5 * 0.1 * 2 / 4, rtol=0, atol=1e-6)


def test_frozen_parameters_stay_whatever_the_noise():
    task = Three(learning_rate=0.1, weight_decay=0.1)
    model = frozen()
    before = get_parameters(model)
    private(task, model, three(5), add_noise=lambda total: total + 1, proximal_mu=0.1)
    after = get_parameters(model)
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == before.keys() - {"0.weight"}


def test_nothing_is_returned_and_wrong_numbers_are_refused():
    task, examples = Three(), three(4)
    model = initial_model(task)
    assert private(task, model, examples) is None
    with pytest.raises(ValueError, match=r"expected_batch_size=0\.0"):
        private(task, model, examples, expected_batch_size=0.0)
    with pytest.raises(ValueError, match=r"add_noise gave shape \(2,\), not \(39,\)"):
        private(task, model, examples, add_noise=lambda total: total[:2])


def test_the_optimiser_is_the_tasks():
    assert isinstance(
        build_optimizer(mlp(5, 3, 4), TrainingConfig(optimizer=Optimizer.adam)),
        torch.optim.Adam,
    )


# Metrics that are paid for


def test_metric_vectors_are_bounded_counts_losses_and_metrics():
    torch.manual_seed(0)
    task, model, examples = Three(), mlp(5, 3, 4), three(1100)
    found = metric_vectors(task, model, examples, 1.1)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(examples.inputs))
        targets = torch.from_numpy(examples.targets)
        losses = task.per_example_loss(outputs, targets).numpy()
        right = (outputs.argmax(dim=1) == targets).numpy()
    assert found.shape == (1100, 3)
    assert found.dtype == np.float64
    assert (found[:, 0] == 1).all()
    np.testing.assert_allclose(found[:, 1], np.minimum(losses, 1.1) / 1.1, rtol=1e-5)
    assert 0 < (losses > 1.1).sum() < 1100
    assert np.array_equal(found[:, 2], right)


def test_metric_vectors_stay_in_the_unit_interval_whatever_the_record():
    class Wild(Three):
        def per_example_loss(self, outputs, targets):
            return torch.tensor([np.nan, np.inf, -np.inf, -3.0, 1e30, 2.0])

        def per_example_metrics(self, outputs, targets):
            return {"accuracy": torch.tensor([np.nan, np.inf, -np.inf, -3.0, 1e30, 0.5])}

    found = metric_vectors(Wild(), mlp(5, 3, 4), three(6), 4.0)
    assert found[:, 1].tolist() == [1, 1, 1, 0, 1, 0.5]
    assert found[:, 2].tolist() == [0, 0, 0, 0, 1, 0.5]
    assert metric_vectors(Three(), mlp(5, 3, 4), three(0), 4.0).shape == (0, 3)
    with pytest.raises(ValueError, match=r"loss_clip=0\.0"):
        metric_vectors(Three(), mlp(5, 3, 4), three(2), 0.0)


def test_the_layout_in_memory_changes_nothing():
    """Opacus reads the strides of a channel of length 1, which numpy leaves at anything."""
    task = TASKS["digits"](TASKS["digits"].Config(), 0)
    task_data = task.load(Node(0, 5)).train.take(np.arange(100))
    shape = task_data.inputs.shape
    assert shape[1] == 1
    odd = np.lib.stride_tricks.as_strided(
        task_data.inputs, shape, (64 * 4, 4, 8 * 4, 4), writeable=False
    )
    assert odd.flags.c_contiguous
    whole = np.empty(shape, np.float32)
    whole[...] = task_data.inputs
    model = initial_model(task)
    sums = [
        clipped_gradient_sum(task, model, Examples(x, task_data.targets), np.arange(100), 0.1)
        for x in (odd, whole)
    ]
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-12)
