"""Secure runs whose clients drop out, lose their state, or come later."""

from collections import Counter
from pathlib import Path

import pytest
from flwr.app import Message

import app.node.settings
from app.config.load import load_config
from app.server import run
from app.simulation.in_process import InProcessGrid, make_clients, simulate
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.transport import PollingGrid
from tests.kits.secure_kit import assert_same, other, secure_run, through_codec
from tests.kits.traced import Traced, kind_of, with_faults


@pytest.fixture
def run_config(tmp_path):
    return secure_run(tmp_path)


STAGES = ["train.advert", "train.share", "train", "train.unmask"]


@pytest.mark.parametrize("agreed", ["classical", "hybrid"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_dropout_at_any_stage_is_survived(run_config, stage, agreed):
    """Node 1004 of five falls silent at one stage of the first round, and comes back."""
    run_config["overrides"] += f" aggregation.key_agreement={agreed}"
    gone = iter([True])

    def fault(message, real):
        if message.metadata.dst_node_id == 1004 and kind_of(message) == stage:
            return None if next(gone, False) else real(message)
        return real(message)

    traced = Traced(run_config, 5, fault)
    assert traced.outcome.num_rounds == 3
    assert traced.outcome.metrics["accuracy"] > 0.6
    rounds = {m.content["config"]["server-round"] for m, _ in traced.messages if _is_model(m)}
    assert rounds == {1, 2, 3, 4}
    again = [
        message.content["config"]["server-round"]
        for message, reply in traced.messages
        if message.metadata.dst_node_id == 1004 and kind_of(message) == "train" and reply
    ]
    assert again[-1] == 3


def _is_model(message: Message) -> bool:
    return kind_of(message) in ("train", "evaluate")


def test_the_sum_without_a_dropout_is_that_of_the_others(run_config):
    """A node that shares its keys and then never answers: the mean is over the other four."""

    def fault(message, real):
        silent = message.metadata.dst_node_id == 1004 and kind_of(message) == "train"
        return None if silent else real(message)

    run_config |= {"num-rounds": 1}
    secure = simulate(run_config, 5, with_faults(run_config, 5, fault))
    clear_config = through_codec(run_config)
    clear = simulate(clear_config, 5, with_faults(clear_config, 5, fault))
    assert_same(secure.arrays, clear.arrays)


def test_below_the_threshold_nothing_is_opened_and_the_next_attempt_is_fresh(run_config):
    """Two of four fall silent once (t = 3): no unmask request may follow that attempt."""
    silent = Counter()

    def fault(message, real):
        node = message.metadata.dst_node_id
        if kind_of(message) == "train" and node in (1002, 1003) and not silent[node]:
            silent[node] += 1
            return None
        return real(message)

    run_config |= {"num-rounds": 1}
    traced = Traced(run_config, 4, fault)
    kinds = [kind_of(message) for message, _ in traced.messages]
    second_bootstrap = [i for i, kind in enumerate(kinds) if kind == "train.advert"][4]
    assert "train.unmask" not in kinds[:second_bootstrap]
    straight = simulate(other(run_config, "-straight"), 4)
    assert_same(traced.outcome.arrays, straight.arrays)


def test_a_run_that_never_reaches_the_threshold_stops_and_leaves_the_model(run_config):
    def fault(message, real):
        gone = message.metadata.dst_node_id in (1002, 1003) and kind_of(message) == "train"
        return None if gone else real(message)

    with pytest.raises(RunStoppedError, match=r"round 1: too few clients"):
        simulate(run_config, 4, with_faults(run_config, 4, fault))


def test_a_node_that_lost_its_state_rejoins(run_config):
    """Its context is emptied before the second round: it refuses, and is back in the third."""
    run_config["num-rounds"] = 4
    clients = make_clients(run_config, 5)
    fresh = make_clients(run_config, 5)[1003]
    real = clients[1003]
    lost = {"now": False}

    def forgetful(message):
        if _is_model(message) and message.content["config"]["server-round"] == 2:
            lost["now"] = True
        return (fresh if lost["now"] else real)(message)

    grid = PollingGrid(InProcessGrid(clients | {1003: forgetful}))
    app.node.settings.simulate_in_this_process()
    outcome = run(grid, load_config(run_config), 1, simulated=True)
    assert outcome.num_rounds == 4
    text = (Path(run_config["output-dir"]) / "metrics.jsonl").read_text()
    failures = [line for line in text.splitlines() if "secagg_unknown_attempt" in line]
    assert len(failures) == 1
    assert '"round": 2' in failures[0]


def test_a_node_that_joins_later_takes_part_from_the_next_round(run_config):
    run_config["num-rounds"] = 4
    clients = make_clients(run_config, 5)
    inner = InProcessGrid({n: c for n, c in clients.items() if n != 1004})

    def joins(message):
        if _is_model(message):
            inner._clients.setdefault(1004, clients[1004])
        return clients[1000](message)

    inner._clients[1000] = joins
    app.node.settings.simulate_in_this_process()
    run(PollingGrid(inner), load_config(run_config), 1, simulated=True)
    rounds = [
        message.content["config"]["server-round"]
        for message in inner.sent
        if message.metadata.dst_node_id == 1004 and _is_model(message)
    ]
    assert rounds == [3, 4, 5] or rounds == [2, 3, 4, 5]
