"""Cox regression over all records together: sums at each time of a public grid."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.schema import require
from workloads.statistics.design import Design, predictor
from workloads.statistics.newton import Newton, Sums, ended
from workloads.survival.cells import Cells
from workloads.survival.grid import Grid
from workloads.survival.opened import Opened, length_of
from workloads.survival.pooling import (
    CUT,
    MOST_BITS,
    again,
    counted,
    is_as_counted,
    lifted,
    shifted,
    too_coarse,
    too_far,
)
from workloads.survival.steps import next_state
from workloads.values import State, StateRefusedError, Vector

# 16 MiB a node and round.
_LONGEST = 2**21
# Coefficients and standard errors are promised to 1e-6.
_ENOUGH = 1e-7
_COUNTS = "events", "leaving"
# Halvings of a step at whose end hazards cannot be told.
_MOST_TOO_FAR = 3


class Pooled:
    """What is summed over one common set of risk sets, and what becomes of the sum.

    The first round counts events and records that leave, by time of the grid; where few leave,
    the server merges times (``workloads.survival.cells``). Each further round sums, by merged
    time, exp(predictor) times 1, the terms and their products, over the records that leave
    then, and over the events where there are several; sums at risk are their cumulative sums.
    Every entry is a whole number of one record's own.

    Range: exp is of the predictor less a public shift, about that of the mean record, and is
    cut at e^6 < 2^9; terms are within [-1, 1]. With ``bits`` fraction bits the entries of all
    records counted in the first round add up to less than 2^61. Records that are cut are
    counted; where there is one, the same is asked again with a larger shift, so no fit has any.

    Parameters
    ----------
    design : Design
        The terms.
    newton : Newton
        The server's steps.
    grid : Grid
        The public times.
    least : int
        The fewest records that a sum may be of.

    Raises
    ------
    ValueError
        If the vector could be too long; names the numbers and the mends.
    """

    def __init__(self, design: Design, newton: Newton, grid: Grid, least: int) -> None:
        self._design, self._newton, self.grid, self._least = design, newton, grid, least
        require(
            self.longest() <= _LONGEST,
            f"algorithm.strata=none: {len(grid)} times of {len(design)} columns make up to"
            f" {self.longest()} numbers a round, but at most {_LONGEST} are summed; give"
            " algorithm.steps, or name fewer columns in algorithm.columns",
        )

    @property
    def arrays(self) -> tuple[tuple[str, int], ...]:
        """Return the arrays of the state beside those of Newton's method, and their lengths."""
        return ("starts", 0), ("events", 0), ("leaving", 0), ("centre", len(self._design))

    def check(self, state: State) -> None:
        """Refuse times that are none of the grid, or numbers that do not fit."""
        arrays, header = state.arrays, state.header
        starts = arrays.get("starts")
        if starts is None or any(
            name not in arrays or arrays[name].shape != starts.shape
            for name in ("events", "leaving")
        ):
            raise StateRefusedError("the counts are not those of the times")
        whole = np.isin(starts, np.arange(len(self.grid))).all()
        if starts.ndim != 1 or not whole or (np.diff(starts) <= 0).any():
            raise StateRefusedError("the times are not ascending places of the grid")
        if self._is_first(state):
            return
        if not len(starts) or not np.isfinite(arrays["events"]).all():
            raise StateRefusedError("there must be times, with counts of events")
        # A little more than one would pass for several, whose own sums are asked for.
        if not all((np.rint(arrays[name]) == arrays[name]).all() for name in _COUNTS):
            raise StateRefusedError("the counts are not whole numbers")
        if not (arrays["leaving"] >= self._least).all():
            raise StateRefusedError(f"a time at which fewer than {self._least} records leave")
        bits, shift = header.get("bits"), header.get("shift")
        if type(bits) is not int or not 0 <= bits <= MOST_BITS:
            raise StateRefusedError(f"bits={bits}: not from 0 to {MOST_BITS}")
        if not isinstance(shift, (int, float)) or not isfinite(shift):
            raise StateRefusedError(f"shift={shift}: not a number")

    def length(self, state: State) -> int:
        """Return the counts of each place of the grid, or the sums of each merged time."""
        if self._is_first(state):
            return 1 + 2 * (len(self.grid) + 1)
        tied = _tied(state)
        return length_of(len(self._design), len(tied), int(tied.sum()))

    def longest(self) -> int:
        """Return the length where each time of the grid has several events."""
        m = len(self.grid)
        return length_of(len(self._design), m, m)

    def contribute(self, state: State, records: Any) -> NDArray[np.int64]:
        """Return this node's counts, or its sums at the coefficients that are asked about."""
        coded, complete = self._design.rows(records.columns)
        places = self.grid.places(records.targets[complete, 0])
        # What happens beyond the grid's end is not known at its end.
        happened = (records.targets[complete, 1] == 1) & (places < len(self.grid))
        num_incomplete = len(complete) - len(places)
        if self._is_first(state):
            m = len(self.grid) + 1
            counts = [np.bincount(each, minlength=m) for each in (places[happened], places)]
            return np.concatenate([[num_incomplete], *counts])
        sums = self._sums(state, [column[complete] for column in coded], places, happened)
        return np.concatenate([[num_incomplete, len(places)], *sums])

    def _sums(
        self,
        state: State,
        coded: list[Vector],
        places: NDArray[np.intp],
        happened: NDArray[np.bool_],
    ) -> list[NDArray[np.int64]]:
        tied = _tied(state)
        cell = Cells(state.arrays["starts"].astype(np.intp)).of(places)
        k, unit = len(tied), 2.0 ** state.header["bits"]
        height = predictor(state.arrays["asked"], coded) - state.header["shift"]
        hazard = np.exp(np.minimum(height, CUT))
        leaves, at_event = cell >= 0, happened & (cell >= 0)
        in_tie = at_event & tied[cell]
        which_tie = (np.cumsum(tied) - 1)[cell[in_tie]]
        found = [np.array([(height > CUT).sum()], np.int64)]
        found += [np.array([_coded(x[at_event], unit).sum() for x in coded], np.int64)]
        found += [np.bincount(cell[each], minlength=k) for each in (at_event, leaves)]
        weighted = [hazard * column for column in coded]
        entries = [hazard, *weighted]
        entries += [weighted[j] * coded[i] for j in range(len(coded)) for i in range(j + 1)]
        of_ties: list[NDArray[np.int64]] = []
        for entry in entries:
            whole = _coded(entry, unit)
            found.append(_added(whole[leaves], cell[leaves], k))
            of_ties.append(_added(whole[in_tie], which_tie, int(tied.sum())))
        return [*found, *of_ties]

    def weights(self, state: State, records: Any) -> Vector:
        """Return the relative hazard of each record, by which it counts in every sum."""
        coded, complete = self._design.rows(records.columns)
        height = predictor(state.arrays["asked"], coded) - state.header.get("shift", 0.0)
        return np.exp(np.minimum(height, CUT)) * complete

    def apply(self, state: State, total: Vector) -> State:
        """Merge times by the counts, or take a Newton step."""
        if self._is_first(state):
            return counted(state, total, len(self._design), self._least)
        header, asked = state.header, state.arrays["asked"]
        opened = Opened.of(total, len(asked), _tied(state), header["bits"])
        if not is_as_counted(state, opened):
            return again(state, opened.num_records, len(asked), self.arrays)
        if opened.num_cut:
            return lifted(state)
        off, p = opened.off(), len(asked)
        if header.get("null") is None:
            centre = opened.at_risk.first[0] / opened.at_risk.zeroth[0]
            state = State({**state.arrays, "centre": centre}, header)
        records, incomplete = opened.num_records, opened.num_incomplete
        found = Sums(records, incomplete, np.inf, np.zeros(p), np.eye(p))
        # Too far: sums that are rounded to nothing have no log.
        if off.max() < 1 / 4:
            at = opened.likelihood(asked, header["shift"])
            found = Sums(records, incomplete, -2 * at.log, at.score, at.information)
        elif header["halvings"] >= _MOST_TOO_FAR:
            return ended(state, found, too_far(self._design.names, asked))
        after = next_state(self._newton, state, found, float(opened.events.sum()))
        least = float(np.diag(found.information).min())
        is_coarse = 4 * (opened.events * off).sum() > _ENOUGH * least
        if after.header["step"] == "converged" and is_coarse:
            return ended(after, found, too_coarse(self._design.names, found.information))
        return shifted(after, before=state)

    def facts(self, state: State) -> dict[str, Any]:
        """Return what is particular to this kind of fit."""
        arrays = state.arrays
        found: dict[str, Any] = {
            "strata": "none",
            "events": round(float(arrays["events"].sum())),
            "times of the grid": len(self.grid),
            "times with events, merged": len(arrays["starts"]),
        }
        if len(arrays["leaving"]):
            found["fewest records that leave at one"] = round(float(arrays["leaving"].min()))
        return found

    def _is_first(self, state: State) -> bool:
        return state.header["step"] == "first"


def _tied(state: State) -> NDArray[np.bool_]:
    """Return the times with several events, whose own sums Efron's ties need."""
    return state.arrays["events"] > 1


def _coded(values: Vector, unit: float) -> NDArray[np.int64]:
    return np.rint(values * unit).astype(np.int64)


def _added(
    whole: NDArray[np.int64], places: NDArray[np.intp], length: int
) -> NDArray[np.int64]:
    found = np.zeros(length, np.int64)
    np.add.at(found, places, whole)
    return found
