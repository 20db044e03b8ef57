"""The table of a regression, in the columns' own units, as R's ``summary(glm())`` has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.report import Report
from workloads.statistics.design import Design
from workloads.statistics.family import Family, Gaussian, Poisson
from workloads.statistics.newton import inverse
from workloads.statistics.objections import still_moving
from workloads.values import State


def report_of(state: State, design: Design, family: Family, confidence: float) -> Report:
    """Return coefficients, standard errors, tests and intervals, in the columns' own units."""
    header, arrays = state.header, state.arrays
    num_records, num_incomplete, deviance = map(float, arrays["sums"])
    facts: dict[str, Any] = {
        "family": type(family).__name__.lower(),
        "records": round(num_records),
        "left out, a value is missing": round(num_incomplete),
    }
    if "weights" in arrays:
        facts["sum of their weights"] = float(arrays["weights"][0])
    if objection := header.get("objection"):
        return Report("regression", facts | {"no fit": objection})
    if header["step"] != "converged":
        moves = still_moving(arrays["asked"] - arrays["coefficients"], arrays["spread"], design)
        facts["not converged"] = f"raise num-rounds{moves}"
    freedom = num_records - len(design)
    # Of a count the information is in units of the largest, as the deviance is.
    known = family.unit if isinstance(family, Poisson) else 1.0
    covariance = inverse(arrays["information"]) / known
    spread = deviance / freedom if family.has_dispersion and freedom > 0 else 1.0
    matrix = design.in_units()
    coefficients = matrix @ arrays["coefficients"]
    errors = np.sqrt(np.diag(matrix @ covariance @ matrix.T) * spread)
    if isinstance(family, Gaussian):
        coefficients, errors = coefficients * family.half, errors * family.half
        coefficients[0] += (family.low + family.high) / 2
    facts |= _deviances(state, family, len(design))
    if family.has_dispersion:
        facts["residual standard error"] = float(np.sqrt(spread * family.unit))
    test = "t" if family.has_dispersion else "z"
    level = f"{100 * confidence:g} %"
    columns = ["", "estimate", "std. error", f"{test} value", "p"]
    columns += [f"{level} from", f"{level} to"]
    columns += [family.ratio, f"{family.ratio} from", f"{family.ratio} to"] * bool(family.ratio)
    rows = [
        _row(name, float(value), float(error), family, freedom, confidence)
        for name, value, error in zip(design.names, coefficients, errors, strict=True)
    ]
    return Report("regression", facts, columns, rows)


def _deviances(state: State, family: Family, num_coefficients: int) -> dict[str, Any]:
    """Return what R's ``summary`` prints under its table."""
    num_records, _, deviance = map(float, state.arrays["sums"])
    null, residual = float(state.header.get("null", 0.0)), deviance * family.unit
    facts: dict[str, Any] = {
        "null deviance": null,
        "null degrees of freedom": round(num_records - 1),
        "residual deviance": residual,
        "residual degrees of freedom": round(num_records - num_coefficients),
    }
    if family.has_dispersion and null > 0:
        facts["R squared"] = 1 - residual / null
    if (aic := family.aic(num_records, residual, num_coefficients)) is not None:
        # Of a number with weights w the variance is 1 / w of the common one.
        of_weights = state.arrays.get("weights", np.zeros(2))
        facts["AIC"] = aic - float(of_weights[1]) * family.has_dispersion
    return facts


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
