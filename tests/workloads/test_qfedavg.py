"""q-FedAvg, against Algorithm 2 of its paper written out in numpy."""

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.records import DataError, LocalData
from tasks.training.local import evaluate
from workloads.model_arrays import flatten
from workloads.model_update import ModelUpdate
from workloads.qfedavg import CURVATURE
from workloads.values import Aggregate, Query, State, StateRefusedError

RATE = 0.05
NODES = 4


def config_of(q, **more):
    overrides = f"algorithm.q={q} task.training.learning_rate={RATE} task.training.num_steps=4"
    return load_config(
        {
            "task": "digits",
            "algorithm": "qfedavg",
            "num-rounds": 2,
            "overrides": overrides,
            **more,
        }
    )


@pytest.fixture(params=[0.0, 0.5, 1.0, 2.0, 5.0])
def workload(request):
    return build_workload(config_of(request.param))


def parts(task):
    return [task.load(DataSource(number, NODES)) for number in range(NODES)]


def rng():
    return np.random.default_rng(7)


def added(_, arrays, mean, __):
    """A step of the server's that adds the mean."""
    found, first = {}, 0
    for name, array in arrays.items():
        found[name] = array + mean[first : first + array.size].reshape(array.shape)
        first += array.size
    return found


def next_state(workload, state, records):
    contributions = [workload.contribute(state, Query(1), part, rng()) for part in records]
    sums = {
        name: sum(c.sums[name] for c in contributions)
        for name in workload.sum_names(training=True)
    }
    total = np.sum([c.update for c in contributions], axis=0)
    return workload.apply(state, Aggregate(total, sums, float(len(records))), 1, added)


def by_the_paper(workload, state, records):
    """Return the next parameters: Li et al. 2020, Algorithm 2, with L = 1 / eta.

    eta is that of one step as long as the four, which momentum of 0.9 makes ten times as long.
    """
    momentum = workload.task.config.training.momentum
    q, lipschitz = workload.setup.algorithm.q, (1 - momentum) / (4 * RATE)
    plain = ModelUpdate(workload.setup)
    deltas, divisors = [], []
    for part in records:
        sums = evaluate(workload.task, workload.load(state), part.train)
        loss = sums["loss"] / sums["num_examples"]
        # w^t - w_k, as the paper has it.
        moved = -np.asarray(plain.contribute(state, Query(1), part, rng()).update, np.float64)
        gradient = lipschitz * moved
        deltas.append(loss**q * gradient)
        steep = q * loss ** (q - 1) * float(gradient @ gradient)
        divisors.append(steep + lipschitz * loss**q)
    return flatten(state.arrays) - np.sum(deltas, axis=0) / np.sum(divisors)


@pytest.mark.slow
def test_a_round_is_the_papers(workload):
    records, state = parts(workload.task), workload.initial_state()
    for _ in range(2):
        # In the second round losses are in units of the first one's mean.
        expected = by_the_paper(workload, state, records)
        state = next_state(workload, state, records)
        moved = np.abs(flatten(state.arrays) - expected).max()
        assert moved < 1e-6
    assert state.header["mean_loss"] != 1.0


def test_q_of_zero_is_the_plain_mean_of_the_participants():
    workload = build_workload(config_of(0.0))
    records, state = parts(workload.task), workload.initial_state()
    plain = ModelUpdate(workload.setup)
    updates = [plain.contribute(state, Query(1), part, rng()).update for part in records]
    expected = flatten(state.arrays) + np.mean(updates, axis=0)
    found = flatten(next_state(workload, state, records).arrays)
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.slow
def test_a_large_loss_counts_more():
    """With the labels of one participant turned, its pull grows with q."""
    pulls = []
    for q in (0.0, 1.0, 3.0):
        workload = build_workload(config_of(q))
        records = parts(workload.task)
        # What a model was trained on, except one whose labels are turned.
        train = records[0].train
        labels = (train.targets + 1) % 10
        turned = LocalData(train.__class__(train.inputs, labels), records[0].test)
        state = workload.initial_state()
        for _ in range(6):
            state = next_state(workload, state, records[1:])
        start = flatten(state.arrays)
        pull = flatten(next_state(workload, state, [turned]).arrays) - start
        step = flatten(next_state(workload, state, [turned, *records[1:]]).arrays) - start
        pulls.append(float(step @ pull) / np.linalg.norm(step) / np.linalg.norm(pull))
    assert pulls == sorted(pulls)
    assert pulls[-1] > pulls[0] + 0.05


def test_nothing_moves_where_nobody_has_a_loss(workload):
    state = workload.initial_state()
    zeros = np.zeros(workload.length(state))
    found = workload.apply(state, Aggregate(zeros, {CURVATURE: 0.0}, 3.0), 1, added)
    assert np.array_equal(flatten(found.arrays), flatten(state.arrays))
    assert found.header == state.header


@pytest.mark.parametrize("unit", [0.0, -1.0, float("nan"), float("inf"), "1", None, 1])
def test_a_state_whose_unit_is_none_is_refused(unit):
    workload = build_workload(config_of(1.0))
    arrays = workload.initial_state().arrays
    with pytest.raises(StateRefusedError, match="mean_loss"):
        workload.check(State(arrays, {"mean_loss": unit}))


@pytest.mark.parametrize("q", [-0.1, 10.5, "x"])
def test_a_wrong_q_is_named(q):
    with pytest.raises(ConfigError, match=r"algorithm\.q|'x'"):
        config_of(q)


def test_privacy_is_refused_with_the_mend():
    with pytest.raises(ConfigError, match="take algorithm=fedavg"):
        load_config(
            {
                "task": "digits",
                "algorithm": "qfedavg",
                "privacy": "client_distributed",
                "overrides": "privacy.epsilon=1 privacy.delta=1e-3 privacy.population=100"
                " privacy.clip_norm=1",
            }
        )


@pytest.mark.slow
def test_masked_is_as_in_the_clear(tmp_path):
    """On the grid of the default codec, through both apps."""
    found = {}
    for aggregation in ("plain", "secagg"):
        run = {
            "task": "digits",
            "algorithm": "qfedavg",
            "aggregation": aggregation,
            "num-rounds": 1,
            "output-dir": str(tmp_path / aggregation),
            "deterministic": True,
            "overrides": "algorithm.q=2",
        }
        found[aggregation] = flatten(simulate(run, NODES).state.arrays)
    assert np.abs(found["plain"] - found["secagg"]).max() < 1e-5


@pytest.mark.parametrize("unit", [1e-300, 5e-324])
def test_powers_beyond_float64_are_training_that_diverged(unit):
    """Whatever unit a server sends, a node answers: a codec sends zeros for it."""
    workload = build_workload(config_of(10.0))
    state = State(workload.initial_state().arrays, {"mean_loss": unit})
    workload.check(state)
    found = workload.contribute(state, Query(1), parts(workload.task)[0], rng())
    assert not np.isfinite(found.sums[CURVATURE])


def test_a_node_without_training_records_is_told_so():
    workload = build_workload(config_of(1.0))
    held_out = parts(workload.task)[0].test
    nobody = LocalData(held_out.take(np.zeros(0, np.intp)), held_out)
    with pytest.raises(DataError, match="no record to train on"):
        workload.contribute(workload.initial_state(), Query(1), nobody, rng())
