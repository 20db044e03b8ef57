"""Private runs that are resumed after an attempt failed, or in the middle of one."""

import pytest

from app.results.history import RunFolderError
from tests.kits.absent_clients import SPARE, STRICT, Absent, stopped, summary_of, with_nodes
from tests.kits.killed_runs import KilledError, resumed
from tests.kits.private_kit import planned_epsilon, run_config_of, sent_by
from tests.kits.traced import Traced


@pytest.mark.parametrize("number", [1, 2])
def test_a_resumed_run_knows_of_the_attempt_that_failed(tmp_path, number):
    """Also in the first round, when there is no checkpoint."""
    run_config, nodes = with_nodes(tmp_path, "client_local", "plain", STRICT, num_rounds=2)
    stopped(run_config, Absent({1003: 1}, number=number))
    again = resumed(run_config)
    # What is paid for is still good for a round; the other was the attempt that failed.
    assert Traced(again, 4).outcome.num_rounds == 1
    told = summary_of(again)
    assert (told["status"], told["privacy"]["num_updates"]) == ("stopped early", 2)
    assert [nodes.spent(node).num_charges for node in range(4)] == [2, 2, 2, 1]


@pytest.mark.parametrize("text", [None, "", "{}", '{"privacy": 3}'])
def test_without_its_summary_a_private_run_is_not_resumed(tmp_path, text):
    """An attempt that failed stands there alone: without it less would be told than charged."""
    run_config, _ = with_nodes(tmp_path, "client_local", "plain", STRICT, num_rounds=3)
    stopped(run_config, Absent({1003: 1}, number=2))
    summary = tmp_path / "run" / "summary.json"
    summary.unlink()
    if text is not None:
        summary.write_text(text)
    says = "what this private run has spent is not known.*put the file back"
    assert sent_by(resumed(run_config), 4, RunFolderError, says) == []


def test_keys_that_fail_after_a_resume_cost_nothing(tmp_path):
    # Without ledgers: a second run of this process has the first one's id.
    run_config = run_config_of(tmp_path, "client_distributed", "secagg", num_rounds=3)
    stopped(run_config, Absent({1002: 1, 1003: 1}, number=2))
    again = resumed(run_config)
    traced = Traced(again, 4, Absent({1002: 1, 1003: 1}, "train.advert"))
    # Two attempts at the keys, and as many rounds as are paid for.
    assert traced.kinds()["train.advert"] == 2 * 4
    assert traced.outcome.num_rounds == 2
    assert summary_of(again)["privacy"]["num_updates"] == 3


def test_a_round_in_which_the_server_was_killed_counts_as_an_attempt(tmp_path):
    run_config, nodes = with_nodes(tmp_path, "client_local", "plain", SPARE, num_rounds=2)

    def killing(message, real):
        number = message.content["config"]["server-round"]
        if (message.metadata.dst_node_id, number) == (1002, 2):
            raise KilledError
        return real(message)

    with pytest.raises(KilledError):
        Traced(run_config, 4, killing)
    traced = Traced(resumed(run_config), 4)
    told = summary_of(run_config)["privacy"]
    assert told["num_updates"] == 3
    assert told["epsilon"] == pytest.approx(planned_epsilon(traced.plan()), rel=0, abs=1e-9)
    assert [nodes.spent(node).num_charges for node in range(4)] == [3, 3, 2, 2]


@pytest.mark.parametrize("noise", ["noise_multiplier=2", "epsilon=20"])
def test_a_plan_keeps_its_number_of_spare_attempts(tmp_path, noise):
    """With another it would be another plan, which a ledger under a tight cap refuses."""
    run_config = run_config_of(tmp_path, "client_local", "plain", STRICT, num_rounds=1)
    text = run_config["overrides"].replace("noise_multiplier=2", noise)
    run_config["overrides"] = text
    told = stopped(run_config, Absent({1003: 1}))
    assert told.endswith("or begin a new one with more of them")
    more = resumed(run_config, overrides=f"{text} {SPARE}")
    assert sent_by(more, 4, RunFolderError, "spare_attempts was 0, now 1") == []


def test_a_last_model_is_not_scored_twice_for_one_charge(tmp_path):
    free = "privacy.metrics.every=2 privacy.metrics.noise_multiplier=0.02"
    run_config, nodes = with_nodes(tmp_path, "client_local", "plain", free, num_rounds=2)
    first = Traced(run_config, 4)
    again = Traced(resumed(run_config), 4)
    assert again.messages == []
    assert again.outcome.metrics == {}
    assert again.outcome.privacy == first.outcome.privacy
    assert [nodes.spent(node).num_charges for node in range(4)] == [3] * 4
