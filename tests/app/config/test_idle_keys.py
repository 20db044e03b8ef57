"""A key without effect in its combination of options is refused, and the mend is named."""

import pytest

from app.config.load import ConfigError, load_config
from tests.kits.private_kit import composing

SUMMED = ("example_distributed", "example_central")
TRAINING = (
    "optimizer=adam",
    "learning_rate=1",
    "momentum=0.5",
    "weight_decay=1",
    "batch_size=1",
    "num_epochs=50",
    "num_steps=3",
)


def refused(run_config: dict) -> str:
    with pytest.raises(ConfigError) as info:
        load_config(run_config)
    return str(info.value)


@pytest.mark.slow
@pytest.mark.parametrize("option", SUMMED)
@pytest.mark.parametrize("word", TRAINING)
def test_the_gradient_sum_takes_no_key_of_local_training(option, word):
    told = refused(composing(option, free=f"task.training.{word}"))
    assert f"task.training.{word.partition('=')[0]} has no effect here" in told
    assert "algorithm" in told


def test_the_learning_rate_of_the_sum_is_taken():
    config = load_config(composing("example_distributed", free="privacy.learning_rate=3"))
    assert config.privacy.learning_rate == 3


def test_patience_needs_held_out_records():
    told = refused({"overrides": "task.test_fraction=0 early_stopping.patience=2"})
    assert "early_stopping.patience=2" in told
    assert "raise it" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_config", "key"),
    [
        (composing("example_distributed", free="aggregation.codec.clip_range=1"), "clip_range"),
        (composing("client_central", free="aggregation.codec.clip_range=1"), "clip_range"),
        (composing("client_central", free="aggregation.codec.value_bits=4"), "value_bits"),
        (
            composing(
                "example_distributed",
                free="aggregation.codec.keep_fraction=0.5",
                algorithm="gan",
            ),
            "keep_fraction",
        ),
        (
            {
                "task": "breast_cancer",
                "algorithm": "ebm",
                "privacy": "example_distributed",
                "overrides": "privacy.noise_multiplier=2 privacy.delta=1e-3"
                " privacy.population=4 privacy.sampling_rate=1"
                " privacy.expected_batch_size=456 aggregation.min_survivors=3"
                " aggregation.codec.keep_fraction=0.5",
            },
            "keep_fraction",
        ),
        (
            composing("client_distributed", free="aggregation.codec.error_feedback=true"),
            "error_feedback",
        ),
        (
            composing("example_local", free="aggregation.codec.max_weight_examples=1"),
            "max_weight_examples",
        ),
        (composing("example_local", free="task.training.batch_size=8"), "batch_size"),
        (composing("example_local", free="privacy.range_deviations=3"), "range_deviations"),
        (composing("client_local", free="privacy.metrics.loss_clip=3"), "metrics.loss_clip"),
        (
            composing("client_local", free="privacy.adaptive_clip.target_quantile=0.4"),
            "adaptive_clip.target_quantile",
        ),
        (
            {"overrides": "task.training.num_steps=3 task.training.num_epochs=2"},
            "task.training.num_epochs",
        ),
        (
            {"overrides": "task.training.optimizer=adam task.training.momentum=0.5"},
            "task.training.momentum",
        ),
        ({"overrides": "task.training={num_steps:3,num_epochs:2}"}, "num_epochs"),
        ({"overrides": "task.partition.alpha=2"}, "task.partition.alpha"),
        (
            {"task": "csv_breast_cancer", "overrides": "task.partition.min_examples=2"},
            "min_examples",
        ),
        (
            {"aggregation": "plain", "overrides": "aggregation.codec.modulus_bits=16"},
            "aggregation.codec.modulus_bits",
        ),
        ({"overrides": "early_stopping.min_delta=0.1"}, "early_stopping.min_delta"),
        (
            {"overrides": "rounds.max_silent=2 rounds.on_client_failure=stop"},
            "rounds.max_silent",
        ),
        ({"task": "breast_cancer", "overrides": "task.hidden=8"}, "task.hidden"),
        ({"task": "mnist", "overrides": "task.test_fraction=0.5"}, "task.test_fraction"),
        ({"task": "heart", "overrides": "task.test_fraction=0.5"}, "task.test_fraction"),
        ({"task": "heart", "overrides": "task.partition.min_examples=5"}, "min_examples"),
        (
            {
                "overrides": "aggregation.graph=complete aggregation.max_dropout_fraction=0.3",
            },
            "aggregation.max_dropout_fraction",
        ),
        ({"overrides": "aggregation.peers_file=/peers.yaml"}, "aggregation.peers_file"),
        (
            {"algorithm": "qfedavg", "overrides": "aggregation.codec.max_weight_examples=9"},
            "max_weight_examples",
        ),
        (
            composing("client_local", "plain", free="aggregation.through_codec=true"),
            "aggregation.through_codec",
        ),
    ],
)
def test_what_another_key_switches_off_is_refused(run_config, key):
    told = refused(run_config)
    assert key in told
    assert "has no effect here" in told


@pytest.mark.parametrize(
    "run_config",
    [
        composing("example_local", free="aggregation.codec.clip_range=1"),
        composing("client_central", free="task.training.momentum=0.5"),
        composing("example_distributed", free="aggregation.codec.keep_fraction=0.5"),
        composing("example_local", "plain", free="aggregation.codec.keep_fraction=0.5"),
        composing(
            "client_local",
            "plain",
            free="aggregation.codec.keep_fraction=0.5",
            algorithm="fedadam",
        ),
        composing(
            "client_distributed",
            free="aggregation.codec.keep_fraction=0.5",
            algorithm="fedprox",
        ),
        {"overrides": "task.partition.alpha=2 task.partition.scheme=dirichlet"},
        {
            "aggregation": "plain",
            "overrides": "aggregation.through_codec=true aggregation.codec.clip_range=1",
        },
        {"overrides": "early_stopping.min_delta=0.1 early_stopping.patience=2"},
    ],
)
def test_where_it_has_an_effect_it_is_taken(run_config):
    load_config(run_config)


@pytest.mark.parametrize(
    ("option", "workload", "mend"),
    [
        ("example_distributed", "model_update", "client_central or"),
        ("client_distributed", "gradient_sum", "example_central or example_distributed"),
        ("example_local", "gradient_sum", "example_central or example_distributed"),
    ],
)
def test_a_workload_without_a_bound_for_the_unit_is_refused(option, workload, mend):
    told = refused(composing(option, free=f"algorithm.workload={workload}"))
    assert f"workload {workload}: it has no bound for the unit" in told
    assert mend in told


def test_the_workload_that_auto_stands_for_is_in_the_configuration():
    for option, expected in (
        ("example_distributed", "gradient_sum"),
        ("example_local", "model_update"),
        ("client_distributed", "model_update"),
    ):
        assert load_config(composing(option)).algorithm.workload.value == expected
    told = refused({"overrides": "algorithm.workload=gradient_sum"})
    assert "is summed under differential privacy only" in told
