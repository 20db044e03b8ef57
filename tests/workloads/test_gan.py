"""A GAN: what nodes are asked and add, what the server makes of it, and what it never needs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from strategies.rounds.records import read_request
from tasks.base import DataSource
from tasks.digits import Digits
from tasks.mnist import Mnist, MnistConfig
from tasks.records import DataError, Examples, LocalData, joined
from tasks.scattering import ImageModel
from tasks.training.adversarial import sameness
from tests.kits.killed_runs import resumed
from tests.kits.per_record import reference
from tests.kits.traced import Traced
from tests.runs.private.test_resume import stop_after
from workloads.gan import Gan
from workloads.values import Aggregate, Query, State, StateRefusedError

C = 0.5
PRIVATE = (
    "privacy.noise_multiplier=2 privacy.delta=1e-3 privacy.population=3 privacy.sampling_rate=1"
    f" privacy.expected_batch_size=1400 privacy.clip_norm={C} aggregation.min_survivors=3"
)
QUICK = "algorithm.made_up_batch=20"
QUERY = Query(1)


def run_config(privacy: str = "none", free: str = "", **keys) -> dict:
    needed = PRIVATE if privacy == "example_distributed" else ""
    given = {"task": "digits", "algorithm": "gan", "privacy": privacy, "num-rounds": 2}
    return {**given, "overrides": f"{needed} {QUICK} {free}", **keys}


def gan(privacy: str = "none", free: str = ""):
    return build_workload(load_config(run_config(privacy, free)))


def bounded(workload, state: State, examples: Examples):
    plan = SimpleNamespace(terms=SimpleNamespace(sampling_rate=1.0))
    nobody = examples.take(np.zeros(0, np.intp))
    privacy = SimpleNamespace(plan=plan, clip_norm=C, mode=workload.setup.mode)
    data, rng = LocalData(examples, nobody), np.random.default_rng(0)
    return workload.bounded(state, QUERY, data, rng, privacy).update


@pytest.fixture(scope="module")
def private():
    return gan("example_distributed")


@pytest.fixture(scope="module")
def records() -> Examples:
    source = DataSource(0, 40)
    return build_workload(load_config(run_config())).task.load(source).train


def released(workload, seed: int = 0, weight: float = 3.0) -> Aggregate:
    """Return a sum as a round might release it."""
    total = np.random.default_rng(seed).normal(size=workload.length(workload.initial_state()))
    return Aggregate(total, {}, weight)


def played(workload, state: State, num_rounds: int) -> State:
    for number in range(1, num_rounds + 1):
        state = workload.apply(state, released(workload, number), number, None)
    return state


def same(first: State, second: State) -> bool:
    assert [*first.arrays] == [*second.arrays]
    return all(np.array_equal(a, second.arrays[n]) for n, a in first.arrays.items())


# What nodes add.


def test_one_node_and_uneven_ones_add_up_to_the_same_integers(private, records):
    asked = private.asked(played(private, private.initial_state(), 2))
    whole = bounded(private, asked, records)
    cuts = np.split(np.arange(len(records)), [1, 4, 5, 20])
    parts = [bounded(private, asked, records.take(cut)) for cut in cuts]
    assert np.array_equal(whole.integers, sum(part.integers for part in parts))
    assert {part.grid for part in parts} == {whole.grid}


def test_the_sum_is_that_of_clipped_gradients_of_the_loss_on_real_records(private, records):
    few, asked = records.take(np.arange(5)), private.asked(private.initial_state())
    judge = private._nodes
    due = reference(judge.task, judge.load(asked), few, range(5), C)
    found = bounded(private, asked, few).in_units_of(1.0)
    np.testing.assert_allclose(found, due, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e30])
def test_no_record_moves_the_sum_by_more_than_the_bound(private, size):
    """Whatever discriminator a malicious server sends, and whatever the record."""
    rng = np.random.default_rng(1)
    start, longest = private.asked(private.initial_state()), 0.0
    shape = private.task.input_shape
    for scale in (0.0, 1.0, 1e6, np.nan, np.inf):
        inputs = (rng.normal(size=(1, *shape)) * scale).astype(np.float32)
        for target in (0, 9):
            draws = {n: rng.normal(size=a.shape) for n, a in start.arrays.items()}
            state = State({n: (a * size).astype(np.float32) for n, a in draws.items()})
            found = bounded(private, state, Examples(inputs, np.array([target])))
            length = float(np.linalg.norm(found.integers.astype(np.float64))) * found.grid
            assert np.isfinite(length)
            assert length <= C * (1 + 1e-6)
            assert found.delta2 * found.grid <= C * (1 + 1e-4)
            longest = max(longest, length)
    # It is the bound that keeps it short, where the discriminator is steep.
    assert size < 1 or longest > 0.99 * C


def test_nodes_are_sent_the_discriminator_alone(tmp_path):
    keys = {"output-dir": str(tmp_path / "r"), "num-rounds": 1}
    traced = Traced(run_config("example_distributed", **keys), 3)
    asked = [read_request(m.content)[0] for m, _ in traced.messages if "arrays" in m.content]
    assert asked
    (judge,) = {tuple(state.arrays) for state in asked}
    workload = build_workload(traced.config)
    assert judge == tuple(workload._nodes.initial_state().arrays)
    down = traced.plan().bytes_down
    assert down == 4 * workload.length(workload.initial_state())
    # The result is the generator, and nothing of the discriminator.
    names = set(load_file(tmp_path / "r" / "model.safetensors"))
    assert names == {name for name, _ in workload._new_generator().named_parameters()}


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_without_privacy_the_masked_mean_is_that_of_all_records(tmp_path, aggregation):
    keys = {"output-dir": str(tmp_path / "r"), "aggregation": aggregation, "num-rounds": 1}
    config = run_config(**keys)
    sums = []
    workload_class = type(gan())
    apply = workload_class.apply

    def spy(self, state, aggregate, server_round, step):
        sums.append(aggregate)
        return apply(self, state, aggregate, server_round, step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workload_class, "apply", spy)
        traced = Traced(config, 3)
    workload = build_workload(traced.config)
    parts = [workload.task.load(DataSource(n, 3)) for n in range(3)]
    everyone = joined([part.train for part in parts])
    nobody = everyone.take(np.zeros(0, np.intp))
    state = workload.asked(workload.initial_state())
    data, rng = LocalData(everyone, nobody), np.random.default_rng(0)
    due = workload.contribute(state, QUERY, data, rng)
    np.testing.assert_allclose(sums[0].mean(), due.update, rtol=0, atol=1e-6)
    assert sums[0].sums["num_examples"] == pytest.approx(len(everyone))


def test_a_sampling_rate_draws_some(records):
    workload = gan(free="algorithm.sampling_rate=0.5")
    nobody = records.take(np.zeros(0, np.intp))
    state, data = workload.asked(workload.initial_state()), LocalData(records, nobody)
    draws = [
        workload.contribute(state, QUERY, data, np.random.default_rng(seed))
        for seed in range(200)
    ]
    assert len({found.sums["train_loss"] for found in draws}) > 100
    assert {found.sums["num_examples"] for found in draws} == {float(len(records))}
    # On average they are what all records give: 200 draws, each off by about a sixth.
    whole = gan().contribute(state, QUERY, data, np.random.default_rng(0))
    mean = np.mean([found.update for found in draws], axis=0)
    assert np.linalg.norm(mean - whole.update) < 0.1 * np.linalg.norm(whole.update)
    losses = [found.sums["train_loss"] for found in draws]
    assert np.mean(losses) == pytest.approx(whole.sums["train_loss"], rel=0.1)
    with pytest.raises(DataError, match="no record to train on"):
        workload.contribute(state, QUERY, LocalData(nobody, nobody), np.random.default_rng(0))


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_node_that_draws_no_record_ends_no_run(tmp_path, aggregation):
    """Nearly all nodes draw none of their few records."""
    keys = {"output-dir": str(tmp_path / "r"), "aggregation": aggregation}
    run = Traced(run_config(free="algorithm.sampling_rate=1e-4", **keys), 4)
    assert run.summary()["num_rounds"] == 2
    assert not any(reply.has_error() for _, reply in run.messages)


# What the server makes of it.


def test_the_server_needs_no_record(private, monkeypatch):
    """Its next state is a function of state, sum and public seed."""

    def load(*_):
        raise AssertionError("a record was asked for")

    due = played(private, private.initial_state(), 3)
    monkeypatch.setattr(Digits, "load", load)
    torch.manual_seed(1)
    again = gan("example_distributed")
    assert same(played(again, again.initial_state(), 3), due)
    other = again.apply(due, released(again, 9), 4, None)
    assert not same(other, again.apply(due, released(again, 8), 4, None))


def test_how_many_answered_does_not_move_a_private_step(private):
    state = private.initial_state()
    found = [private.apply(state, released(private, weight=w), 1, None) for w in (2.0, 9.0)]
    assert same(*found)


def test_made_up_images_pull_no_harder_than_records(private):
    """Their gradients are clipped as those of records are, and of a mean of them C is left."""
    state = private.initial_state()
    steep = {
        n: a * 50 if n.startswith("discriminator/") else a for n, a in state.arrays.items()
    }
    pulls = {}
    for clip_norm in (C, None):
        workload = type(private)(replace(private.setup, clip_norm=clip_norm))
        game = workload._game(State(steep), 0)
        pull = game._made_up_gradient(np.random.default_rng(0))
        pulls[game.clip_norm] = float(torch.linalg.vector_norm(pull))
    assert pulls[C] <= C * (1 + 1e-6)
    assert pulls[None] > 2 * C
    assert private._game(state, 0).clip_norm == C


def test_images_of_a_class_that_are_alike_cost_the_generator():
    latents = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    alike = torch.zeros(20, 1, 8, 8)
    # Two classes in turn: those that differ are of one class, or of two.
    by_class = alike + (torch.arange(20) % 2)[:, None, None, None]
    own = alike + torch.linspace(0, 1, 20)[:, None, None, None]
    costs = [float(sameness(images, latents, 2)) for images in (alike, by_class, own)]
    assert costs[0] == costs[1] == pytest.approx(100, rel=1e-4)
    assert costs[2] < 50
    steps = []
    for weight in (0.0, 1.0):
        workload = gan(free=f"algorithm.diversity={weight}")
        steps.append(played(workload, workload.initial_state(), 1).arrays["mean"])
    assert not np.array_equal(*steps)


def test_what_is_published_is_the_mean_generator(private):
    state = played(private, private.initial_state(), 3)
    published = private.published(state)
    flat = np.concatenate([values.ravel() for values in published.arrays.values()])
    assert np.array_equal(flat, state.arrays["mean"])
    made = private.generate(published, 25, np.random.default_rng(0))
    assert made.inputs.shape == (25, 1, 8, 8)
    assert made.inputs.min() >= 0
    assert made.inputs.max() <= 1
    assert made.targets.tolist() == [number % 10 for number in range(25)]
    first = private.generate(published, 25, np.random.default_rng(0))
    assert np.array_equal(made.inputs, first.inputs)


def test_a_resumed_run_ends_where_another_does(tmp_path, monkeypatch):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    one = run_config(**{"output-dir": str(whole), "num-rounds": 4, "deterministic": True})
    Traced(one, 3)
    two = {**one, "output-dir": str(halves)}
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            Traced(two, 3)
    kept = load_file(halves / "checkpoint.safetensors")
    assert kept["model/moments/first/generator/"].any()
    Traced(resumed(two), 3)
    found, due = (load_file(folder / "model.safetensors") for folder in (halves, whole))
    assert found.keys() == due.keys()
    assert all(np.array_equal(found[name], due[name]) for name in due)


@pytest.mark.slow
def test_it_learns_digits_that_a_classifier_can_learn_from(records):
    """Means of what 150 rounds make up tell the digits of records apart."""
    workload = gan(free="algorithm.made_up_batch=100")
    parts = workload.task.load(DataSource(0, 2))
    state, rng = workload.initial_state(), np.random.default_rng(0)
    for number in range(1, 151):
        made = workload.contribute(workload.asked(state), Query(number), parts, rng)
        aggregate = Aggregate(made.update, made.sums, 1.0)
        state = workload.apply(state, aggregate, number, None)
    made = workload.generate(workload.published(state), 200, rng)
    means = np.stack([made.inputs[made.targets == k].mean(axis=0).ravel() for k in range(10)])
    test = parts.test.inputs.reshape(len(parts.test), -1)
    nearest = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == parts.test.targets).mean() > 0.6


# What is refused.


def test_a_state_that_is_no_discriminator_is_refused(private):
    whole = private.initial_state()
    asked = private.asked(whole)
    name = next(iter(asked.arrays))
    endless = {**asked.arrays, name: np.full_like(asked.arrays[name], np.nan)}
    for state in (whole, State({}), State(endless), State(asked.arrays, {"more": 1})):
        with pytest.raises(StateRefusedError):
            private.check(state)
    private.check(asked)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "told"),
    [
        (run_config(task="breast_cancer"), "no images with a class"),
        (run_config(free="algorithm.latent_size=0"), "latent_size=0: must be from 1"),
        (run_config(free="algorithm.generator_steps=0"), "generator_steps=0: must be from 1"),
        (run_config(free="algorithm.diversity=-1"), "diversity=-1.*at least 0"),
        (
            run_config(free="algorithm.made_up_batch=19"),
            "made_up_batch=19: must be at least 20",
        ),
        (run_config(free="algorithm.sampling_rate=0"), r"sampling_rate=0.*\(0, 1\]"),
        (run_config(free="algorithm.generator_learning_rate=-1"), "must be finite, above 0"),
        (run_config(free="task.training.batch_size=3"), "no effect here: nodes add up"),
        (
            run_config("example_distributed", "algorithm.sampling_rate=0.5"),
            r"drawn by privacy\.sampling_rate",
        ),
        (run_config("example_distributed", "privacy.learning_rate=1"), "has no model"),
        (
            run_config(
                "example_distributed",
                "privacy.metrics.every=1 privacy.metrics.noise_multiplier=1",
            ),
            "scores nothing",
        ),
        (run_config(**{"initial-model": "/tmp/run"}), "has no discriminator"),
    ],
)
def test_what_it_cannot_do_is_refused(config, told):
    with pytest.raises((ConfigError, ValueError), match=told):
        plan_run(load_config(config))


def test_features_of_images_are_no_images():
    """As a task's own YAML may have them; among the overrides the key is refused."""
    task = Mnist(MnistConfig(model=ImageModel.scattering), 0)
    with pytest.raises(ValueError, match=r"mnist without task\.model=scattering"):
        Gan(replace(gan().setup, task=task))
