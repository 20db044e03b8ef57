"""A node answers about states only that follow from the last sum, through the handlers."""

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord

from app import server
from app.config.load import load_config
from app.node.exact_states import ExactStates
from app.node.followed_state import agree
from app.simulation.in_process import simulate
from strategies.codec.last_sum import BadLastSumError, LastSum
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.records import model_request
from strategies.rounds.strategy import RoundStrategy
from tests.kits.ruled_nodes import COLUMNS, RuledNodes
from workloads.model_arrays import hash_state
from workloads.values import Aggregate, Query, State

TREES = "algorithm.max_depth=2 algorithm.max_bins=8"
FINE = "algorithm.binning=quantile algorithm.fine_bins=32"
STOPS = "algorithm.early_stopping_rounds=1"
PAIR = 'algorithm.interactions=[["mean texture","mean area"]] algorithm.interaction_bins=8'
CASES = (
    ("glm", COLUMNS, 12),
    ("statistics", COLUMNS, 1),
    ("ebm", "algorithm.max_bins=8 algorithm.class_weight.malignant=2", 4),
    ("ebm", f"algorithm.max_bins=8 {STOPS} {FINE} {PAIR}", 9),
    ("gbdt", f"{TREES} {STOPS}", 5),
    ("gbdt", f"{TREES} {STOPS} {FINE}", 6),
    ("gbdt", f"algorithm.structure=random {TREES}", 3),
    ("tree", TREES, 3),
    ("forest", f"{TREES} {FINE} algorithm.num_trees=3", 4),
)


@pytest.mark.slow
def test_an_honest_run_is_followed_to_its_end(tmp_path, subtests):
    """Every workload: the node's own step is the server's, from a state of the right type."""
    nodes = RuledNodes(tmp_path, changes={"exact": sorted({c[0] for c in CASES})}, signed=True)
    for algorithm, free, num_rounds in CASES:
        with subtests.test(f"{algorithm} {free}"):
            nodes.run(free, algorithm=algorithm, num_rounds=num_rounds)


def chosen(monkeypatch, server_round):
    """Let the server ask about coefficients of its own choice from a round on."""
    honest = RoundStrategy.step

    def step(self, now, before, aggregate):
        after = honest(self, now, before, aggregate)
        if now + 1 < server_round:
            return after
        asked = after.arrays["asked"] + np.array([0.0, 1e-5, 0.0])
        return State({**after.arrays, "asked": asked}, after.header)

    monkeypatch.setattr(RoundStrategy, "step", step)


@pytest.mark.slow
@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("server_round", [2, 3])
def test_chosen_coefficients_get_no_answer(tmp_path, monkeypatch, is_on, server_round):
    chosen(monkeypatch, server_round)
    nodes = RuledNodes(tmp_path, signed=True)
    if not is_on:
        monkeypatch.setattr("app.round.contribute.require_followed", lambda *_: None)
        assert nodes.run()
        return
    with pytest.raises(RunStoppedError, match="state_unexplained"):
        nodes.run()


def test_a_first_state_of_the_servers_own_gets_no_answer(tmp_path, monkeypatch):
    honest = server._initial_state

    def initial_state(config, workload):
        first = honest(config, workload)
        return State({**first.arrays, "asked": first.arrays["asked"] + 1.0}, first.header)

    nodes = RuledNodes(tmp_path, signed=True)
    monkeypatch.setattr(server, "_initial_state", initial_state)
    with pytest.raises(RunStoppedError, match="state_unexplained"):
        nodes.run()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        # Coefficients as near to 0 as a tolerance for last digits would let pass.
        lambda state, query: (nudged(state), query),
        lambda state, query: (state, Query(query.server_round, {"of": 1})),
        # The same numbers in a type that overflows sooner have the same hash.
        lambda state, query: (in_float16(state), query),
    ],
)
def test_no_other_question_passes_for_the_first(tmp_path, monkeypatch, changed):
    def requests(self, server_round, state):
        content = model_request(
            *changed(state, self.workload.query(state, server_round)), ConfigRecord(), None
        )
        return lambda node: content

    def hash_asked(self, server_round, state):
        state, query = changed(state, self.workload.query(state, server_round))
        return hash_state(state, query.values, self.workload.loads_as)

    nodes = RuledNodes(tmp_path, signed=True)
    monkeypatch.setattr(RoundStrategy, "requests", requests)
    monkeypatch.setattr(RoundStrategy, "hash_asked", hash_asked)
    with pytest.raises(RunStoppedError, match=r"round 1.*state_unexplained"):
        nodes.run()


def nudged(state):
    return State({**state.arrays, "asked": state.arrays["asked"] + 1e-9}, state.header)


def in_float16(state):
    return State({k: v.astype(np.float16) for k, v in state.arrays.items()}, state.header)


