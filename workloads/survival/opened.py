"""What a round of a pooled Cox regression opened, from the vector to sums over risk sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.newton import symmetric
from workloads.survival.efron import Likelihood, Moments, likelihood_of_sums
from workloads.values import Vector

#: Records that miss a value, those that do not, those whose hazard is cut.
NUM_COUNTS = 3


def entries_each(p: int) -> int:
    """Return how many sums there are over the records of one time: 1, p terms, products."""
    return 1 + p + p * (p + 1) // 2


def length_of(p: int, num_times: int, num_tied: int) -> int:
    """Return the length of the vector of ``Opened``."""
    return NUM_COUNTS + p + 2 * num_times + entries_each(p) * (num_times + num_tied)


@dataclass(frozen=True)
class Opened:
    """The parts of a vector: of k times, p terms.

    Attributes
    ----------
    num_incomplete, num_records, num_cut : float
        Records that miss a value, those that do not, those whose hazard is too large.
    of_events : ndarray, shape (p,)
        The terms of all events.
    events, leaving : ndarray, shape (k,)
        Events, and records that leave, at each time.
    at_risk, tied : Moments
        Over those at risk at each time, and over the events of times with several.
    unit : float
        Whole numbers are in units of 1 over it.
    """

    num_incomplete: float
    num_records: float
    num_cut: float
    of_events: Vector
    events: Vector
    leaving: Vector
    at_risk: Moments
    tied: Moments
    unit: float

    @classmethod
    def of(cls, total: Vector, p: int, tied: NDArray[np.bool_], bits: int) -> Opened:
        """Return the parts of the sum of all nodes' vectors.

        Parameters
        ----------
        total : ndarray, float64, shape (length,)
            The sum, in whole numbers.
        p : int
            The number of terms.
        tied : ndarray of bool, shape (k,)
            Times whose events have sums of their own.
        bits : int
            Fraction bits.
        """
        k, each, unit = len(tied), entries_each(p), 2.0**bits
        cuts = np.cumsum([NUM_COUNTS, p, k, k, each * k])
        counts, of_events, events, leaving, sums, of_ties = np.split(total, cuts)
        num_incomplete, num_records, num_cut = map(float, counts)
        exits = _moments(sums.reshape(each, k) / unit, p)
        spread = np.zeros((each, k))
        spread[:, tied] = of_ties.reshape(each, -1) / unit
        return cls(
            num_incomplete,
            num_records,
            num_cut,
            of_events / unit,
            events,
            leaving,
            Moments(*map(_from_the_end, (exits.zeroth, exits.first, exits.second))),
            _moments(spread, p),
            unit,
        )

    def off(self) -> Vector:
        """Return how far each sum of hazards may be off by rounding, relative to itself."""
        # Half a unit for each record at risk; nothing is known of a sum of 0.
        at_most = _from_the_end(self.leaving) / 2 / self.unit
        return at_most / np.maximum(self.at_risk.zeroth, at_most)

    def likelihood(self, coefficients: Vector, shift: float) -> Likelihood:
        """Return the partial likelihood at the coefficients that were asked about."""
        return likelihood_of_sums(
            self.at_risk,
            self.tied,
            self.events.astype(np.intp),
            self.of_events,
            coefficients,
            shift,
        )


def _moments(sums: NDArray[np.float64], p: int) -> Moments:
    return Moments(sums[0], sums[1 : 1 + p].T, symmetric(sums[1 + p :].T, p))


def _from_the_end(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cumsum(values[::-1], axis=0)[::-1]
