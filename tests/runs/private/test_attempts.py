"""Attempts of private runs that fail after nodes have charged: what is paid for, what stops."""

import pytest

from app.config.load import ConfigError, load_config
from app.preflight.run_plan import plan_run
from strategies.rounds.attempt import RunStoppedError
from tests.kits.absent_clients import SPARE, STRICT, Absent, stopped, summary_of, with_nodes
from tests.kits.private_kit import composing, planned_epsilon, run_with_ledgers
from tests.kits.timed import FakeTime, RestartableGrid, run_timed
from tests.kits.traced import reports_of, with_faults

CASES = [("client_distributed", "secagg"), ("client_local", "plain")]


# What a plan pays for


@pytest.mark.slow
@pytest.mark.parametrize(("option", "aggregation"), CASES)
@pytest.mark.parametrize(
    ("free", "num_charges"),
    [
        ("", 3),
        # Each of the three attempts scores the model that it trains, and the last is scored.
        ("privacy.metrics.every=1 privacy.metrics.noise_multiplier=0.02", 4),
    ],
)
def test_a_spare_attempt_is_planned_charged_and_reported(
    tmp_path, option, aggregation, free, num_charges
):
    traced, nodes = run_with_ledgers(
        tmp_path,
        option,
        aggregation,
        f"{STRICT} {SPARE} {free}",
        fault=Absent({1003: 1}, number=1),
        num_rounds=2,
    )
    plan, told = traced.plan(), traced.summary()["privacy"]
    expected = pytest.approx(planned_epsilon(plan), rel=0, abs=1e-9)
    assert told["epsilon"] == expected
    assert told["epsilon_model_only"] == pytest.approx(
        plan.adversaries[0].epsilon, rel=0, abs=1e-9
    )
    planned = {one["name"]: one["times"] for one in plan.guarantee["releases"]}
    assert told["num_updates"] == planned["update"] == 3
    assert told["num_metrics"] == planned.get("metrics", 0)
    assert [r["privacy"]["num_updates"] for r in traced.reports()] == [2, 3]
    for node in range(3):
        spent = nodes.spent(node)
        assert (spent.num_charges, spent.epsilon) == (num_charges, expected)
    # Who was silent has not charged either.
    assert nodes.spent(3).num_charges == num_charges - 1
    assert nodes.spent(3).epsilon < planned_epsilon(plan)


def test_a_spare_attempt_that_is_not_used_is_not_reported(tmp_path):
    traced, nodes = run_with_ledgers(tmp_path, "client_local", "plain", SPARE, num_rounds=2)
    told = traced.summary()["privacy"]
    assert told["num_updates"] == 2
    assert told["epsilon"] == nodes.spent(0).epsilon < planned_epsilon(traced.plan())


def test_noise_is_calibrated_for_spare_attempts_too():
    def noise(free: str, **keys) -> float:
        run_config = composing("client_local", "plain", free, **keys)
        given = run_config["overrides"].replace("noise_multiplier=2", "epsilon=5")
        return plan_run(load_config(run_config | {"overrides": given})).guarantee[
            "noise_multiplier"
        ]

    three = noise("privacy.spare_attempts=2", **{"num-rounds": 1})
    assert three == noise("", **{"num-rounds": 3})
    assert three > noise("", **{"num-rounds": 1})


def test_spare_attempts_draw_cohorts_whose_aborts_are_taken_off_delta():
    def left(free: str, rounds: int) -> float:
        free = f"{free} rounds.cohort_fraction=0.9 privacy.population=8 rounds.min_replies=5"
        free += " rounds.min_clients=8"
        run_config = composing("client_central", "plain", free, **{"num-rounds": rounds})
        return plan_run(load_config(run_config)).adversaries[0].epsilon

    assert left("privacy.spare_attempts=2", 2) == left("", 4) > left("", 2)


# What stops


@pytest.mark.slow
@pytest.mark.parametrize(("option", "aggregation"), CASES)
def test_without_spare_attempts_the_run_stops_and_nodes_are_charged_once(
    tmp_path, option, aggregation
):
    run_config, nodes = with_nodes(tmp_path, option, aggregation, STRICT)
    text = stopped(run_config, Absent({1003: 1}, number=2))
    assert text.startswith("failed in attempt 1 at round 2: client 1003: no_answer; round 2: ")
    assert "an attempt failed after nodes may have charged for it" in text
    assert "privacy.spare_attempts=0 are used up: 2 updates" in text
    assert text.endswith(
        "; resume the run, which then ends earlier, or begin a new one with more of them"
    )
    assert [nodes.spent(node).num_charges for node in range(4)] == [2, 2, 2, 1]
    told = summary_of(run_config)
    assert told["status"] == "failed"
    assert told["num_rounds"] == 1
    # What was charged is told, though no round came of it.
    assert told["privacy"]["num_updates"] == 2
    assert told["privacy"]["epsilon"] == pytest.approx(nodes.spent(0).epsilon, abs=1e-9)


