"""Clients that give no answer: how long they are asked, and how they come back."""

import logging

import pytest

from app.simulation.in_process import make_clients
from strategies.refusals import Reason, refusal_reply
from tests.kits.timed import FakeTime, RestartableGrid, run_timed
from tests.kits.traced import reports_of

ABSENT = 1003
NUM_ROUNDS = 8


@pytest.fixture
def run_config(tmp_path):
    return {
        "task": "breast_cancer",
        "aggregation": "plain",
        "num-rounds": NUM_ROUNDS,
        "deterministic": True,
        "output-dir": str(tmp_path / "run"),
        "overrides": "task.training.num_steps=1",
    }


def silent(message, real):
    return None


def answers(message, real):
    return real(message)


def refuses(message, real):
    return refusal_reply(Reason.INTERNAL_ERROR, message)


def refuses_for_good(message, real):
    return refusal_reply(Reason.DATA_REFUSED, message)


class Federation:
    """Four clients, of which one does what it is told to, and the rounds that it was asked in.

    Parameters
    ----------
    run_config : dict
        As for ``flwr run``.
    does : list
        What the last client does when it is asked for the first time, the second ...
    restarts_in : int
        The round in which it comes online again.
    """

    def __init__(self, run_config, does, restarts_in=0):
        clients = make_clients(run_config, 4)
        self.time, self.asked, self.end = FakeTime(), [], 0.0
        todo = iter(does)

        def absent(message):
            self.asked.append(message.content["config"]["server-round"])
            return next(todo, silent)(message, clients[ABSENT])

        def notes(message):
            if message.content["config"]["server-round"] == restarts_in:
                self.grid.activated[ABSENT] = "again"
            return clients[1000](message)

        self.grid = RestartableGrid(clients | {ABSENT: absent, 1000: notes})
        self.outcome = run_timed(run_config, self.grid, self.time)
        self.reports = reports_of(run_config["output-dir"])


def test_a_silent_client_is_left_out_after_three_attempts(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    run = Federation(run_config, [])
    assert run.asked == [1, 2, 3]
    assert [report["num_asked"] for report in run.reports] == [4, 4, 4, 3, 3, 3, 3, 3]
    # The first trip waits in full, the next ones for what the others have shown to need.
    assert run.time.now == 600 + 60 + 60
    assert (
        f"client {ABSENT} is left out of the run: no_answer (rounds.max_silent=3 attempts"
        in (caplog.text)
    )
    assert "when its SuperNode is started again or comes back online" in caplog.text


def test_the_number_of_attempts_can_be_chosen(run_config):
    run_config["overrides"] += " rounds.max_silent=1"
    run = Federation(run_config, [])
    assert run.asked == [1]
    assert run.time.now == 600


@pytest.mark.parametrize("answer", [answers, refuses])
def test_any_answer_begins_the_count_anew(run_config, answer):
    run = Federation(run_config, [silent, silent, answer, silent, silent, answer, silent])
    # And once more for the scores of the last model.
    assert run.asked == list(range(1, NUM_ROUNDS + 2))


def test_a_client_that_comes_online_again_takes_part_again(run_config, caplog):
    logging.getLogger("flwr").addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "flwr")
    run = Federation(run_config, [silent] * 3 + [answers] * 4, restarts_in=5)
    assert run.asked == [1, 2, 3, 6, 7, 8, 9]
    assert [report["num_replies"] for report in run.reports] == [3, 3, 3, 3, 3, 4, 4, 4]
    assert f"client {ABSENT} came online again" in caplog.text


def test_a_client_that_is_silent_again_is_left_out_again(run_config):
    assert Federation(run_config, [], restarts_in=4).asked == [1, 2, 3, 5, 6, 7]


def test_a_restart_between_two_silences_counts_as_asking(run_config):
    assert Federation(run_config, [], restarts_in=2).asked == [1, 2, 3, 4, 5]


def test_who_refused_for_good_does_not_come_back_by_a_restart(run_config):
    run = Federation(run_config, [refuses_for_good, answers], restarts_in=2)
    assert run.asked == [1]


def test_where_every_answer_is_needed_all_of_the_deadline_is_waited(run_config):
    """All four must answer; the last one is silent once in round 2 and twice in round 4."""
    run_config["overrides"] += " rounds.min_replies=4"
    does = [answers, silent, answers, answers, silent, silent]
    run = Federation(run_config, does + [answers] * NUM_ROUNDS)
    assert run.asked[:7] == [1, 2, 2, 3, 4, 4, 4]
    assert run.time.now == 3 * 600
