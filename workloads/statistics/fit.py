"""The server's half of a regression: where it begins, and the table of what was found."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.report import Report
from workloads.statistics.design import Design
from workloads.statistics.family import Family, Gaussian, Poisson
from workloads.statistics.newton import Sums, inverse
from workloads.values import State


def first_step(state: State, sums: Sums, family: Poisson) -> State:
    """Return the state of one mean rate for all: from 0 Newton's step would go far too far."""
    # At coefficients of 0 each rate is 1.
    total = float(sums.score[0]) * family.high + sums.num_records
    begun = np.zeros_like(state.arrays["asked"])
    begun[0] = np.log(max(total, 0.5) / max(1.0, sums.num_records))
    return State({**state.arrays, "asked": begun}, {**state.header, "step": "begun"})


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
    covariance = inverse(arrays["information"]) / known
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
