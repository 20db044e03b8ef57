"""A split by bins becomes comparisons of a value with thresholds.

A value on an edge is in the bin above it, and other tools send left what is at most the
threshold: the threshold is the float64 just below the edge, so no value is routed otherwise.
Nothing has to be done about values beyond a column's bounds, as the outermost bins have no end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.decisions import Flags, Floats, Split


@dataclass(frozen=True)
class Comparison:
    """One comparison: a value that is at most the threshold is done, others go on.

    Attributes
    ----------
    threshold : float
        In the column's own unit; infinite where only missing values go on.
    takes_missing : bool
        Whether a missing value is done here, too.
    goes_left : bool
        To which side of the split those go that are done.
    """

    threshold: float
    takes_missing: bool
    goes_left: bool


@dataclass(frozen=True)
class Comparisons:
    """A split as comparisons, one after the other.

    Attributes
    ----------
    chain : tuple of Comparison
        At least one.
    rest_goes_left : bool
        To which side those go that are left over, missing values that no comparison took too.
    """

    chain: tuple[Comparison, ...]
    rest_goes_left: bool


def comparisons(split: Split, cuts: Floats) -> Comparisons:
    """Return the comparisons of a column of numbers: one, for every split that we grow.

    Parameters
    ----------
    split : Split
        Over len(cuts) + 2 bins.
    cuts : ndarray, float64
        The edges of its column.
    """
    return _chain(split.goes_left, split.reached, cuts)


def comparisons_of_positions(split: Split) -> Comparisons:
    """Return the comparisons of a column of categories, by their positions.

    As the model has it, a position beyond the last category counts as missing, and one below
    the first as the first.
    """
    # Positions from that of the bin of missing values on are in it: it is a number's last bin.
    goes_left = np.append(split.goes_left, split.goes_left[-1])
    reached = np.append(split.reached, split.reached[-1])
    return _chain(goes_left, reached, np.arange(1.0, len(split.reached)))


def _chain(goes_left: Flags, reached: Flags, cuts: Floats) -> Comparisons:
    bins = np.flatnonzero(reached[:-1])
    sides = goes_left[bins]
    begins = np.flatnonzero(sides[1:] != sides[:-1]) + 1
    missing = bool(goes_left[-1])
    if not len(begins):
        return _missing_alone(bins, bool(sides[0]), cuts)
    chain: list[Comparison] = []
    is_taken = not reached[-1]
    for place in begins:
        side = bool(sides[place - 1])
        takes = not is_taken and side == missing
        is_taken |= takes
        chain.append(Comparison(_below(cuts[bins[place] - 1]), takes, side))
    return Comparisons(tuple(chain), bool(sides[-1]))


def _missing_alone(bins: NDArray[np.intp], side: bool, cuts: Floats) -> Comparisons:
    """Return what parts missing values from all others that come here."""
    if bins[-1] < len(cuts):
        return Comparisons((Comparison(_below(cuts[bins[-1]]), False, side),), not side)
    if bins[0] > 0:
        # No value is at most that, so those that are missing are alone.
        return Comparisons((Comparison(_below(cuts[bins[0] - 1]), True, not side),), side)
    return Comparisons((Comparison(np.inf, False, side),), not side)


def _below(cut: Floats) -> float:
    return float(np.nextafter(cut, -np.inf))
