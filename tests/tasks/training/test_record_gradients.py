"""Each record's term is its own clipped gradient, and the sum is the sum of the terms."""

import math
from dataclasses import fields
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tasks.base import Regression, Task
from tasks.models import SmallCNN, linear, mlp
from tasks.records import Examples
from tasks.registry import TASKS
from tasks.schema import TaskConfig
from tasks.training.local import get_parameters, initial_model
from tasks.training.record_gradients import clipped_gradients
from tests.kits.backbones import NEEDED_BY
from tests.kits.per_record import bounded_sum, clipped_sum, gradient, reference
from tests.kits.three_classes import Three, Twice, everything, frozen, three
from tests.tasks.test_contract import RATINGS_KEYS, SERIES_KEYS, UNFIT, config_of
from tests.tasks.test_images import IMAGES_KEYS

CSV_KEYS = {
    "label": {"column": "ill", "classes": ["n", "y"]},
    "numeric": {"age": {"min": 0, "max": 100}, "pulse": {"min": 30, "max": 200}},
}
OF_THE_USER = {
    "csv": CSV_KEYS,
    "images": IMAGES_KEYS,
    "series": SERIES_KEYS,
    "ratings": RATINGS_KEYS,
}


def choices() -> list[tuple[str, dict]]:
    """Return these tasks with every value of their keys with choices; the contract has all."""
    found = []
    for name in TASKS:
        kind, keys = TASKS[name], OF_THE_USER.get(name, {})
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


def task_of(name: str, keys: dict, folder: Path, seed: int = 0) -> Task:
    """Return the task with these keys, and with the files that they need in the folder."""
    needed = NEEDED_BY.get((name, keys.get("model")), lambda _: {})(folder)
    return TASKS[name](config_of(name, keys | needed), seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "keys"), choices())
def test_sum_is_autograds_for_every_task_and_model(name, keys, tmp_path):
    task = task_of(name, keys, tmp_path, seed=3)
    model = initial_model(task)
    examples = task.made_up(7)
    norms = [np.linalg.norm(gradient(task, model, examples, i)) for i in range(7)]
    # Some records are clipped and some are not.
    bound = float(np.median(norms))
    indices = np.array([0, 2, 3, 4, 5, 6])
    found = clipped_sum(task, model, examples, indices, bound)
    expected = reference(task, model, examples, indices, bound)
    assert found.shape == (sum(a.size for a in get_parameters(model).values()),)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2.0**-26 * bound)


class Numbers(Regression):
    """A number from small vectors."""

    Config = TaskConfig
    input_shape = (5,)

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
    """A layer of the test's own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 5))

    def forward(self, inputs):
        return inputs * self.scale


class Patches(nn.Module):
    """Each record becomes two rows, and a layer sees the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs):
        rows = torch.stack([inputs, inputs.flip(1)], dim=1).reshape(-1, 5)
        return self.layer(rows).reshape(-1, 2, 3).sum(dim=1)


class Borrowed(nn.Module):
    """A layer's weight is used outside of it as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.last(torch.tanh(self.layer(inputs)) @ self.layer.weight)


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(2, 8), nn.ReLU(), nn.Linear(8, 3))


def in_place() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))


def own_weight() -> nn.Module:
    return nn.Sequential(OwnWeight(), nn.Linear(5, 3))


@pytest.mark.parametrize(
    "build", [frozen, normalised, in_place, own_weight, Patches, Borrowed, Twice]
)
def test_sum_is_autograds_whatever_the_model_does_with_a_record(build):
    torch.manual_seed(0)
    task, model, examples = Three(), build(), three(9)
    found = clipped_sum(task, model, examples, everything(examples), 0.7)
    expected = reference(task, model, examples, range(9), 0.7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_sum_is_autograds_for_numbers():
    examples = three(9)
    numbers = Examples(examples.inputs, examples.inputs[:, 0] * np.float32(0.3))
    task = Numbers(TaskConfig(), 0)
    model = initial_model(task)
    found = clipped_sum(task, model, numbers, everything(numbers), 1.0)
    expected = reference(task, model, numbers, range(9), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_sum_is_autograds_for_sequences():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tokens = Examples(rng.integers(0, 11, (9, 7)).astype(np.float32), rng.integers(0, 3, 9))
    task, model = Three(), Sequences()
    found = clipped_sum(task, model, tokens, everything(tokens), 0.5)
    expected = reference(task, model, tokens, range(9), 0.5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


# One record, one term


def test_each_record_is_copied_into_the_same_memory():
    examples = three(5)
    seen = []
    for index, one in enumerate(examples.one_by_one(np.arange(5))):
        seen.append((id(one), one.inputs.ctypes.data, one.targets.ctypes.data))
        np.testing.assert_array_equal(one.inputs, examples.inputs[index : index + 1])
        np.testing.assert_array_equal(one.targets, examples.targets[index : index + 1])
        assert not np.shares_memory(one.inputs, examples.inputs)
    assert len(set(seen)) == 1


def moved(task, model, examples, indices, clip_norm: float) -> float:
    """Return how far the first record moves the sum, in clip norms; from exact integers."""
    more = bounded_sum(task, model, examples, indices, clip_norm)
    less = bounded_sum(task, model, examples, indices[1:], clip_norm)
    steps = [int(one) for one in more.integers - less.integers]
    return math.sqrt(sum(step * step for step in steps)) * more.grid / clip_norm


@pytest.mark.slow
@pytest.mark.parametrize("num_records", [64, 127, 128, 129])
@pytest.mark.parametrize(("num_features", "num_classes"), [(9, 3), (13, 7), (9, 1)])
def test_weights_that_cancel_do_not_amplify_rounding(num_records, num_features, num_classes):
    """Server-chosen weights of 2^70 made rounding, which the batch decides, 4 clip norms.

    The first record, alone in front of a batch of equal others, moved the sum by 8.5.
    """
    task = Three()
    task.num_classes = max(2, num_classes)
    torch.manual_seed(0)
    model = nn.Linear(num_features, num_classes)
    with torch.no_grad():
        model.weight[:, 0], model.weight[:, 1] = 2.0**70, -(2.0**70)
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.normal(size=(1, num_features)), num_records, axis=0)
    rows[:, 1] = rows[:, 0] * (1 + 2.0**-23)
    rows[0] = rng.normal(size=num_features)
    examples = Examples(rows.astype(np.float32), np.arange(num_records) % 2)
    assert moved(task, model, examples, everything(examples), 1.0) <= 1


def test_a_layer_that_sees_several_rows_of_a_record_is_bounded_too():
    """Ghost clipping's norm of such a layer let one record move the sum by 4e12."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (5, 1)), nn.Linear(1, 3), nn.Flatten(), nn.Linear(15, 3)
    )
    with torch.no_grad():
        model[1].weight.mul_(1e8)
    examples = three(6)
    examples.inputs[0] *= 1e6
    assert moved(Three(), model, examples, everything(examples), 1.0) <= 1


