"""Why a regression has no estimates, by the names of the columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.design import Design
from workloads.values import Vector

# Smallest part of a column's square that does not follow from the columns before it.
_SINGULAR = 1e-10
# Of a column that follows from others: what they count, both of length 1.
_COUNTS = 1e-4
# No real effect is e^30 for one standard deviation of a number, or for a category.
_SEPARATED = 30.0
# The same, if nearly all records have lost their weight.
_LARGE = 5.0
# Entries of the direction that no record tells of.
_TOGETHER = 0.1
# Of what grows most, which has part in it.
_PART = 0.2


def collinear(information: NDArray[np.float64], design: Design) -> str:
    """Return which column follows from those before it, with the mend; empty if none does.

    Parameters
    ----------
    information : ndarray, shape (p, p)
        X'WX at coefficients of 0, where all records weigh the same: a property of the columns.
    """
    diagonal, names = np.diag(information), design.names
    if len(empty := np.flatnonzero(diagonal <= 0)):
        return (
            f"{_listed(names, empty)}: no record has it; leave it out of algorithm.columns, or"
            " out of the categories"
        )
    scale = 1 / np.sqrt(diagonal)
    scaled = information * scale * scale[:, np.newaxis]
    p = len(scaled)
    lower = np.zeros((p, p))
    for j in range(p):
        own = _forward(lower, scaled[:j, j])
        left = scaled[j, j] - float(own @ own)
        if left < _SINGULAR:
            by = np.linalg.solve(lower[:j, :j].T, own)
            return _follows(names, j, np.flatnonzero(np.abs(by) > _COUNTS))
        lower[j, :j], lower[j, j] = own, np.sqrt(left)
    return ""


def _forward(lower: NDArray[np.float64], right: Vector) -> Vector:
    from scipy.linalg import solve_triangular  # pyright: ignore[reportMissingTypeStubs]

    num = len(right)
    return solve_triangular(lower[:num, :num], right, lower=True) if num else right


def _follows(names: tuple[str, ...], j: int, by: NDArray[np.intp]) -> str:
    if list(by) == [0]:
        return (
            f"collinear: {names[j]} is the same in all records; leave it out of"
            " algorithm.columns"
        )
    others = [number for number in by if number]
    return (
        f"collinear: {names[j]} follows from {_listed(names, others)}; leave one of them out of"
        " algorithm.columns"
    )


def spreads(information: NDArray[np.float64], design: Design) -> Vector:
    """Return what a unit of each column's effect is, shape (p,): 0 for the intercept.

    That is one standard deviation of a number, and the whole mark of a category.

    Parameters
    ----------
    information : ndarray, shape (p, p)
        X'WX at coefficients of 0.
    """
    weight = max(information[0, 0], np.finfo(np.float64).tiny)
    mean = information[0] / weight
    found = np.sqrt(np.maximum(np.diag(information) / weight - mean**2, 0.0))
    for place, term in enumerate(design.terms):
        if term.category is not None:
            found[1 + place] = 1.0
    found[0] = 0.0
    return found


def separated(
    asked: Vector, information: NDArray[np.float64], spread: Vector, design: Design
) -> str:
    """Return which columns' coefficients grow without end; empty if none does.

    No column follows from others where all records weigh the same. The information can be
    singular only where a few records have nearly all the weight: the others are fitted as well
    as can be, by large coefficients, or the columns are nearly collinear in those few.
    """
    size = np.abs(asked) * spread
    diagonal = np.diag(information)
    scale = 1 / np.sqrt(np.maximum(diagonal, np.finfo(np.float64).tiny))
    values, vectors = np.linalg.eigh(information * scale * scale[:, np.newaxis])
    is_singular = bool((diagonal <= 0).any() or values[0] < _SINGULAR * values[-1])
    if size.max() > (_LARGE if is_singular else _SEPARATED):
        return (
            f"separation: the coefficient of {_largest(size, design)} grows without end, as it"
            " tells the response of some records for certain (their class, or counts of 0);"
            " leave it out of algorithm.columns, or take fewer columns"
        )
    if not is_singular:
        return ""
    together = np.flatnonzero(np.abs(vectors[:, 0]) > _TOGETHER)
    return (
        f"nearly collinear: {_listed(design.names, together)}, in the records that still weigh"
        " at this fit; leave one of them out of algorithm.columns"
    )


def still_moving(step: Vector, spread: Vector, design: Design) -> str:
    """Return which coefficients the last step would move most, in words."""
    size = np.abs(step) * spread
    if not size.max() > _PART:
        return ""
    return (
        f"; the coefficient of {_largest(size, design)} still moves by {size.max():.2g}, which"
        " it does without end where it separates the classes"
    )


def _largest(size: Vector, design: Design) -> str:
    return _listed(design.names, np.flatnonzero(size >= _PART * size.max()))


def _listed(names: tuple[str, ...], numbers: NDArray[np.intp] | list[int]) -> str:
    return ", ".join(names[number] for number in numbers)
