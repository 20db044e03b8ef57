"""Early stopping: which model is the best, what is left of a run, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.records import Examples, LocalData
from tests.workloads.histograms.tables import ebm, records
from tests.workloads.trees.tables import random_trees, workload
from workloads.early_stopping import EarlyStopping
from workloads.values import Aggregate, Query, State, StateRefusedError

LABELS = ("binary", "softmax", "squared")
PRIVATE = (
    "privacy.delta=1e-4 privacy.population=3 privacy.sampling_rate=1"
    " privacy.expected_batch_size=455 privacy.metrics.every=1"
)


def scored(loss: float | None, count: float = 100.0, noise: float = 0.0) -> Aggregate:
    sums = {} if loss is None else {"eval_num_examples": count, "eval_loss": loss * count}
    return Aggregate(np.zeros(0), sums, 1.0, scores_noise=noise, loss_noise=noise)


def told(losses, *, rounds: int = 2, tolerance: float = 0.0, noise: float = 0.0) -> State:
    """Return the state after models with these losses, each an array of its own number."""
    rule = EarlyStopping(rounds, tolerance, ("model",))
    state = rule.begun(State({"model": np.array([0.0])}))
    for number, loss in enumerate(losses):
        found = State({"model": np.array([number + 1.0])})
        state = rule.judged(state, found, scored(loss, noise=noise), number)
        rule.check(state)
    return state


@pytest.mark.parametrize(
    ("losses", "keys", "best", "num_worse"),
    [
        ([0.9, 0.8, 0.85, 0.8], {}, 1, 2),
        ([0.9, 0.8, 0.85, 0.7], {}, 3, 0),
        ([0.9, 0.8, None, None, 0.85], {}, 1, 1),
        ([None, 0.9], {}, 1, 0),
        # Falls that are less than the tolerance are none, until they add up to more.
        ([0.9, 0.85, 0.82], {"tolerance": 0.06}, 2, 0),
        ([0.9, 0.85, 0.85], {"tolerance": 0.06}, 0, 2),
        # One deviation of a mean of 100 is 0.05 here, of a difference 0.07: neither better nor
        # worse are 0.8 and 1.0.
        ([0.9, 0.8, 1.0, 0.9], {"noise": 5.0}, 0, 0),
        ([0.9, 0.5, 0.6, 0.9, 1.0], {"noise": 5.0}, 1, 2),
    ],
)
def test_a_loss_is_better_or_worse_or_within_the_noise(losses, keys, best, num_worse):
    state = told(losses, **keys)
    assert (state.header["best_iteration"], state.header["num_worse"]) == (best, num_worse)
    assert state.arrays["best_model"] == [best]
    rule = EarlyStopping(2, 0.0, ("model",))
    assert rule.is_over(state) is (num_worse >= 2)
    left = rule.best(state)
    if num_worse:
        assert (left[0], left[1]["model"][0]) == (best, best)
    else:
        assert left is None


def test_noise_of_two_sums_makes_that_of_their_quotient():
    state = told([0.5], noise=3.0)
    draws = np.random.default_rng(0).normal(scale=3.0, size=(2, 100_000))
    means = (50 + draws[0]) / (100 + draws[1])
    assert state.header["best_noise"] == pytest.approx(means.std(), rel=0.02)


def scores_of(work, label: str, num_rounds: int, num_records: int = 120):
    """Return the states of a run over labels of pure chance, and each one's held-out loss."""
    chance = np.random.default_rng(5).permutation(2 * num_records)
    found = records(label, 2 * num_records)
    shuffled = Examples(found.inputs, found.targets[chance], found.columns)
    half = np.arange(num_records)
    data = LocalData(shuffled.take(half), shuffled.take(half + num_records))
    states, losses = [work.initial_state()], []
    for server_round in range(1, num_rounds + 1):
        if work.is_finished(states[-1]):
            break
        work.check(states[-1])
        given = work.contribute(states[-1], Query(server_round), data, None)
        losses.append(given.sums["eval_loss"] / num_records)
        total = Aggregate(given.update, given.sums, 1.0)
        states.append(work.apply(states[-1], total, server_round, None))
    return states, losses, data


