"""The server's half of a regression: Newton steps, and the table of what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.report import Report
from workloads.statistics.design import Design
from workloads.statistics.family import Family, Gaussian, Poisson
from workloads.values import State, Vector

# The next step would change no digit that is reported, nor one of the eight that are promised.
_CONVERGED = 1e-10
_MOST_HALVINGS = 30
# Of coded terms, which are within [-1, 1]: no real effect is e^60 over the range of a column.
_SEPARATED = 30.0
# Smallest eigenvalue of the information over its largest, its diagonal scaled to 1.
_SINGULAR = 1e-10


@dataclass(frozen=True)
class Sums:
    """What a round opened.

    Attributes
    ----------
    num_records, num_incomplete, deviance : float
        Records that were used, and that miss a value; the deviance of those used.
    score : ndarray, shape (p,)
        X'(y - mu).
    information : ndarray, shape (p, p)
        X'WX.
    """

    num_records: float
    num_incomplete: float
    deviance: float
    score: Vector
    information: NDArray[np.float64]

    @classmethod
    def of(cls, vector: Vector, p: int) -> Sums:
        """Return the parts of a vector."""
        information = np.zeros((p, p))
        below = np.tril_indices(p)
        information[below] = vector[3 + p :]
        information.T[below] = vector[3 + p :]
        records, incomplete, deviance = map(float, vector[:3])
        return cls(records, incomplete, deviance, vector[3 : 3 + p], information)

    @property
    def array(self) -> Vector:
        """Return the counts and the deviance, as the state keeps them."""
        return np.array([self.num_records, self.num_incomplete, self.deviance])


def first_step(state: State, sums: Sums, family: Poisson) -> State:
    """Return the state of one mean rate for all: from 0 Newton's step would go far too far."""
    # At coefficients of 0 each rate is 1.
    total = float(sums.score[0]) * family.high + sums.num_records
    begun = np.zeros_like(state.arrays["asked"])
    begun[0] = np.log(max(total, 0.5) / max(1.0, sums.num_records))
    return State({**state.arrays, "asked": begun}, {**state.header, "step": "begun"})


def newton_step(state: State, sums: Sums, design: Design) -> State:
    """Return the next state: a step from where was asked, or half of the last one."""
    arrays, header = state.arrays, dict(state.header)
    asked, accepted = arrays["asked"], arrays["coefficients"]
    if sums.num_records <= 0:
        return _ended(state, sums, "no record has a value in each column")
    worse = sums.deviance > float(arrays["sums"][2]) * (1 + 1e-9) + 1e-9
    if header["step"] == "newton" and worse and header["halvings"] < _MOST_HALVINGS:
        header["halvings"] += 1
        return State({**arrays, "asked": (asked + accepted) / 2}, header)
    if objection := _objection(asked, sums.information, design):
        return _ended(state, sums, objection)
    step = np.linalg.solve(sums.information, sums.score)
    is_converged = np.abs(step).max() <= _CONVERGED * max(1.0, float(np.abs(asked).max()))
    found = {
        "asked": asked + step,
        "coefficients": asked + step if is_converged else asked,
        "information": sums.information,
        "sums": sums.array,
    }
    return State(found, {"step": "converged" if is_converged else "newton", "halvings": 0})


def _ended(state: State, sums: Sums, objection: str) -> State:
    found = {**state.arrays, "information": sums.information, "sums": sums.array}
    return State(found, {"step": "objection", "halvings": 0, "objection": objection})


def _objection(asked: Vector, information: NDArray[np.float64], design: Design) -> str:
    """Return which column has no estimate, with the mend; empty if all have one."""
    diagonal = np.diag(information)
    names = np.array(design.names)
    if (empty := diagonal <= 0).any():
        return (
            f"{', '.join(names[empty])}: no record has it, or all are the same; leave it out of"
            " algorithm.columns"
        )
    scale = 1 / np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(information * scale * scale[:, np.newaxis])
    if np.abs(asked).max() > _SEPARATED:
        return (
            f"{names[int(np.abs(asked).argmax())]}: its coefficient grows without end, for it"
            " separates the classes; leave it out, or take fewer columns"
        )
    if values[0] < _SINGULAR * values[-1]:
        together = names[np.abs(vectors[:, 0]) > 0.1]
        return f"{', '.join(together)}: one of them follows from the others; leave one out"
    return ""


def report_of(state: State, design: Design, family: Family, confidence: float) -> Report:
    """Return coefficients, standard errors, tests and intervals, in the columns' own units."""
    header, arrays = state.header, state.arrays
    num_records, num_incomplete, deviance = map(float, arrays["sums"])
    facts: dict[str, Any] = {
        "family": type(family).__name__.lower(),
        "records": round(num_records),
        "left out, a value is missing": round(num_incomplete),
    }
    if objection := header.get("objection"):
        return Report("regression", facts | {"no fit": objection})
    if header["step"] != "converged":
        facts["not converged"] = "raise num-rounds, or look for columns that say the same"
    freedom = num_records - len(design)
    # Of a count the information is in units of the largest, as the deviance is.
    known = family.unit if isinstance(family, Poisson) else 1.0
    covariance = _inverse(arrays["information"]) / known
    spread = deviance / freedom if family.has_dispersion and freedom > 0 else 1.0
    matrix = design.in_units()
    coefficients = matrix @ arrays["coefficients"]
    errors = np.sqrt(np.diag(matrix @ covariance @ matrix.T) * spread)
    if isinstance(family, Gaussian):
        coefficients, errors = coefficients * family.half, errors * family.half
        coefficients[0] += (family.low + family.high) / 2
    facts |= {"deviance": deviance * family.unit, "degrees of freedom": round(freedom)}
    if family.has_dispersion:
        facts["residual standard error"] = float(np.sqrt(spread * family.unit))
    test = "t" if family.has_dispersion else "z"
    level = f"{100 * confidence:g} %"
    columns = ["", "coefficient", "standard error", test, "p", f"{level} from", f"{level} to"]
    columns += [family.ratio, f"{family.ratio} from", f"{family.ratio} to"] * bool(family.ratio)
    rows = [
        _row(name, float(value), float(error), family, freedom, confidence)
        for name, value, error in zip(design.names, coefficients, errors, strict=True)
    ]
    return Report("regression", facts, columns, rows)


def _row(
    name: str, value: float, error: float, family: Family, freedom: float, confidence: float
) -> list[Any]:
    """Return one coefficient with its error, test, interval and ratio."""
    from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

    of = stats.t(max(freedom, 1)) if family.has_dispersion else stats.norm()
    test = value / error
    width = float(of.ppf((1 + confidence) / 2)) * error
    row = [name, value, error, test, 2 * float(of.sf(abs(test))), value - width, value + width]
    if family.ratio:
        with np.errstate(over="ignore"):
            row += [float(np.exp(x)) for x in (value, value - width, value + width)]
    return row


def _inverse(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse, by way of a diagonal of 1: columns differ much in their spread."""
    scale = 1 / np.sqrt(np.maximum(np.diag(information), np.finfo(np.float64).tiny))
    outer = scale * scale[:, np.newaxis]
    return np.linalg.pinv(information * outer, hermitian=True) * outer
