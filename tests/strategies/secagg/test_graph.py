"""The graph of who masks with whom, and its thresholds."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.secagg import graph
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


def test_failure_probability_bounds_what_an_enumeration_finds():
    """All rings of 8 nodes with 4 neighbours, 1 colluder and 2 dropouts."""
    n, k, t = 8, 4, 4
    bad = total = 0
    for rest in itertools.permutations(range(1, n)):
        ring = (0, *rest)
        place = {node: at for at, node in enumerate(ring)}
        gone = {1, 2}
        left = [
            sum(ring[(place[i] + step) % n] not in gone for step in range(-2, 3))
            for i in range(n)
        ]
        honest = [node not in {0, 1, 2} for node in ring]
        apart = sum(not honest[i] and not honest[i - 1] and any(honest) for i in range(n)) >= 2
        bad += min(left) < t or apart
        total += 1
    assert bad / total <= graph.failure_probability(n, k, t, 1, 2, 6)


def test_chosen_degree_keeps_the_promise_and_is_the_least():
    parameters = ProtocolParameters(
        min_survivors=300, max_colluding=1, max_dropout_fraction=0.05
    )
    k = graph.choose_num_neighbors(400, parameters)
    fail = [
        graph.failure_probability(400, degree, graph.default_threshold(degree + 1), 1, 20, 300)
        for degree in (k, k - 2)
    ]
    assert fail[0] <= 1e-9 < fail[1]
    assert k < 200
    # Too many dropouts for the default threshold: no ring will do, so all are joined.
    wild = ProtocolParameters(min_survivors=67, max_colluding=1, max_dropout_fraction=0.4)
    assert graph.choose_num_neighbors(100, wild) == 99


def test_a_lower_floor_of_survivors_needs_more_neighbours():
    """However few dropouts are expected: as many as T allows must leave the graph whole."""
    found = [
        graph.choose_num_neighbors(
            400,
            ProtocolParameters(min_survivors=floor, max_colluding=1, max_dropout_fraction=0.0),
        )
        for floor in (390, 270, 200)
    ]
    assert found == sorted(found)
    assert found[0] < found[2]


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
    assert big.threshold == graph.default_threshold(big.num_neighbors + 1)
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
