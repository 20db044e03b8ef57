"""States that a malicious server could send: what is no tree is refused."""

import numpy as np
import pytest

from tasks.records import LocalData
from tests.workloads.histograms.tables import records
from tests.workloads.trees.tables import pooled, random_states, random_trees, workload
from workloads.trees.ensemble import OPEN
from workloads.values import Query, State, StateRefusedError


def grown() -> tuple:
    found = workload("gbdt", max_depth=3, min_data_in_leaf=5)
    # The start, two levels of the first tree, then a state with open nodes at depth 2.
    return found, pooled(found, records("binary", 400), 3)[-1]


def drawn() -> tuple:
    found = random_trees("binary")
    return found, random_states(found, 0.3)["leaves"]


def changed(state: State, name: str, place, value) -> State:
    array = state.arrays[name].copy()
    array[place] = value
    return State({**state.arrays, name: array}, state.header)


def inner(state: State) -> int:
    """Return a node that is split and is no root."""
    nodes = np.flatnonzero(state.arrays["column"] >= 0)
    return int(nodes[~np.isin(nodes, state.arrays["roots"])][0])


WRONG = {
    "a circle": lambda s: changed(s, "child", inner(s), s.arrays["roots"][-1]),
    "itself": lambda s: changed(s, "child", inner(s), inner(s)),
    "beyond the end": lambda s: changed(s, "child", inner(s), len(s.arrays["child"]) - 1),
    "below the list": lambda s: changed(s, "child", inner(s), -1),
    "another's child": lambda s: changed(s, "child", inner(s), s.arrays["child"][inner(s)] + 1),
    "a leaf with a child": lambda s: changed(s, "child", -1, 2),
    "no such column": lambda s: changed(s, "column", inner(s), 4),
    "no such kind": lambda s: changed(s, "column", -1, OPEN - 1),
    "a root that is a child": lambda s: changed(s, "roots", -1, inner(s)),
    "a root beyond the end": lambda s: changed(s, "roots", -1, len(s.arrays["child"])),
    "not a number": lambda s: changed(s, "value", (0, 0), np.nan),
    "infinite": lambda s: changed(s, "intercepts", 0, np.inf),
    "another type": lambda s: State(
        {**s.arrays, "column": s.arrays["column"].astype(np.int64)}, s.header
    ),
    "another width": lambda s: State({**s.arrays, "left": s.arrays["left"][:, :-1]}, s.header),
    "an array too few": lambda s: State(
        {name: a for name, a in s.arrays.items() if name != "left"}, s.header
    ),
    "an array too many": lambda s: State({**s.arrays, "more": np.zeros(1)}, s.header),
    "no header": lambda s: State(s.arrays),
    "no such step": lambda s: State(s.arrays, {**s.header, "step": "other"}),
    "a text for a number": lambda s: State(s.arrays, {**s.header, "complete": "0"}),
    "more than there are": lambda s: State(s.arrays, {**s.header, "complete": 99}),
    "true": lambda s: State(s.arrays, {**s.header, "complete": True}),
}


@pytest.mark.parametrize("make", [grown, drawn])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_tree_is_refused(make, name):
    found, state = make()
    found.check(state)
    with pytest.raises(StateRefusedError):
        found.check(WRONG[name](state))


def test_a_tree_that_is_too_deep_is_refused():
    deeper = workload("gbdt", max_depth=4, min_data_in_leaf=5)
    state = pooled(deeper, records("binary", 400), 5)[-1]
    deeper.check(state)
    with pytest.raises(StateRefusedError, match="deeper than 3"):
        workload("gbdt", max_depth=3).check(state)


@pytest.mark.parametrize("num", [0, 3, 5])
def test_a_batch_of_another_size_is_refused(num):
    state = drawn()[1]
    with pytest.raises(StateRefusedError, match="4 trees to fit"):
        random_trees("binary", trees_per_round=num or 1).check(state)


def test_grown_trees_ask_nothing():
    found = workload("tree", max_depth=2)
    states = pooled(found, records("binary", 300), 9)
    assert found.is_finished(states[-1])
    # A model file is read with it.
    found.check(states[-1])
    with pytest.raises(StateRefusedError, match="nothing is left to ask"):
        found.growth.entries(states[-1], records("binary", 3))


def test_a_vector_that_is_too_long_is_refused(monkeypatch):
    found, state = grown()
    monkeypatch.setattr("workloads.trees.greedy._LONGEST", 100)
    with pytest.raises(StateRefusedError, match="at most 100"):
        found.check(state)


def test_any_number_of_foreign_nodes_open_is_answered_without_a_word_about_others():
    """Open nodes of trees that are complete have no record: what they ask is 0."""
    found, state = grown()
    asked = State(state.arrays, {**state.header, "complete": 1})
    examples = records("binary", 50)
    rest = found.contribute(asked, Query(3), LocalData(examples, examples), None)
    assert not rest.update.any()
