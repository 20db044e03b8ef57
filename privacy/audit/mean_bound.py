"""A lower bound on the mean of independent numbers between 0 and 1, by betting."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A bet risks at most this part of the capital (Waudby-Smith and Ramdas 2023, section 4.2).
_BOLDEST = 0.75


def mean_lower_bound(values: Array, confidence: float) -> float:
    """Return what the mean is at least, at that confidence, whatever the number of values.

    Waudby-Smith and Ramdas 2023 (arXiv 2010.09686), section 4.2, one side of the hedged
    capital: if the mean is at most m, a gambler who puts the part l_t of the capital on "x_t is
    above m" has a capital prod (1 + l_t (x_t - m)) that is a nonnegative supermartingale, as
    long as l_t depends on earlier values only and l_t m < 1. By Ville's inequality it ever
    reaches 1 / alpha with a chance of at most alpha. The least m at which it does not is
    returned: the capital falls with m.

    Parameters
    ----------
    values : ndarray, float64, shape (n,)
        Independent, in [0, 1], with one mean; in the order in which they came, and n fixed
        before.
    confidence : float
        1 - alpha, in (0, 1).

    Raises
    ------
    ValueError
        If there is no value, or one is out of range.
    """
    if not len(values) or not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError("a bound needs values, all of them in [0, 1]")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must be above 0 and below 1")
    goal = -math.log1p(-confidence)
    bets = _bets(values, goal)

    def is_refuted(mean: float) -> bool:
        gains = np.log1p(np.minimum(bets, _BOLDEST / mean) * (values - mean))
        return float(np.cumsum(gains).max()) >= goal

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low


def _bets(values: Array, goal: float) -> Array:
    """Return the predictable plug-in bets: the t-th knows the variance of the t - 1 before.

    sqrt(2 ln(1 / alpha) / (n variance)), as the paper has them for a number of values that is
    fixed, with one value of 1/2 and one squared deviation of 1/4 seen before the first.
    """
    seen = np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (seen + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (seen + 1)
    known = np.concatenate(([0.25], variances[:-1]))
    return np.sqrt(2 * goal / (len(values) * known))
