"""Compare curves and Cox regressions of Tacet with those of lifelines, on lifelines' own data.

``python -m benchmarks.survival`` prints, for each data set, the largest relative gap of a
coefficient and of a standard error, that of the curves and of the log-rank test. Records are
dealt to five nodes of different sizes; sums are those of the workloads, with no aggregation
between, which adds the same whole numbers. lifelines is none of Tacet's own dependencies; it is
tightened, for its defaults leave gaps of 1e-4.
"""

import argparse
import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import write_json
from tasks.records import Examples, LocalData
from tasks.table import Column, Table
from workloads.base import Setup
from workloads.survival.cells import Cells
from workloads.survival.cox import Cox, CoxConfig, Strata
from workloads.survival.grid import Grid
from workloads.survival.kaplan_meier import KaplanMeier, KaplanMeierConfig
from workloads.values import Aggregate, Query, State

HOW_TO_INSTALL = "pip install lifelines"
NUM_NODES = 5
#: lifelines' own files, the columns of time and event, the level that means the event.
DATA_SETS = {"rossi": ("week", "arrest"), "lung": ("time", "status"), "gbsg2": ("time", "cens")}
_TIGHT = {"precision": 1e-12, "max_steps": 500}


@dataclass(frozen=True)
class Data:
    """A data set as both sides read it.

    Attributes
    ----------
    frame : DataFrame
        For lifelines: features, ``time``, ``event``, ``node`` and ``group``.
    features : list of str
        The columns to regress on.
    table : Table
        The same for Tacet, with the bounds of the values, rounded outwards, and the group.
    """

    frame: Any
    features: list[str]
    table: Table

    def parts(self) -> list[LocalData]:
        """Return the records of each node."""
        columns = self.frame[[*self.features, "group"]].to_numpy(np.float64)
        targets = self.frame[["time", "event"]].to_numpy(np.float64)
        node = self.frame["node"].to_numpy()
        found: list[LocalData] = []
        for one in range(NUM_NODES):
            own = node == one
            inputs = np.zeros((int(own.sum()), 1), np.float32)
            train = Examples(inputs, targets[own], columns[own])
            found.append(LocalData(train, train.take(np.zeros(0, np.intp))))
        return found


def read(name: str) -> Data:
    """Return one of lifelines' data sets, rows with a missing value left out."""
    from lifelines import datasets  # pyright: ignore[reportMissingImports]

    frame = getattr(datasets, f"load_{name}")().dropna().reset_index(drop=True)
    time, event = DATA_SETS[name]
    frame = frame.rename(columns={time: "time", event: "event"})
    # The institution, of lung.
    frame = frame.drop(columns="inst", errors="ignore")
    frame = frame[frame["time"] > 0].reset_index(drop=True)
    for column in frame.columns:
        if frame[column].dtype.kind not in "fiub":
            frame[column] = frame[column].astype("category").cat.codes
    frame = frame.astype(np.float64)
    frame["event"] = (frame["event"] == frame["event"].max()).astype(np.float64)
    features = [column for column in frame.columns if column not in ("time", "event")]
    shares = np.arange(1, NUM_NODES + 1) / (NUM_NODES * (NUM_NODES + 1) / 2)
    frame["node"] = np.random.default_rng(0).choice(NUM_NODES, size=len(frame), p=shares)
    first = frame[features[0]]
    frame["group"] = (first > first.median()).astype(np.float64)
    columns = [
        Column(
            column, float(np.floor(frame[column].min())), float(np.ceil(frame[column].max()))
        )
        for column in features
    ]
    columns.append(Column("group", categories=("low", "high")))
    longest = Column("time", 0.0, float(np.ceil(frame["time"].max())))
    return Data(frame, features, Table(tuple(columns), (), longest, "event"))


def fitted(workload: Any, parts: list[LocalData]) -> State:
    """Return the last state of a run over the sums of nodes."""
    state, rng = workload.initial_state(), np.random.default_rng(0)
    for server_round in range(1, 41):
        sums = [workload.contribute(state, Query(server_round), part, rng) for part in parts]
        total = np.sum([one.update for one in sums], axis=0).astype(np.float64)
        state = workload.apply(state, Aggregate(total, {}, 1.0), server_round, None)
        if workload.is_finished(state):
            return state
    raise RuntimeError("no convergence in 40 rounds")


