"""The noise that is really in an opened sum, against what the plan promises, on both sides.

All contributions are zero, so the sum that the server opens is noise alone. Each check accepts
the promised scale and rejects 0.7 and 1.3 times it. A sound mechanism fails one check with a
chance of 2e-9, for its mean is looked at too; there are 17 of them.
"""

import numpy as np
import pytest
from scipy.stats import chi2

import strategies.codec.private_codec
import strategies.codec.private_stages
import tasks.training.dp_sgd
from app.config.load import load_config
from privacy.bounding.bounded_sum import one_term
from strategies.codec.private_codec import CLIP_BITS, PrivateCodec
from tasks.breast_cancer import BreastCancer
from tests.kits.codec_kit import codec_of, context, contributing
from tests.kits.private_kit import run_config_of
from tests.kits.traced import Traced, kind_of
from workloads.values import PrivateContribution

#: Of the promised noise, in clip norms.
Z = 2.0
#: Parameters of the model below: 30 x 320 + 320 + 320 + 1.
SIZE = 10_241
LARGE = "task.model=mlp task.hidden=320"


def accepts(values: np.ndarray, deviation: float, kurtosis: float = 3.0) -> bool:
    """Whether independent values around 0 can have this deviation: two tails of 5e-10.

    From 1200 values on, a scale that is 30% off is accepted with a chance below 1e-12.

    Their sum of squares has the variance of a chi-square of as many values for Gaussians, and
    of fewer for heavier tails.
    """
    count = len(values) * 2 / (kurtosis - 1)
    low, high = chi2.ppf([5e-10, 1 - 5e-10], count) / count
    return bool(low <= np.mean(np.square(values)) / deviation**2 <= high)


def check_scale(values: np.ndarray, deviation: float, kurtosis: float = 3.0) -> None:
    assert accepts(values, deviation, kurtosis)
    assert not accepts(values, 0.7 * deviation, kurtosis)
    assert not accepts(values, 1.3 * deviation, kurtosis)
    # And it is around 0: 6.2 deviations of the mean are 6e-10.
    assert abs(values.mean()) < 6.2 * deviation / np.sqrt(len(values))


@pytest.fixture
def opened(monkeypatch):
    """Collect what is decoded: a list of (aggregate, codec)."""
    found = []
    decode = PrivateCodec.decode

    def noted(self, *args, **keys):
        aggregate = decode(self, *args, **keys)
        found.append((aggregate, self))
        return aggregate

    monkeypatch.setattr(PrivateCodec, "decode", noted)
    return found


@pytest.fixture
def no_signal(monkeypatch):
    """Let every node contribute zeros."""

    contributing(monkeypatch, lambda _: None)


def in_clip_norms(aggregate, codec) -> np.ndarray:
    """Return the opened sum of updates, in clip norms."""
    return aggregate.total / codec.clip_norm


def silent_at(**stages):
    """Return a fault: nodes by the kind of message at which they fall silent."""

    def fault(message, real):
        node = message.metadata.dst_node_id - 1000
        return (
            None if node in stages.get(kind_of(message).split(".")[-1], ()) else real(message)
        )

    return fault


# T = 4 and c = 1 of 6 nodes: a share is z / sqrt(3).
SIX = f"{LARGE} aggregation.min_survivors=4 aggregation.threshold=4"
DISTRIBUTED = [
    (unit, mechanism)
    for unit in ("example", "client")
    for mechanism in ("skellam", "distributed_discrete_gaussian")
]


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "mechanism"), DISTRIBUTED)
def test_a_masked_sum_holds_a_share_of_every_survivor(
    tmp_path, opened, no_signal, unit, mechanism
):
    """One node drops out before it masks; one masks and then falls silent, and counts."""
    free = f"{SIX} privacy.mechanism={mechanism}"
    run_config = run_config_of(
        tmp_path, f"{unit}_distributed", "secagg", free, population=6, num_rounds=1
    )
    traced = Traced(run_config, 6, silent_at(train=[1], unmask=[4]))
    ((aggregate, codec),) = opened
    assert traced.reports()[0]["num_replies"] == 5
    values = in_clip_norms(aggregate, codec)
    assert len(values) == SIZE
    check_scale(values, Z * np.sqrt(5 / 3))


@pytest.mark.parametrize(("unit", "mechanism"), [DISTRIBUTED[0], DISTRIBUTED[3]])
def test_the_fewest_survivors_with_colluders_still_keep_the_promise(
    tmp_path, monkeypatch, opened, no_signal, unit, mechanism
):
    """T survivors, c of whom the server knows the noise of: what is left is z, not less."""
    draw = strategies.codec.private_codec.draw
    drop = silent_at(train=[1, 2])

    def colluding(message, real):
        with monkeypatch.context() as patched:
            if message.metadata.dst_node_id == 1005:
                for module in (strategies.codec.private_codec, strategies.codec.private_stages):
                    patched.setattr(module, "draw", lambda *a: 0 * draw(*a))
            return drop(message, real)

    free = f"{SIX} privacy.mechanism={mechanism}"
    run_config = run_config_of(
        tmp_path, f"{unit}_distributed", "secagg", free, population=6, num_rounds=1
    )
    traced = Traced(run_config, 6, colluding)
    ((aggregate, codec),) = opened
    assert traced.reports()[0]["num_replies"] == 4
    check_scale(in_clip_norms(aggregate, codec), Z)


