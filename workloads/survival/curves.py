"""Kaplan-Meier curves with their bands, and the log-rank test, from counts that may have noise.

The server's half: its input is the open sum. scipy is imported where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.values import Vector

# A number at risk under so many deviations of its noise says nothing of a hazard.
_CLEAR = 3.0


@dataclass(frozen=True)
class Counts:
    """How many records left at each time of the grid, of one group.

    Attributes
    ----------
    events : ndarray, float64, shape (m,)
        Records whose event was then.
    censored : ndarray, float64, shape (m + 1,)
        Records that were censored then; the last: those still at risk at the end of the grid.
    """

    events: Vector
    censored: Vector

    @property
    def at_risk(self) -> Vector:
        """Return the number at risk just before each time, shape (m,)."""
        leaving = self.censored.copy()
        leaving[:-1] += self.events
        return np.cumsum(leaving[::-1])[::-1][:-1]


@dataclass(frozen=True)
class Curve:
    """A survival curve at the times where it is known.

    Attributes
    ----------
    places : ndarray of int, shape (k,)
        Times, as places on the grid.
    at_risk, events, survival, error, low, high : ndarray, shape (k,)
        The number at risk just before, the events, the share that is still without the event,
        its standard error, and the ends of its interval.
    is_cut : bool
        Whether the curve ends before the grid does, for too few are at risk.
    """

    places: NDArray[np.intp]
    at_risk: Vector
    events: Vector
    survival: Vector
    error: Vector
    low: Vector
    high: Vector
    is_cut: bool

    def median(self) -> int | None:
        """Return the first place at which at most half are without the event, or None."""
        below = np.flatnonzero(self.survival <= 0.5)
        return int(self.places[below[0]]) if len(below) else None


def curve_of(counts: Counts, *, least: int, noise: float, confidence: float) -> Curve:
    """Estimate a survival curve (Kaplan and Meier 1958) with log-log bands.

    The variance of the log of the curve is Greenwood's (1926) plus that of the noise in the
    counts, by the derivatives of the curve; the interval is that of log(-log(survival))
    (Kalbfleisch and Prentice 1980, section 1.3). Without noise there is a row for each time
    with an event. With noise each time has one, and the curve is the nearest one that does not
    rise.

    Parameters
    ----------
    counts : Counts
        Of a group.
    least : int
        Where fewer are at risk, the curve ends.
    noise : float
        Standard deviation of the noise in each count; 0 for none.
    confidence : float
        Of the intervals, in (0, 1).
    """
    at_risk = counts.at_risk
    cells = 2.0 * np.arange(len(at_risk), 0, -1) + 1
    enough = at_risk >= np.maximum(least, _CLEAR * noise * np.sqrt(cells))
    # From where on too few are at risk, once and for all.
    end = len(at_risk) if enough.all() else int(np.argmin(enough))
    at_risk, events = at_risk[:end], counts.events[:end]
    # What noise makes of a share below 0 must stay: cut, all would be too large.
    hazard = np.minimum(events / at_risk, 1.0)
    with np.errstate(divide="ignore"):
        log_survival = np.cumsum(np.log1p(-hazard))
    variance = _greenwood(at_risk, events)
    if noise:
        variance = np.maximum(variance, 0.0) + noise**2 * _noise_factor(counts, end)
        log_survival = np.log(_falling(np.exp(log_survival)))
    survival = np.exp(log_survival)
    low, high = _log_log(log_survival, variance, confidence)
    chosen = np.arange(end) if noise else np.flatnonzero(events > 0)
    error = survival * np.sqrt(variance, where=np.isfinite(variance), out=np.zeros(end))
    found = (at_risk, events, survival, error, low, high)
    return Curve(chosen, *(values[chosen] for values in found), is_cut=end < len(counts.events))


def _greenwood(at_risk: Vector, events: Vector) -> Vector:
    """Return the variance of the log of the curve at each time; infinite where it is 0."""
    with np.errstate(divide="ignore"):
        return np.cumsum(np.where(events == 0, 0.0, events / (at_risk * (at_risk - events))))


def _log_log(
    log_survival: Vector, variance: Vector, confidence: float
) -> tuple[Vector, Vector]:
    """Return the ends of the intervals; where the curve is 1 or 0 it has none but itself."""
    from scipy.special import ndtri  # pyright: ignore[reportMissingTypeStubs]

    ends = np.exp(log_survival), np.exp(log_survival)
    inside = np.isfinite(log_survival) & (log_survival < 0) & np.isfinite(variance)
    hazard = -log_survival[inside]
    width = float(ndtri((1 + confidence) / 2)) * np.sqrt(variance[inside]) / hazard
    for end, sign in zip(ends, (1, -1), strict=True):
        with np.errstate(over="ignore"):
            end[inside] = np.exp(-hazard * np.exp(sign * width))
    return ends


def _falling(survival: Vector) -> Vector:
    """Return the nearest values, in squares, that do not rise, above 0 and at most 1."""
    from scipy.optimize import isotonic_regression  # pyright: ignore[reportMissingTypeStubs]

    if not len(survival):
        return survival
    nearest = isotonic_regression(np.clip(survival, 0.0, 2.0), increasing=False).x
    return np.clip(nearest, 1e-12, 1.0)


def _noise_factor(counts: Counts, end: int) -> Vector:
    """Return the variance of the log of the curve for noise of variance 1 in each count.

    With h = d / n, the log of a factor changes by -1 / (n - d) with d and, as n is the sum of
    all later counts, by h / (n - d) with each of these.
    """
    at_risk, events = counts.at_risk[:end], counts.events[:end]
    left = np.maximum(at_risk - events, 1.0)
    by_later = np.cumsum(np.maximum(events, 0.0) / at_risk / left)
    squares = np.zeros(end)
    for k in range(end):
        # Counts at times up to k move the factors before them; later ones move all up to k.
        own = by_later[: k + 1]
        at_events, at_censored = own - 1 / left[: k + 1], own
        later = (2 * (len(counts.events) - k - 1) + 1) * own[-1] ** 2
        squares[k] = (at_events**2).sum() + (at_censored**2).sum() + later
    return squares


@dataclass(frozen=True)
class LogRank:
    """The log-rank test: whether groups have one survival curve.

    Attributes
    ----------
    chi2, degrees, p : float
        The statistic, its degrees of freedom, the probability of one as large or larger.
    """

    chi2: float
    degrees: int
    p: float


def log_rank(groups: list[Counts], noise: float) -> LogRank | None:
    """Test whether groups have one survival curve (Mantel 1966).

    The variance of observed minus expected events is the hypergeometric one, plus that of the
    noise in the counts by their derivatives.

    Parameters
    ----------
    groups : list of Counts
        At least two.
    noise : float
        Standard deviation of the noise in each count; 0 for none.

    Returns
    -------
    LogRank or None
        None where fewer than two groups have anyone at risk at an event.
    """
    from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

    at_risk = np.array([group.at_risk for group in groups])
    events = np.array([group.events for group in groups])
    cells = 2.0 * np.arange(at_risk.shape[1], 0, -1) + 1
    clear = at_risk.sum(axis=0) > _CLEAR * noise * np.sqrt(cells * len(groups))
    used = clear & ((events.sum(axis=0) > 0) | (noise > 0))
    n, d = at_risk[:, used], events[:, used]
    total = n.sum(axis=0)
    share, rate = n / total, d.sum(axis=0) / total
    excess = (d - n * rate).sum(axis=1)
    spread = np.maximum(rate * (total - d.sum(axis=0)) / np.maximum(total - 1, 1), 0.0) * total
    variance = np.diag((share * spread).sum(axis=1)) - (share * spread) @ share.T
    if noise:
        variance = variance + noise**2 * _noise_covariance(share, rate, used)
    scale = np.sqrt(np.maximum(np.diag(variance), 0.0))
    present = scale > 0
    degrees = int(present.sum()) - 1
    if degrees < 1:
        return None
    # The excesses add up to 0, so one of them says nothing.
    kept = np.flatnonzero(present)[:-1]
    solved = np.linalg.solve(variance[np.ix_(kept, kept)], excess[kept])
    chi2 = float(excess[kept] @ solved)
    return LogRank(chi2, degrees, float(stats.chi2.sf(chi2, degrees)))


def _noise_covariance(
    share: Vector, rate: Vector, used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the covariance of the excesses for noise of variance 1 in each count.

    With the excess of g being the sum of d_g - n_g d / n, d an d n over all groups: a count of
    events of h moves it by (g = h) - n_g / n, and a number at risk of h by
    d / n (n_g / n - (g = h)); numbers at risk are sums of all later counts.
    """
    num = len(share)
    same = np.eye(num)[:, :, np.newaxis]
    direct, at_risk = np.zeros((2, num, num, len(used)))
    direct[:, :, used] = same - share[:, np.newaxis]
    at_risk[:, :, used] = rate * (share[:, np.newaxis] - same)
    later = np.cumsum(at_risk, axis=2)
    flat = [(direct + later).reshape(num, -1), later.reshape(num, -1), later[:, :, -1]]
    return sum((each @ each.T for each in flat), np.zeros((num, num)))
