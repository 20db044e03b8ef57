"""A sum of the units' terms, with a bound on what one unit can move it by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.clipping import Floats, clip_l1, clip_l2
from privacy.bounding.sensitivity import rounded_l1
from privacy.unit import Unit

#: Steps of the grid in one bound.
FINENESS = 2.0**30
# A projection of each entry, so it moves no two sums apart.
_LARGEST = 2.0**52
# The sum of so many terms, of 2^30 steps each, is within the projection.
_MOST_TERMS = 2**22
# So that a term of just the bound's length stays within it, whatever float64 loses.
_SHORTER = 1 - 2.0**-40

_MAKER = object()


@dataclass(frozen=True, init=False, eq=False)
class BoundedSum:
    """A sum that one unit moves by a known length: the only thing a private codec accepts.

    Guarantees
    ----------
    Unit: ``unit``. Neighbours: one term added, removed or replaced by zero. Two sums that
    differ in one unit's term differ by at most ``delta2`` in L2 and ``delta1`` in L1 norm, in
    steps of the grid. Assumes that one unit changes one term only. Only the makers below give
    one, and they clip by themselves.

    Attributes
    ----------
    integers : ndarray, int64, shape (d,)
        The sum, in steps of the grid. A secret, like the data.
    grid : float
        One step, in units of the vector; above 0.
    delta2, delta1 : float
        How far one unit moves the integers.
    unit : Unit
        Whose presence is hidden.
    """

    integers: NDArray[np.int64]
    grid: float
    delta2: float
    delta1: float
    unit: Unit

    @classmethod
    def _make(
        cls,
        integers: NDArray[np.int64],
        grid: float,
        delta2: float,
        delta1: float,
        unit: Unit,
        maker: object,
    ) -> Self:
        if maker is not _MAKER:
            raise TypeError("a BoundedSum is made by the functions of its module only")
        made = object.__new__(cls)
        # What was bounded stays as it was.
        integers.setflags(write=False)
        for name, value in {
            "integers": integers,
            "grid": grid,
            "delta2": delta2,
            "delta1": delta1,
            "unit": unit,
        }.items():
            object.__setattr__(made, name, value)
        return made

    def __init__(self) -> None:
        raise TypeError("use sum_of_terms or one_term, which bound the terms")

    def __len__(self) -> int:
        return len(self.integers)

    def in_units_of(self, norm: float) -> Floats:
        """Return the sum divided by ``norm``, float64, shape (d,)."""
        return self.integers.astype(np.float64) * (self.grid / norm)


@dataclass(frozen=True)
class Term:
    """One client's term, and what clipping did to it; all of it secret, like the data.

    Attributes
    ----------
    bounded : BoundedSum
        The term as a sum of one.
    norm : float
        Length before clipping, in bounds; infinite if the vector was not finite.
    was_finite : bool
        Whether every entry was finite. If not, the term is zero.
    """

    bounded: BoundedSum
    norm: float
    was_finite: bool


def sum_of_terms(terms: Iterable[Floats], length: int, bound: float) -> BoundedSum:
    """Clip each record's term, round it toward zero on the grid, and add the integers.

    Parameters
    ----------
    terms : iterable of ndarray, float64, shape (length,)
        A vector for each record, a function of that record alone; may be none, and the memory
        of one may be that of the next. One that is not finite counts as zero.
    length : int
        d, at least 1.
    bound : float
        C: no vector counts for more than this L2 norm; finite and above 0.

    Guarantees
    ----------
    Unit: one record. Neighbours: one vector more or less. Sensitivity: C in L2 norm, exactly:
    what is added are integers, whose length is measured; and integers add without error. Where
    records are so many that the sum could overflow, it is projected to +-2^52 after each of
    them: one more is one step more, and a projection moves no two sums apart.
    """
    _check(bound)
    # Whole numbers below 2^53, which float64 adds without error.
    total, steps = np.zeros(length), np.empty(length)
    for number, term in enumerate(terms):
        if _round(term, bound, steps) or _round(clip_l2(term, bound).vector, bound, steps):
            total += steps
        if number >= _MOST_TERMS:
            np.clip(total, -_LARGEST, _LARGEST, out=total)
    return _bounded(total.astype(np.int64), bound, FINENESS, Unit.EXAMPLE)


def sum_of_sparse_terms(
    places: NDArray[np.intp], values: Floats, length: int, bound: float
) -> BoundedSum:
    """Add the terms of records that are zero but for a few entries, as histograms are.

    Rounding toward zero, product and comparison are elementwise, so no record can change
    another's, and whole numbers add without error in any order.

    Parameters
    ----------
    places : ndarray of int, shape (n, k)
        Where each record's entries are, in [0, length), different from each other in a row.
    values : ndarray, float64, shape (n, k)
        The entries, a function of that record alone. A record whose entries are not finite, or
        longer than ``bound`` in L2 norm, counts as zero: its workload has proved another bound.
    length : int
        d, at least 1.
    bound : float
        C; finite and above 0.

    Guarantees
    ----------
    As of ``sum_of_terms``.

    Raises
    ------
    ValueError
        If a record's places are not all different: they would add up beyond its length. This
        is a fault of the workload, which has each column's bins apart.
    """
    return sum_of_sparse_parts([(places, values)], length, bound)


def sum_of_sparse_parts(
    parts: Iterable[tuple[NDArray[np.intp], Floats]], length: int, bound: float
) -> BoundedSum:
    """Add records as ``sum_of_sparse_terms`` does, some at a time, to bound the memory.

    Parameters
    ----------
    parts : iterable of (ndarray of int, ndarray float64), of one shape (n, k)
        Places and values of some records; each record is in one part only.
    length, bound : int, float
        As there.

    Guarantees
    ----------
    As of ``sum_of_terms``: what a record adds does not depend on its part.

    Raises
    ------
    ValueError
        If a record's places are not all different.
    """
    _check(bound)
    total = np.zeros(length, np.int64)
    for places, values in parts:
        # Terms are at most 2^30 steps, so 2^32 records and more add up exactly.
        np.add.at(total, places.ravel(), _sparse_steps(places, values, bound).ravel())
    largest = np.int64(_LARGEST)
    return _bounded(np.clip(total, -largest, largest), bound, FINENESS, Unit.EXAMPLE)


def _sparse_steps(places: NDArray[np.intp], values: Floats, bound: float) -> NDArray[np.int64]:
    """Return the entries' steps, shape (n, k); zeros for a record longer than the bound."""
    ordered = np.sort(places, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("two entries of one record's term are at the same place")
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.trunc(values * (FINENESS / bound * _SHORTER))
        square = np.zeros(len(steps))
        # Column by column: a sum along rows would depend on how they lie in memory.
        for column in steps.T:
            square += column * column
        fits = square * (1 + (places.shape[1] + 8) * 2.0**-52) <= FINENESS**2
    return np.where(fits[:, np.newaxis], steps, 0.0).astype(np.int64)


def _round(term: Floats, bound: float, steps: Floats) -> bool:
    """Write a term's steps, rounded toward zero; say whether they are finite and within C.

    What is measured is what is added: the length of the whole numbers, with all that float64
    may lose on the way.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(term, FINENESS / bound, out=steps)
        np.trunc(steps, out=steps)
        square = float(np.einsum("i,i->", steps, steps))
    return square * (1 + (len(steps) + 8) * 2.0**-52) <= FINENESS**2


def one_term(vector: NDArray[np.floating], bound: float, *, l1: bool = False) -> Term:
    """Clip one client's whole contribution and round it toward zero.

    Parameters
    ----------
    vector : ndarray, shape (d,)
        Anything. One that is not finite becomes zero.
    bound : float
        C, finite and above 0.
    l1 : bool
        Clip the L1 norm instead of the L2 norm, for Laplace noise.

    Guarantees
    ----------
    Unit: one client. Neighbours: its term replaced by zero: C; by any other: 2 C.
    """
    # What an absurd bound makes overflow counts as not finite.
    with np.errstate(over="ignore"):
        scaled = vector.astype(np.float64) / bound
    clipped = (clip_l1 if l1 else clip_l2)(scaled, 1.0)
    # Rounding toward zero shortens the L1 norm, too.
    bounded = _bounded(
        _toward_zero(clipped.vector),
        bound,
        FINENESS,
        Unit.CLIENT,
        delta1=FINENESS if l1 else None,
    )
    return Term(bounded, clipped.norm, clipped.was_finite)


def no_terms(dimension: int, bound: float, unit: Unit) -> BoundedSum:
    """Return the empty sum, to which a node adds only its noise."""
    return _bounded(np.zeros(dimension, np.int64), bound, FINENESS, unit, delta1=FINENESS)


def _toward_zero(clipped: Floats) -> NDArray[np.int64]:
    return np.trunc(clipped * FINENESS).astype(np.int64)


def _bounded(
    integers: NDArray[np.int64],
    bound: float,
    delta2: float,
    unit: Unit,
    delta1: float | None = None,
) -> BoundedSum:
    _check(bound)
    if delta1 is None:
        delta1 = rounded_l1(delta2, max(1, len(integers)))
    return BoundedSum._make(  # pyright: ignore[reportPrivateUsage]
        integers, bound / FINENESS, delta2, delta1, unit, _MAKER
    )


def _check(bound: float) -> None:
    if not 0 < bound / FINENESS < math.inf:
        raise ValueError(f"bound={bound}: must be finite and above 0")
