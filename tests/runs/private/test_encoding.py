"""What is left of a private round without its noise: exactly the step that it should be."""

import logging

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

import strategies.codec.private_stages
from app.builders.workload import build_task
from app.config.load import load_config
from privacy.bounding import bounded_sum
from privacy.bounding.bounded_sum import BoundedSum, one_term, sum_of_terms
from privacy.bounding.rotation import Rotation
from privacy.noise.draw import private_sum
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit
from strategies.codec.private_codec import PrivateCodec
from strategies.rounds.records import to_parameters
from strategies.secagg.crypto.prg import reduce_modulus
from tasks.base import DataSource
from tests.kits.codec_kit import (
    bounded,
    codec_of,
    context,
    contributing,
    model_of,
    step_size,
    zeros,
)
from tests.kits.private_kit import run_config_of
from tests.kits.traced import Traced
from workloads.model_arrays import flatten
from workloads.values import Contribution, NoisedUpdate, PrivateContribution


@pytest.fixture
def no_noise(monkeypatch):
    """Draw zeros: clipping, rotation, rounding, masking and decoding are the real ones."""
    monkeypatch.setattr(
        strategies.codec.private_stages,
        "draw",
        lambda kind, scale, size, rng: np.zeros(size, int),
    )


def start_and_end(traced) -> tuple[np.ndarray, np.ndarray]:
    model = parameters_to_vector(model_of(traced.config).parameters()).detach().numpy()
    return model, flatten(to_parameters(traced.outcome.arrays))


def rounding(codec: PrivateCodec, num_nodes: int, step: float) -> float:
    """Return the largest error of the step: a grid step on every entry of every node."""
    plan = codec.plan
    length = num_nodes * plan.step * np.sqrt(plan.padded_dimension)
    return length * codec.clip_norm * abs(step)


def pooled_step(config, num_nodes: int, clip_norm: float) -> np.ndarray:
    """Return the sum of clipped gradients over all records, one record at a time."""
    task, model = build_task(config), model_of(config).double()
    total = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    for part in range(num_nodes):
        train = task.load(DataSource(partition_id=part, num_partitions=num_nodes)).train
        for inputs, target in zip(train.inputs, train.targets, strict=True):
            model.zero_grad()
            outputs = model(torch.from_numpy(inputs[None]).double())
            task.per_example_loss(outputs, torch.tensor([target])).sum().backward()
            gradient = parameters_to_vector(p.grad for p in model.parameters())
            # As Opacus clips: with 1e-6 beside the length.
            total += gradient * min(1.0, clip_norm / (float(gradient.norm()) + 1e-6))
    return total.numpy()


@pytest.mark.parametrize(
    ("option", "aggregation"),
    [
        ("example_distributed", "secagg"),
        ("example_central", "secagg"),
        ("example_central", "plain"),
    ],
)
@pytest.mark.usefixtures("no_noise")
def test_a_round_of_four_nodes_is_one_step_of_central_dp_sgd(tmp_path, option, aggregation):
    # Some gradients are longer than 1.5 and some are not.
    free = "privacy.clip_norm=1.5 privacy.learning_rate=0.3"
    run_config = run_config_of(tmp_path, option, aggregation, free, num_rounds=1)
    traced = Traced(run_config, 4)
    before, after = start_and_end(traced)
    codec, step = codec_of(traced.config, len(before)), step_size(traced.config)
    expected = before + step * pooled_step(traced.config, 4, 1.5)
    assert step == pytest.approx(-0.3 / 456, rel=1e-6)
    # The model is float32: as much again for each number.
    allowed = rounding(codec, 4, step) + 1e-7 * np.linalg.norm(before)
    assert np.linalg.norm(after - expected) <= allowed
    assert np.linalg.norm(expected - before) > 1000 * allowed


LENGTHS = (0.1, 0.4, 0.7, 30.0)


