"""What every task must keep to, whatever it learns.

A task that needs no files is picked up from the registry alone. One that reads files has an
entry in ``FILES`` that writes tiny valid ones.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from tasks.base import DataSource, Task
from tasks.records import Examples, LocalData
from tasks.registry import TASKS
from tasks.training.local import evaluate, get_parameters, initial_model, score, train
from tasks.training.model_check import check_model
from tasks.training.rehearsal import rehearse, require_made_up
from tests import ROOT
from tests.kits.backbones import NEEDED_BY
from tests.kits.per_record import clipped_sum, gradient, reference
from tests.tasks import test_adult, test_heart, test_images, test_mnist, test_shakespeare

CONF = ROOT / "conf" / "task"
#: What the ratings task leaves to the user.
RATINGS_KEYS = {"num_items": 12, "min_rating": 1, "max_rating": 5, "width": 4}
#: What the series task leaves to the user.
SERIES_KEYS = {
    "goal": "remaining_life",
    "cap": 12,
    "time": "cycle",
    "unit": "engine",
    "values": {"heat": {"min": 0, "max": 40}},
    "window": 6,
    "width": 16,
}


@dataclass(frozen=True)
class Files:
    """Each node's data path, and the keys that the YAML leaves to the user."""

    data_paths: tuple[Path | None, ...] = (None, None)
    keys: dict[str, Any] = field(default_factory=dict)


def adult_files(directory: Path) -> Files:
    return Files((test_adult.write_folder(directory),) * 2)


def heart_files(directory: Path) -> Files:
    return Files((test_heart.write_all(directory),) * 4)


def mnist_files(directory: Path) -> Files:
    return Files((test_mnist.write(directory, test_mnist.contents()),) * 2)


def csv_files(directory: Path) -> Files:
    """Write one file for each node: nobody shares a file of their own."""
    paths = (directory / "first.csv", directory / "second.csv")
    for offset, path in enumerate(paths):
        ages = range(20 + offset, 80, 2)
        records = [f"{age},{'mf'[age % 3 % 2]},{'ny'[age > 45]}" for age in ages]
        path.write_text("\n".join(["age,sex,ill", *records]) + "\n")
    keys = {
        "label": {"column": "ill", "classes": ["n", "y"]},
        "numeric": {"age": {"min": 0, "max": 100}},
        "categorical": {"sex": {"categories": ["m", "f"]}},
    }
    return Files(paths, keys)


def shakespeare_files(directory: Path) -> Files:
    """Write a few speeches; a small model."""
    keys = {"length": 40, "width": 16, "embedding": 8}
    return Files((test_shakespeare.write(directory),) * 2, keys)


def series_files(directory: Path) -> Files:
    """Write one file for each node: engines that get hotter until they fail."""
    paths = (directory / "first.csv", directory / "second.csv")
    for place, path in enumerate(paths):
        rows = [
            f"e{place}{engine},{cycle},{cycle * 7 % 31 + engine / 9 + place / 90:.4f}"
            for engine in range(9)
            for cycle in range(1, 12 + engine)
        ]
        path.write_text("\n".join(["engine,cycle,heat", *rows]) + "\n")
    return Files(paths, SERIES_KEYS)


def ratings_files(directory: Path) -> Files:
    """Write one file for each node: users who like even items, or odd ones."""
    paths = (directory / "first.csv", directory / "second.csv")
    for place, path in enumerate(paths):
        rows = [
            f"u{place}{user},{item},{1 + (item * 3 + item * item * user // 7 + place) % 5}"
            for user in range(30)
            for item in range(1, 13)
            if (user * item * 5 + item * 7 + user + place) % 11 > 3
        ]
        path.write_text("\n".join(["user,item,rating", *rows]) + "\n")
    return Files(paths, RATINGS_KEYS)


def images_files(directory: Path) -> Files:
    """Write one folder for each node: pictures of two kinds, each with noise of its own."""
    paths = (directory / "first", directory / "second")
    for place, path in enumerate(paths):
        test_images.write_pictures(path, test_images.IMAGES_KEYS["classes"], 20, seed=place)
    return Files(paths, test_images.IMAGES_KEYS)


