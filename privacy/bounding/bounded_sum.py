"""A sum of the units' terms, with a bound on what one unit can move it by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.clipping import Floats, clip_l1, clip_l2
from privacy.bounding.sensitivity import rounded_l1
from privacy.unit import Unit

#: Steps of the grid in one bound. A node's sum of 2^21 bounds still fits int64.
FINENESS = 2.0**40
# A projection of each entry, so it moves no two sums apart.
_LARGEST = 2.0**62
# The sum of so many rows, of 2^40 steps each, is within the projection.
_MOST_ROWS = 2**21

_MAKER = object()


@dataclass(frozen=True, init=False, eq=False)
class BoundedSum:
    """A sum that one unit moves by a known length: the only thing a private codec accepts.

    Guarantees
    ----------
    Unit: ``unit``. Neighbours: one term added, removed or replaced by zero. Two sums that
    differ in one unit's term differ by at most ``delta2`` in L2 and ``delta1`` in L1 norm, in
    steps of the grid. Assumes that one unit changes one term only. Only the makers below give
    one: ``sum_of_terms`` and ``one_term`` clip by themselves, ``sum_of_clipped`` trusts
    ``tasks.training.clipped_sum``.

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
        raise TypeError("use sum_of_terms, sum_of_clipped or one_term, which bound the terms")

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


def clipped_delta2(bound: float, dimension: int) -> float:
    """Return how far one unit moves ``sum_of_clipped``, in units of the vector.

    C + sqrt(d) g: rounding the whole sum moves each entry by less than one step more.
    """
    return bound * (1 + math.sqrt(dimension) / FINENESS)


def sum_of_terms(terms: Floats, bound: float) -> BoundedSum:
    """Clip each record's term, round it toward zero on the grid, and add the integers.

    Parameters
    ----------
    terms : ndarray, float64, shape (n, d)
        A row for each record, a function of that record alone; n may be 0. A row that is not
        finite counts as zero.
    bound : float
        C: no row counts for more than this L2 norm; finite and above 0.

    Guarantees
    ----------
    Unit: one record. Neighbours: one row more or less. Sensitivity: C in L2 norm, exactly:
    clipping keeps to C, rounding toward zero shortens, and integers add without error. Where
    rows are so many that the sum could overflow, it is projected to +-2^62 after each of them:
    a row more is one step more, and a projection moves no two sums apart.
    """
    total = np.zeros(terms.shape[1], np.int64)
    may_overflow = len(terms) > _MOST_ROWS
    for row in terms:
        total += _toward_zero(clip_l2(row, bound).vector, bound)
        if may_overflow:
            np.clip(total, -(2**62), 2**62, out=total)
    return _bounded(total, bound, FINENESS, Unit.EXAMPLE)


def sum_of_clipped(total: Floats, bound: float) -> BoundedSum:
    """Take a float sum of which each term was clipped already, and round the sum.

    Parameters
    ----------
    total : ndarray, float64, shape (d,)
        One that is not finite counts as zero.
    bound : float
        C, the L2 norm that each record's term was clipped to.

    Guarantees
    ----------
    Unit: one record. Neighbours: one record more or less. Sensitivity: ``clipped_delta2``.
    Assumes that the float sum itself moves by C: floating-point addition keeps to that only
    nearly, which exact sums of integer terms will mend.
    """
    finite = total if bool(np.isfinite(total).all()) else np.zeros_like(total)
    steps = clipped_delta2(1.0, len(total)) * FINENESS
    return _bounded(_toward_zero(finite, bound), bound, steps, Unit.EXAMPLE)


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
        _toward_zero(clipped.vector, 1.0),
        bound,
        FINENESS,
        Unit.CLIENT,
        delta1=FINENESS if l1 else None,
    )
    return Term(bounded, clipped.norm, clipped.was_finite)


def no_terms(dimension: int, bound: float, unit: Unit) -> BoundedSum:
    """Return the empty sum, to which a node adds only its noise."""
    return _bounded(np.zeros(dimension, np.int64), bound, FINENESS, unit, delta1=FINENESS)


def _toward_zero(vector: Floats, bound: float) -> NDArray[np.int64]:
    steps = np.trunc(vector / bound * FINENESS)
    return np.clip(steps, -_LARGEST, _LARGEST).astype(np.int64)


def _bounded(
    integers: NDArray[np.int64],
    bound: float,
    delta2: float,
    unit: Unit,
    delta1: float | None = None,
) -> BoundedSum:
    if not 0 < bound / FINENESS < math.inf:
        raise ValueError(f"bound={bound}: must be finite and above 0")
    if delta1 is None:
        delta1 = rounded_l1(delta2, max(1, len(integers)))
    return BoundedSum._make(  # pyright: ignore[reportPrivateUsage]
        integers, bound / FINENESS, delta2, delta1, unit, _MAKER
    )
