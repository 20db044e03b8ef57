"""The columns of a regression, from public bounds and categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.table import Column, Table
from workloads.values import State, Vector

INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Term:
    """One column of the design: a number, or a mark of one category.

    Attributes
    ----------
    name : str
        As it is reported: ``age``, ``sex=m``.
    place : int
        The column of the table.
    column : Column
        What that is.
    category : int or None
        The category that is marked; None for a number.
    """

    name: str
    place: int
    column: Column
    category: int | None

    @property
    def centre(self) -> float:
        """Return what is taken off a value before it is divided by ``width``."""
        return 0.0 if self.category is not None else (self.column.high + self.column.low) / 2

    @property
    def width(self) -> float:
        """Return what a value is divided by, so that it is within [-1, 1]."""
        return 1.0 if self.category is not None else (self.column.high - self.column.low) / 2

    def coded(self, values: Vector) -> Vector:
        """Return the term of each record, within [-1, 1], shape (n,): elementwise."""
        if self.category is not None:
            return (values == self.category).astype(np.float64)
        clipped = np.clip(values, self.column.low, self.column.high)
        return (clipped - self.centre) / self.width


@dataclass(frozen=True)
class Design:
    """The columns of a regression: the intercept, then numbers and marks of categories.

    A category is held against the first of its column (treatment coding, as in R). Inside,
    numbers are mapped from their public bounds to [-1, 1]; values beyond count as at the bound.

    Attributes
    ----------
    terms : tuple of Term
        All but the intercept, in the order of the table.
    has_intercept : bool
        Whether there is one; not in a Cox regression, whose baseline hazard takes its place.
    """

    terms: tuple[Term, ...]
    has_intercept: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the coefficients, the intercept first."""
        return (*[INTERCEPT] * self.has_intercept, *(term.name for term in self.terms))

    def __len__(self) -> int:
        return self.has_intercept + len(self.terms)

    def rows(self, columns: NDArray[np.float64]) -> tuple[list[Vector], NDArray[np.bool_]]:
        """Return the design of records and which of them miss nothing.

        Parameters
        ----------
        columns : ndarray, float64, shape (n, columns)
            Rows of the table.

        Returns
        -------
        list of ndarray, each of shape (n,)
            One for each coefficient, 0 where a record misses a value.
        ndarray of bool, shape (n,)
            Whether a record has a value in each column that is used.
        """
        complete = np.ones(len(columns), np.bool_)
        for place in {term.place for term in self.terms}:
            complete &= ~np.isnan(columns[:, place])
        coded = [complete.astype(np.float64)] * self.has_intercept
        for term in self.terms:
            coded.append(np.where(complete, term.coded(columns[:, term.place]), 0.0))
        return coded, complete

    def in_units(self) -> NDArray[np.float64]:
        """Return the matrix from coefficients of coded terms to those in the columns' units."""
        if not self.has_intercept:
            return np.diag([1 / term.width for term in self.terms])
        matrix = np.diag([1.0, *(1 / term.width for term in self.terms)])
        matrix[0, 1:] = [-term.centre / term.width for term in self.terms]
        return matrix


def predictor(coefficients: NDArray[np.float64], coded: list[Vector]) -> Vector:
    """Return the linear predictor, column by column: a matrix product is not place-free."""
    found = np.zeros_like(coded[0])
    for coefficient, column in zip(coefficients, coded, strict=True):
        found += coefficient * column
    return found


@dataclass(frozen=True)
class LinearModel:
    """A regression that was fitted.

    Attributes
    ----------
    table : Table
        The columns and the label.
    design : Design
        The terms.
    coefficients : ndarray, float64, shape (len(design),)
        Of the coded terms, the intercept first where there is one.
    family : object, optional
        What makes a prediction of the linear predictor; None for hazards.
    """

    table: Table
    design: Design
    coefficients: Vector
    family: Any = None

    @classmethod
    def of(cls, state: State, table: Table, design: Design, family: Any = None) -> LinearModel:
        """Return the fit of a state.

        Raises
        ------
        ValueError
            If there is none, or not yet.
        """
        if objection := state.header.get("objection"):
            raise ValueError(f"the run found no fit: {objection}")
        if not (state.arrays["information"] != 0).any():
            raise ValueError("the run has no fit yet: raise num-rounds")
        return cls(table, design, state.arrays["coefficients"], family)

    def predictor(self, columns: NDArray[np.float64]) -> Vector:
        """Return the linear predictor of records, NaN where a value is missing."""
        coded, complete = self.design.rows(np.asarray(columns, np.float64))
        return np.where(complete, predictor(self.coefficients, coded), np.nan)


def design_of(table: Table, chosen: list[str], *, has_intercept: bool = True) -> Design:
    """Return the design of the chosen columns, of all if none is named.

    Raises
    ------
    ValueError
        Naming a column that is not there.
    """
    known = [column.name for column in table.columns]
    for name in chosen:
        if name not in known:
            raise ValueError(
                f"algorithm.columns: {name!r} is no column; there are {', '.join(known)}"
            )
    terms: list[Term] = []
    for place, column in enumerate(table.columns):
        if chosen and column.name not in chosen:
            continue
        if not column.is_categorical:
            terms.append(Term(column.name, place, column, None))
        for code, category in enumerate(column.categories):
            if code:
                terms.append(Term(f"{column.name}={category}", place, column, code))
    return Design(tuple(terms), has_intercept)
