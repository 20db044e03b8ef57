"""Private cohorts: who is drawn and charged, and which cohorts are refused."""

import pytest

from app.builders.run import build_settings
from app.config.load import load_config
from app.preflight.run_plan import plan_run
from app.simulation.in_process import simulate
from strategies.masked.settings import SecAggSettings
from strategies.refusals import Reason, refusal_reply
from strategies.rounds.attempt import RunStoppedError
from tests.kits.codec_kit import failing
from tests.kits.killed_runs import resumed
from tests.kits.private_kit import (
    Nodes,
    has_charged,
    planned_epsilon,
    run_config_of,
    run_with_ledgers,
    sent_by,
)
from tests.kits.traced import Traced, kind_of

# T = 6 of 8 drawn with 0.9: 3 rounds draw fewer with a chance of 0.11, which delta pays for.
POISSON = (
    "rounds.cohort_fraction=0.9 privacy.delta=0.2 aggregation.min_survivors=6"
    " aggregation.threshold=5 rounds.min_clients=8"
)


def cohorts(traced) -> list[set[int]]:
    """Return the nodes that were asked to train, by round."""
    found: dict[int, set[int]] = {}
    for message, _ in traced.messages:
        if kind_of(message) == "train":
            number = message.content["config"]["server-round"]
            found.setdefault(number, set()).add(message.metadata.dst_node_id - 1000)
    return [found[number] for number in sorted(found)]


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("min_clients", "is_amplified"), [(100, True), (70, True), (10, False), (2, False)]
)
def test_amplification_counts_the_nodes_that_are_surely_connected(
    tmp_path, min_clients, is_amplified
):
    """Under 2 of 100 drawn with 0.3: a chance of 1e-14; of 10 it is 15 %."""
    free = f"rounds.cohort_fraction=0.3 rounds.min_clients={min_clients}"
    run_config = run_config_of(tmp_path, "client_central", "plain", free, population=100)
    models, others, _ = plan_run(load_config(run_config)).adversaries
    assert (models.epsilon < 0.8 * others.epsilon) == is_amplified
    assert is_amplified or models.epsilon == others.epsilon


# 16 of 16 connected draw fewer than 2 with a chance of 2e-11 (0.8); 3 of 3 with 10 %.
FEW = "rounds.cohort_fraction=0.8 rounds.min_clients=2"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "is_amplified"), [(16, True), (3, False)])
def test_a_report_amplifies_by_the_nodes_that_were_drawn_among(tmp_path, number, is_amplified):
    run_config = run_config_of(tmp_path, "client_central", "plain", FEW, population=16)
    run_config |= {"deterministic": True, "seed": 1}
    traced = Traced(run_config, number)
    told = traced.summary()["privacy"]
    assert told["num_drawable"] == number
    assert (told["epsilon_model_only"] < told["epsilon"]) == is_amplified
    # The plan knows of the two that must be there, and promises no more.
    assert traced.plan().adversaries[0].epsilon >= told["epsilon_model_only"]


@pytest.mark.slow
@pytest.mark.parametrize("reason", [Reason.POLICY_REFUSED, None])
def test_nothing_is_amplified_once_a_client_is_left_out(tmp_path, reason):
    """Whom chance does not draw may tell of the records that made it refuse, or fail."""

    def fault(message, real):
        number = message.content.config_records["config"]["server-round"]
        if message.metadata.dst_node_id == 1003 and number > 1:
            return refusal_reply(reason, message) if reason else None
        return real(message)

    free = f"{FEW} rounds.max_silent=1"
    run_config = run_config_of(tmp_path, "client_central", "plain", free, population=16)
    run_config |= {"deterministic": True, "seed": 2, "num-rounds": 6}
    traced = Traced(run_config, 16, fault)
    drawn = [report["privacy"]["num_drawable"] for report in traced.reports()]
    assert drawn[0] == 16
    assert drawn[-1] == 0
    first, last = (traced.reports()[at]["privacy"] for at in (0, -1))
    assert first["epsilon_model_only"] < first["epsilon"]
    assert last["epsilon_model_only"] == last["epsilon"]


@pytest.mark.slow
def test_nothing_is_amplified_once_a_cohort_is_drawn_in_place_of_another(tmp_path):
    """Who answers may depend on records: a cohort that closes is drawn by more than coins."""
    failed = []

    def fault(message, real):
        number = message.content.config_records["config"]["server-round"]
        if number == 2 and len(failed) < 13:
            failed.append(message.metadata.dst_node_id)
            return None
        return real(message)

    free = f"{FEW} rounds.max_silent=9 rounds.min_replies=3 privacy.spare_attempts=2"
    run_config = run_config_of(tmp_path, "client_central", "plain", free, population=16)
    run_config |= {"deterministic": True, "seed": 2, "num-rounds": 3}
    traced = Traced(run_config, 16, fault)
    told = [report["privacy"] for report in traced.reports()]
    assert len(failed) == 13
    assert [one["num_updates"] for one in told] == [1, 3, 4]
    assert [one["num_drawable"] for one in told] == [16, 0, 0]
    assert told[0]["epsilon_model_only"] < told[0]["epsilon"]
    assert told[2]["epsilon_model_only"] == told[2]["epsilon"]


@pytest.mark.parametrize(("min_replies", "is_amplified"), [(17, True), (28, False)])
def test_a_cohort_with_which_no_round_could_close_is_drawn_again(
    tmp_path, min_replies, is_amplified
):
    """Of 30 nodes drawn with 0.9 each under 17 are never, and under 28 with 0.59."""
    free = (
        "aggregation.min_survivors=17 rounds.cohort_fraction=0.9 rounds.min_clients=30"
        f" rounds.min_replies={min_replies}"
    )
    run_config = run_config_of(tmp_path, "client_central", "secagg", free, population=30)
    config = load_config(run_config)
    assert build_settings(config, simulated=True).min_poisson_cohort == min_replies
    models, others, _ = plan_run(config).adversaries
    assert (models.epsilon < others.epsilon) == is_amplified


def test_a_resumed_run_remembers_among_how_many_it_drew(tmp_path):
    run_config = run_config_of(tmp_path, "client_central", "plain", FEW, population=16)
    run_config |= {"deterministic": True, "seed": 1}
    Traced(run_config, 3)
    more = resumed(run_config, **{"num-rounds": 4})
    told = simulate(more, 16).privacy
    assert (told["num_updates"], told["num_drawable"]) == (4, 3)
    assert told["epsilon_model_only"] == told["epsilon"]


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
    assert not any(has_charged(nodes.state(node)) for node in range(4))
