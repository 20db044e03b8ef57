"""Sums for the items' factors, of whole numbers, and the server's half that solves them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from workloads.als.users import LARGEST, Floats, Items, Triples
from workloads.statistics.newton import symmetric

#: Without privacy an entry, which is at most 2^6, is rounded to 2^-24.
FRACTION_BITS = 24
_UNIT = 2.0**FRACTION_BITS


def cells(rank: int) -> int:
    """Return how many numbers are summed for each item.

    The half of the Gram matrix of users' factors with a 1 before them, whose first entry counts
    the ratings, and the right-hand side.
    """
    return (1 + rank) * (2 + rank) // 2 + 1 + rank


def length(num_items: int, rank: int) -> int:
    """Return the length of the vector: all items' numbers, the users' biases, and users."""
    return num_items * cells(rank) + 2


def sums(items: Items, users: list[Floats], triples: Triples) -> NDArray[np.int64]:
    """Return one node's sums: each rating's entries are whole numbers of their own.

    Parameters
    ----------
    items : Items
        As asked about.
    users : list of ndarray
        As ``solve_users`` gives them.
    triples : Triples
        The node's ratings of which something is said.
    """
    num_items, rank = items.factors.shape
    bias, *factors = users
    with_one = [np.ones(triples.num_users), *factors]
    with np.errstate(all="ignore"):
        rest = triples.ratings - items.mean - bias[triples.users]
        rest = np.clip(np.nan_to_num(rest, nan=0.0), -LARGEST, LARGEST)
    total = np.zeros((num_items, cells(rank)), np.int64)
    for cell, entry in enumerate(_entries(with_one, triples.users, rest)):
        # Whole numbers of 2^30 at most: sums of 2^23 ratings of one item are exact.
        total[:, cell] = np.bincount(triples.items, np.rint(entry * _UNIT), num_items)
    # Of a user without a rating there is nothing to say.
    is_there = triples.per_user(np.ones(len(triples.items))) > 0
    of_users = [_whole(bias)[is_there].sum(), _whole(with_one[0])[is_there].sum()]
    return np.concatenate([total.ravel(), np.array(of_users, np.int64)])


def _entries(
    with_one: list[Floats], owners: NDArray[np.intp], rest: Floats
) -> Iterator[Floats]:
    """Yield what each rating adds to each of its item's numbers, shape (m,)."""
    for row, one in enumerate(with_one):
        for other in with_one[: row + 1]:
            yield (one * other)[owners]
    for one in with_one:
        yield one[owners] * rest


def _whole(entry: Floats) -> NDArray[np.int64]:
    return np.rint(entry * _UNIT).astype(np.int64)


def solved(before: Items, total: Floats, bias_ridge: float, factor_ridge: float) -> Items:
    """Return the items after a round: ridge regressions on the users' factors.

    Parameters
    ----------
    before : Items
        As asked about.
    total : ndarray, float64, shape (length,)
        As opened. No honest sum is singular; of one that is, numbers that are none come back.
    """
    num_items, rank = before.factors.shape
    values = total / _UNIT
    table, of_users = values[:-2].reshape(num_items, cells(rank)), values[-2:]
    gram, right = symmetric(table[:, : -1 - rank], 1 + rank), table[:, -1 - rank :]
    gram = gram + np.diag([bias_ridge, *[factor_ridge] * rank])
    found: Floats = np.full_like(right, np.nan)
    with contextlib.suppress(np.linalg.LinAlgError):
        found[:] = np.linalg.solve(gram, right[:, :, np.newaxis])[:, :, 0]
    # What users' biases have in common is nobody's own.
    shared = of_users[0] / of_users[1] if of_users[1] > 0 else 0.0
    return Items(before.mean + shared, found[:, 0], found[:, 1:])
