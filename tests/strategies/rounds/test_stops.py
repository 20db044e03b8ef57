"""What a run says when it stops: who was left out and who failed, before its own text."""

import re

import pytest

import strategies.masked.attempt
from app.simulation.in_process import simulate
from strategies.refusals import Reason, refusal_reply
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.strategy import RoundStrategy
from strategies.secagg.server.role import ServerRole
from tests.kits.regression import regression_run
from tests.kits.secure_kit import secure_run
from tests.kits.traced import kind_of, with_faults


@pytest.fixture
def run_config(tmp_path):
    return secure_run(tmp_path)


def stopped(run_config, fault, number=4) -> str:
    """Return what a run says that stops."""
    with pytest.raises(RunStoppedError) as info:
        simulate(run_config, number, with_faults(run_config, number, fault))
    return str(info.value)


def nobody_fails(message, real):
    return real(message)


def refusing(reasons: dict):
    """Return clients that refuse train messages with ``reasons[round][node]``."""

    def fault(message, real):
        number = message.content.config_records.get("config", {}).get("server-round", 0)
        reason = reasons.get(number, {}).get(message.metadata.dst_node_id)
        return real(message) if reason is None else refusal_reply(reason, message)

    return fault


def test_the_clients_left_out_are_named_first_in_the_order_in_which_they_went(run_config):
    run_config |= {"aggregation": "plain", "num-rounds": 4}
    run_config["overrides"] += " rounds.min_clients=3"
    reasons = {
        1: {1003: Reason.POLICY_REFUSED},
        2: {1001: Reason.INTERNAL_ERROR},
        3: {1000: Reason.BUDGET_EXHAUSTED},
    }
    assert stopped(run_config, refusing(reasons)) == (
        "left out of the run: client 1003: policy_refused in round 1, client 1000:"
        " budget_exhausted in round 3; 2 usable clients are connected and 2 are left out,"
        " rounds.min_clients=3"
    )


def test_the_first_cause_stands_before_what_came_of_it(run_config):
    """Two of four never reveal (t = 3), and from then on all refuse the model as repeated."""

    def fault(message, real):
        is_last = kind_of(message) == "train.unmask"
        return None if is_last and message.metadata.dst_node_id > 1001 else real(message)

    text = stopped(run_config, fault)
    first = "failed in attempt 1 at round 1: client 1002: no_answer, client 1003: no_answer; "
    assert text.startswith(first)
    assert re.match(
        "failed in attempt 3 at round 1: client 1000: secagg_model_repeated.*"
        "; round 1: too few clients answered",
        text.removeprefix(first),
    )


def test_on_client_failure_stop_names_all_who_failed(run_config):
    run_config |= {"aggregation": "plain"}
    run_config["overrides"] += " rounds.on_client_failure=stop"
    reasons = {2: {1001: Reason.INTERNAL_ERROR, 1002: Reason.DATA_REFUSED}}
    assert stopped(run_config, refusing(reasons)) == (
        "left out of the run: client 1002: data_refused in round 2; failed in attempt 1 at"
        " round 2: client 1001: internal_error; round 2: client 1001 failed: internal_error"
        " (rounds.on_client_failure=stop)"
    )


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_model_that_is_not_finite_is_told_after_who_failed(
    run_config, monkeypatch, aggregation
):
    def step(*_):
        raise RunStoppedError("round 1: the new model is not finite")

    monkeypatch.setattr(RoundStrategy, "step", step)
    run_config |= {"aggregation": aggregation}
    reasons = {1: {1002: Reason.INTERNAL_ERROR}}
    assert stopped(run_config, refusing(reasons)) == (
        "failed in attempt 1 at round 1: client 1002: internal_error;"
        " round 1: the new model is not finite"
    )


def test_a_liar_is_named_though_the_sum_it_spoilt_stops_the_run(run_config, monkeypatch):
    finish = ServerRole.finish

    def finish_and_prove(role):
        role._disputes.prove(1001, "its share is false")
        return finish(role)

    def check(number, *_, **__):
        raise RunStoppedError(f"round {number}: a participant's contribution is not possible")

    monkeypatch.setattr(ServerRole, "finish", finish_and_prove)
    monkeypatch.setattr(strategies.masked.attempt, "check_sum", check)
    assert stopped(run_config, nobody_fails) == (
        "left out of the run: client 1001: protocol_broken in round 1;"
        " round 1: a participant's contribution is not possible"
    )


def test_the_last_evaluation_stops_with_the_same_words(run_config):
    """Its sum is checked too; here one client is silent and another's scores are too many."""

    def fault(message, real):
        if kind_of(message) == "evaluate" and message.metadata.dst_node_id == 1002:
            return None
        return real(message)

    def check(number, *_):
        if number == 4:
            raise RunStoppedError(f"round {number}: not possible")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strategies.masked.attempt, "check_sum", check)
        text = stopped(run_config, fault)
    assert (
        text == "failed in attempt 1 at round 4: client 1002: no_answer; round 4: not possible"
    )


@pytest.mark.parametrize(
    ("aggregation", "says"),
    [
        ("plain", "2 usable clients are connected and 1 are left out, rounds.min_clients=3"),
        ("secagg", "aggregation=secagg: a cohort of 2 is under max_colluding + 2 = 3: "),
    ],
)
def test_a_wrong_file_is_told_where_the_others_are_too_few(
    tmp_path, monkeypatch, aggregation, says
):
    run_config = regression_run(tmp_path, monkeypatch) | {"aggregation": aggregation}
    (tmp_path / "1.csv").write_text("a;b\n1;2\n")
    if aggregation == "plain":
        run_config["overrides"] = "rounds.min_clients=3"
    with pytest.raises(RunStoppedError) as told:
        simulate(run_config, 3)
    first = f"left out of the run: client 1001: data_refused in round 1; {says}"
    assert str(told.value).startswith(first)
