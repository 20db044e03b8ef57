"""Private cohorts: who is drawn and charged, and which cohorts are refused."""

import pytest

from app.config.load import load_config
from app.preflight.run_plan import plan_run
from strategies.masked.settings import SecAggSettings
from strategies.rounds.attempt import RunStoppedError
from tests.kits.codec_kit import failing
from tests.kits.private_kit import (
    Nodes,
    planned_epsilon,
    run_config_of,
    run_with_ledgers,
    sent_by,
)
from tests.kits.traced import Traced, kind_of

# T = 6 of 8 drawn with 0.9: 3 rounds draw fewer with a chance of 0.11, which delta pays for.
POISSON = (
    "rounds.cohort_fraction=0.9 privacy.delta=0.2 aggregation.min_survivors=6"
    " aggregation.threshold=5"
)


def cohorts(traced) -> list[set[int]]:
    """Return the nodes that were asked to train, by round."""
    found: dict[int, set[int]] = {}
    for message, _ in traced.messages:
        if kind_of(message) == "train":
            number = message.content["config"]["server-round"]
            found.setdefault(number, set()).add(message.metadata.dst_node_id - 1000)
    return [found[number] for number in sorted(found)]


def test_a_poisson_cohort_charges_those_who_were_in_it(tmp_path):
    traced, nodes = run_with_ledgers(
        tmp_path, "client_distributed", "secagg", POISSON, number=8, deterministic=True, seed=1
    )
    told, drawn = traced.summary()["privacy"], cohorts(traced)
    expected = planned_epsilon(traced.plan())
    assert told["epsilon"] == pytest.approx(expected, rel=0, abs=1e-9)
    # Not above it, though the chance of an abort takes half of delta here.
    assert told["epsilon_model_only"] < told["epsilon"]
    assert [report["num_asked"] for report in traced.reports()] == [len(d) for d in drawn]
    assert 18 <= sum(map(len, drawn)) < 24
    for node in range(8):
        times = sum(node in cohort for cohort in drawn)
        spent = nodes.spent(node, delta=0.2)
        assert spent.num_charges == times > 0
        whole = pytest.approx(expected, rel=0, abs=1e-9)
        assert spent.epsilon == whole if times == 3 else spent.epsilon < expected


def test_a_cohort_under_t_is_drawn_again_and_nothing_is_sent(tmp_path, monkeypatch):
    draws = iter([0.95] * 8 + [0.5] * 80)

    class Coins:
        def __init__(self, *_):
            pass

        def random(self):
            return next(draws)

    monkeypatch.setattr("random.SystemRandom", Coins)
    traced, nodes = run_with_ledgers(
        tmp_path, "client_distributed", "secagg", POISSON, number=8, num_rounds=1
    )
    assert cohorts(traced) == [set(range(8))]
    assert traced.grid.num_trips == traced.plan().num_trips
    assert [nodes.spent(node, delta=0.2).num_charges for node in range(8)] == [1] * 8
    assert traced.summary()["privacy"]["num_updates"] == 1


def test_cohorts_drawn_again_are_likelier_than_delta_so_nothing_is_amplified(tmp_path):
    free = POISSON.replace("delta=0.2", "delta=1e-3")
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", free, population=8)
    plan = plan_run(load_config(run_config))
    # Who sees models only learns what the server without colluders does.
    assert plan.adversaries[0].epsilon == plan.adversaries[1].epsilon
    assert plan.adversaries[1].num_colluding == 0


def test_amplification_counts_where_no_cohort_is_drawn_again(tmp_path):
    """Under 2 of 100 drawn with 0.3: a chance of 1e-14."""
    free = "rounds.cohort_fraction=0.3"
    run_config = run_config_of(tmp_path, "client_central", "plain", free, population=100)
    models, others, _ = plan_run(load_config(run_config)).adversaries
    assert models.epsilon < 0.8 * others.epsilon


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("option", "aggregation"),
    [("client_central", "plain"), ("client_distributed", "secagg"), ("example_local", "plain")],
)
def test_more_nodes_than_the_population_are_refused_before_anything_is_sent(
    tmp_path, option, aggregation
):
    run_config = run_config_of(tmp_path, option, aggregation, population=3)
    match = r"privacy\.population=3, but 4 clients.*give the number of all nodes"
    assert sent_by(run_config, 4, RunStoppedError, match) == []


def test_a_node_refuses_a_cohort_that_its_noise_is_not_sized_for(tmp_path, monkeypatch):
    """From a server that does not look: before it trains, and nothing is charged."""
    monkeypatch.setattr(SecAggSettings, "check_fits", lambda *_: None)
    failing(monkeypatch)
    nodes = Nodes(tmp_path, 4)
    free = "rounds.max_attempts=1"
    keys = {"population": 3, "simulation_nodes": str(nodes.file)}
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", free, **keys)
    with pytest.raises(RunStoppedError, match=r"client 1000: config_refused"):
        Traced(run_config, 4)
    assert not any(nodes.state(node).exists() for node in range(4))
