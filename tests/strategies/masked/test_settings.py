"""Settings of secure aggregation: what is refused before any trip, and what the log says."""

import logging

import pytest
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedMedian, Krum

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from app.simulation.in_process import InProcessGrid, simulate
from strategies.masked.config import KeyAgreement, SecAggConfig
from strategies.masked.strategy import SecAgg
from strategies.rounds.attempt import RunStoppedError
from tests.kits.secure_kit import other, secure_run
from tests.kits.traced import Traced, with_faults


@pytest.fixture
def run_config(tmp_path):
    return secure_run(tmp_path)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ("aggregation.threshold=2", "threshold=2 with 4 members"),
        ("aggregation.threshold=5", "more than the members"),
        ("aggregation.max_colluding=3", "a cohort of 4 is under max_colluding + 2 = 5"),
        ("aggregation.min_survivors=5", "under min_survivors=5"),
        ("aggregation.min_survivors=2", "min_survivors=2 is under threshold=3"),
    ],
)
def test_numbers_that_do_not_fit_the_cohort_are_refused_before_any_trip(
    run_config, free, expected
):
    run_config["overrides"] += f" {free}"
    with pytest.raises(RunStoppedError) as info:
        Traced(run_config, 4)
    assert expected in str(info.value)


def test_a_modulus_that_is_too_small_is_refused_before_any_trip(run_config):
    run_config["overrides"] += " aggregation.codec.modulus_bits=8"
    sent = []

    def fault(message, real):
        sent.append(message)
        return real(message)

    clients = with_faults(run_config, 200, fault)
    with pytest.raises(RunStoppedError, match=r"modulus_bits=8 .* take modulus_bits="):
        simulate(run_config, 200, clients)
    assert sent == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ("aggregation.codec.modulus_bits=7", "modulus_bits=7: must be from 8 to 64"),
        ("aggregation.codec.clip_range=0", "clip_range=0.0: must be above 0"),
        ("aggregation.codec.max_weight_examples=0", "must be at least 1"),
        ("aggregation.min_survivors=1", "one client's sum is its update"),
        ("aggregation.secrets_seconds=1", "must be at least twice"),
        ("aggregation.secrets_seconds=86401", "at most 86400, one day"),
        ("aggregation.consistency_check=true", "no key any more: with aggregation.identities"),
        ("aggregation.num_neighbors=6", "no key any more: the number is computed"),
        ("aggregation.identities=true", "min_survivors=0: with aggregation.identities=true T"),
        ("aggregation.max_dropout_fraction=1", "must be in [0, 1)"),
    ],
)
def test_wrong_numbers_are_refused_when_composed(free, expected):
    with pytest.raises(ConfigError) as info:
        load_config({"aggregation": "secagg", "overrides": free})
    assert expected in str(info.value)


def test_keys_are_agreed_with_ml_kem_where_messages_cross_a_network():
    """In a simulation none does, and one machine holds all keys."""
    agreed = {
        name: [SecAggConfig(key_agreement=one).parameters(n).is_hybrid for n in (None, 1000)]
        for name, one in KeyAgreement.__members__.items()
    }
    expected = {"auto": [True, False], "hybrid": [True, True], "classical": [False, False]}
    assert agreed == expected
    assert SecAggConfig().key_agreement is KeyAgreement.auto


@pytest.mark.parametrize("inner", [FedMedian(), Krum()])
def test_a_strategy_that_needs_single_updates_is_refused(inner):
    config = load_config({"aggregation": "secagg"})
    workload = build_workload(config)
    settings = build_strategy(config, RunFacts(1, 5, workload, 10))._settings
    with pytest.raises(ValueError, match="looks at single updates"):
        SecAgg(inner, 2, workload, settings)


@pytest.mark.parametrize("aggregation", ["secagg", "plain"])
def test_flowers_own_loop_is_refused_before_anything_is_sent(aggregation):
    config = load_config({"aggregation": aggregation})
    strategy = build_strategy(config, RunFacts(1, 5, build_workload(config), 10))
    grid = InProcessGrid({})
    with pytest.raises(NotImplementedError, match=r"rounds\.loop\.RoundLoop"):
        strategy.start(grid, ArrayRecord())
    assert grid.sent == []


def test_clipped_entries_are_counted_under_the_mask(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    run_config["overrides"] += " aggregation.codec.clip_range=1e-4"
    simulate(run_config | {"num-rounds": 1}, 4)
    assert "out of aggregation.codec.clip_range were clipped" in caplog.text


def test_a_diverged_client_is_a_zero_that_is_counted(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    run_config["overrides"] += " task.model=mlp task.training.learning_rate=1e30"
    with pytest.raises(RunStoppedError, match="diverged: on every client"):
        simulate(run_config, 4)
    assert "4 clients diverged and went in as zero" in caplog.text


@pytest.mark.parametrize(("num_nodes", "says"), [(2, True), (3, True), (4, False)])
def test_a_cohort_that_survives_no_dropout_is_told_so(run_config, caplog, num_nodes, says):
    logging.getLogger("flwr").addHandler(caplog.handler)
    simulate(run_config | {"num-rounds": 1}, num_nodes)
    assert ("a round fails if one of them drops out" in caplog.text) == says


def test_two_simulated_clients_work_and_two_real_ones_do_not(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    assert simulate(run_config, 2).num_rounds == 3
    assert "each can tell the other's update" in caplog.text
    config = load_config(run_config)
    with pytest.raises(ValueError, match=r"under max_colluding \+ 2 = 3"):
        build_strategy(
            config, RunFacts(1, None, build_workload(config), 10)
        )._settings.parameters.shape(2)


def test_more_weight_than_the_cap_does_not_count(run_config):
    run_config["overrides"] += " task.partition.scheme=size_skew task.partition.alpha=0.3"
    capped = {**run_config}
    capped["overrides"] += " aggregation.codec.max_weight_examples=10"
    models = [simulate(run_config, 4), simulate(other(capped, "-capped"), 4)]
    assert any(
        (models[0].arrays[n].numpy() != models[1].arrays[n].numpy()).any()
        for n in models[0].arrays
    )
