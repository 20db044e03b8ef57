"""Encrypted runs whose clients drop out, in one process, beside the same under masks."""

import pytest

from app.simulation.in_process import simulate
from strategies.rounds.attempt import RunStoppedError
from strategies.secagg.server.key_role import KeyRole
from tests.kits.secure_kit import assert_same, other, secure_run, through_codec
from tests.kits.traced import Traced, kind_of, with_faults

LARGE = "task.model=mlp task.hidden=1300"
#: t = 5 of them.
NUM_NODES = 7


@pytest.fixture
def run_config(tmp_path):
    overrides = f"rounds.deadline_seconds=3 task.training.num_steps=2 {LARGE}"
    changes = {"aggregation": "homomorphic", "num-rounds": 1, "overrides": overrides}
    return secure_run(tmp_path) | changes


def silent_at(stage: str, num_gone: int):
    """Return the fault of the last nodes, which answer everything before a stage."""

    def fault(message, real):
        gone = message.metadata.dst_node_id >= 1000 + NUM_NODES - num_gone
        return None if gone and kind_of(message) == stage else real(message)

    return fault


@pytest.fixture
def opened(monkeypatch):
    """Return the numbers of survivors and of answers of each sum of keys."""
    found = []
    finish = KeyRole.finish_keys

    def noting(role: KeyRole):
        answers = len(role._key_shares)
        total = finish(role)
        found.append((len(total.survivors), answers))
        return total

    monkeypatch.setattr(KeyRole, "finish_keys", noting)
    return found


@pytest.mark.slow
def test_the_sum_without_as_many_as_may_drop_out_is_that_of_the_others(run_config, opened):
    encrypted = simulate(
        run_config, NUM_NODES, with_faults(run_config, NUM_NODES, silent_at("train", 2))
    )
    assert opened[0] == (5, 5)
    clear = through_codec(run_config)
    fault = with_faults(clear, NUM_NODES, silent_at("train", 2))
    assert_same(encrypted.arrays, simulate(clear, NUM_NODES, fault).arrays)


@pytest.mark.slow
@pytest.mark.parametrize("num_gone", [0, 1, 2])
def test_the_model_is_that_of_secagg_whoever_drops_out(run_config, opened, num_gone):
    runs = []
    for config in (run_config, other(run_config, "-masked", aggregation="secagg")):
        faults = with_faults(config, NUM_NODES, silent_at("train", num_gone))
        runs.append(simulate(config, NUM_NODES, faults))
    assert_same(runs[0].arrays, runs[1].arrays)
    assert runs[0].metrics == runs[1].metrics
    # The first is of the round: without its first trips the last evaluation has them again.
    assert opened[0] == (NUM_NODES - num_gone,) * 2


@pytest.mark.slow
@pytest.mark.parametrize("num_gone", [1, 2])
def test_who_has_sent_its_input_and_answers_no_more_is_in_the_sum(run_config, opened, num_gone):
    fault = with_faults(run_config, NUM_NODES, silent_at("train.unmask", num_gone))
    encrypted = simulate(run_config, NUM_NODES, fault)
    assert opened[0] == (NUM_NODES, NUM_NODES - num_gone)
    straight = simulate(other(run_config, "-straight"), NUM_NODES)
    assert_same(encrypted.arrays, straight.arrays)


@pytest.mark.slow
def test_one_more_than_may_drop_out_stops_the_run(run_config):
    faults = with_faults(run_config, NUM_NODES, silent_at("train", 3))
    with pytest.raises(RunStoppedError, match="round 1: too few clients"):
        simulate(run_config, NUM_NODES, faults)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train.advert", "train.share", "train", "train.unmask"])
def test_a_dropout_at_any_stage_is_survived_and_comes_back(run_config, stage):
    """Keys of the next round ride along with the answers of this one."""
    gone = iter([True])

    def fault(message, real):
        if message.metadata.dst_node_id == 1004 and kind_of(message) == stage:
            return None if next(gone, False) else real(message)
        return real(message)

    traced = Traced(run_config | {"num-rounds": 3}, 5, fault)
    assert traced.outcome.num_rounds == 3
    again = [
        message.content["config"]["server-round"]
        for message, reply in traced.messages
        if message.metadata.dst_node_id == 1004 and kind_of(message) == "train" and reply
    ]
    assert again[-1] == 3
    kinds = [kind_of(message) for message, _ in traced.messages]
    # A bootstrap of five, and of 1004 alone where it has to come back.
    assert kinds.count("train.advert") <= 7