@pytest.mark.slow
def test_a_resumed_run_goes_on_from_the_sum_in_its_checkpoint(tmp_path):
    nodes = RuledNodes(tmp_path, changes={"exact": ["gbdt"]}, signed=True)
    first = nodes.config(TREES, algorithm="gbdt", num_rounds=4)
    simulate(first, 4)
    rest = nodes.config(TREES, algorithm="gbdt", num_rounds=8, resume_from=first["output-dir"])
    del rest["output-dir"]
    simulate(rest, 4)
    summary = json.loads((Path(first["output-dir"]) / "summary.json").read_text())
    assert summary["num_rounds"] == 8


@pytest.mark.slow
def test_a_node_without_the_state_before_refuses(tmp_path):
    """It cannot tell what follows from a state that it has not seen."""
    nodes = RuledNodes(tmp_path, changes={"exact": ["gbdt"]}, signed=True)
    first = nodes.config(TREES, algorithm="gbdt", num_rounds=4)
    simulate(first, 4)
    for node in range(4):
        (tmp_path / f"{node}.sqlite").unlink()
    rest = nodes.config(TREES, algorithm="gbdt", num_rounds=8, resume_from=first["output-dir"])
    del rest["output-dir"]
    with pytest.raises(RunStoppedError, match="state_unexplained"):
        simulate(rest, 4)


def test_states_agree_but_for_their_last_digits():
    one = State({"a": np.array([1.0, np.nan]), "b": np.array([3])}, {"x": 0.5, "y": ["a", 1.0]})
    near = State({"a": np.array([1.0 + 1e-7, np.nan]), "b": np.array([3])}, {**one.header})
    assert agree(one, near)
    for arrays, header in (
        ({**one.arrays, "a": np.array([1.0 + 1e-5, np.nan])}, one.header),
        ({**one.arrays, "b": np.array([4])}, one.header),
        ({**one.arrays, "b": np.array([3.0])}, one.header),
        ({**one.arrays, "b": np.array([3], np.int8)}, one.header),
        ({**one.arrays, "a": one.arrays["a"].astype(np.float16)}, one.header),
        ({"a": one.arrays["a"]}, one.header),
        (one.arrays, {"x": 0.5001, "y": ["a", 1.0]}),
        (one.arrays, {"x": 0.5, "y": ["b", 1.0]}),
        (one.arrays, {"x": 0.5}),
    ):
        assert not agree(one, State(arrays, header))


def test_as_many_states_are_kept_as_are_needed(tmp_path):
    states = ExactStates(tmp_path / "state.sqlite", "one")
    other = ExactStates(tmp_path / "state.sqlite", "other")
    other.add(bytes(32), State({"a": np.zeros(1)}, {}))
    for number in range(12):
        states.add(bytes([number]) * 32, State({"a": np.full(2, number)}, {"n": number}))
    assert states.get(bytes([3]) * 32) is None
    found = states.get(bytes([11]) * 32)
    assert found is not None
    assert found.header == {"n": 11}
    np.testing.assert_array_equal(found.arrays["a"], [11, 11])
    assert other.get(bytes(32)) is not None


SUM = LastSum(bytes(range(32)), Aggregate(np.array([1.0, 2.0**52]), {"a": 0.1}, 4.0))


def test_a_sum_goes_through_arrays_with_all_its_digits():
    again = LastSum.of_arrays(SUM.to_arrays())
    assert again.asked == SUM.asked
    assert (again.aggregate.sums, again.aggregate.weight) == ({"a": 0.1}, 4.0)
    np.testing.assert_array_equal(again.aggregate.total, SUM.aggregate.total)


@pytest.mark.parametrize(
    "change",
    [
        {"total": np.array([np.inf])},
        {"total": np.array([1])},
        {"total": np.array([[1.0]])},
        {"asked": np.zeros(31, np.uint8)},
        {"asked": np.zeros(32)},
        {"scalars": np.frombuffer(b"[]", np.uint8)},
        {"scalars": np.frombuffer(b'{"sums": {"a": NaN}, "weight": 1}', np.uint8)},
        {"scalars": np.frombuffer(b'{"sums": {}}', np.uint8)},
        {"scalars": np.zeros(3)},
        {"scalars": np.frombuffer(b'{"sums": {}, "weight": 1%s}' % (b"0" * 400), np.uint8)},
        {"scalars": np.frombuffer(b"[" * 100_000, np.uint8)},
    ],
)
def test_what_is_no_sum_is_refused(change):
    with pytest.raises(BadLastSumError):
        LastSum.of_arrays(SUM.to_arrays() | change)


@pytest.mark.slow
def test_nothing_is_followed_where_nobody_signs(tmp_path):
    """Without identities the server could play all the other nodes anyway."""
    nodes = RuledNodes(tmp_path)
    assert not load_config(nodes.config()).aggregation.is_signed
    assert nodes.run()
    assert ExactStates(tmp_path / "0.sqlite", "masses").get(bytes(32)) is None
