"""A noised round for the items' biases: a user's term, and what becomes of the sum."""

from __future__ import annotations

from math import sqrt

import numpy as np

from workloads.als.users import Floats, Items, Triples

# Of a user's norm, what says the mean and counts the user.
_MEAN = 0.1
# What a rating adds to the sum of weights, where a residual adds itself, in half ranges. 0.2 to
# 0.45 do about the same (RMSE within 0.001 at epsilon 10).
_COUNT = 0.3
# Variance of items' biases as foreseen, in half ranges: a deviation of 0.14, which is 0.3 stars
# of five. From common knowledge; twice as much costs 0.001 of the RMSE.
_PRIOR = 0.02


def length(num_items: int) -> int:
    """Return the length of the vector: residuals, weights, the mean and the users."""
    return 2 * num_items + 2


def user_terms(triples: Triples, num_items: int) -> Floats:
    """Return each user's term, shape (n, length), of norm 1 at most; zeros without a rating.

    Residuals about the user's own mean, and a constant for each item that is rated, divided by
    their common length: so a user with many ratings moves the sum no more than one with few.
    """
    number = triples.per_user(np.ones(len(triples.items)))
    some = np.maximum(number, 1.0)
    mean = triples.per_user(triples.ratings) / some
    rest = triples.ratings - mean[triples.users]
    square = triples.per_user(rest * rest + _COUNT**2)
    weight = sqrt(1 - 2 * _MEAN**2) / np.sqrt(np.where(number > 0, square, 1.0))
    terms = np.zeros((triples.num_users, length(num_items)))
    own = weight[triples.users]
    terms[triples.users, triples.items] = own * rest
    terms[triples.users, num_items + triples.items] = own * _COUNT
    terms[:, -2] = _MEAN * mean
    terms[:, -1] = np.where(number > 0, _MEAN, 0.0)
    return terms


def items_of(total: Floats, noise: float) -> Items:
    """Return biases and factors from the noised sums.

    A bias is the mean under a normal prior, given a sum of residuals with this noise and the
    sum of their weights. The two factors are how often an item is rated, on a logarithmic
    scale, and its bias again, each with mean 0 and length 1 over the ratings: a user's factors
    say how much this user goes by them.

    Parameters
    ----------
    total : ndarray, float64, shape (length,)
        As opened.
    noise : float
        Standard deviation of each entry's noise.
    """
    number = (len(total) - 2) // 2
    rests, counts = total[:number], np.maximum(total[number:-2], 0.0)
    weights = counts / _COUNT
    bias = weights * _PRIOR * rests / (weights**2 * _PRIOR + max(noise, 1e-6) ** 2)
    # What a user counts as has noise too, and is as good as nothing under a few times that.
    users = max(float(total[-1]), noise, _MEAN)
    mean = float(np.clip(total[-2] / users, -1.0, 1.0))
    often = np.log(counts + max(noise, 1e-2))
    share = counts / counts.sum() if counts.sum() > 0 else np.full(number, 1 / number)
    return Items(mean, bias, np.stack([_unit(often, share), _unit(bias, share)], axis=1))


def _unit(values: Floats, share: Floats) -> Floats:
    """Return values with mean 0 and length 1 over shares; zeros where they are all the same."""
    centred = values - np.sum(share * values)
    size = sqrt(float(np.sum(share * centred**2)))
    return centred / size if size > 1e-9 else np.zeros_like(values)