def test_the_run_stops_when_its_spare_attempts_are_used_up(tmp_path):
    run_config, nodes = with_nodes(tmp_path, "client_local", "plain", f"{STRICT} {SPARE}")
    text = stopped(run_config, Absent({1003: 2}, number=2))
    assert "failed in attempt 1 at round 2" in text
    assert "failed in attempt 2 at round 2" in text
    assert (
        "spare_attempts=1 are used up: 3 updates and 0 metrics may have been charged, it"
        in (text)
    )
    assert "would be 5 and 0 by the end of the run, and the plan pays for 4 and 0" in text
    assert [nodes.spent(node).num_charges for node in range(4)] == [3, 3, 3, 1]


def test_an_attempt_that_ends_with_the_keys_costs_nothing_and_is_repeated(tmp_path):
    traced, nodes = run_with_ledgers(
        tmp_path,
        "client_distributed",
        "secagg",
        fault=Absent({1002: 2, 1003: 2}, "train.advert"),
        num_rounds=2,
    )
    assert traced.kinds()["train.advert"] == 3 * 4
    assert traced.summary()["privacy"]["num_updates"] == 2
    assert [nodes.spent(node).num_charges for node in range(4)] == [2] * 4


# One client that is silent in every train trip


def of_600_seconds(tmp_path, population, num_rounds):
    free = "rounds.deadline_seconds=600 rounds.max_silent=2"
    return with_nodes(
        tmp_path,
        "client_distributed",
        "secagg",
        free,
        population=population,
        num_rounds=num_rounds,
    )


@pytest.mark.slow
def test_a_client_that_sends_keys_and_never_trains_costs_two_waits_in_all(tmp_path):
    """T = 3 of four: its silences are two rounds apart, as its keys come late in between."""
    run_config, nodes = of_600_seconds(tmp_path, 4, 7)
    time = FakeTime()
    grid = RestartableGrid(with_faults(run_config, 4, Absent({1003: 99})))
    outcome = run_timed(run_config, grid, time)
    assert outcome.num_rounds == 7
    assert outcome.privacy["num_updates"] == 7
    # In the first round nobody knew what an answer takes.
    assert time.now == 600 + 60
    reports = reports_of(run_config["output-dir"])
    assert [list(r["failures"]) for r in reports if r["failures"]] == [["1003"]] * 2
    assert [report["num_replies"] for report in reports] == [3] * 7
    assert [report["num_asked"] for report in reports[3:]] == [3] * 4
    assert [nodes.spent(node).num_charges for node in range(3)] == [7] * 3
    assert not nodes.state(3).exists() or nodes.spent(3).num_charges == 0


def test_where_the_others_are_too_few_the_run_stops_after_one_charge(tmp_path):
    run_config, nodes = of_600_seconds(tmp_path, 3, 7)
    time = FakeTime()
    grid = RestartableGrid(with_faults(run_config, 3, Absent({1002: 99})))
    with pytest.raises(RunStoppedError) as info:
        run_timed(run_config, grid, time)
    text = str(info.value)
    assert text.startswith(
        "failed in attempt 1 at round 1: client 1002: no_answer; round 1: an"
    )
    assert "privacy.spare_attempts=0" in text
    assert time.now == 600
    assert [nodes.spent(node).num_charges for node in range(2)] == [1, 1]
    assert summary_of(run_config)["privacy"]["num_updates"] == 1


# The key


def test_a_number_below_0_is_refused():
    with pytest.raises(ConfigError, match=r"privacy.spare_attempts=-1: must not be negative"):
        load_config(composing("client_local", free="privacy.spare_attempts=-1"))


def test_they_pay_for_rounds_that_are_cut_off_where_no_attempt_is_repeated():
    config = load_config(composing("client_local", free=f"{SPARE} rounds.max_attempts=1"))
    assert config.privacy.spare_attempts == 1
