"""The graph of who masks with whom, and its thresholds."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.secagg import graph
from strategies.secagg.degree import least_threshold
from strategies.secagg.graph import ProtocolParameters, Shape


@settings(max_examples=60)
@given(st.integers(4, 60), st.integers(1, 20), st.binary(min_size=32, max_size=32))
def test_ring_graph_is_regular_symmetric_and_connected(n, half, seed):
    k = min(2 * half, n - 1)
    shape = Shape(n, k, 1)
    near = [graph.neighborhood(shape, seed, i) for i in range(n)]
    assert all(len(members) == k + 1 and i in members for i, members in enumerate(near))
    assert all(i in near[j] for i in range(n) for j in near[i])
    named = [1000 + i for i in range(n)]
    of_all = graph.neighborhoods(shape, seed, named)
    assert of_all == [frozenset(1000 + i for i in members) for members in near]
    seen, todo = {0}, [0]
    while todo:
        fresh = set(near[todo.pop()]) - seen
        seen |= fresh
        todo += fresh
    assert seen == set(range(n))


def test_graph_depends_on_the_seed_and_is_even():
    """Each of the 9 others is a neighbour equally often.

    300 graphs of degree 2 on 10 nodes: mean 66.7, standard deviation 7.2; a count out of
    mean +- 45 has probability below 1e-8 for all 9 (normal tail at 6.2).
    """
    counts = Counter(
        member
        for i in range(300)
        for member in graph.neighborhood(Shape(10, 2, 1), i.to_bytes(32, "big"), 0)
    )
    assert counts.pop(0) == 300
    assert all(abs(counts[i] - 66.7) < 45 for i in range(1, 10))


@pytest.mark.parametrize(("m", "t"), [(3, 3), (4, 3), (5, 4), (100, 67)])
def test_default_threshold(m, t):
    assert graph.default_threshold(m) == t


@pytest.mark.parametrize(
    ("parameters", "n", "says"),
    [
        ({"min_survivors": 2, "max_colluding": 1}, 2, "under max_colluding"),
        ({"min_survivors": 6, "max_colluding": 1}, 5, "under min_survivors=6"),
        ({"min_survivors": 4, "max_colluding": 1, "threshold": 3}, 5, "threshold from 4 to 5"),
        ({"min_survivors": 5, "max_colluding": 1, "threshold": 6}, 5, "more than the members"),
        ({"min_survivors": 3, "max_colluding": 1}, 5, "min_survivors=3 is under threshold=4"),
    ],
)
def test_parameters_that_break_section_4_are_refused_with_values(parameters, n, says):
    with pytest.raises(ValueError, match=says):
        ProtocolParameters(**parameters).shape(n)


@pytest.mark.parametrize(
    "parameters",
    [
        {"min_survivors": 1, "max_colluding": 1},
        {"min_survivors": 3, "max_colluding": -1},
        {"min_survivors": 3, "max_colluding": 1, "threshold": 0},
        {"min_survivors": 3, "max_colluding": 1, "max_dropout_fraction": 1.0},
    ],
)
def test_senseless_parameters_are_refused(parameters):
    with pytest.raises(ValueError):
        ProtocolParameters(**parameters)


def test_shapes():
    assert ProtocolParameters(min_survivors=3, max_colluding=1).shape(3) == Shape(3, 2, 3)
    assert ProtocolParameters(min_survivors=22, max_colluding=1).shape(32).is_complete
    assert ProtocolParameters(min_survivors=300, max_colluding=1).shape(400).is_complete
    sparse = ProtocolParameters(min_survivors=300, max_colluding=1, is_sparse=True)
    big = sparse.shape(400)
    assert not big.is_complete
    assert big.threshold == least_threshold(big.num_neighbors + 1, 1)
    # T allows 33 dropouts of 100, whatever is expected.
    third, more = (
        dataclasses.replace(sparse, min_survivors=None, max_dropout_fraction=fraction)
        for fraction in (0.33, 0.6)
    )
    assert third.shape(100) == more.shape(100)
    assert not more.shape(100).is_complete
    # No ring is enough: all are joined, with that graph's threshold.
    wild = dataclasses.replace(more, min_survivors=40, threshold=40, max_colluding=0)
    with pytest.raises(ValueError, match="take a threshold from 51"):
        wild.shape(100)
    small = ProtocolParameters(min_survivors=22, max_colluding=1, is_sparse=True)
    assert small.shape(32).is_complete
    assert not small.shape(33).is_complete


@pytest.mark.parametrize("c", [0, 1, 2])
@pytest.mark.parametrize("n", [8, 9, 20, 32, 33, 50, 101])
def test_two_quorums_of_one_roster_have_an_honest_member_in_common(n, c):
    for is_sparse in (False, True):
        parameters = ProtocolParameters(
            min_survivors=None, max_colluding=c, is_sparse=is_sparse
        )
        shape = parameters.shape(n)
        q = parameters.quorum(shape)
        assert 2 * q > n + c
        assert q <= parameters.survivors(n)
        assert not shape.is_complete or q == shape.threshold
