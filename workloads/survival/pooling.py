"""The server's half of a pooled Cox regression beside Newton's step: counts and shifts."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import Any

import numpy as np

from workloads.statistics.newton import Sums, ended
from workloads.survival.cells import merged
from workloads.survival.opened import Opened
from workloads.survival.steps import initial_state
from workloads.values import State, Vector

#: A whole number of so many bits is exact in float64.
MOST_BITS = 52
#: A hazard counts as e^6 times that of the mean record at most, which is below 2^9.
CUT = 6.0
_CUT_BITS = 9
# A sum is below 2^61, so those of twice the records and more still fit 64 bits.
_SUM_BITS = 61
_MOST_RESTARTS = 3


def counted(state: State, total: Vector, num_terms: int, least: int) -> State:
    """Return the state with the merged times, from counts by place on the grid.

    Parameters
    ----------
    state : State
        The first.
    total : ndarray, shape (1 + 2 (m + 1),)
        Records that miss a value; events, and records that leave, by place.
    num_terms, least : int
        Coefficients, and the fewest records that a sum may be of.
    """
    events, leaving = total[1:].reshape(2, -1)
    cells, records = merged(events, leaving, least), float(leaving.sum())
    sums = _nothing(records, float(total[0]), num_terms)
    if records <= 0:
        return ended(state, sums, "no record has a value in each column")
    if not events.any():
        return ended(state, sums, "there is no event; take records of a longer time")
    # All that is asked of events is of all of them together, or of those of one time.
    if not len(cells) or events.sum() < least:
        told = f"fewer than algorithm.min_at_risk={least} events or records that leave"
        return ended(state, sums, f"{told}; take records of a longer time")
    found = {"starts": cells.starts.astype(np.float64), "sums": sums.array}
    found |= {"events": cells.sums(events), "leaving": cells.sums(leaving)}
    bits = min(MOST_BITS, _SUM_BITS - _CUT_BITS - ceil(log2(max(2.0, records))))
    how = {"step": "counted", "records": records, "bits": bits, "shift": 0.0, "lift": CUT}
    return State({**state.arrays, **found}, {**state.header, **how})


def is_as_counted(state: State, opened: Opened) -> bool:
    """Return whether the records of the sums are those that were counted."""
    arrays = state.arrays
    same = (arrays["events"] == opened.events) & (arrays["leaving"] == opened.leaving)
    return bool(same.all()) and state.header["records"] == opened.num_records


def again(
    state: State, records: float, num_terms: int, extra: Sequence[tuple[str, int]]
) -> State:
    """Return the first state: other records than were counted took part."""
    begun = initial_state(num_terms, extra)
    restarts = state.header.get("restarts", 0) + 1
    begun = State(begun.arrays, {**begun.header, "restarts": restarts})
    if restarts <= _MOST_RESTARTS:
        return begun
    return ended(
        begun,
        _nothing(records, 0.0, num_terms),
        f"{records:g} records took part and {state.header['records']:g} before, again and"
        " again: participants come and go, or keep their records back by their policies",
    )


def lifted(state: State) -> State:
    """Return the state that asks the same with a larger shift: a hazard was cut.

    It is far enough after a few rounds, wherever the largest is.
    """
    shift, lift = state.header["shift"], state.header["lift"]
    return State(state.arrays, {**state.header, "shift": shift + lift, "lift": 2 * lift})


def shifted(after: State, before: State) -> State:
    """Return a state with the shift for what it asks: above the mean record as much as before.

    As much for the same coefficients; more where they are larger.
    """
    asked, last, centre = after.arrays["asked"], before.arrays["asked"], after.arrays["centre"]
    longer = float(np.abs(asked).max()) / max(float(np.abs(last).max()), 1e-300)
    above = max(0.0, before.header["shift"] - float(centre @ last))
    # From coefficients of 0 there is nothing to go by.
    above = min(above * longer, 2 * above) if last.any() else 0.0
    shift = float(centre @ asked) + above
    return State(after.arrays, {**after.header, "shift": shift, "lift": CUT})


def too_far(names: Sequence[str], asked: Vector) -> str:
    """Say that hazards cannot be told at coefficients this large."""
    return (
        f"{names[int(np.abs(asked).argmax())]}: its coefficient grows without end, or hazards"
        " differ by more than sums of 64 bits hold; leave it out, narrow its bounds to what"
        " occurs, or take algorithm.strata=participant"
    )


def too_coarse(names: Sequence[str], information: Any) -> str:
    """Say that rounding may have moved a result by more than what is promised."""
    return (
        f"{names[int(np.diag(information).argmin())]}: its values differ so little within its"
        " bounds that sums of 64 bits are too coarse for six digits; narrow the bounds to what"
        " occurs, or take algorithm.strata=participant"
    )


def _nothing(records: float, incomplete: float, num_terms: int) -> Sums:
    return Sums(records, incomplete, 0.0, np.zeros(num_terms), np.eye(num_terms))