def on_grid(grid: Grid, times: Any) -> NDArray[np.float64]:
    """Return the time of the grid at which each counts."""
    return np.append(grid.times, np.inf)[grid.places(np.asarray(times, np.float64))]


def cox_gaps(data: Data, strata: Strata, **keys: Any) -> dict[str, Any]:
    """Return the largest relative gaps of a Cox regression to lifelines."""
    from lifelines import CoxPHFitter  # pyright: ignore[reportMissingImports]

    config = CoxConfig(columns=data.features, strata=strata, **keys)
    workload = Cox(Setup(task=SimpleNamespace(table=data.table), algorithm=config))
    state = fitted(workload, data.parts())
    frame = data.frame[[*data.features, "time", "event"]].copy()
    by = None
    if strata is Strata.participant:
        frame["node"], by = data.frame["node"], ["node"]
    else:
        cells = Cells(state.arrays["starts"].astype(np.intp))
        kind: Any = workload.kind
        places = kind.grid.places(frame["time"].to_numpy(np.float64))
        # Before the first event nobody is in a risk set; lifelines wants a time above 0.
        frame["time"] = cells.of(places) + 1.5
    peer = CoxPHFitter().fit(frame, "time", "event", strata=by, fit_options=_TIGHT)
    found = {row[0]: row[1:3] for row in workload.report(state).rows}
    gaps = [
        (
            abs(found[name][0] / peer.params_[name] - 1),
            abs(found[name][1] / peer.standard_errors_[name] - 1),
        )
        for name in data.features
    ]
    coefficient, error = np.max(gaps, axis=0).tolist()
    log = abs(workload.report(state).facts["log likelihood"] - peer.log_likelihood_)
    return {"coefficient": coefficient, "standard error": error, "log likelihood": log}


def curve_gaps(data: Data) -> dict[str, Any]:
    """Return the largest absolute gap of curves and bands, the relative one of the test."""
    from lifelines import KaplanMeierFitter  # pyright: ignore[reportMissingImports]
    from lifelines.statistics import (  # pyright: ignore[reportMissingImports]
        multivariate_logrank_test,
    )

    config = KaplanMeierConfig(by="group", min_at_risk=1)
    workload = KaplanMeier(Setup(task=SimpleNamespace(table=data.table), algorithm=config))
    report = workload.report(fitted(workload, data.parts()))
    times = on_grid(workload.grid, data.frame["time"])
    worst = 0.0
    for code, name in enumerate(("low", "high")):
        own = data.frame["group"].to_numpy() == code
        peer = KaplanMeierFitter().fit(times[own], data.frame["event"][own])
        for group, time, _, _, survival, _, low, high in report.rows:
            if group == f"group={name}":
                due = [peer.survival_function_at_times(time).iloc[0]]
                due += peer.confidence_interval_.loc[time].tolist()
                worst = max(worst, float(np.abs(np.subtract(due, [survival, low, high])).max()))
    test = multivariate_logrank_test(times, data.frame["group"], data.frame["event"])
    found = report.facts["log-rank test, chi-squared"]
    return {"curve": worst, "log-rank": abs(found / test.test_statistic - 1)}


def main() -> None:
    """Print the gaps of every data set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survival", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    if find_spec("lifelines") is None:
        sys.exit(f"lifelines is missing: {HOW_TO_INSTALL}")
    warnings.filterwarnings("ignore")
    cases: list[dict[str, Any]] = []
    for name in DATA_SETS:
        data = read(name)
        kinds = {
            "Kaplan-Meier": curve_gaps(data),
            "Cox, strata=participant": cox_gaps(data, Strata.participant),
            "Cox, strata=none, min_at_risk=1": cox_gaps(data, Strata.none, min_at_risk=1),
            "Cox, strata=none": cox_gaps(data, Strata.none),
        }
        print(f"{name}: {len(data.frame)} records, {data.frame['event'].sum():.0f} events")
        for kind, gaps in kinds.items():
            told = ", ".join(f"{what} {gap:.1e}" for what, gap in gaps.items())
            print(f"  {kind:32} {told}")
            cases.append({"data": name, "kind": kind, **gaps})
    if options.json:
        write_json(options.json, "survival", {"cases": cases})


if __name__ == "__main__":
    main()
