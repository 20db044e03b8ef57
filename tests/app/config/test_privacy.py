"""The configuration of privacy: what composes, and what is refused when it does not."""

import pytest

from app.config.load import ConfigError, load_config
from tests.kits.private_kit import MATRIX, composing, overrides


@pytest.mark.slow
@pytest.mark.parametrize(("option", "aggregation"), MATRIX)
def test_each_legal_pair_composes(option, aggregation):
    assert load_config(composing(option, aggregation)).privacy.clip_norm == 0.5


RULES = [
    # What the groups require of each other.
    ("example_distributed", "plain", "", {}, "aggregation=plain: distributed noise protects"),
    (
        "client_distributed",
        "plain",
        "",
        {},
        "take aggregation=secagg or aggregation=homomorphic",
    ),
    (
        "client_distributed",
        "secagg",
        "aggregation.min_survivors=0",
        {},
        "aggregation.min_survivors=0: distributed noise is made of the shares",
    ),
    (
        "example_distributed",
        "secagg",
        "aggregation.max_colluding=3",
        {},
        "aggregation.min_survivors=3, max_colluding=3: nobody's noise is left",
    ),
    (
        "client_central",
        "secagg",
        "aggregation.min_survivors=5",
        {},
        "aggregation.min_survivors=5 is more than privacy.population=4",
    ),
    *(
        (
            option,
            "secagg",
            "",
            {"algorithm": "fedprox"},
            "algorithm=fedprox: a sum of gradients",
        )
        for option in ("example_distributed", "example_central")
    ),
    (
        "client_local",
        "plain",
        "task.training.num_steps=1",
        {"algorithm": "fedprox"},
        "algorithm=fedprox: task.training.num_steps=1 is one step, and its term is 0",
    ),
    (
        "example_local",
        "plain",
        "task.training.num_steps=0 task.training.num_epochs=1 privacy.sampling_rate=0.8",
        {"algorithm": "fedprox"},
        "algorithm=fedprox: task.training.num_epochs=1 with privacy.sampling_rate=0.8 is one",
    ),
    (
        "client_local",
        "plain",
        "early_stopping.patience=2",
        {},
        "early_stopping.patience=2: it looks at metrics of protected records",
    ),
    # Values.
    *(
        ("client_local", "plain", f"privacy.delta={value}", {}, "must be in (0, 1)")
        for value in (0, 1, -0.1, 1.5, "nan")
    ),
    *(
        ("client_local", "plain", f"privacy.clip_norm={value}", {}, f"privacy.clip_norm={told}")
        for value, told in ((-1, "-1.0: must be in"), (0, "0.0"), ("inf", "inf"))
    ),
    ("client_local", "plain", "privacy.population=1", {}, "privacy.population=1: must be"),
    (
        "client_local",
        "plain",
        "privacy.population=1000000000",
        {},
        "privacy.population=1000000000: must be the number of all nodes, at most 65535",
    ),
    ("client_local", "plain", "privacy.range_deviations=0", {}, "range_deviations=0.0"),
    (
        "client_local",
        "plain",
        "privacy.epsilon=1",
        {},
        "privacy.epsilon=1.0, privacy.noise_multiplier=2.0: give one of the two",
    ),
    (
        "client_local",
        "plain",
        "privacy.noise_multiplier=null",
        {},
        "privacy.epsilon=None, privacy.noise_multiplier=None: give one of the two",
    ),
    *(
        ("client_local", "plain", f"privacy.noise_multiplier={value}", {}, "must be finite")
        for value in (0, -1, "nan", "inf")
    ),
    (
        "client_local",
        "plain",
        "privacy.noise_multiplier=null privacy.epsilon=-2",
        {},
        "privacy.epsilon=-2.0: must be finite and above 0",
    ),
    *(
        ("example_local", "plain", f"privacy.sampling_rate={value}", {}, "must be in (0, 1]")
        for value in (0, -0.1, 1.1, "nan")
    ),
    (
        "example_local",
        "plain",
        "privacy.expected_batch_size=0",
        {},
        "privacy.expected_batch_size=0.0: must be finite and above 0",
    ),
    ("example_local", "plain", "privacy.max_physical_batch=0", {}, "one record is in memory"),
    ("example_local", "plain", "privacy.grad_sample_mode=hooks", {}, "computed alone"),
    ("client_local", "plain", "privacy.mechanism=skellam", {}, "skellam"),
    ("client_distributed", "secagg", "privacy.mechanism=gaussian", {}, "gaussian"),
    ("client_local", "plain", "privacy.metrics.every=-1", {}, "must not be negative"),
    (
        "client_local",
        "plain",
        "privacy.metrics.every=2",
        {},
        "privacy.metrics.noise_multiplier=0.0: must be above 0, for metrics are released",
    ),
    (
        "client_local",
        "plain",
        "privacy.metrics.loss_clip=0",
        {},
        "privacy.metrics.loss_clip=0.0: must be finite and above 0",
    ),
    (
        "client_local",
        "plain",
        "privacy.adaptive_clip.bit_noise=-1",
        {},
        "privacy.adaptive_clip.bit_noise=-1.0: must be finite and not negative",
    ),
    (
        "client_local",
        "plain",
        "privacy.adaptive_clip.target_quantile=1",
        {},
        "privacy.adaptive_clip.target_quantile=1.0: must be in (0, 1)",
    ),
    (
        "client_local",
        "plain",
        "privacy.adaptive_clip.learning_rate=0",
        {},
        "privacy.adaptive_clip.learning_rate=0.0: must be finite",
    ),
    (
        "client_local",
        "plain",
        "privacy.clip_nrom=1",
        {},
        "privacy.clip_nrom is not a key of this configuration; did you mean privacy.clip_norm?",
    ),
    (
        "example_local",
        "plain",
        "privacy.adaptive_clip.bit_noise=1",
        {},
        "privacy.adaptive_clip",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("option", "aggregation", "free", "keys", "words"), RULES)
def test_what_gives_no_guarantee_is_refused_when_composed(
    option, aggregation, free, keys, words
):
    with pytest.raises(ConfigError) as info:
        load_config(composing(option, aggregation, free, **keys))
    assert words in str(info.value)
    assert "\n" not in str(info.value)


_PUBLIC = ("delta", "population")


@pytest.mark.parametrize("key", _PUBLIC)
@pytest.mark.parametrize("option", ["client_local", "example_central"])
def test_what_a_guarantee_depends_on_has_no_default(option, key):
    words = [w for w in overrides(option).split() if not w.startswith(f"privacy.{key}=")]
    run_config = {"task": "breast_cancer", "privacy": option, "overrides": " ".join(words)}
    with pytest.raises(ConfigError, match=rf"privacy\.{key} has no default and must be given"):
        load_config(run_config)


@pytest.mark.parametrize("key", ["sampling_rate", "expected_batch_size"])
def test_nor_has_what_one_record_depends_on(key):
    words = [w for w in overrides("example_central").split() if key not in w]
    run_config = {"privacy": "example_central", "overrides": " ".join(words)}
    with pytest.raises(ConfigError, match=rf"privacy\.{key} has no default and must be given"):
        load_config(run_config)


def test_fedprox_and_early_stopping_pass_where_they_mean_something():
    load_config(composing("example_local", "plain", algorithm="fedprox"))
    for rate in (0.5, 1e-320):
        free = "task.training.num_steps=0 task.training.num_epochs=1"
        free += f" privacy.sampling_rate={rate}"
        load_config(composing("example_local", "plain", free, algorithm="fedprox"))
    # How many batches a node has nobody knows.
    load_config({"algorithm": "fedprox", "overrides": "task.training.num_epochs=1"})
    metrics = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=3"
    load_config(composing("client_local", "plain", f"{metrics} early_stopping.patience=2"))
