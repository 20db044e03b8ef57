"""The server's half of a regression: where it begins, and how it goes on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.design import Design
from workloads.statistics.family import Family, Poisson
from workloads.statistics.newton import Newton, Sums, ended
from workloads.statistics.objections import collinear, separated, spreads
from workloads.values import State, Vector


def first_step(
    state: State, sums: Sums, design: Design, family: Family, weight: float
) -> State:
    """Return the state after the sums at coefficients of 0, which tell of the columns.

    A Poisson regression begins with one mean rate for all: from 0 Newton's step would go far
    too far. ``weight`` is the sum of the records' weights: their number, if they have none.
    """
    if sums.num_records <= 0:
        return ended(state, sums, "no record has a value in each column")
    if objection := collinear(sums.information, design):
        return ended(state, sums, objection)
    score = float(sums.score[0])
    null = family.null_deviance(weight, sums.deviance, score)
    arrays = {**state.arrays, "spread": spreads(sums.information, design)}
    header = {**state.header, "null": null}
    if not isinstance(family, Poisson):
        return newton_step(State(arrays, header), sums, design)
    total = score * family.high + weight
    begun = np.zeros_like(state.arrays["asked"])
    # Of no counts at all the rate would be 0, and its logarithm without end.
    begun[0] = np.log(max(total, 0.5) / weight)
    return State({**arrays, "asked": begun}, {**header, "step": "begun"})


def newton_step(state: State, sums: Sums, design: Design) -> State:
    """Return the next state, or one without a fit that names the columns."""
    spread = state.arrays["spread"]

    def objection(asked: Vector, information: NDArray[np.float64]) -> str:
        return separated(asked, information, spread, design)

    return Newton(design.names, objection=objection).next(state, sums)
