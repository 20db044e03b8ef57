"""The partial likelihood of a Cox regression with Efron's ties: from records, or from sums.

Efron 1977, https://doi.org/10.2307/2286217; as in R's ``coxph(ties = "efron")``. Over the d
events of one time, the l-th of them (from 0) is held against the sum over the risk set less
l / d of the sum over these events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.values import Vector

# exp of less is 0, of which there is no log.
_LEAST = -700.0


@dataclass(frozen=True)
class Likelihood:
    """A partial likelihood and its derivatives.

    Attributes
    ----------
    log : float
        The log likelihood.
    score : ndarray, shape (p,)
        Its first derivative.
    information : ndarray, shape (p, p)
        Minus its second derivative.
    """

    log: float
    score: Vector
    information: NDArray[np.float64]


class RiskSets:
    """The risk sets of one stratum's records.

    Parameters
    ----------
    times : ndarray, float64, shape (n,)
        Times under observation.
    events : ndarray of bool, shape (n,)
        Whether the event was at the end.
    predictor : ndarray, float64, shape (n,)
        The log of each record's relative hazard. Another origin changes nothing.
    """

    def __init__(self, times: Vector, events: NDArray[np.bool_], predictor: Vector) -> None:
        order = np.argsort(-times, kind="stable")
        self.order, self.events = order, events[order]
        self.predictor = np.maximum((predictor - predictor.max())[order], _LEAST)
        self.hazards = np.exp(self.predictor)
        falling = times[order]
        #: Times of events, ascending, and which of them each event is at.
        self.times, self.which = np.unique(falling[self.events], return_inverse=True)
        #: The last record of each risk set, the longest time being the first.
        self.last = np.searchsorted(-falling, -self.times, side="right") - 1
        #: How many times of events each record was at risk at.
        self.until = np.searchsorted(self.times, falling, side="right")
        num_tied = np.bincount(self.which, minlength=len(self.times))
        self.of, self.part = parts(num_tied)
        at_risk = np.cumsum(self.hazards)[self.last]
        tied = self._at_events(self.hazards)
        self.sums = at_risk[self.of] - self.part * tied[self.of]

    def _at_events(self, values: Vector) -> Vector:
        """Return the sum over the events of each time."""
        found = np.bincount(self.which, values[self.events], minlength=len(self.times))
        return found.astype(np.float64)

    def expected(self) -> Vector:
        """Return the events that each record is expected to have had, shape (n,)."""
        found = np.empty(len(self.order))
        found[self.order] = self.hazards * self._weights()
        return found

    def _weights(self) -> Vector:
        by_time = np.bincount(self.of, 1 / self.sums, minlength=len(self.times))
        less = np.bincount(self.of, self.part / self.sums, minlength=len(self.times))
        weights = np.concatenate([[0.0], np.cumsum(by_time)])[self.until]
        weights[self.events] -= less[self.which]
        return weights

    def likelihood(self, terms: NDArray[np.float64]) -> Likelihood:
        """Return the partial likelihood of terms, shape (n, p).

        The second moments of all risk sets are one product: a record counts in it with the sum
        of its weights in all of them.
        """
        x = terms[self.order]
        # Another origin changes nothing but the digits that are lost.
        x = x - x.mean(axis=0)
        weighted = self.hazards[:, np.newaxis] * x
        at_risk = np.cumsum(weighted, axis=0)[self.last]
        tied = np.stack([self._at_events(column) for column in weighted.T], axis=1)
        means = at_risk[self.of] - self.part[:, np.newaxis] * tied[self.of]
        means /= self.sums[:, np.newaxis]
        weights = self.hazards * self._weights()
        log = float(self.predictor[self.events].sum() - np.log(self.sums).sum())
        score = (x[self.events] - means).sum(axis=0)
        return Likelihood(log, score, (x * weights[:, np.newaxis]).T @ x - means.T @ means)


@dataclass(frozen=True)
class Moments:
    """Sums of exp(predictor) times 1, a record's terms and their products.

    Attributes
    ----------
    zeroth : ndarray, shape (k,)
    first : ndarray, shape (k, p)
    second : ndarray, shape (k, p, p)
    """

    zeroth: Vector
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    def at(self, places: NDArray[np.intp]) -> Moments:
        """Return the sums at some times."""
        return Moments(self.zeroth[places], self.first[places], self.second[places])

    def less(self, part: Vector, other: Moments) -> Moments:
        """Return these sums less a part of others."""
        return Moments(
            self.zeroth - part * other.zeroth,
            self.first - part[:, np.newaxis] * other.first,
            self.second - part[:, np.newaxis, np.newaxis] * other.second,
        )


def likelihood_of_sums(
    at_risk: Moments,
    tied: Moments,
    num_tied: NDArray[np.intp],
    events: Vector,
    coefficients: Vector,
    top: float,
) -> Likelihood:
    """Return the partial likelihood from sums at each time.

    Parameters
    ----------
    at_risk, tied : Moments
        Over the risk set and over the events of each time, of exp(predictor - top).
    num_tied : ndarray of int, shape (k,)
        Events at each time.
    events : ndarray, shape (p,)
        Sum of the terms over all events.
    coefficients : ndarray, shape (p,)
        At which the sums were asked.
    top : float
        What was taken off each predictor.
    """
    of, part = parts(num_tied)
    held = at_risk.at(of).less(part, tied.at(of))
    means = held.first / held.zeroth[:, np.newaxis]
    second = (held.second / held.zeroth[:, np.newaxis, np.newaxis]).sum(axis=0)
    log = float(events @ coefficients) - len(of) * top - float(np.log(held.zeroth).sum())
    return Likelihood(log, events - means.sum(axis=0), second - means.T @ means)


def parts(num_tied: NDArray[np.intp]) -> tuple[NDArray[np.intp], Vector]:
    """Return, for each event, its time's place and l / d: the part that is taken off."""
    of = np.repeat(np.arange(len(num_tied)), num_tied)
    first = np.cumsum(num_tied) - num_tied
    return of, (np.arange(len(of)) - first[of]) / num_tied[of]


def concordance(times: Vector, events: NDArray[np.bool_], predictor: Vector) -> tuple[int, int]:
    """Return the pairs of records whose order is known, and twice those that are predicted.

    A pair is an event and a record with a longer time, or one censored at the same time
    (Harrell et al. 1982). It counts twice if the event has the larger predictor, once if both
    are equal.
    """
    pairs = twice = 0
    for place in np.flatnonzero(events):
        later = (times > times[place]) | ((times == times[place]) & ~events)
        others, own = predictor[later], predictor[place]
        pairs += len(others)
        twice += 2 * int((others < own).sum()) + int((others == own).sum())
    return pairs, twice
