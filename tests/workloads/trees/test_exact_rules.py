"""A node with a policy says nothing of nodes of trees in which few of its records lie."""

import logging

import numpy as np
import pytest

from strategies.rounds.attempt import RunStoppedError
from tasks.records import LocalData
from tests.app.node.test_exact_rules import run
from tests.workloads.histograms.tables import records
from tests.workloads.trees.tables import pooled, random_states, random_trees, workload
from workloads.trees.ensemble import Trees
from workloads.values import Query, State

DATA = records("binary", 400)
EVERYONE = LocalData(DATA, DATA)


def sums_by_node(found, state, total):
    """Return the counts of an answer about open nodes, by node."""
    stats = total.reshape(found.growth._goal.criterion.num_stats, -1)[-1]
    firsts = found.growth._asked(state).firsts[:, 0]
    size = int(found.growth.bins.sizes[0])
    return np.array([stats[first : first + size].sum() for first in firsts]) / 2.0**24


def test_small_nodes_and_their_siblings_get_zeros():
    """For the parent's sum, which was told a round before, less one child's is the other's."""
    found = workload("gbdt", max_depth=4, min_data_in_leaf=5)
    state = pooled(found, DATA, 3)[-1]
    few = DATA.take(np.arange(25))
    trees = Trees.of(state.arrays)
    ends = trees.nodes_of(found.growth.within(few.columns), np.arange(1))[:, 0]
    counts = np.bincount(ends, minlength=len(trees.column))
    silent, num = found.silenced(state, Query(3), few, 8)
    data = LocalData(few, few)
    told = sums_by_node(found, state, silent.contribute(state, Query(3), data, None).update)
    whole = sums_by_node(found, state, found.contribute(state, Query(3), data, None).update)
    small = set(np.flatnonzero((counts > 0) & (counts < 8) & (trees.column == -2)))
    pairs = {int(c) for c in trees.child[trees.column >= 0]}
    small |= {n + 1 for n in small if n in pairs} | {n - 1 for n in small if n - 1 in pairs}
    assert small
    assert num == len(small)
    for node, got, due in zip(trees.open_nodes, told, whole, strict=True):
        assert got == (0 if node in small else due)
    assert told.any()


def test_with_enough_records_everything_is_told():
    found = workload("gbdt", max_depth=2)
    state = pooled(found, DATA, 2)[-1]
    silent, num = found.silenced(state, Query(2), DATA, 10)
    assert num == 0
    np.testing.assert_array_equal(
        silent.contribute(state, Query(2), EVERYONE, None).update,
        found.contribute(state, Query(2), EVERYONE, None).update,
    )


def test_leaves_of_random_trees_too():
    found = random_trees("binary", mode=None)
    state = random_states(found, 0.3)["leaves"]
    silent, num = found.silenced(state, Query(3), DATA, 30)
    assert num > 0
    told = silent.contribute(state, Query(3), EVERYONE, None).update
    whole = found.contribute(state, Query(3), EVERYONE, None).update
    num_told = (told != whole).sum()
    # A residual and a second derivative of each leaf.
    assert num_told == 2 * num
    assert not told[told != whole].any()


def test_what_a_query_asks_of_one_record_alone_is_withheld():
    """A tree that a malicious server made, of which one record alone reaches the open node."""
    found = workload("tree", max_depth=4, min_data_in_leaf=1)
    state = pooled(found, DATA, 3)[-1]
    trees = Trees.of(state.arrays)
    ends = trees.nodes_of(found.growth.within(DATA.columns), np.arange(1))[:, 0]
    node = int(trees.open_nodes[0])
    column = np.where(trees.column == -2, -1, trees.column)
    column[node] = -2
    asked = State({**state.arrays, "column": column.astype(np.int16)}, state.header)
    weights = found.weights(asked, Query(4), DATA)
    np.testing.assert_array_equal(weights, ends == node)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gbdt", "forest", "tree"])
def test_a_run_over_nodes_with_policies_goes_through(tmp_path, name, caplog, monkeypatch):
    """Of 140 records each: a deep tree has small nodes, and the run goes on without them."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    changes = {"exact": [name], "max_parameter_share": 0.5, "min_effective_records": 60}
    report = run(tmp_path, changes=changes, free="", algorithm=name, num_rounds=6)
    assert report["trees"] >= 1
    assert "of this node's policy: it adds zeros there" in caplog.text
    # Never the whole query, but that for scores: fewer records than 60 are held out.
    assert caplog.text.count("clients added zeros") == 1


def test_trees_need_the_owners_consent(tmp_path):
    with pytest.raises(RunStoppedError, match="policy_refused"):
        run(tmp_path, free="", algorithm="gbdt", num_rounds=3)


@pytest.mark.slow
def test_trees_with_as_many_leaves_as_a_node_has_records_are_refused(tmp_path):
    changes = {"exact": ["tree"], "max_parameter_share": 0.02}
    with pytest.raises(RunStoppedError, match="too_few_records"):
        run(
            tmp_path,
            changes=changes,
            free="algorithm.min_data_in_leaf=2",
            algorithm="tree",
            num_rounds=8,
        )
