"""The clipped sum is what autograd says, one record at a time."""

from dataclasses import fields
from enum import Enum

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tasks.base import Examples, Regression
from tasks.models import SmallCNN, linear, mlp
from tasks.registry import TASKS
from tasks.schema import GradSampleMode, TaskConfig
from tasks.training import clipped_sum as clipping
from tasks.training.clipped_sum import clipped_gradient_sum
from tasks.training.local import get_parameters, initial_model
from tests.kits.per_record import gradient, reference
from tests.kits.three_classes import MODES, Three, Twice, everything, frozen, three
from tests.tasks.test_contract import UNFIT, config_of

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