@pytest.mark.parametrize(
    ("aggregation", "mechanism"), [("secagg", "gaussian"), ("plain", "laplace")]
)
def test_local_noise_is_whole_on_every_node(
    tmp_path, opened, no_signal, aggregation, mechanism
):
    free = f"{LARGE} privacy.mechanism={mechanism}"
    run_config = run_config_of(tmp_path, "client_local", aggregation, free, num_rounds=1)
    Traced(run_config, 4, silent_at(train=[2]))
    ((aggregate, codec),) = opened
    deviation, kurtosis = Z * np.sqrt(3), 3.0
    if mechanism == "laplace":
        # The deviation is b times the root of 2, and three of them have kurtosis 3 + 3/3.
        deviation, kurtosis = Z * np.sqrt(6), 4.0
    check_scale(in_clip_norms(aggregate, codec), deviation, kurtosis)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "aggregation"),
    [("client_central", "plain"), ("example_central", "secagg")],
)
def test_the_server_adds_the_noise_once(
    tmp_path, monkeypatch, opened, no_signal, option, aggregation
):
    run_config = run_config_of(tmp_path, option, aggregation, LARGE, num_rounds=1)
    Traced(run_config, 4, silent_at(train=[2]))
    ((aggregate, codec),) = opened
    check_scale(in_clip_norms(aggregate, codec), Z)
    # What the nodes send has none: the same sum without the server's.
    monkeypatch.setattr(
        strategies.codec.private_stages, "draw", lambda *a: np.zeros(a[2], np.int64)
    )
    Traced(run_config | {"output-dir": str(tmp_path / "other")}, 4)
    assert not in_clip_norms(*opened[1]).any()


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_local_step_without_a_gradient_is_noise(tmp_path, monkeypatch, opened, aggregation):
    monkeypatch.setattr(tasks.training.dp_sgd, "clipped_gradients", lambda *_: iter(()))
    free = f"{LARGE} task.training.num_steps=1"
    run_config = run_config_of(tmp_path, "example_local", aggregation, free, num_rounds=1)
    traced = Traced(run_config, 4)
    ((aggregate, codec),) = opened
    # The mean of four steps with a batch of 114.
    step = traced.config.task.training.learning_rate / 114
    values = aggregate.total / (step * codec.clip_norm)
    check_scale(values, Z * np.sqrt(4))


METRICS = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=3"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "aggregation", "num_nodes", "factor"),
    [
        # Three shares of T - c = 2; the server's own; two whole ones.
        ("example_distributed", "secagg", 3, np.sqrt(3 / 2)),
        ("client_central", "secagg", 3, 1.0),
        ("client_local", "plain", 2, np.sqrt(2)),
    ],
)
def test_metrics_have_noise_of_their_own(
    tmp_path, monkeypatch, opened, no_signal, option, aggregation, num_nodes, factor
):
    """With 1200 numbers: enough to tell their scale from one round."""
    names = tuple(f"metric{number}" for number in range(1198))
    monkeypatch.setattr(BreastCancer, "metric_names", classmethod(lambda *_: names))
    monkeypatch.setattr(BreastCancer, "scored_classes", None)
    monkeypatch.setattr(
        BreastCancer,
        "per_example_metrics",
        lambda self, outputs, targets: dict.fromkeys(names, outputs.squeeze(1)),
    )
    run_config = run_config_of(tmp_path, option, aggregation, METRICS, num_rounds=1)
    Traced(run_config, num_nodes)
    aggregate, codec = opened[0]
    sums = dict(aggregate.sums)
    sums["eval_loss"] /= codec.loss_clip
    values = np.array(list(sums.values()))
    assert len(values) == 1200
    check_scale(values, 3 * np.sqrt(1200) * factor)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "aggregation", "num_nodes", "factor"),
    [
        # Three shares of T - c = 2; the server's own; a whole one.
        ("client_distributed", "secagg", 3, np.sqrt(3 / 2)),
        ("client_central", "secagg", 1, 1.0),
        ("client_local", "plain", 1, 1.0),
    ],
)
def test_clip_bits_have_noise_of_their_own(tmp_path, option, aggregation, num_nodes, factor):
    """One number a round, so without the masks, of which the runs above have shown the sum."""
    free = "privacy.adaptive_clip.bit_noise=5"
    codec = codec_of(load_config(run_config_of(tmp_path, option, aggregation, free)), 31)
    bit = PrivateContribution(None, clip_bit=one_term(np.array([0.5]), 0.5).bounded)
    shared = context(3, num_nodes)
    found = []
    for _ in range(1200):
        total = np.zeros(1, np.uint64)
        for _ in range(num_nodes):
            nothing, scalars = codec.encode(bit, shared)
            total += scalars
        aggregate = codec.decode(nothing, total, shared, has_metrics=False)
        found.append(aggregate.sums[CLIP_BITS])
    check_scale(np.array(found) - 0.5 * num_nodes, 5 * factor)