@pytest.mark.parametrize("label", LABELS)
def test_grown_trees_are_cut_back_to_the_best(label):
    """Deep trees over chance only get worse: the loss rises from the first tree on."""
    keys = {"max_depth": 4, "min_data_in_leaf": 1, "learning_rate": 0.5, "lambda_l2": 0.0}
    work = workload("gbdt", label, early_stopping_rounds=3, **keys)
    states, losses, data = scores_of(work, label, 60)
    assert work.is_finished(states[-1])
    whole = [
        (loss, work.growth.iteration(work._stopping.bare(state), 0))
        for loss, state in zip(losses, states, strict=False)
    ]
    whole = [(round(loss, 9), number) for loss, number in whole if number is not None]
    best_loss, best = min(whole)
    assert max(number for _, number in whole) == best + 3
    left = work.published(states[-1])
    work.check(left)
    assert len(left.arrays["roots"]) == best * work.loss.num_scores
    found = work.score(left, data)["eval_loss"] / len(data.test)
    assert found == pytest.approx(best_loss, abs=1e-8)
    facts = work.report(left).facts
    assert facts["best_iteration"] == best
    assert facts["reason"].startswith("early stopping")
    assert facts["trees"] == len(left.arrays["roots"])
    # What columns brought is of the trees that are left.
    again = workload("gbdt", label, **keys)
    states, _, _ = scores_of(again, label, 1 + sum(depths(left)))
    np.testing.assert_array_equal(states[-1].arrays["gain"], left.arrays["gain"])


def depths(state: State) -> list[int]:
    """Return how many rounds each iteration took, for one tree at once or several alike."""
    found = []
    outputs = state.arrays["value"].shape[1]
    for first in range(0, len(state.arrays["roots"]), outputs):
        level, depth = state.arrays["roots"][first : first + outputs], 0
        while len(level):
            inner = level[state.arrays["column"][level] >= 0]
            below = state.arrays["child"][inner]
            level = np.concatenate([below, below + 1])
            depth += bool(len(level))
        # A last level that could be split no further was asked for, unless it was the deepest.
        found.append(depth)
    return found


@pytest.mark.parametrize("kind", ["ebm", "random"])
@pytest.mark.parametrize("label", LABELS)
def test_curves_are_those_of_the_best_round(kind, label):
    keys = {"learning_rate": 1.5, "early_stopping_rounds": 3}
    if kind == "ebm":
        work = ebm(label, mode=None, smoothing=0.0, **keys)
    else:
        work = random_trees(label, mode=None, lambda_l2=0.01, **keys)
    states, losses, data = scores_of(work, label, 60)
    assert work.is_finished(states[-1])
    best = int(np.argmin(np.round(losses, 9)))
    assert len(losses) == best + 4
    left = work.published(states[-1])
    work.check(left)
    for name in ("curves", "intercepts"):
        np.testing.assert_array_equal(left.arrays[name], states[best].arrays[name])
    columns = data.test.columns
    np.testing.assert_array_equal(
        work.predict(left, columns), work.predict(states[best], columns)
    )
    assert work.ending(left)["best_iteration"] == best
    # Without the key nothing is remembered, and the run goes on.
    assert not [name for name in ebm(label).initial_state().arrays if "best" in name]


@pytest.mark.parametrize("make", [ebm, random_trees])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best_iteration", 1.0),
        ("best_iteration", -2),
        ("num_worse", True),
        ("num_worse", None),
        ("best_loss", float("nan")),
        ("best_noise", "0"),
        ("best_curves", np.zeros((1, 2))),
        ("best_other", np.zeros(1)),
        ("best_intercepts", np.array([np.inf])),
    ],
)
def test_what_no_run_remembers_is_refused(make, name, value):
    work = make("binary", early_stopping_rounds=2)
    state = work.initial_state()
    work.check(state)
    changed = {name: value}
    if isinstance(value, np.ndarray):
        wrong = State({**state.arrays, **changed}, state.header)
    else:
        wrong = State(state.arrays, {**state.header, **changed})
    with pytest.raises(StateRefusedError):
        work.check(wrong)


