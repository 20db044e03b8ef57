"""The table of a Cox regression: coefficients, hazard ratios, their tests and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workloads.report import Report
from workloads.statistics.design import Design
from workloads.statistics.newton import inverse
from workloads.values import State


def report_of(
    state: State, design: Design, particulars: Mapping[str, Any], confidence: float
) -> Report:
    """Return coefficients and hazard ratios, in the columns' own units.

    Tests and intervals are Wald's; the likelihood ratio test is that of all columns together.
    """
    from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

    header, arrays = state.header, state.arrays
    num_records, num_incomplete, deviance = map(float, arrays["sums"])
    facts: dict[str, Any] = {
        "records": round(num_records),
        "left out, a value is missing": round(num_incomplete),
        "ties": "Efron",
        **particulars,
    }
    if objection := header.get("objection"):
        return Report("Cox regression", facts | {"no fit": objection})
    if header["step"] != "converged":
        facts["not converged"] = "raise num-rounds, or look for columns that say the same"
    if (null := header.get("null")) is not None:
        ratio = max(0.0, float(null) - deviance)
        facts |= {
            "log likelihood": -deviance / 2,
            "log likelihood without columns": -float(null) / 2,
            "likelihood ratio test, chi-squared": ratio,
            "likelihood ratio test, degrees of freedom": len(design),
            "likelihood ratio test, p": float(stats.chi2.sf(ratio, len(design))),
        }
    matrix = design.in_units()
    coefficients = matrix @ arrays["coefficients"]
    covariance = matrix @ inverse(arrays["information"]) @ matrix.T
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    level = f"{100 * confidence:g} %"
    columns = ["", "coefficient", "standard error", "z", "p", f"{level} from", f"{level} to"]
    columns += ["hazard ratio", "hazard ratio from", "hazard ratio to"]
    width = float(stats.norm.ppf((1 + confidence) / 2))
    rows: list[list[Any]] = []
    for name, value, error in zip(
        design.names, coefficients.tolist(), errors.tolist(), strict=True
    ):
        z = value / error if error else 0.0
        ends = (value, value - width * error, value + width * error)
        with np.errstate(over="ignore"):
            ratios = [float(np.exp(end)) for end in ends]
        p = 2 * float(stats.norm.sf(abs(z)))
        rows.append([name, value, error, z, p, *ends[1:], *ratios])
    return Report("Cox regression", facts, columns, rows)
