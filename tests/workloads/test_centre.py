"""The first round of a gradient sum whose model has a centre: a noisy sum of inputs."""

from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from app.builders.workload import build_workload
from app.config.load import load_config
from privacy.plan.plan import PrivacyPlan
from tasks.records import Examples
from tasks.schema import AdaptersConfig, Optimizer
from workloads.base import Privacy
from workloads.gradient_sum import GradientSum
from workloads.values import Aggregate, Query, State, StateRefusedError

CLIP = 0.5
NUM = 40


@dataclass(frozen=True)
class Terms:
    sampling_rate: float = 1.0


@dataclass(frozen=True)
class Plan:
    terms: Terms = Terms()


@dataclass(frozen=True)
class Held:
    train: Examples


@pytest.fixture(scope="module")
def workload() -> GradientSum:
    keys = {
        "aggregation.min_survivors": 3,
        "privacy.epsilon": 3,
        "privacy.delta": 1e-5,
        "privacy.population": 3,
        "privacy.sampling_rate": 0.5,
        "privacy.expected_batch_size": NUM,
        "privacy.clip_norm": CLIP,
        "task.model": "scattering",
    }
    given = {"task": "mnist", "privacy": "example_distributed", "algorithm": "fedadam"}
    overrides = " ".join(f"{key}={value}" for key, value in keys.items())
    found = build_workload(load_config({**given, "overrides": overrides}))
    assert isinstance(found, GradientSum)
    return GradientSum(replace(found.setup, learning_rate=1.0))


@pytest.fixture(scope="module")
def records(workload) -> Examples:
    """Records whose inputs have length 1 and much in common."""
    made_up = workload.task.made_up(NUM)
    inputs = np.abs(made_up.inputs)
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    return Examples(inputs, made_up.targets)


def test_adapters_leave_the_centre_of_their_base(workload, records, tmp_path):
    """It is trained already, and no part of what is exchanged."""
    file = tmp_path / "base.safetensors"
    arrays = dict(workload.initial_state().arrays)
    save_file({**arrays, "centre": records.inputs.mean(axis=0)}, file)
    task = workload.task
    given = {"rank": 2, "base": str(file), "sha256": sha256(file.read_bytes()).hexdigest()}
    config = replace(task.config, adapters=AdaptersConfig(**given))
    adapted = GradientSum(replace(workload.setup, task=type(task)(config, task.seed)))
    state = adapted.initial_state()
    total = summed(adapted, state, records).in_units_of(1.0)
    assert total.any()
    found = adapted.apply(state, Aggregate(total, {}, 1.0), 1, plain_step)
    assert all(values.any() for values in found.arrays.values())


def summed(workload, state: State, records: Examples):
    plan: PrivacyPlan = Plan()  # type: ignore[assignment]
    privacy = Privacy(plan=plan, clip_norm=CLIP, loss_clip=1.0)
    rng = np.random.default_rng(0)
    return workload.bounded(state, Query(1), Held(records), rng, privacy).update


def no_step(server_round, before, mean, weight):
    raise AssertionError("the centre is no step of the optimiser")


def plain_step(server_round, before, mean, weight):
    found, first = {}, 0
    for name, values in before.items():
        found[name] = values + mean[first : first + values.size].reshape(values.shape)
        first += values.size
    return found


def test_the_first_round_sets_the_centre_to_the_mean_of_the_inputs(workload, records):
    state = workload.initial_state()
    total = summed(workload, state, records).in_units_of(1.0)
    found = workload.apply(state, Aggregate(total, {}, 1.0), 1, no_step)
    mean = records.inputs.mean(axis=0)
    np.testing.assert_allclose(found.arrays["centre"], mean, rtol=0, atol=1e-6)
    for name in state.arrays.keys() - {"centre"}:
        assert np.array_equal(found.arrays[name], state.arrays[name])


