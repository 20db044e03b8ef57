"""How many neighbours a sparse graph needs, against all cases of small graphs."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def first_of_all(
    n: int, c: int, threshold: int | None, num_dropouts: int, min_survivors: int
) -> int:
    """Return the degree that a look at each of them finds."""
    for k in range(2, n - 1, 2):
        t = threshold or least_threshold(k + 1, c)
        if (
            c < t <= k + 1 < 2 * t - c
            and partition_probability(n, k, c, num_dropouts, min_survivors) <= 2.0**-40
            and loss_probability(n, k, t, num_dropouts) <= 1e-6
        ):
            return k
    return n - 1


@settings(deadline=None)
@given(st.data())
def test_halving_the_range_misses_no_smaller_degree(data):
    """With half of the nodes gone, too, where more neighbours do not always help."""
    n = data.draw(st.integers(5, 150))
    c = data.draw(st.integers(0, min(6, n - 2)) | st.integers(0, n - 2))
    half = (n - c) // 2
    dropouts = data.draw(st.integers(0, n - 1) | st.integers(max(0, half - 8), half))
    threshold = data.draw(st.none() | st.integers(2, n))
    numbers = n, c, threshold, dropouts, data.draw(st.integers(2, n))
    assert choose_num_neighbors(*numbers) == first_of_all(*numbers)


@pytest.mark.parametrize(
    ("n", "k", "t", "num_dropouts"),
    [(100, 26, 15, 10), (90, 60, 31, 44), (80, 70, 36, 79), (60, 20, 1, 30), (60, 20, 21, 0)],
)
def test_the_chance_of_a_loss_is_the_tail_of_a_hypergeometric_variable(n, k, t, num_dropouts):
    ways = sum(
        comb(num_dropouts, gone) * comb(n - 1 - num_dropouts, k - gone)
        for gone in range(k + 1 - t, k + 1)
    )
    bound = loss_probability(n, k, t, num_dropouts)
    assert bound == min(1.0, n * (ways / comb(n - 1, k)))


def test_thousands_of_nodes_of_whom_half_drop_out_are_no_work():
    """With all sums anew for each degree this took minutes, and every node asks for it."""
    assert choose_num_neighbors(5000, 1, None, 2450, 3334) == 4768
    assert choose_num_neighbors(10_000, 1, None, 6000, 6667) == 9999


@pytest.mark.parametrize("n", [100, 200, 700])
def test_a_fraction_is_of_as_many_dropouts_as_it_says(n):
    for dropouts in range(0, n // 3, n // 100):
        parameters = ProtocolParameters(
            min_survivors=None,
            max_colluding=1,
            is_sparse=True,
            max_dropout_fraction=dropouts / n,
        )
        least = graph.default_threshold(n)
        k = parameters.shape(n).num_neighbors
        assert k == choose_num_neighbors(n, 1, None, dropouts, least)


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
