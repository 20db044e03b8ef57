"""What a node's part is worth to itself, against sums and runs that really lack it."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from flwr.app import RecordDict

import app.round.client_side as client_side
import app.round.own_contribution as own_contribution
from app.node.own_models import SUFFIX, KeptModel, OwnModels
from app.node.own_report import read_own
from app.node.protocol_store import ContextStore
from app.simulation.in_process import make_clients, simulate
from privacy.bounding.projection import kept_entries
from privacy.bounding.rotation import Rotation
from privacy.database import DatabaseError
from strategies.aggregation import Request
from strategies.codec.codec import add_up
from strategies.codec.run_state import RunState
from strategies.secagg.client.store import Change, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from tests.app.node.test_own_report import replies_of
from tests.kits.private_kit import Nodes, run_config_of
from workloads.model_arrays import flatten
from workloads.model_update import ModelUpdate
from workloads.own_part import OwnPart, PartUnknownError, without_in_mean

_FAST = "rounds.deadline_seconds=2 task.training.num_steps=4"


def telling(tmp_path, number=4):
    """Return nodes that all work out what their parts are worth."""
    nodes = Nodes(tmp_path, number)
    entries = yaml.safe_load(nodes.file.read_text())
    text = yaml.safe_dump([{**one, "contribution": True} for one in entries])
    nodes.file.write_text(text)
    return nodes


def run_of(tmp_path, nodes, overrides="", **more):
    return {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": 3,
        "deterministic": True,
        "output-dir": str(tmp_path / "run"),
        "simulation-nodes": str(nodes.file),
        "overrides": f"{_FAST} {overrides}",
    } | {key.replace("_", "-"): value for key, value in more.items()}


def told(nodes, node):
    [run] = read_own(nodes.state(node)).runs
    return [one["contribution"] for one in run.rounds]


class Spy:
    """Keeps what each node gave, and the models without it that it worked out."""

    def __init__(self, monkeypatch) -> None:
        self.given, self.without = {}, {}
        tell, without = client_side.tell_contribution, own_contribution._without

        def telling(request, session, records, given, rng):
            key = session.node_id, request.query.server_round
            self.given[key] = request.state.arrays, given.contribution
            return tell(request, session, records, given, rng)

        def without_it(request, session, last):
            found = without(request, session, last)
            self.without[session.node_id, request.query.server_round] = found
            return found

        monkeypatch.setattr(client_side, "tell_contribution", telling)
        monkeypatch.setattr(own_contribution, "_without", without_it)

    def mean_without(self, node, number, cap=10**9):
        """Return the model after a round, of all contributions but one, in float64."""
        before, _ = self.given[node, number]
        others = [one for (i, r), (_, one) in self.given.items() if r == number and i != node]
        weights = [min(one.sums["num_examples"], cap) for one in others]
        sums = sum(w * one.update.astype(float) for w, one in zip(weights, others, strict=True))
        return flatten(before).astype(float) + sums / sum(weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("aggregation", "overrides", "cap"),
    [
        ("secagg", "", 10_000),
        ("secagg", "aggregation.codec.max_weight_examples=114", 114),
        ("plain", "", 10**9),
        (
            "plain",
            "aggregation.through_codec=true aggregation.codec.max_weight_examples=50",
            50,
        ),
    ],
)
def test_the_model_without_a_node_is_the_mean_of_all_others(
    tmp_path, monkeypatch, aggregation, overrides, cap
):
    nodes, spy = telling(tmp_path), Spy(monkeypatch)
    simulate(run_of(tmp_path, nodes, overrides, aggregation=aggregation), 4)
    assert len(spy.without) == 4 * 3
    for (node, number), arrays in spy.without.items():
        expected = spy.mean_without(node, number - 1, cap)
        np.testing.assert_allclose(flatten(arrays), expected, atol=2e-6, rtol=0)
        _, own = spy.given[node, number - 1]
        # The difference is there to be seen.
        before, _ = spy.given[node, number - 1]
        assert np.abs(flatten(arrays) - flatten(before)).max() > 1e-3
        assert np.abs(own.update).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "free", ["value_bits=4", "keep_fraction=0.2 aggregation.codec.error_feedback=true"]
)
def test_what_was_encoded_is_taken_out_and_not_what_was_trained(tmp_path, monkeypatch, free):
    """Of a compressed sum, with its coins and with what was left out before."""
    given: dict = {}
    nodes, spy = telling(tmp_path), Spy(monkeypatch)
    contribute = client_side.contribute

    def noting(request, session, attempt, context):
        found = contribute(request, session, attempt, context)
        kept = tuple(part.copy() for part in found)
        given[session.node_id, request.query.server_round] = request.codec, context, kept
        return found

    monkeypatch.setattr(client_side, "contribute", noting)
    simulate(run_of(tmp_path, nodes, f"aggregation.codec.{free}"), 4)
    assert len(spy.without) == 4 * 3
    for (node, number), arrays in spy.without.items():
        others = [one for (i, r), one in given.items() if r == number - 1 and i != node]
        codec, context, _ = others[0]
        alone = replace(context, num_survivors=3)
        found = add_up(codec, [one for *_, one in others], alone, has_metrics=True)
        before = flatten(spy.given[node, number - 1][0]).astype(float)
        np.testing.assert_allclose(flatten(arrays), before + found.mean(), atol=5e-6, rtol=0)


def test_where_the_server_leaves_out_nothing_is_told(tmp_path):
    nodes = telling(tmp_path, 2)
    config = run_of(
        tmp_path,
        nodes,
        "aggregation.through_codec=true aggregation.codec.value_bits=4",
        aggregation="plain",
        num_rounds=1,
    )
    simulate(config, 2)
    assert all("by its own coins" in one["not_told"] for one in told(nodes, 0))


@pytest.mark.slow
def test_it_is_the_run_that_the_others_would_have_made(tmp_path, monkeypatch):
    nodes, spy = telling(tmp_path), Spy(monkeypatch)
    config = run_of(tmp_path, nodes)
    simulate(config, 4)
    own = told(nodes, 1)
    others = {**config, "num-rounds": 1, "aggregation": "plain"}
    others |= {"output-dir": str(tmp_path / "other")}
    del others["simulation-nodes"]
    clients = make_clients(others, 4)
    del clients[1001]
    outcome = simulate(others, 4, clients)
    expected = flatten(outcome.state.arrays)
    found = flatten(spy.without[1001, 2])
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0)
    assert own[1]["without"]["loss"] != own[1]["with"]["loss"]


@pytest.mark.slow
def test_alone_it_is_the_run_of_one_node(tmp_path, monkeypatch):
    # The same randomness as in a run of that node by itself.
    monkeypatch.setattr(client_side, "ALONE_STREAM", 3)
    nodes = telling(tmp_path)
    config = run_of(tmp_path, nodes)
    simulate(config, 4)
    alone = {**config, "aggregation": "plain", "output-dir": str(tmp_path / "alone")}
    alone["overrides"] += " rounds.min_clients=1 rounds.min_replies=1"
    del alone["simulation-nodes"]
    clients = make_clients(alone, 4)
    outcome = simulate(alone, 4, {1002: clients[1002]})
    for name in ("loss", "accuracy"):
        found = [one["alone"][name] for one in told(nodes, 2)]
        assert found[-1] == pytest.approx(outcome.metrics[name], rel=1e-5)
    assert told(nodes, 2)[0]["alone"] == told(nodes, 2)[0]["with"]


def test_with_it_are_the_scores_that_the_answer_has(tmp_path):
    nodes = telling(tmp_path)
    outcome = simulate(run_of(tmp_path, nodes), 4)
    rounds = [read_own(nodes.state(node)).runs[0].rounds[-1] for node in range(4)]
    losses = [one["contribution"]["with"]["loss"] for one in rounds]
    counts = [one["num_test"] for one in rounds]
    assert np.average(losses, weights=counts) == pytest.approx(
        outcome.metrics["loss"], rel=1e-5
    )
    assert [one["metrics"]["loss"] for one in rounds] == losses


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_under_client_privacy_it_takes_its_clipped_part_and_leaves_the_noise(
    tmp_path, monkeypatch, fraction
):
    """Of which, where a part is kept, so much as was kept is in the sum, N / k times."""
    rates, seeds = [], {}
    contribute = client_side.contribute

    def noting(request, session, attempt, context):
        seeds[request.query.server_round] = context.seed
        return contribute(request, session, attempt, context)

    monkeypatch.setattr(client_side, "contribute", noting)
    apply = ModelUpdate.apply

    def listening(self, state, aggregate, server_round, step):
        after = apply(self, state, aggregate, server_round, step)
        total = aggregate.total
        rates.append((flatten(after.arrays) - flatten(state.arrays)).astype(float))
        rates[-1] = float(rates[-1] @ total / (total @ total))
        return after

    monkeypatch.setattr(ModelUpdate, "apply", listening)
    nodes, spy = telling(tmp_path), Spy(monkeypatch)
    option = "client_distributed"
    free = f"aggregation.codec.keep_fraction={fraction}"
    config = run_config_of(tmp_path, option, "secagg", free, simulation_nodes=str(nodes.file))
    simulate(config, 4)
    # No metrics are released, so no message scores the last model.
    assert len(spy.without) == 4 * 2
    for (node, number), arrays in spy.without.items():
        after, _ = spy.given[node, number]
        _, own = spy.given[node, number - 1]
        term = own.update.in_units_of(1.0)
        assert 0 < np.linalg.norm(term) <= 0.5 * (1 + 1e-9)
        moved = flatten(after).astype(float) - flatten(arrays)
        turn = Rotation(31, seeds[number - 1])
        rotated, kept = turn.forward(term), np.zeros(32)
        places = kept_entries(seeds[number - 1], 32, int(32 * fraction))
        kept[places] = rotated[places] / fraction
        due = rates[number - 2] * turn.inverse(kept)
        np.testing.assert_allclose(moved, due, atol=2e-6)
    assert {"with", "without", "alone"} <= told(nodes, 0)[-1].keys()


@pytest.mark.slow
def test_a_part_that_is_in_no_sum_is_not_taken_out(tmp_path):
    nodes = telling(tmp_path)
    config = run_of(tmp_path, nodes, "aggregation.min_survivors=3")
    clients = make_clients(config, 4)
    last = clients[1003]

    def loses_its_second_answer(message):
        reply = last(message)
        told_round = message.content.config_records.get("config", {}).get("server-round")
        return None if told_round == 2 else reply

    simulate(config, 4, {**clients, 1003: loses_its_second_answer})
    kept = {
        one["round"]: one["contribution"] for one in read_own(nodes.state(3)).runs[0].rounds
    }
    later = [one for number, one in kept.items() if number > 2]
    assert later
    assert "without" not in later[0]
    assert "is in no sum" in later[0]["not_told"] or "gave nothing" in later[0]["not_told"]
    assert "without" in told(nodes, 0)[2]


@pytest.mark.parametrize("stage", [Stage.MASKED, Stage.CLOSED, Stage.CONFIRMED, Stage.REVEALED])
def test_a_part_is_in_a_sum_that_the_node_has_helped_to_open(stage):
    store, named = ContextStore(RecordDict()), AttemptId(1, 2, 5)
    store.advance([Change(named, Stage.NONE, Record(stage, 1e12, bytes(32), b"m"))])
    session = SimpleNamespace(run_id=1, store=store)

    def is_in_sum(number, attempt):
        last = KeptModel(round=number, arrays={}, told={"attempt": attempt})
        return own_contribution._is_in_sum(session, last)

    assert is_in_sum(2, 5) is (stage is Stage.REVEALED)
    # Of another attempt, or round, the node knows nothing.
    assert not is_in_sum(2, 4)
    assert not is_in_sum(1, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "why"),
    [("fedadam", "optimiser keeps"), ("fedavgm", "optimiser keeps"), ("qfedavg", "averaged")],
)
def test_where_it_cannot_be_told_it_says_why(tmp_path, algorithm, why):
    nodes = telling(tmp_path)
    simulate(run_of(tmp_path, nodes, algorithm=algorithm, num_rounds=2), 4)
    for one in told(nodes, 0):
        assert why in one["not_told"]
        assert one.keys() == {"not_told"}


def test_nothing_of_it_leaves_and_no_answer_changes(tmp_path):
    nodes = telling(tmp_path)
    config = run_of(tmp_path, nodes, aggregation="plain", num_rounds=2)
    first = replies_of(config, 4)
    Nodes(tmp_path, 4)
    assert replies_of({**config, "output-dir": str(tmp_path / "other")}, 4) == first


def test_what_fails_in_it_fails_no_round(tmp_path, monkeypatch, caplog):
    failed = []

    def fail(*_):
        failed.append(1)
        raise DatabaseError("no space left")

    monkeypatch.setattr(OwnModels, "put", fail)
    nodes = telling(tmp_path)
    with caplog.at_level(logging.WARNING, "flwr.tacet"):
        outcome = simulate(run_of(tmp_path, nodes, num_rounds=1), 4)
    assert outcome.num_rounds == 1
    assert len(failed) == 8
    assert any("could not be worked out" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 0.0, -1.0, 1.0, 1.0 + 1e-12])
def test_a_weight_that_a_server_makes_up_is_refused(weight):
    model = {"w": np.zeros(3, np.float32)}
    with pytest.raises(PartUnknownError, match="no others"):
        without_in_mean(model, model, OwnPart(np.ones(3), 1.0), weight)


@pytest.mark.slow
@pytest.mark.parametrize("weight", ["5", -2.0, float("nan"), 1e300, [1.0]])
def test_a_request_with_another_weight_is_answered(tmp_path, monkeypatch, weight):
    seen = []
    from flwr.app import ConfigRecord

    monkeypatch.setattr(
        RunState, "request", lambda self: ConfigRecord({"total-weight": weight})
    )
    tell = client_side.tell_contribution

    def telling_too(request: Request, *rest):
        seen.append(request.total_weight)
        return tell(request, *rest)

    monkeypatch.setattr(client_side, "tell_contribution", telling_too)
    nodes = telling(tmp_path)
    simulate(run_of(tmp_path, nodes, num_rounds=2, aggregation="plain"), 4)
    assert seen == [None] * 12
    assert "did not say" in told(nodes, 0)[1]["not_told"]


def test_its_models_are_bounded_and_its_own(tmp_path):
    file = tmp_path / f"state.sqlite{SUFFIX}"
    arrays = {"w": np.arange(3.0)}
    for run in range(9):
        model = KeptModel(round=run, arrays=arrays, told={"weight": 2.0})
        OwnModels(file, run).put({"last": model, "alone": replace(model, told={})})
    assert OwnModels(file, 5).get("last") is None
    found = OwnModels(file, 8).get("last")
    assert (found.round, found.told) == (8, {"weight": 2.0})
    np.testing.assert_array_equal(found.arrays["w"], arrays["w"])
    assert file.stat().st_mode & 0o077 == 0
    assert OwnModels(tmp_path / "none", 1).get("last") is None
    assert not (tmp_path / "none").exists()
