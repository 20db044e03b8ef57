"""Newton steps over masked sums of the score and the information of coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.values import State, Vector

_MOST_HALVINGS = 30
# Smallest eigenvalue of the information over its largest, its diagonal scaled to 1.
_SINGULAR = 1e-10
# Where an optimum is near, each step gains much less than the one before; where a coefficient
# grows without end, steps stay as long and gain a fixed share less.
_NEAR, _SLOWER, _LONG = 1e-2, 0.1, 1e-3


@dataclass(frozen=True)
class Sums:
    """What a round opened.

    Attributes
    ----------
    num_records, num_incomplete, deviance : float
        Records that were used, and that miss a value; the deviance of those used.
    score : ndarray, shape (p,)
        The derivative of the log likelihood by the coefficients.
    information : ndarray, shape (p, p)
        Minus its second derivative, or what is expected of that.
    """

    num_records: float
    num_incomplete: float
    deviance: float
    score: Vector
    information: NDArray[np.float64]

    @classmethod
    def of(cls, vector: Vector, p: int) -> Sums:
        """Return the parts of a vector: three numbers, the score, the information's half."""
        records, incomplete, deviance = map(float, vector[:3])
        return cls(
            records, incomplete, deviance, vector[3 : 3 + p], symmetric(vector[3 + p :], p)
        )

    @property
    def array(self) -> Vector:
        """Return the counts and the deviance, as the state keeps them."""
        return np.array([self.num_records, self.num_incomplete, self.deviance])


def symmetric(below: Vector, p: int) -> NDArray[np.float64]:
    """Return matrices, shape (..., p, p), from their rows up to the diagonal."""
    matrix = np.zeros((*below.shape[:-1], p, p))
    rows, columns = np.tril_indices(p)
    matrix[..., rows, columns] = below
    matrix[..., columns, rows] = below
    return matrix


@dataclass(frozen=True)
class Newton:
    """Newton's method for the terms of a design, halving steps while the fit grows worse.

    Attributes
    ----------
    names : sequence of str
        Of the coefficients, for what is said of those without an estimate.
    converged : float
        A step of this length, relative to the longest coefficient above 1, is the last.
    slack : float
        What a deviance may grow by rounding.
    largest : float
        A coefficient beyond it, of a term within [-1, 1], has no estimate.
    flat : float
        A column has no information where there is as little as this.
    watches_growth : bool
        Whether steps that gain less and less, but do not shorten, say that a coefficient has no
        estimate.
    separates : str
        What such a column does.
    objection : callable, optional
        Coefficients and information to which column has no estimate, empty if all have one; in
        place of what ``largest``, ``flat`` and collinearity tell.
    """

    names: Sequence[str]
    converged: float = 1e-10
    slack: float = 1e-9
    largest: float = 30.0
    flat: float = 0.0
    watches_growth: bool = False
    separates: str = "the classes"
    objection: Callable[[Vector, NDArray[np.float64]], str] | None = None

    def next(self, state: State, sums: Sums) -> State:
        """Return the next state: a step from where was asked, or half of the last one."""
        arrays, header = state.arrays, dict(state.header)
        asked, accepted = arrays["asked"], arrays["coefficients"]
        if sums.num_records <= 0:
            return ended(state, sums, "no record has a value in each column")
        worse = sums.deviance > float(arrays["sums"][2]) * (1 + 1e-9) + self.slack
        if header["step"] == "newton" and worse and header["halvings"] < _MOST_HALVINGS:
            header["halvings"] += 1
            return State({**arrays, "asked": (asked + accepted) / 2}, header)
        judge = self.objection or self._objection
        if objection := judge(asked, sums.information):
            return ended(state, sums, objection)
        step = np.linalg.solve(sums.information, sums.score)
        furthest = float(np.abs(asked).max())
        length = float(np.abs(step).max())
        watched: dict[str, Any] = {}
        if self.watches_growth:
            watched = self._watched(header, float(step @ sums.score), length > _LONG * furthest)
            if watched["slow"] > 1:
                return ended(state, sums, self._grows(int(np.abs(step).argmax())))
        is_converged = length <= self.converged * max(1.0, furthest)
        found = {
            "asked": asked + step,
            "coefficients": asked + step if is_converged else asked,
            "information": sums.information,
            "sums": sums.array,
        }
        how = {"step": "converged" if is_converged else "newton", "halvings": 0}
        return State({**arrays, **found}, {**header, **how, **watched})

    def _watched(self, header: dict[str, Any], gain: float, is_long: bool) -> dict[str, Any]:
        before = header.get("gain", inf)
        slow = is_long and _SLOWER * before < gain < _NEAR
        return {"gain": gain, "slow": header.get("slow", 0) + 1 if slow else 0}

    def _grows(self, which: int) -> str:
        return (
            f"{self.names[which]}: its coefficient grows without end, for it separates"
            f" {self.separates}; leave it out, or take fewer columns"
        )

    def _objection(self, asked: Vector, information: NDArray[np.float64]) -> str:
        """Return which column has no estimate, with the mend; empty if all have one."""
        diagonal = np.diag(information)
        names = np.array(self.names)
        empty = diagonal <= self.flat
        if (grown := empty & (np.abs(asked) > 1)).any():
            return self._grows(int(grown.argmax()))
        if empty.any():
            return (
                f"{', '.join(names[empty])}: no record has it, or all are the same; leave it"
                " out of algorithm.columns"
            )
        scale = 1 / np.sqrt(diagonal)
        values, vectors = np.linalg.eigh(information * scale * scale[:, np.newaxis])
        if np.abs(asked).max() > self.largest:
            return self._grows(int(np.abs(asked).argmax()))
        if values[0] < _SINGULAR * values[-1]:
            together = names[np.abs(vectors[:, 0]) > 0.1]
            return f"{', '.join(together)}: one of them follows from the others; leave one out"
        return ""


def ended(state: State, sums: Sums, objection: str) -> State:
    """Return a state that has no fit, and why."""
    found = {**state.arrays, "information": sums.information, "sums": sums.array}
    how = {"step": "objection", "halvings": 0, "objection": objection}
    return State(found, {**state.header, **how})


def inverse(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse, by way of a diagonal of 1: columns differ much in their spread."""
    scale = 1 / np.sqrt(np.maximum(np.diag(information), np.finfo(np.float64).tiny))
    outer = scale * scale[:, np.newaxis]
    return np.linalg.pinv(information * outer, hermitian=True) * outer