def no_files(_: Path) -> Files:
    """Write none: a node without one has a drawn physics. Few and short episodes."""
    return Files(keys={"num_environments": 3, "num_test_episodes": 2, "num_env_steps": 1024})


FILES: dict[str, Callable[[Path], Files]] = {
    "acrobot": no_files,
    "adult": adult_files,
    "cartpole": no_files,
    "csv": csv_files,
    "heart": heart_files,
    "images": images_files,
    "mnist": mnist_files,
    "ratings": ratings_files,
    "series": series_files,
    "shakespeare": shakespeare_files,
}
# Choices that do not go with the files above: labels with classes, times that are numbers.
UNFIT = {("adult", "linear"), ("csv", "linear"), ("series", "forecast"), ("series", "iso")}


def config_of(name: str, keys: dict[str, Any]) -> Any:
    """Return the task's configuration as its YAML gives it."""
    from_yaml = OmegaConf.load(CONF / f"{name}.yaml")
    assert from_yaml.pop("defaults") == [f"{name}_schema", "_self_"]
    # A key that the configuration class does not know is an error here.
    merged = OmegaConf.merge(OmegaConf.structured(TASKS[name].Config), from_yaml, keys)
    return OmegaConf.to_object(merged)


@pytest.fixture(params=sorted(TASKS))
def name(request) -> str:
    return request.param


@pytest.fixture
def files(name, tmp_path) -> Files:
    return FILES[name](tmp_path) if name in FILES else Files()


@pytest.fixture
def task(name, files) -> Task:
    return TASKS[name](config_of(name, files.keys), seed=3)


@pytest.fixture
def sources(files) -> list[DataSource]:
    count = len(files.data_paths)
    return [DataSource(index, count, path) for index, path in enumerate(files.data_paths)]


@pytest.fixture
def data(task, sources) -> LocalData:
    return task.load(sources[0])


def scores(task: Task, examples: Examples) -> dict[str, torch.Tensor]:
    """Return the loss and the metrics of each example, under the initial model."""
    losses, metrics, _ = score(task, initial_model(task), examples)
    return {"loss": losses, **metrics}


def same(first: Examples, second: Examples) -> bool:
    return np.array_equal(first.inputs, second.inputs) and np.array_equal(
        first.targets, second.targets
    )


def test_default_configuration_is_valid(name, files):
    if files.keys:
        pytest.skip(f"the user must set {', '.join(files.keys)}: there is no default")
    config = TASKS[name].Config()
    assert TASKS[name](config, seed=0).config is config


def test_population_is_accepted(task, sources):
    task.check_population(len(sources))


def test_every_choice_trains(name, files, sources, tmp_path):
    chosen = [
        (key.name, choice.name)
        for key in fields(TASKS[name].Config)
        if isinstance(key.default, Enum)
        for choice in type(key.default)
        if (name, choice.name) not in UNFIT
    ]
    for key, choice in chosen:
        needed = NEEDED_BY.get((name, choice), lambda _: {})(tmp_path)
        task = TASKS[name](config_of(name, files.keys | needed | {key: choice}), seed=3)
        task.config.training.num_steps = 2
        data = task.load(sources[0])
        result = train(task, initial_model(task), data.train, np.random.default_rng(0), 0.0)
        assert np.isfinite(result.mean_loss), (key, choice)


def test_loading_twice_gives_the_same_split(task, sources, name, files):
    again = TASKS[name](config_of(name, files.keys), seed=3)
    for source in sources:
        first, second = task.load(source), again.load(source)
        assert same(first.train, second.train)
        assert same(first.test, second.test)


def test_an_inspection_says_what_a_run_would_have(task, sources):
    for source in sources:
        data, found = task.load(source), task.inspect(source)
        assert (found.num_train, found.num_test) == (len(data.train), len(data.test))
        assert found.objection == ""