def test_later_rounds_sum_gradients_and_leave_the_centre(workload, records):
    state = workload.initial_state()
    centre = records.inputs.mean(axis=0)
    state = State({**state.arrays, "centre": centre})
    total = summed(workload, state, records).in_units_of(1.0)
    assert not total[: len(centre)].any()
    assert total[len(centre) :].any()
    noise = np.random.default_rng(1).normal(size=total.shape)
    found = workload.apply(state, Aggregate(total + noise, {}, 1.0), 2, plain_step)
    assert np.array_equal(found.arrays["centre"], centre)
    name = "weights.weight"
    assert not np.array_equal(found.arrays[name], state.arrays[name])


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 3.0, 1e30, np.nan, np.inf])
def test_one_record_moves_the_sum_of_inputs_by_the_clip_norm_at_most(workload, records, factor):
    """Over every input, also such as no task gives: the worst is as long as the bound."""
    state = workload.initial_state()
    with np.errstate(all="ignore"):
        own = (records.inputs[:1] * factor).astype(np.float32)
    one = Examples(np.concatenate([own, records.inputs[1:]]), records.targets)
    without = Examples(records.inputs[1:], records.targets[1:])
    first, second = (summed(workload, state, given) for given in (one, without))
    assert first.grid == second.grid
    moved = np.linalg.norm((first.integers - second.integers).astype(float))
    assert moved <= first.delta2
    if factor in (1.0, 3.0, 1e30):
        # As much is claimed, and no more: a bound that is a tenth too small would fail.
        assert moved > 0.9 * first.delta2


def test_a_record_of_length_one_counts_as_it_is(workload, records):
    """In whatever order, and next to whatever others."""
    state = workload.initial_state()
    together = summed(workload, state, records).integers
    alone = [summed(workload, state, records.take(np.array([i]))).integers for i in range(NUM)]
    assert np.array_equal(together, np.sum(alone, axis=0))


def test_a_node_that_lies_puts_the_centre_no_further_than_any_mean_can_be(workload, records):
    """It is set once: what is far off would hide all records from then on."""
    state = workload.initial_state()
    honest = summed(workload, state, records).in_units_of(1.0)
    lie = np.full_like(honest, 1e6)
    found = workload.apply(state, Aggregate(honest + lie, {}, 1.0), 1, no_step)
    assert np.linalg.norm(found.arrays["centre"]) == pytest.approx(1, rel=1e-5)


def test_adapters_go_on_with_the_centre_of_their_base(workload, records):
    """It is frozen, and in no state: every round is one of gradients."""
    state = workload.initial_state()
    rest = State({n: a for n, a in state.arrays.items() if n != "centre"})
    assert workload.centre_span(rest) is None
    total = np.ones(workload.length(rest))
    found = workload.apply(rest, Aggregate(total, {}, 1.0), 1, plain_step)
    assert all((found.arrays[n] < a).all() for n, a in rest.arrays.items())


def test_noise_of_clients_leaves_the_centre_at_zero():
    keys = "task.model=scattering privacy.epsilon=5 privacy.delta=1e-3 privacy.population=3"
    given = {"task": "mnist", "privacy": "client_central", "overrides": keys}
    workload = build_workload(load_config(given)).with_learning_rate(1.0)
    state = workload.initial_state()
    noise = np.random.default_rng(1).normal(size=workload.length(state))
    found = workload.apply(state, Aggregate(noise, {}, 3.0), 1, plain_step)
    assert not found.arrays["centre"].any()
    assert (found.arrays["weights.weight"] != state.arrays["weights.weight"]).all()


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_nodes_own_noise_leaves_the_centre_at_zero(workload, records, optimizer):
    from tasks.training.dp_sgd import train_privately
    from tasks.training.local import get_parameters, initial_model

    task, rng = workload.task, np.random.default_rng(2)
    training = replace(task.config.training, optimizer=optimizer, weight_decay=0.1)
    own = type(task)(replace(task.config, training=training), task.seed)
    model = initial_model(own)
    before = get_parameters(model)
    train_privately(
        own,
        model,
        records,
        clip_norm=CLIP,
        sampling_rate=1.0,
        num_steps=2,
        expected_batch_size=NUM,
        add_noise=lambda bounded: rng.normal(size=len(bounded)),
        rng=rng,
        proximal_mu=0.1,
    )
    after = get_parameters(model)
    assert not after["centre"].any()
    assert (after["weights.weight"] != before["weights.weight"]).all()


def test_a_state_that_is_none_is_refused_before_any_record_is_read(workload, records):
    state = workload.initial_state()
    short = State({**state.arrays, "weights.bias": np.zeros(3, np.float32)})
    with pytest.raises(StateRefusedError):
        summed(workload, short, records)


def test_the_model_sees_what_is_off_the_centre(workload, records):
    from tasks.training.local import initial_model, set_parameters

    model, state = initial_model(workload.task), workload.initial_state()
    centre = records.inputs.mean(axis=0)
    set_parameters(model, {**state.arrays, "centre": centre})
    apart = records.inputs - centre
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    weights, bias = (state.arrays[f"weights.{name}"] for name in ("weight", "bias"))
    with torch.inference_mode():
        found = model(torch.from_numpy(records.inputs)).numpy()
    np.testing.assert_allclose(found, apart @ weights.T + bias, atol=1e-5)
