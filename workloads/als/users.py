"""The users' half of alternating least squares, which is worked out on their own node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: A user's bias and factors are cut to this, in half ranges of a rating, and so is what is left
#: of a rating without them: so that sums fit, whatever the state is.
LARGEST = 8.0


@dataclass(frozen=True)
class Triples:
    """All ratings of some users, ordered by user and then by item.

    Attributes
    ----------
    num_users : int
        Users, those without a rating included.
    users, items : ndarray of int, shape (m,)
        Whose rating it is, and of what.
    ratings : ndarray, float64, shape (m,)
        On [-1, 1].
    """

    num_users: int
    users: NDArray[np.intp]
    items: NDArray[np.intp]
    ratings: Floats

    @classmethod
    def of(cls, records: NDArray[np.floating]) -> Triples:
        """Return the ratings of records: numbers on [-1, 1], and beyond where there is none.

        Parameters
        ----------
        records : ndarray, shape (n, items)
        """
        users, items = np.nonzero(np.abs(records) <= 1)
        return cls(len(records), users, items, records[users, items].astype(np.float64))

    def without(self, is_out: NDArray[np.bool_]) -> Triples:
        """Return the ratings of other items, of as many users.

        Parameters
        ----------
        is_out : ndarray of bool, shape (items,)
        """
        kept = ~is_out[self.items]
        own = self.users[kept], self.items[kept], self.ratings[kept]
        return Triples(self.num_users, *own)

    def per_user(self, values: Floats) -> Floats:
        """Return the sum of values over each user's ratings, shape (n,).

        One is added after the other, in the order of the items, so a user's sum does not depend
        on who else is there.
        """
        return np.asarray(np.bincount(self.users, values, self.num_users), np.float64)


@dataclass(frozen=True)
class Items:
    """What is public of the items, on the scale of ratings.

    Attributes
    ----------
    mean : float
        The mean of the users' biases.
    bias : ndarray, float64, shape (items,)
    factors : ndarray, float64, shape (items, rank)
    """

    mean: float
    bias: Floats
    factors: Floats


def solve_users(
    items: Items, triples: Triples, bias_ridge: float, factor_ridge: float
) -> list[Floats]:
    """Return each user's bias, about the mean, and factors: 1 + rank arrays of shape (n,).

    The ridge regression of a user's ratings on the factors of what is rated (Koren, Bell and
    Volinsky 2009, https://doi.org/10.1109/MC.2009.263, equation 2 and section "Adding biases").
    Every step is elementwise over the users, so a user's numbers are the same bit for bit
    beside any others. Where a state makes them overflow, they are 0.
    """
    with np.errstate(all="ignore"):
        rows = [items.factors[triples.items, place] for place in range(items.factors.shape[1])]
        rest = triples.ratings - items.mean - items.bias[triples.items]
        gram = [[triples.per_user(np.ones(len(rest))) + bias_ridge]]
        for place, row in enumerate(rows):
            gram.append([triples.per_user(row)])
            gram[-1] += [triples.per_user(row * other) for other in rows[: place + 1]]
            gram[-1][-1] = gram[-1][-1] + factor_ridge
        right = [triples.per_user(rest), *(triples.per_user(row * rest) for row in rows)]
        solved = _solved(gram, right)
        return [np.clip(np.nan_to_num(each, nan=0.0), -LARGEST, LARGEST) for each in solved]


def _solved(lower: list[list[Floats]], right: list[Floats]) -> list[Floats]:
    """Solve many positive definite systems at once by Cholesky's method, elementwise.

    Parameters
    ----------
    lower : list of lists of ndarray, shape (n,)
        The rows of the matrices up to the diagonal.
    right : list of ndarray, shape (n,)
    """
    size, factor = len(right), list[list[Floats]]()
    for row in range(size):
        factor.append([])
        for column in range(row + 1):
            value = lower[row][column]
            for k in range(column):
                value = value - factor[row][k] * factor[column][k]
            is_diagonal = row == column
            factor[row].append(
                np.sqrt(value) if is_diagonal else value / factor[column][column]
            )
    found = list(right)
    for row in range(size):
        for k in range(row):
            found[row] = found[row] - factor[row][k] * found[k]
        found[row] = found[row] / factor[row][row]
    for row in reversed(range(size)):
        for k in range(row + 1, size):
            found[row] = found[row] - factor[k][row] * found[k]
        found[row] = found[row] / factor[row][row]
    return found


def foreseen(items: Items, users: list[Floats], triples: Triples) -> Floats:
    """Return what is foreseen of each rating, elementwise, shape (m,), within [-1, 1].

    Where a state makes it overflow both ways, it is 0: an answer that failed on some ratings
    would tell that they are there.
    """
    bias, *factors = users
    with np.errstate(all="ignore"):
        found = items.mean + items.bias[triples.items] + bias[triples.users]
        for place, own in enumerate(factors):
            found = found + own[triples.users] * items.factors[triples.items, place]
        return np.clip(np.nan_to_num(found, nan=0.0), -1.0, 1.0)
