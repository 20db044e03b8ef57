"""The workload `marginals` over the made-up tables of `statistics`."""

from types import SimpleNamespace

import numpy as np

from privacy.mode import Mode
from tasks.records import Examples, LocalData
from tasks.table import Table, table_csv
from tests.workloads.statistics.tables_kit import COLUMNS, DISTRIBUTED, LABELS, records
from workloads.base import Setup
from workloads.marginals.config import MarginalsConfig
from workloads.marginals.marginals import Marginals
from workloads.values import Aggregate, Query, State

PRIVACY = SimpleNamespace(plan=SimpleNamespace(terms=SimpleNamespace(sampling_rate=1.0)))


def marginals(
    label: str = "classes",
    mode: Mode | None = None,
    table=COLUMNS,
    missing="",
    rounds=3,
    **keys,
) -> Marginals:
    """Return the workload over a table with this label."""
    config = MarginalsConfig(**keys)
    config.settle(mode, rounds, is_settled=False)
    own = LABELS[label]
    made = Table(table, own.categories, own)
    task = SimpleNamespace(table=made, seed=0, missing_text=missing)
    task.made_up = lambda num: records(num, label, columns=table)
    task.to_csv = lambda columns, labels: table_csv(made, columns, labels)
    return Marginals(Setup(task=task, algorithm=config, mode=mode, num_rounds=rounds))


def local(some: Examples) -> LocalData:
    return LocalData(some, some.take(np.zeros(0, np.intp)))


def counted(workload: Marginals, some: Examples) -> State:
    """Return the state after two exact rounds over these records."""
    state = workload.initial_state()
    for server_round in (1, 2):
        if not workload.is_finished(state):
            given = workload.contribute(state, Query(server_round), local(some), None)
            total = given.update.astype(np.float64)
            state = workload.apply(state, Aggregate(total, {}, 1.0), server_round, None)
    return state


def noised(workload: Marginals, some: Examples, noise: float, seed: int) -> State:
    """Return the state after all rounds, with noise drawn here, not by the code under test."""
    draws, state = np.random.default_rng(seed), workload.initial_state()
    for server_round in range(1, workload.setup.num_rounds + 1):
        sums = workload.terms(state, Query(server_round), some).sum(axis=0)
        sums += draws.normal(scale=noise, size=len(sums))
        state = workload.apply(state, Aggregate(sums, {}, 1.0, noise), server_round, None)
    return state


def any_groups(workload: Marginals, draws: np.random.Generator) -> State:
    """Return a state that a malicious server may send: any groups that pass the check."""
    layout = workload._layout
    groups = [
        draws.integers(draws.integers(1, layout.most_groups(one) + 1), size=one.num_cells)
        for one in layout.variables
    ]
    arrays = {
        "singles": draws.choice([0.0, -1e300, 1e300, 3.0], layout.num_singles),
        "groups": np.concatenate(groups).astype(np.float64),
        "tables": np.zeros(0),
    }
    return State(arrays, {"noise": -1.0, "table_noise": 1e300, "num_tables": 5})


__all__ = ["DISTRIBUTED", "LABELS", "records"]
