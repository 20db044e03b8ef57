"""Figures from sums, each with what the noise of the sums makes it uncertain by.

Errors are standard errors of the noise alone, by the delta method: how far a figure is from
that of the same records without noise. How far those records are from a population is another
matter. Without noise all errors are 0. Numbers are coded: -1 and 1 are the public bounds.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.layout import Moments
from workloads.values import Vector

# Of a column without spread the sums leave this much at most: each square is rounded by 2^-37.
_NO_SPREAD = 2.0**-35


class Spread(NamedTuple):
    """Mean and standard deviation, with their errors."""

    mean: float
    mean_error: float
    deviation: float
    deviation_error: float


def spread_of(count: float, first: float, second: float, noise: float) -> Spread:
    """Return mean and deviation (divisor n - 1) of coded numbers.

    Parameters
    ----------
    count : float
        Who has a value, above 1. The difference of two noised counts.
    first, second : float
        The sums of the numbers and of their squares.
    noise : float
        Standard deviation of the noise in each sum.
    """
    mean = float(np.clip(first / count, -1, 1))
    square = second / count
    variance = square - mean**2
    if variance <= _NO_SPREAD:
        variance = 0.0
    deviation = sqrt(variance * count / (count - 1))
    each = noise / count
    mean_error = each * sqrt(1 + 2 * mean**2)
    of_variance = each * sqrt(1 + 4 * mean**2 + 2 * (2 * mean**2 - square) ** 2)
    # Near 0 the root is no straight line: there it is known to that of the variance's error.
    error = min(of_variance / (2 * deviation), sqrt(of_variance)) if deviation else 0.0
    return Spread(mean, mean_error, deviation, error or sqrt(of_variance))


class Correlations(NamedTuple):
    """Pearson's correlations of all pairs and their errors, (k, k); NaN where there is none."""

    values: NDArray[np.float64]
    errors: NDArray[np.float64]


def correlations_of(sums: Moments, products: NDArray[np.float64], noise: float) -> Correlations:
    """Return the correlations over complete records.

    Parameters
    ----------
    sums : Moments
        Of the complete records.
    products : ndarray, shape (k, k)
        The sums of the products of each pair; the diagonal is not looked at.
    noise : float
        Standard deviation of the noise in each sum.
    """
    n, k = sums.count, len(sums.first)
    if n < 2:
        return Correlations(np.full((k, k), np.nan), np.full((k, k), np.nan))
    mean, square = sums.first / n, sums.second / n
    variance = square - mean**2
    variance = np.where(variance <= _NO_SPREAD, np.nan, variance)
    root = np.sqrt(np.outer(variance, variance))
    product = products / n
    both = np.outer(mean, mean)
    r = (product - both) / root
    # Derivatives by the pair's product, both sums, both squares and the count, times n.
    by_count = (2 * both - product) / root - r / 2 * (
        ((2 * mean**2 - square) / variance)[:, np.newaxis] + (2 * mean**2 - square) / variance
    )
    by_first = r * (mean / variance)[:, np.newaxis] - mean / root
    by_square = -r / 2 / variance[:, np.newaxis]
    total = 1 / root**2 + by_count**2
    for one in (by_first, by_square):
        total = total + one**2 + one.T**2
    np.fill_diagonal(r, 1.0)
    errors = noise / n * np.sqrt(total)
    np.fill_diagonal(errors, 0.0)
    return Correlations(np.clip(r, -1, 1), errors)


class Quantile(NamedTuple):
    """A quantile between bins, and the interval that it is in."""

    value: float
    low: float
    high: float


def quantile_of(
    probability: float, begins: Vector, ends: Vector, counts: Vector, noise: float, z: float
) -> Quantile | None:
    """Return a quantile from bins, numbers being spread evenly in each.

    The interval goes from the begin of the first bin that is not clearly too low to the end of
    the last one that is not clearly too high: a test of the noised counts up to each edge,
    turned round (Woodruff 1952). The bin of the true quantile is in it with the probability
    that belongs to z, without noise for certain.

    Parameters
    ----------
    probability : float
        In (0, 1).
    begins, ends : ndarray, shape (n,)
        The edges of the bins, in order.
    counts : ndarray, shape (n,)
        May be negative where there is noise.
    noise : float
        Standard deviation of the noise in each count.
    z : float
        So many standard errors the interval is wide to either side.
    """
    up_to = np.concatenate([[0.0], np.cumsum(counts)])
    total = up_to[-1]
    if total <= 0:
        return None
    num = len(counts)
    inside = np.arange(num + 1)
    # Of the count up to an edge, less the probability's part of all.
    error = noise * np.sqrt(inside * (1 - probability) ** 2 + (num - inside) * probability**2)
    gap = up_to - probability * total
    # To count in floating point what are whole numbers.
    slack = z * error + 1e-9 * total
    begin = int(np.argmax(gap[1:] >= -slack[1:]))
    end = num - 1 - int(np.argmax((gap[:-1] <= slack[:-1])[::-1]))
    low, high = float(begins[begin]), float(ends[max(begin, end)])
    # Noised counts may fall from edge to edge; the mean of what bounds them does not.
    above = np.maximum.accumulate(up_to)
    below = np.minimum.accumulate(up_to[::-1])[::-1]
    smooth = (np.clip(above, 0, total) + np.clip(below, 0, total)) / 2
    place = int(np.argmax(smooth[1:] >= probability * total * (1 - 1e-12)))
    step = smooth[place + 1] - smooth[place]
    share = (probability * total - smooth[place]) / step if step > 0 else 0.5
    share = float(np.clip(share, 0, 1))
    value = float(begins[place] + share * (ends[place] - begins[place]))
    return Quantile(float(np.clip(value, low, high)), low, high)
