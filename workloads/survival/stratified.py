"""Cox regression stratified by participant: each node adds its own partial likelihood."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tasks.records import DataError
from workloads.statistics.design import Design, predictor
from workloads.statistics.newton import Newton, Sums
from workloads.survival.efron import Likelihood, RiskSets, concordance
from workloads.survival.steps import next_state
from workloads.values import State, Vector

#: Fraction bits of score and information. An event adds 2 at most to an entry of the score, as
#: terms are within [-1, 1], and 1 to one of the information, so those of 2^26 events fit.
FRACTION_BITS = 36
#: Of the log likelihood, to which an event adds less than 2^11.
_LOG_BITS = 24
#: The most events of one node, so that those of 64 such nodes fit.
_MOST_EVENTS = 2**20
#: Records, those that miss a value, events, nodes with an event, pairs, twice the predicted.
_NUM_COUNTS = 6


class Stratified:
    """What is summed if each participant is a stratum, and what becomes of the sum.

    Parameters
    ----------
    design : Design
        The terms.
    newton : Newton
        The server's steps.
    """

    #: Arrays of the state beside those of Newton's method, with their lengths at first.
    arrays: ClassVar[tuple[tuple[str, int], ...]] = (("counts", _NUM_COUNTS),)

    def __init__(self, design: Design, newton: Newton) -> None:
        self._design, self._newton = design, newton

    def check(self, state: State) -> None:
        """Do nothing: only the coefficients are asked about."""

    def length(self, state: State) -> int:
        """Return 6 counts, the log likelihood, the score and the information's half."""
        return self.longest()

    def longest(self) -> int:
        """Return the length, which is the same in all rounds."""
        p = len(self._design)
        return _NUM_COUNTS + 1 + p + p * (p + 1) // 2

    def contribute(self, state: State, records: Any) -> NDArray[np.int64]:
        """Return this node's counts, and its likelihood as whole numbers.

        Raises
        ------
        DataError
            If it has more events than what fits.
        """
        x, times, events = self._complete(records)
        p = x.shape[1]
        counts = np.zeros(_NUM_COUNTS, np.int64)
        counts[:3] = len(x), len(records) - len(x), events.sum()
        if counts[2] > _MOST_EVENTS:
            raise DataError(
                f"{counts[2]} events on one node, but at most {_MOST_EVENTS} fit a sum of 64"
                " bits; take fewer records"
            )
        found = Likelihood(0.0, np.zeros(p), np.zeros((p, p)))
        if counts[2]:
            values = predictor(state.arrays["asked"], list(x.T))
            found = RiskSets(times, events, values).likelihood(x)
            counts[3:] = 1, *concordance(times, events, values)
        exact = np.concatenate([found.score, found.information[np.tril_indices(p)]])
        coded = np.rint(exact * 2.0**FRACTION_BITS).astype(np.int64)
        log = np.rint([found.log * 2.0**_LOG_BITS]).astype(np.int64)
        return np.concatenate([counts, log, coded])

    def weights(self, state: State, records: Any) -> Vector:
        """Return the events that each record is expected to have had: its part in the sums.

        Records of a node without an event weigh the same: they add nothing.
        """
        x, times, events = self._complete(records)
        if not events.any():
            return np.ones(len(records))
        values = predictor(state.arrays["asked"], list(x.T))
        return RiskSets(times, events, values).expected()

    def apply(self, state: State, total: Vector) -> State:
        """Take a Newton step."""
        counts, log = total[:_NUM_COUNTS], total[_NUM_COUNTS] * 2.0**-_LOG_BITS
        exact = total[_NUM_COUNTS + 1 :] * 2.0**-FRACTION_BITS
        sums = Sums.of(np.concatenate([counts[:2], [-2 * log], exact]), len(self._design))
        kept = State({**state.arrays, "counts": counts}, state.header)
        return next_state(self._newton, kept, sums, float(counts[2]))

    def facts(self, state: State) -> dict[str, Any]:
        """Return what is particular to this kind of fit."""
        _, _, events, strata, pairs, twice = state.arrays["counts"].tolist()
        found: dict[str, Any] = {"strata": f"by participant, {round(strata)} with an event"}
        found["events"] = round(events)
        if pairs:
            found["concordance, within strata"] = twice / 2 / pairs
        return found

    def _complete(self, records: Any) -> tuple[NDArray[np.float64], Vector, NDArray[np.bool_]]:
        """Return terms (n, p), times and events of the records that miss nothing."""
        coded, complete = self._design.rows(records.columns)
        targets = records.targets[complete]
        x = np.stack([column[complete] for column in coded], axis=1)
        return x, targets[:, 0], targets[:, 1] == 1