def test_no_record_is_given_twice(task, sources):
    seen: Counter[bytes] = Counter()
    for source in sources:
        loaded = task.load(source)
        assert len(loaded.train) > 0
        assert len(loaded.test) > 0
        for part in (loaded.train, loaded.test):
            pairs = zip(part.inputs, part.targets, strict=True)
            seen.update(inputs.tobytes() + target.tobytes() for inputs, target in pairs)
    # Real records may have a twin, but only few.
    twins = seen.total() - len(seen)
    assert twins <= 0.01 * seen.total()


def test_inputs_are_finite_and_targets_fit_the_loss(task, sources):
    made_up = task.made_up(2)
    for source in sources:
        loaded = task.load(source)
        for part in (loaded.train, loaded.test):
            assert part.inputs.dtype in (np.float32, np.int64)
            assert part.inputs.dtype == made_up.inputs.dtype
            assert np.isfinite(part.inputs).all()
            assert part.targets.shape == (len(part), *made_up.targets.shape[1:])
            assert part.targets.dtype in (np.int64, np.float32)
            assert np.isfinite(part.targets).all()


def test_scores_are_per_example(task, data):
    values = scores(task, data.train)
    assert task.metric in values.keys() - {"loss"}
    assert values.keys() - {"loss"} == set(task.metric_names(task.config))
    for value in values.values():
        assert value.shape == (len(data.train),)
        assert torch.isfinite(value).all()


def test_an_examples_scores_do_not_depend_on_the_others(task, data):
    few = data.train.take(np.arange(min(16, len(data.train))))
    together = scores(task, few)
    alone = [scores(task, few.take(np.array([index]))) for index in range(len(few))]
    for key, values in together.items():
        torch.testing.assert_close(values, torch.cat([one[key] for one in alone]))


def test_evaluation_sums_the_scores(task, data):
    totals = evaluate(task, initial_model(task), data.test)
    assert totals.pop("num_examples") == len(data.test)
    expected = scores(task, data.test)
    assert totals.keys() == expected.keys()
    for key, total in totals.items():
        assert total == pytest.approx(float(expected[key].sum()), rel=1e-4)


def test_initial_model_is_the_seeds(task, name):
    first = get_parameters(initial_model(task))
    torch.rand(3)  # what else was drawn must not matter
    second = get_parameters(initial_model(task))
    other = get_parameters(initial_model(TASKS[name](task.config, seed=4)))
    assert first.keys() == second.keys() == other.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_training_lowers_the_loss(task, data):
    model = initial_model(task)
    # What the model makes of a seed, it trains on with that seed.
    seen = task.experience(model, data.train, np.random.default_rng(0))
    inputs, targets = torch.from_numpy(seen.inputs), torch.from_numpy(seen.targets)

    def loss() -> float:
        with torch.inference_mode():
            return float(task.per_example_loss(model.eval()(inputs), targets).sum())

    before = loss()
    task.config.training.num_steps = 60
    train(task, model, data.train, np.random.default_rng(0), 0.0)
    assert loss() < before


def test_model_admits_per_example_gradients(task):
    model = initial_model(task)
    # Buffers would be exchanged by nobody, and batch statistics mix the examples.
    assert list(model.buffers()) == []
    assert check_model(model) == []
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_clipped_gradients_are_autograds(task, data):
    model, few = initial_model(task), data.train.take(np.arange(min(6, len(data.train))))
    norms = [np.linalg.norm(gradient(task, model, few, i)) for i in range(len(few))]
    # Some records are clipped and some are not.
    bound = float(np.median(norms))
    found = clipped_sum(task, model, few, np.arange(len(few)), bound)
    expected = reference(task, model, few, range(len(few)), bound)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2.0**-27 * bound)


def test_training_on_made_up_records_is_rehearsed(task, data):
    """Their form is that of the task's own, and no record's loss depends on others."""
    rehearse(task, initial_model(task), alone=True)
    require_made_up(task, data.train)
