"""Nothing leaves DP-SGD but what it paid for."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from privacy.bounding.bounded_sum import BoundedSum
from privacy.noise.sampling import poisson_sample
from tasks.base import DataSource
from tasks.models import mlp
from tasks.records import Examples
from tasks.registry import TASKS
from tasks.schema import Optimizer
from tasks.training.dp_sgd import metric_vectors, train_privately
from tasks.training.local import get_parameters, initial_model, set_parameters, train
from tests.kits.per_record import bounded_sum, reference
from tests.kits.three_classes import Three, frozen, three

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


def exact(bounded: BoundedSum) -> np.ndarray:
    """Return the sum itself: no noise at all."""
    return bounded.in_units_of(1.0)


def private(task, model, examples, **keys) -> None:
    settings = {
        "clip_norm": 0.5,
        "sampling_rate": 1.0,
        "num_steps": 3,
        "expected_batch_size": 20.0,
        "add_noise": exact,
        "rng": np.random.default_rng(),
        "proximal_mu": 0.0,
    }
    train_privately(task, model, examples, **(settings | keys))


def flat(model: nn.Module) -> np.ndarray:
    return np.concatenate([array.ravel() for array in get_parameters(model).values()])


def test_without_noise_it_is_sgd_on_clipped_gradients():
    examples = three(20)
    task = Three(learning_rate=0.3, momentum=0.9, weight_decay=0.01)
    model = initial_model(task)
    position, speed, start = flat(model).astype(np.float64), 0.0, flat(model)
    twin = initial_model(task)
    private(task, model, examples, proximal_mu=0.2)
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
    wide = {"clip_norm": 1e3, "num_steps": 4, "expected_batch_size": 16.0}
    private(task, clipped, examples, proximal_mu=0.1, **wide)
    np.testing.assert_allclose(flat(clipped), flat(plain), rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_records", [0, 3])
def test_every_step_adds_noise_even_to_an_empty_batch(num_records):
    calls: list[np.ndarray] = []

    def add_noise(bounded: BoundedSum) -> np.ndarray:
        calls.append(exact(bounded))
        return exact(bounded) + 2.0

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
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    noisy = {"add_noise": lambda bounded: exact(bounded) + 1}
    private(task, model, three(5), proximal_mu=0.1, **noisy)
    after = {name: p.detach().numpy() for name, p in model.named_parameters()}
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == before.keys() - {"0.weight"}


def test_nothing_is_returned_and_wrong_numbers_are_refused():
    task, examples = Three(), three(4)
    model = initial_model(task)
    assert private(task, model, examples) is None
    with pytest.raises(ValueError, match=r"expected_batch_size=0\.0"):
        private(task, model, examples, expected_batch_size=0.0)
    with pytest.raises(ValueError, match=r"add_noise gave shape \(2,\), not \(39,\)"):
        private(task, model, examples, add_noise=lambda bounded: exact(bounded)[:2])


# Metrics that are paid for


def metrics_of(*arguments) -> np.ndarray:
    return np.array([row.copy() for row in metric_vectors(*arguments)]).reshape(-1, 3)


def test_metric_vectors_are_bounded_counts_losses_and_metrics():
    torch.manual_seed(0)
    task, model, examples = Three(), mlp(5, 3, 4), three(110)
    found = metrics_of(task, model, examples, 1.1)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(examples.inputs))
        targets = torch.from_numpy(examples.targets)
        losses = task.per_example_loss(outputs, targets).numpy()
        right = (outputs.argmax(dim=1) == targets).numpy()
    assert found.shape == (110, 3)
    assert found.dtype == np.float64
    assert (found[:, 0] == 1).all()
    np.testing.assert_allclose(found[:, 1], np.minimum(losses, 1.1) / 1.1, rtol=1e-5)
    assert 0 < (losses > 1.1).sum() < 110
    assert np.array_equal(found[:, 2], right)


def test_metric_vectors_stay_in_the_unit_interval_whatever_the_record():
    losses = iter([np.nan, np.inf, -np.inf, -3.0, 1e30, 2.0])
    shares = iter([np.nan, np.inf, -np.inf, -3.0, 1e30, 0.5])

    class Wild(Three):
        def per_example_loss(self, outputs, targets):
            return torch.tensor([next(losses)])

        def per_example_metrics(self, outputs, targets):
            return {"accuracy": torch.tensor([next(shares)])}

    # The seventh fails altogether: it counts, and as the worst.
    found = metrics_of(Wild(), mlp(5, 3, 4), three(7), 4.0)
    assert found[:, 0].tolist() == [1] * 7
    assert found[:, 1].tolist() == [1, 1, 1, 0, 1, 0.5, 1]
    assert found[:, 2].tolist() == [0, 0, 0, 0, 1, 0.5, 0]
    assert metrics_of(Three(), mlp(5, 3, 4), three(0), 4.0).shape == (0, 3)
    with pytest.raises(ValueError, match=r"loss_clip=0\.0"):
        metrics_of(Three(), mlp(5, 3, 4), three(2), 0.0)


def test_the_layout_in_memory_changes_nothing():
    """numpy leaves the stride of a channel of length 1 at anything."""
    task = TASKS["digits"](TASKS["digits"].Config(), 0)
    task_data = task.load(DataSource(0, 5)).train.take(np.arange(100))
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
        bounded_sum(task, model, Examples(x, task_data.targets), np.arange(100), 0.1)
        for x in (odd, whole)
    ]
    np.testing.assert_array_equal(sums[0].integers, sums[1].integers)


def test_frozen_parameters_are_not_exchanged():
    """What is never trained is neither sent, nor noised, nor counted in the dimension."""
    model = frozen()
    arrays = get_parameters(model)
    assert "0.weight" in dict(model.named_parameters())
    assert "0.weight" not in arrays
    set_parameters(model, {name: array + 1 for name, array in arrays.items()})
    np.testing.assert_array_equal(model[0].bias.detach().numpy(), arrays["0.bias"] + 1)
    with pytest.raises(ValueError, match=r"0\.weight"):
        set_parameters(model, arrays | {"0.weight": np.zeros((4, 5), np.float32)})
