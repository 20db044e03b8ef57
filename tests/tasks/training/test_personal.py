"""Which parameters stay on a node: what is exchanged, what is trained, what is refused."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from app.builders.workload import build_task, build_workload
from app.config.load import ConfigError, load_config
from tasks.base import ModelRefusedError
from tasks.schema import TaskConfig
from tasks.training.kept_state import KeptState
from tasks.training.local import get_parameters, initial_model, set_parameters, train
from tasks.training.personal import exchanged, get_personal, personal_names, set_personal
from tests.kits.private_kit import composing

HEAD = {"classifier.weight", "classifier.bias"}


def task_of(words="task.personal=[classifier]", task="digits"):
    return build_task(load_config({"task": task, "overrides": words}))


def test_the_head_is_in_nothing_that_is_exchanged():
    model = initial_model(task_of())
    assert personal_names(model) == HEAD
    assert set(get_personal(model)) == HEAD
    shared = get_parameters(model)
    assert set(shared) == {name for name, _ in model.named_parameters()} - HEAD
    with pytest.raises(ValueError, match=r"differ in \['classifier\.bias', 'classifier"):
        set_parameters(model, {**shared, **get_personal(model)})


def test_both_parts_are_loaded_apart():
    one, other = initial_model(task_of()), initial_model(task_of())
    with torch.no_grad():
        for number, parameter in enumerate(one.parameters()):
            parameter.fill_(number)
    set_personal(other, get_personal(one))
    fresh = initial_model(task_of())
    assert all(map(torch.equal, exchanged(other).values(), exchanged(fresh).values()))
    set_parameters(other, get_parameters(one))
    assert all(map(torch.equal, other.parameters(), one.parameters()))
    with pytest.raises(ValueError, match=r"classifier\.bias has shape \(3,\), not \(10,\)"):
        set_personal(other, {**get_personal(one), "classifier.bias": np.zeros(3, np.float32)})


def test_a_copy_is_marked_too():
    model = initial_model(task_of())
    kept = KeptState(model)
    copied = deepcopy(model)
    assert personal_names(copied) == HEAD
    assert not kept.changes()
    kept.restore()
    assert personal_names(model) == HEAD


@pytest.mark.parametrize(
    ("task", "words", "names"),
    [
        ("digits", "task.personal=[classifier.bias]", {"classifier.bias"}),
        ("digits", "task.personal=[classifier,features.0.bias]", {*HEAD, "features.0.bias"}),
        ("breast_cancer", "task.model=mlp task.personal=[2]", {"2.weight", "2.bias"}),
        ("breast_cancer", "task.model=logistic task.personal=[bias]", {"bias"}),
    ],
)
def test_names_and_what_names_begin_with(task, words, names):
    assert personal_names(initial_model(task_of(words, task))) == names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("task.personal=[head]", r"is 'head' or begins with 'head\.'; there are features\.0"),
        ("task.personal=[classifier,classif]", "is 'classif' or begins"),
        ("task.personal=[features,classifier]", r"\[features, classifier\] is every trained"),
    ],
)
def test_names_that_say_nothing_are_refused(words, told):
    with pytest.raises(ModelRefusedError, match=told):
        initial_model(task_of(words))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("task.personal=[a,a]", r"task\.personal=\[a, a\]: give each name once"),
        (
            f"task.personal=[a] task.adapters.rank=1 task.adapters.base=/b"
            f" task.adapters.sha256={'0' * 64}",
            r"task\.personal=\[a\] with task\.adapters\.rank=1",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused(words, told):
    with pytest.raises(ConfigError, match=told):
        load_config({"task": "digits", "overrides": words})


def test_an_empty_name_is_refused():
    with pytest.raises(ValueError, match="none that is empty"):
        TaskConfig(personal=[""])


def test_it_has_no_effect_without_a_network():
    with pytest.raises(ConfigError, match=r"task\.personal has no effect here"):
        load_config({"task": "adult", "algorithm": "ebm", "overrides": "task.personal=[a]"})


@pytest.mark.parametrize("option", ["example_local", "example_distributed", "example_central"])
def test_where_records_are_hidden_nothing_stays(option):
    with pytest.raises(ConfigError, match=rf"privacy={option}: a part that a node trains"):
        load_config(composing(option, free="task.model=mlp task.personal=[2]"))


@pytest.mark.parametrize("option", ["client_local", "client_distributed", "client_central"])
def test_where_clients_are_hidden_it_may(option):
    config = load_config(composing(option, free="task.model=mlp task.personal=[2]"))
    assert set(build_workload(config).initial_state().arrays) == {"0.weight", "0.bias"}


def test_the_proximal_term_is_over_what_is_shared():
    """With mu times the rate at 1, what it pulls stays within one step of where it began."""
    words = "task.training.momentum=0 task.training.learning_rate=0.05"
    task = task_of(f"task.personal=[classifier] {words} task.training.num_steps=40")

    def moved(mu):
        model = initial_model(task)
        before = get_personal(model), get_parameters(model)
        train(task, model, task.made_up(64), np.random.default_rng(0), mu)
        after = get_personal(model), get_parameters(model)
        return [
            np.sqrt(sum(np.square(a[n] - b[n]).sum() for n in a))
            for a, b in zip(after, before, strict=True)
        ]

    head, shared = moved(20.0)
    free_head, free_shared = moved(0.0)
    assert shared < free_shared / 4
    assert head > free_head / 2
