"""The server's half of a regression: Newton steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.design import Design
from workloads.statistics.family import Family, Poisson
from workloads.statistics.objections import collinear, separated, spreads
from workloads.values import State, Vector

# The next step would change no digit that is reported, nor one of the eight that are promised.
_CONVERGED = 1e-10
_MOST_HALVINGS = 30


@dataclass(frozen=True)
class Sums:
    """What a round opened.

    Attributes
    ----------
    num_records, num_incomplete, deviance : float
        Records that were used, and that miss a value; the deviance of those used.
    score : ndarray, shape (p,)
        X'(y - mu).
    information : ndarray, shape (p, p)
        X'WX.
    """

    num_records: float
    num_incomplete: float
    deviance: float
    score: Vector
    information: NDArray[np.float64]

    @classmethod
    def of(cls, vector: Vector, p: int) -> Sums:
        """Return the parts of a vector."""
        information = np.zeros((p, p))
        below = np.tril_indices(p)
        information[below] = vector[3 + p :]
        information.T[below] = vector[3 + p :]
        records, incomplete, deviance = map(float, vector[:3])
        return cls(records, incomplete, deviance, vector[3 : 3 + p], information)

    @property
    def array(self) -> Vector:
        """Return the counts and the deviance, as the state keeps them."""
        return np.array([self.num_records, self.num_incomplete, self.deviance])


def first_step(state: State, sums: Sums, design: Design, family: Family) -> State:
    """Return the state after the sums at coefficients of 0, which tell of the columns.

    A Poisson regression begins with one mean rate for all: from 0 Newton's step would go far
    too far.
    """
    if sums.num_records <= 0:
        return _ended(state, sums, "no record has a value in each column")
    if objection := collinear(sums.information, design):
        return _ended(state, sums, objection)
    score = float(sums.score[0])
    null = family.null_deviance(sums.num_records, sums.deviance, score)
    arrays = {**state.arrays, "spread": spreads(sums.information, design)}
    header = {**state.header, "null": null}
    if not isinstance(family, Poisson):
        return newton_step(State(arrays, header), sums, design)
    total = score * family.high + sums.num_records
    begun = np.zeros_like(state.arrays["asked"])
    # Of no counts at all the rate would be 0, and its logarithm without end.
    begun[0] = np.log(max(total, 0.5) / sums.num_records)
    return State({**arrays, "asked": begun}, {**header, "step": "begun"})


def newton_step(state: State, sums: Sums, design: Design) -> State:
    """Return the next state: a step from where was asked, or half of the last one."""
    arrays, header = state.arrays, dict(state.header)
    asked, accepted = arrays["asked"], arrays["coefficients"]
    if sums.num_records <= 0:
        return _ended(state, sums, "no record has a value in each column")
    worse = sums.deviance > float(arrays["sums"][2]) * (1 + 1e-9) + 1e-9
    if header["step"] == "newton" and worse and header["halvings"] < _MOST_HALVINGS:
        header["halvings"] += 1
        return State({**arrays, "asked": (asked + accepted) / 2}, header)
    if objection := separated(asked, sums.information, arrays["spread"], design):
        return _ended(state, sums, objection)
    step = np.linalg.solve(sums.information, sums.score)
    is_converged = np.abs(step).max() <= _CONVERGED * max(1.0, float(np.abs(asked).max()))
    found = {
        **arrays,
        "asked": asked + step,
        "coefficients": asked + step if is_converged else asked,
        "information": sums.information,
        "sums": sums.array,
    }
    header |= {"step": "converged" if is_converged else "newton", "halvings": 0}
    return State(found, header)


def _ended(state: State, sums: Sums, objection: str) -> State:
    found = {**state.arrays, "information": sums.information, "sums": sums.array}
    header = {**state.header, "step": "objection", "halvings": 0, "objection": objection}
    return State(found, header)
