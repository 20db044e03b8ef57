"""Compare regressions of masked sums with statsmodels on the pooled records.

``python -m benchmarks.regression`` deals statsmodels' own data (the RAND health insurance
experiment, Fair's survey) to five nodes of different sizes, fits through both apps under secure
aggregation, and prints the largest relative gap of a coefficient and of a standard error.
statsmodels is no dependency of Tacet; it is tightened, for its default standard errors
are 3e-6 off its own tight fit.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from app.config import load as loading
from app.simulation.in_process import simulate
from benchmarks.report import table, write_json

HOW_TO_INSTALL = "pip install statsmodels"
NUM_NODES, MOST_ROUNDS = 5, 20
#: The largest relative gap, in every coefficient and standard error.
LIMIT = 1e-8
_TIGHT = {"tol": 1e-14, "tol_criterion": "params", "maxiter": 100}
HEADERS = ("regression", "records", "rounds", "coefficient", "standard error", "verdict")


@dataclass(frozen=True)
class Case:
    """A regression: statsmodels' data set, its response, family, and columns.

    Attributes
    ----------
    data, response, family : str
        By statsmodels' names; ``gaussian``, ``binomial`` or ``poisson``.
    columns : tuple of str
        What the response is regressed on.
    """

    data: str
    response: str
    family: str
    columns: tuple[str, ...]


_HEALTH = ("lncoins", "idp", "lpi", "fmde", "physlm", "disea", "hlthg", "hlthf", "hlthp")
_FAIR = ("rate_marriage", "age", "yrs_married", "children", "religious", "educ")
CASES = (
    Case("randhie", "fmde", "gaussian", tuple(c for c in _HEALTH if c != "fmde")),
    Case("randhie", "mdvis", "poisson", _HEALTH),
    Case("fair", "affairs", "binomial", _FAIR),
)


@dataclass(frozen=True)
class Row:
    """The largest relative gaps of one regression."""

    name: str
    num_records: int
    num_rounds: int
    coefficient: float
    standard_error: float

    @property
    def passes(self) -> bool:
        """Whether all gaps are within the limit."""
        return max(self.coefficient, self.standard_error) <= LIMIT

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        gaps = f"{self.coefficient:.1e}", f"{self.standard_error:.1e}"
        verdict = "PASS" if self.passes else "FAIL"
        return [self.name, str(self.num_records), str(self.num_rounds), *gaps, verdict]


def frame_of(case: Case) -> Any:
    """Return the records, the response first; of a binomial one whether it is above 0."""
    import statsmodels.api as sm  # pyright: ignore[reportMissingImports]

    frame = getattr(sm.datasets, case.data).load_pandas().data.astype(np.float64)
    frame = frame[[case.response, *case.columns]]
    if case.family == "binomial":
        frame[case.response] = (frame[case.response] > 0).astype(np.float64)
    return frame


def peer_fit(case: Case, frame: Any) -> Any:
    """Return statsmodels' tight fit of the pooled records."""
    import statsmodels.api as sm  # pyright: ignore[reportMissingImports]

    x = sm.add_constant(frame[list(case.columns)].to_numpy())
    y = frame[case.response].to_numpy()
    if case.family == "gaussian":
        return sm.OLS(y, x).fit()
    families = sm.families
    family = families.Poisson() if case.family == "poisson" else families.Binomial()
    return sm.GLM(y, x, family=family).fit(**_TIGHT)


def task_of(case: Case, frame: Any) -> dict[str, Any]:
    """Return the task's YAML: columns with bounds about their values, as whole numbers."""
    label: dict[str, Any] = {"column": case.response}
    if case.family == "binomial":
        label["classes"], model = ["0.0", "1.0"], "logistic"
    else:
        label, model = label | _bounds(frame[case.response]), "linear"
    numeric = {name: _bounds(frame[name]) for name in case.columns}
    schema = {"defaults": ["csv_schema", "_self_"], "model": model}
    return {**schema, "label": label, "numeric": numeric}


def measure(case: Case) -> Row:
    """Fit on both sides and return the gaps."""
    frame = frame_of(case)
    before = loading.CONF_DIR
    with tempfile.TemporaryDirectory(prefix="tacet-") as name:
        folder = Path(name)
        loading.CONF_DIR = Path(shutil.copytree(before, folder / "conf"))
        try:
            task = json.dumps(task_of(case, frame))
            (folder / "conf" / "task" / "regression.yaml").write_text(task)
            outcome = simulate(_run_config(case, frame, folder), NUM_NODES)
        finally:
            loading.CONF_DIR = before
        report = json.loads((folder / "run" / "report.json").read_text())
    peer = peer_fit(case, frame)
    found = np.array([[row["estimate"], row["std. error"]] for row in report["rows"]])
    due = np.column_stack([peer.params, peer.bse])
    gaps = np.abs(found / due - 1).max(axis=0)
    told = f"{case.family}, {case.data}"
    return Row(told, len(frame), outcome.num_rounds, float(gaps[0]), float(gaps[1]))


def _run_config(case: Case, frame: Any, folder: Path) -> dict[str, Any]:
    shares = np.arange(1, NUM_NODES + 1) / (NUM_NODES * (NUM_NODES + 1) / 2)
    node = np.random.default_rng(0).choice(NUM_NODES, size=len(frame), p=shares)
    entries: list[dict[str, str]] = []
    for number in range(NUM_NODES):
        file = folder / f"{number}.csv"
        frame[node == number].to_csv(file, index=False)
        entries.append({"data-path": str(file)})
    (folder / "nodes.json").write_text(json.dumps(entries))
    return {
        "task": "regression",
        "algorithm": "glm",
        "aggregation": "secagg",
        "num-rounds": MOST_ROUNDS,
        "output-dir": str(folder / "run"),
        "simulation-nodes": str(folder / "nodes.json"),
        "overrides": f"algorithm.family={case.family}",
    }


def _bounds(values: Any) -> dict[str, float]:
    low, high = float(np.floor(values.min())), float(np.ceil(values.max()))
    return {"min": low, "max": high if high > low else low + 1}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the gaps of every regression; return 1 if one is above the limit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regression", description=__doc__
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(argv)
    if find_spec("statsmodels") is None:
        sys.exit(f"statsmodels is missing: {HOW_TO_INSTALL}")
    warnings.filterwarnings("ignore")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    rows = [measure(case) for case in CASES]
    print(f"\n{NUM_NODES} masked nodes; relative gaps to statsmodels, at most {LIMIT:g}\n")
    print(table(HEADERS, [row.cells() for row in rows]))
    if options.json:
        write_json(options.json, "regression", {"rows": [asdict(row) for row in rows]})
    return int(not all(row.passes for row in rows))


if __name__ == "__main__":
    sys.exit(main())
