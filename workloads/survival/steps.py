"""The states of a Cox regression: the first, and the one after a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workloads.statistics.newton import Newton, Sums, ended
from workloads.values import State

#: Of a coefficient of a term within [-1, 1]. No honest step goes so far.
LARGEST = 1e6
# Per event: a column that is the same everywhere varies by what rounding leaves.
_FLAT = 1e-11


def newton_of(names: Sequence[str]) -> Newton:
    """Return Newton's method as it suits a partial likelihood.

    Sums are rounded, so a step of 1e-8 is the last; those before were as good as quadratic. A
    column may have far wider bounds than values, so only growth tells of no estimate.
    """
    return Newton(
        names,
        converged=1e-8,
        slack=1e-5,
        largest=LARGEST / 10,
        watches_growth=True,
        separates="the events from those at risk (a monotone likelihood)",
    )


def initial_state(num_terms: int, extra: Sequence[tuple[str, int]]) -> State:
    """Return coefficients of 0, with arrays of zeros beside them."""
    arrays = {
        "asked": np.zeros(num_terms),
        "coefficients": np.zeros(num_terms),
        "information": np.zeros((num_terms, num_terms)),
        "sums": np.zeros(3),
    }
    arrays |= {name: np.zeros(length) for name, length in extra}
    return State(arrays, {"step": "first", "halvings": 0})


def next_state(newton: Newton, state: State, sums: Sums, num_events: float) -> State:
    """Return the state after a Newton step; the deviance at coefficients of 0 is kept."""
    if sums.num_records > 0 and num_events <= 0:
        return ended(state, sums, "there is no event; take records of a longer time")
    if state.header.get("null") is None:
        state = State(state.arrays, {**state.header, "null": sums.deviance})
    return replace(newton, flat=_FLAT * num_events).next(state, sums)