def lengths_by_node(monkeypatch, size: int):
    """Let node i contribute a fixed direction of its own, of length ``LENGTHS[i]``."""
    rng = np.random.default_rng(0)
    updates = [v / np.linalg.norm(v) * n for n in LENGTHS for v in [rng.normal(size=size)]]

    contributing(monkeypatch, lambda node: updates[node].astype(np.float32))
    return updates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "aggregation"),
    [
        ("client_distributed", "secagg"),
        ("client_central", "plain"),
        ("client_local", "secagg"),
        ("client_local", "plain"),
    ],
)
@pytest.mark.usefixtures("no_noise")
def test_the_mean_of_clipped_updates_has_a_public_divisor(
    tmp_path, monkeypatch, option, aggregation
):
    """One of the four drops out, and the divisor is still 4."""
    run_config = run_config_of(tmp_path, option, aggregation, num_rounds=1)
    updates = lengths_by_node(monkeypatch, 31)

    def fault(message, real):
        away = message.metadata.dst_node_id == 1001 and message.metadata.message_type == "train"
        return None if away else real(message)

    traced = Traced(run_config, 4, fault)
    before, after = start_and_end(traced)
    clipped = [u * min(1, 0.5 / np.linalg.norm(u)) for i, u in enumerate(updates) if i != 1]
    codec = codec_of(traced.config, 31)
    assert step_size(traced.config) == 1 / 4
    expected = before + np.sum(clipped, axis=0) / 4
    allowed = rounding(codec, 3, 1 / 4) + 1e-7 * np.linalg.norm(before)
    assert np.linalg.norm(after - expected) <= allowed
    assert allowed < 1e-4


@pytest.mark.usefixtures("no_noise")
def test_laplace_clips_the_sum_of_magnitudes(tmp_path, monkeypatch):
    free = "privacy.mechanism=laplace"
    run_config = run_config_of(tmp_path, "client_local", "secagg", free, num_rounds=1)
    updates = lengths_by_node(monkeypatch, 31)
    traced = Traced(run_config, 4)
    before, after = start_and_end(traced)
    clipped = [u * min(1, 0.5 / np.abs(u).sum()) for u in updates]
    np.testing.assert_allclose(after, before + np.sum(clipped, axis=0) / 4, atol=1e-6)


@pytest.mark.usefixtures("no_noise")
def test_the_divisor_under_sampling_is_the_expected_cohort(tmp_path, monkeypatch):
    free = "rounds.cohort_fraction=0.75 privacy.delta=0.5"
    keys = {"num_rounds": 1, "deterministic": True, "seed": 7}
    run_config = run_config_of(tmp_path, "client_central", "plain", free, **keys)
    updates = lengths_by_node(monkeypatch, 31)
    asked = []

    def fault(message, real):
        asked.append(message.metadata.dst_node_id - 1000)
        return real(message)

    traced = Traced(run_config, 4, fault)
    before, after = start_and_end(traced)
    assert 2 <= len(asked) <= 4
    assert len(asked) != 3
    clipped = [updates[i] * min(1, 0.5 / np.linalg.norm(updates[i])) for i in asked]
    np.testing.assert_allclose(after, before + np.sum(clipped, axis=0) / 3, atol=1e-6)


