"""How many neighbours a sparse graph needs, against all cases of small graphs."""

from itertools import combinations

import pytest

from strategies.secagg import graph
from strategies.secagg.degree import (
    choose_num_neighbors,
    least_threshold,
    loss_probability,
    partition_probability,
)
from strategies.secagg.graph import ProtocolParameters, Shape


def ring(n: int, k: int) -> list[frozenset[int]]:
    """Return the closed neighbourhoods of a real graph."""
    return graph.neighborhoods(Shape(n, k, 1), bytes(32), range(n))


def is_whole(near: list[frozenset[int]], left: set[int]) -> bool:
    """Say whether those that are left are connected."""
    seen = todo = {min(left)}
    while todo:
        todo = {peer for node in todo for peer in near[node]} & left - seen
        seen = seen | todo
    return seen == left


@pytest.mark.parametrize(
    ("n", "k", "num_gone"),
    [(10, 2, 2), (12, 4, 4), (12, 4, 5), (14, 4, 5), (12, 6, 6), (13, 6, 7), (16, 6, 6)],
)
def test_the_honest_survivors_fall_apart_no_more_often_than_is_said(n, k, num_gone):
    """All sets of so many colluders and dropouts: on a random ring each is as likely."""
    near = ring(n, k)
    cases = [
        is_whole(near, set(range(n)) - set(gone)) for gone in combinations(range(n), num_gone)
    ]
    exact = cases.count(False) / len(cases)
    bound = partition_probability(n, k, 1, num_gone - 1, n)
    assert 0 < exact <= bound
    # It is no wild guess: one run in place of two would give ten times as much and more.
    assert bound < 4 * exact or bound == 1
    assert partition_probability(n, k, 1, 0, n - num_gone + 1) == bound


@pytest.mark.parametrize(
    ("n", "k", "t", "num_dropouts"),
    [(9, 4, 4, 2), (9, 4, 3, 3), (12, 6, 5, 3), (12, 6, 4, 4), (13, 8, 6, 4), (14, 4, 3, 3)],
)
def test_a_seed_is_lost_no_more_often_than_is_said(n, k, t, num_dropouts):
    """Of a dropout's seed, too, its neighbours alone hold shares that they can give."""
    near = ring(n, k)
    cases = [
        any(len(members.difference(gone)) < t for members in near)
        for gone in combinations(range(n), num_dropouts)
    ]
    exact = cases.count(True) / len(cases)
    bound = loss_probability(n, k, t, num_dropouts)
    assert 0 < exact <= bound


@pytest.mark.parametrize("c", [0, 1, 5, 9])
@pytest.mark.parametrize(("n", "dropouts"), [(33, 3), (100, 10), (400, 20), (500, 150)])
def test_the_degree_keeps_both_limits_and_is_the_least(n, dropouts, c):
    least = graph.default_threshold(n)
    k = choose_num_neighbors(n, c, None, dropouts, least)

    def keeps(degree: int) -> bool:
        t = least_threshold(degree + 1, c)
        return (
            c < t <= degree + 1
            and partition_probability(n, degree, c, dropouts, least) <= 2.0**-40
            and loss_probability(n, degree, t, dropouts) <= 1e-6
        )

    assert k % 2 == 0
    assert k < n - 1
    assert keeps(k)
    assert not keeps(k - 2)


def test_no_ring_is_enough_for_too_many_dropouts():
    assert choose_num_neighbors(100, 1, None, 60, 67) == 99
    # As many as the threshold that is set allows.
    assert choose_num_neighbors(100, 1, 60, 45, 67) == 99


def test_a_lower_floor_of_survivors_needs_more_neighbours():
    """However few dropouts are expected: as many as T allows must leave the graph whole."""
    found = [choose_num_neighbors(400, 1, None, 0, floor) for floor in (390, 270, 200)]
    assert found == sorted(found)
    assert found[0] < found[2]


@pytest.mark.parametrize("c", range(6))
@pytest.mark.parametrize("m", range(7, 40))
def test_no_two_sets_of_givers_open_both_seeds_of_a_node(m, c):
    """Each honest member gives one kind, the colluders both: t of both kinds are too many."""
    t = least_threshold(m, c)
    assert 2 * (t - c) > m - c
    assert 2 * (t - 1 - c) <= m - c
    parameters = ProtocolParameters(min_survivors=m, max_colluding=c, threshold=t)
    assert parameters.shape(m).threshold == t