def test_a_term_is_the_same_whoever_else_is_there():
    torch.manual_seed(0)
    task = TASKS["digits"](config_of("digits", {}), seed=0)
    model, examples = SmallCNN(8, 10), three(23, shape=(1, 8, 8))
    alone = [bounded_sum(task, model, examples, np.array([i]), 1.0).integers for i in range(23)]
    whole = bounded_sum(task, model, examples, np.arange(23)[::-1], 1.0)
    np.testing.assert_array_equal(whole.integers, np.sum(alone, axis=0))


@pytest.mark.parametrize("build", [lambda: mlp(5, 3, 4), normalised])
def test_no_record_counts_for_more_than_the_clip_norm(build):
    torch.manual_seed(0)
    task, model, examples = Three(), build(), three(20)
    examples.inputs[:] *= np.geomspace(1e-6, 1e12, 20, dtype=np.float32)[:, None]
    for index in range(20):
        found = clipped_sum(task, model, examples, np.array([index]), 0.3)
        assert np.linalg.norm(found) <= 0.3


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    num_records=st.integers(1, 12),
    clip_norm=st.floats(1e-3, 1e3),
    data=st.data(),
)
def test_one_record_moves_the_sum_by_at_most_the_clip_norm(seed, num_records, clip_norm, data):
    torch.manual_seed(seed)
    task, model, examples = Three(), mlp(5, 3, 4), three(num_records, seed)
    removed = data.draw(st.integers(0, num_records - 1))
    examples.inputs[removed] *= data.draw(st.sampled_from([1, 1e30, np.inf, np.nan]))
    order = np.roll(everything(examples), -removed)
    assert moved(task, model, examples, order, clip_norm) <= 1


def test_an_empty_sample_gives_zeros():
    task, model = Three(), mlp(5, 3, 4)
    none = np.array([], dtype=np.intp)
    for examples in (three(4), three(0)):
        found = clipped_sum(task, model, examples, none, 1.0)
        assert np.array_equal(found, np.zeros(5 * 4 + 4 + 4 * 3 + 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("build", [lambda: mlp(5, 3, 4), lambda: linear(5, 3), normalised])
def test_a_record_without_finite_gradient_counts_as_zero(build, bad):
    torch.manual_seed(0)
    task, model, examples = Three(), build(), three(8)
    others = np.array([1, 2, 3, 5, 6, 7])
    expected = bounded_sum(task, model, examples, others, 0.5)
    examples.inputs[[0, 4], 1] = bad
    found = bounded_sum(task, model, examples, everything(examples), 0.5)
    np.testing.assert_array_equal(found.integers, expected.integers)


def test_a_record_that_fails_counts_as_zero_and_takes_no_other_with_it():
    class Picky(nn.Linear):
        def forward(self, inputs):
            if (inputs > 1e3).any():
                raise ValueError("an absurd value")
            return super().forward(inputs)

    torch.manual_seed(0)
    task, model, examples = Three(), Picky(5, 3), three(6)
    expected = bounded_sum(task, model, examples, np.array([0, 1, 3, 4, 5]), 0.5)
    examples.inputs[2, 0] = 1e6
    found = bounded_sum(task, model, examples, everything(examples), 0.5)
    np.testing.assert_array_equal(found.integers, expected.integers)


def test_dropout_drops_anew_for_each_record_and_by_the_given_generator():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 64), nn.Dropout(0.5), nn.Linear(64, 3))
    examples = Examples(np.ones((2, 5), np.float32), np.zeros(2, np.int64))

    def terms(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        found = clipped_gradients(Three(), model, examples, np.arange(2), 1.0, rng)
        return [term.copy() for term in found]

    first, second = terms(1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(terms(1), [first, second])
    assert not np.array_equal(terms(2)[0], first)


def test_the_model_and_torch_are_left_as_they_were():
    torch.manual_seed(0)
    task, model, examples = Three(), mlp(5, 3, 4).eval(), three(6)
    before, state = get_parameters(model), torch.get_rng_state()
    threads = torch.get_num_threads()
    clipped_sum(task, model, examples, everything(examples), 0.5)
    after = get_parameters(model)
    assert not model.training
    assert all(np.array_equal(before[key], after[key]) for key in before)
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_cannot_be_are_refused(clip_norm):
    rng = np.random.default_rng(0)
    terms = clipped_gradients(Three(), mlp(5, 3, 4), three(2), np.arange(2), clip_norm, rng)
    with pytest.raises(ValueError, match=f"clip_norm={clip_norm}".replace(".", r"\.")):
        next(terms)