CODECS = [
    ("client_distributed", "skellam"),
    ("client_distributed", "distributed_discrete_gaussian"),
    ("example_distributed", "distributed_discrete_gaussian"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("option", "mechanism"), CODECS)
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_sum_in_which_all_pull_one_way_does_not_wrap(tmp_path, option, mechanism, bits):
    """Eight nodes with their whole clip norm in one direction, which is the largest sum.

    A wrapped entry is off by 2^b steps, 16 deviations of an entry of the rotated sum; the
    chance of one is the plan's own, below 1e-9 for the 128 entries here.
    """
    free = (
        f"aggregation.codec.modulus_bits={bits} privacy.mechanism={mechanism}"
        " aggregation.min_survivors=6"
    )
    free += " privacy.expected_batch_size=8" * option.startswith("example")
    config = load_config(run_config_of(tmp_path, option, "secagg", free, population=8))
    codec = codec_of(config, 100)
    plan: PrivacyPlan = codec.plan
    direction = np.random.default_rng(1).normal(size=100)
    direction /= np.linalg.norm(direction)
    for trial in range(3):
        total = np.zeros(plan.padded_dimension, np.uint64)
        seed = bytes([trial]) * 32
        for _ in range(8):
            update = codec.clip_norm * direction
            shared = context(8, 8, seed)
            encoded, scalars = codec.encode(bounded(codec, update), shared)
            total += encoded
        small = total.astype(encoded.dtype)
        reduce_modulus(small, bits)
        found = codec.decode(small, scalars, shared, has_metrics=False).total
        in_norms = found / codec.clip_norm
        deviation = np.sqrt(8 * (plan.share_deviation**2 + plan.step**2 / 4))
        # 7.5 deviations: 1e-13 for each of the 100 entries, and a wrap would be far beyond.
        assert np.abs(in_norms - 8 * direction).max() < 7.5 * deviation


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_far_more_records_than_expected_neither_wrap_nor_are_refused(tmp_path, bits):
    """The sum keeps its direction, and is as long as all records were expected to make it."""
    free = f"aggregation.codec.modulus_bits={bits} privacy.expected_batch_size=8"
    config = load_config(run_config_of(tmp_path, "example_distributed", "secagg", free))
    codec = codec_of(config, 100)
    direction = np.random.default_rng(1).normal(size=100)
    direction /= np.linalg.norm(direction)
    steps = np.round(direction * 2.0**30 * 2.0**21).astype(np.int64)
    many = bounded_sum._bounded(steps, codec.clip_norm, 2.0**30, Unit.EXAMPLE)
    encoded, scalars = codec.encode(PrivateContribution(many), context(4, 1))
    found = codec.decode(encoded, scalars, context(4, 1), has_metrics=False).total
    plan = codec.plan
    deviation = np.sqrt(plan.share_deviation**2 + plan.step**2)
    in_norms = found / codec.clip_norm
    assert np.abs(in_norms - plan.signal_norm * direction).max() < 7.5 * deviation


def test_one_record_more_moves_a_sum_that_is_cut_down_by_no_more_than_is_accounted_for(
    tmp_path,
):
    free = "aggregation.codec.modulus_bits=64 privacy.expected_batch_size=8"
    config = load_config(run_config_of(tmp_path, "example_distributed", "secagg", free))
    codec = codec_of(config, 1000)
    plan, generator = codec.plan, np.random.default_rng(1)
    for length in (7.9, 8.0, 8.1, 2.0**21):
        direction = generator.normal(size=(2, 1000))
        direction /= np.linalg.norm(direction, axis=1)[:, None]
        before = np.trunc(direction[0] * 2.0**30 * length)
        rotated = [
            Rotation(1000, bytes(32)).forward(codec._projected(sum_ * 2.0**-30)) / plan.step
            for sum_ in (before, before + np.trunc(direction[1] * 2.0**30))
        ]
        moved = float(np.linalg.norm(rotated[1] - rotated[0]))
        # Without the root of d for rounding, but with what float64 may lose.
        assert moved <= 1 / plan.step + np.sqrt(plan.padded_dimension) * 2.0**-10


@pytest.mark.parametrize("noise", [1e-3, 1.0, 1.5, 100.0])
def test_local_noise_takes_any_number_of_records_on_a_grid_that_float64_keeps(tmp_path, noise):
    run_config = run_config_of(tmp_path, "example_local", "plain")
    words = run_config["overrides"].replace("noise_multiplier=2", f"noise_multiplier={noise}")
    plan = codec_of(load_config(run_config | {"overrides": words}), 2).plan
    assert np.log2(plan.step).is_integer()
    assert 2.0**33 <= plan.update_release().noise_scale <= 2.0**34
    release = private_sum(plan.update_release(), plan.step, 0.3)
    # As many as there can be, each of one clip norm.
    most = bounded_sum._bounded(np.array([2**52, -(2**52)]), 0.3, 2.0**30, Unit.EXAMPLE)
    exact = most.integers * 2.0**-30 / plan.step
    np.testing.assert_array_equal(most.in_units_of(plan.step * 0.3), exact)
    # Little noise has a grid so fine that it ends before.
    cut = 0.3 * min(2.0**22, 2.0**60 * plan.step)
    np.testing.assert_allclose(release(most), [cut, -cut], atol=3 * noise)


def test_a_scalar_of_more_records_than_float64_counts_is_cut_down(tmp_path):
    metrics = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=1"
    config = load_config(run_config_of(tmp_path, "example_distributed", "secagg", metrics))
    codec = codec_of(config, 31)
    num = len(codec.released_scores)
    steps = np.full(num, 2**52)
    bound = codec.plan.terms.metrics_bound
    many = bounded_sum._bounded(steps, bound, 2.0**30, Unit.EXAMPLE)
    _, scalars = codec.encode(PrivateContribution(None, many), context(4, 1))
    found = codec.decode(np.zeros(0, np.uint32), scalars, context(4, 1), has_metrics=True)
    assert found.sums[codec.released_scores[0]] == pytest.approx(2**22, abs=100)


@pytest.mark.parametrize(
    ("option", "value"), [("client_distributed", -np.inf), ("example_distributed", np.nan)]
)
@pytest.mark.usefixtures("no_noise")
def test_what_is_not_finite_becomes_noise_alone_and_the_round_goes_on(
    tmp_path, monkeypatch, caplog, option, value
):
    logging.getLogger("flwr").addHandler(caplog.handler)
    update = np.full(31, 0.01)

    def spoilt(node: int) -> np.ndarray:
        return np.where(np.arange(31) == 7, value, update) if node == 2 else update

    contributing(monkeypatch, spoilt)
    traced = Traced(run_config_of(tmp_path, option, "secagg", num_rounds=1), 4)
    assert traced.reports()[0]["num_replies"] == 4
    assert traced.reports()[0]["failures"] == {}
    before, after = start_and_end(traced)
    expected = 3 * 0.01 * step_size(traced.config)
    np.testing.assert_allclose(after - before, expected, atol=1e-6)


def test_a_diverged_local_run_is_private_already_and_goes_in_as_zero(tmp_path):
    """Under example_local the update is finite or not by what was released already."""
    codec = codec_of(load_config(run_config_of(tmp_path, "example_local", "plain")), 31)
    spoilt = PrivateContribution(NoisedUpdate(np.full(31, np.nan, np.float32)))
    vector, scalars = codec.encode(spoilt, context(1))
    assert not vector.any()
    assert len(scalars) == 0


def test_laplace_noise_takes_terms_that_are_bounded_in_l1_only(tmp_path):
    run_config = run_config_of(tmp_path, "client_local", "secagg", "privacy.mechanism=laplace")
    codec = codec_of(load_config(run_config), 31)
    update = np.ones(31, np.float32)
    codec.encode(
        PrivateContribution(one_term(update, codec.clip_norm, l1=True).bounded), context(4)
    )
    codec.encode(codec.nothing(1, training=True), context(4))
    # As short in L2, but 5.6 times as far in L1, which is what the noise is for.
    wrong = one_term(update, codec.clip_norm).bounded
    with pytest.raises(ValueError, match="moves a sum by"):
        codec.encode(PrivateContribution(wrong), context(4))


@pytest.mark.parametrize("option", ["client_local", "example_local"])
def test_a_vector_of_another_length_than_planned_is_refused(tmp_path, option):
    codec = codec_of(load_config(run_config_of(tmp_path, option, "secagg")), 31)
    longer = np.ones(32)
    update = NoisedUpdate(longer)
    if option == "client_local":
        update = one_term(longer, codec.clip_norm).bounded
    with pytest.raises(ValueError, match="but the plan is for 31"):
        codec.encode(PrivateContribution(update), context(4))


def test_private_noise_is_drawn_anew_for_every_contribution(tmp_path):
    codec = codec_of(load_config(run_config_of(tmp_path, "client_distributed", "secagg")), 31)
    drawn = {codec.encode(zeros(codec), context(4))[0].tobytes() for _ in range(20)}
    assert len(drawn) == 20


@pytest.mark.parametrize("option", ["client_distributed", "example_distributed"])
def test_a_private_codec_takes_bounded_sums_and_nothing_else(tmp_path, option):
    codec = codec_of(load_config(run_config_of(tmp_path, option, "secagg")), 31)
    update = np.ones(31, np.float32)
    with pytest.raises(TypeError, match="sum_of_terms"):
        BoundedSum()
    with pytest.raises(TypeError, match="by the functions of its module"):
        BoundedSum._make(np.ones(31, np.int64), 1.0, 1.0, 1.0, codec.plan.terms.unit, None)
    with pytest.raises(ValueError, match="a noised update belongs to"):
        codec.encode(PrivateContribution(NoisedUpdate(update)), context(4))
    with pytest.raises(AttributeError):
        codec.encode(Contribution(update, {}), context(4))
    # Bounded by another norm, or for another unit.
    longer = one_term(update, 1.01 * codec.clip_norm).bounded
    other = sum_of_terms([update.astype(np.float64)], len(update), 0.5 * codec.clip_norm)
    if option.startswith("example"):
        longer = sum_of_terms([update.astype(np.float64)], len(update), 1.01 * codec.clip_norm)
        other = one_term(update, 0.5 * codec.clip_norm).bounded
    for wrong in (longer, other):
        with pytest.raises(ValueError, match="moves a sum by"):
            codec.encode(PrivateContribution(wrong), context(4))