def run(folder: Path, num_rounds: int, free: str, **keys):
    config = {"task": "breast_cancer", "output-dir": str(folder), "aggregation": "plain"}
    config |= {"num-rounds": num_rounds, "overrides": free} | keys
    return simulate(config, 3)


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


DEEP = (
    "algorithm.max_depth=3 algorithm.min_data_in_leaf=1 algorithm.learning_rate=1"
    " algorithm.lambda_l2=0.01 algorithm.early_stopping_rounds=2"
)


@pytest.mark.slow
def test_a_run_says_which_iteration_was_best_and_a_resumed_one_is_the_same(tmp_path):
    whole = run(tmp_path / "whole", 60, DEEP, algorithm="gbdt")
    told = summary_of(tmp_path / "whole")
    assert told["status"] == "stopped early"
    assert told["reason"] == "early stopping: no better held-out loss in 2 iterations"
    assert told["num_rounds"] < 60
    assert told["metrics"]["loss"] == pytest.approx(told["best_loss"], abs=1e-6)
    assert len(whole.state.arrays["roots"]) == told["best_iteration"]
    _, model = load_model(tmp_path / "whole" / "model.safetensors")
    np.testing.assert_array_equal(model.state.arrays["value"], whole.state.arrays["value"])
    # In the middle, after something was remembered.
    run(tmp_path / "run", told["num_rounds"] - 2, DEEP, algorithm="gbdt")
    config = {"task": "breast_cancer", "algorithm": "gbdt", "num-rounds": 60}
    config |= {"resume-from": str(tmp_path / "run"), "overrides": DEEP, "aggregation": "plain"}
    found = simulate(config, 3).state
    assert found.header == whole.state.header
    for name, values in whole.state.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "stops"), [(0.001, True), (100.0, False)])
def test_under_privacy_only_what_is_beyond_the_noise_ends_a_run(tmp_path, noise, stops):
    """Steps that go too far raise the loss; under much noise nobody could tell."""
    free = (
        f"{PRIVATE} privacy.noise_multiplier=0.01 privacy.metrics.noise_multiplier={noise}"
        " algorithm.early_stopping_rounds=2 algorithm.learning_rate=30 algorithm.smoothing=0"
    )
    keys = {"algorithm": "ebm", "privacy": "example_central"}
    run(tmp_path / "run", 12, free, **keys)
    told = summary_of(tmp_path / "run")
    assert (told["status"] == "stopped early") is stops
    if stops:
        assert told["num_rounds"] < 12
        assert told["privacy"]["num_updates"] == told["num_rounds"]
        plan = plan_run(
            load_config({"task": "breast_cancer", "num-rounds": 12, "overrides": free} | keys)
        )
        assert told["privacy"]["epsilon"] < plan.guarantee["epsilon"]


@pytest.mark.parametrize(
    ("algorithm", "free", "told"),
    [
        ("gbdt", "algorithm.early_stopping_rounds=0", "must be at least 1"),
        ("ebm", "algorithm.early_stopping_tolerance=0.1", "has no effect: nothing ends"),
        (
            "ebm",
            "algorithm.early_stopping_rounds=2 algorithm.early_stopping_tolerance=-1",
            "must be finite and not negative",
        ),
        (
            "gbdt",
            "algorithm.early_stopping_rounds=2 task.test_fraction=0",
            "algorithm.early_stopping_rounds=2: test_fraction=0 holds no records out",
        ),
        ("ebm", "early_stopping.patience=3", "give algorithm.early_stopping_rounds=3 instead"),
        ("tree", "algorithm.early_stopping_rounds=2", "not a key"),
    ],
)
def test_what_could_not_end_a_run_is_refused(algorithm, free, told):
    with pytest.raises(ConfigError, match=told):
        load_config({"task": "breast_cancer", "algorithm": algorithm, "overrides": free})


def test_a_private_run_without_scores_is_refused():
    free = f"{PRIVATE} privacy.epsilon=1 privacy.metrics.every=0"
    config = {"task": "breast_cancer", "algorithm": "ebm", "privacy": "example_central"}
    with pytest.raises(ConfigError, match=r"metrics\.every=0 releases none"):
        load_config(config | {"overrides": f"{free} algorithm.early_stopping_rounds=2"})
