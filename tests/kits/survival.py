"""Made-up times to an event, files of them, and what they come to by the books' formulas."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tasks.records import Examples, LocalData
from tasks.table import Column, Table
from tests.kits.csv_kit import write
from workloads.base import Setup, Workload
from workloads.values import Aggregate, Query, State

LONGEST = 60.0
YAML = """
defaults: [csv_schema, _self_]
label: {time: {column: months, max: 60}, event: died}
numeric: {age: {min: 20, max: 100}, dose: {min: 0, max: 8}}
categorical: {sex: {categories: [f, m]}}
"""
COLUMNS = (
    Column("age", 20, 100),
    Column("dose", 0, 8),
    Column("sex", categories=("f", "m")),
)
TABLE = Table(COLUMNS, (), Column("months", 0, LONGEST), "died")


def made_up(num: int, seed: int = 0, *, whole: bool = True) -> Examples:
    """Return records whose hazard grows with age and falls with the dose."""
    rng = np.random.default_rng(seed)
    age, dose = rng.uniform(30, 90, num).round(1), rng.uniform(0, 7, num).round(2)
    sex = rng.integers(2, size=num).astype(float)
    rate = np.exp(0.03 * (age - 60) - 0.15 * dose + 0.4 * sex) / 25
    died_at, left_at = rng.exponential(1 / rate), rng.uniform(5, 75, num)
    time, event = np.minimum(died_at, left_at), (died_at <= left_at).astype(float)
    if whole:
        time = np.ceil(time)
    event[time > LONGEST] = 0
    columns = np.column_stack([age, dose, sex])
    return examples(columns, np.column_stack([np.minimum(time, LONGEST), event]))


def examples(columns: np.ndarray, targets: np.ndarray) -> Examples:
    inputs = np.zeros((len(columns), 1), np.float32)
    return Examples(inputs, np.asarray(targets, float), np.asarray(columns, float))


def data(records: Examples) -> LocalData:
    return LocalData(records, records.take(np.zeros(0, np.intp)))


def dealt(records: Examples, num_nodes: int, seed: int = 1) -> list[Examples]:
    """Deal records to nodes of different sizes."""
    shares = np.arange(1, num_nodes + 1) / (num_nodes * (num_nodes + 1) / 2)
    node = np.random.default_rng(seed).choice(num_nodes, size=len(records), p=shares)
    return [records.take(np.flatnonzero(node == one)) for one in range(num_nodes)]


def workload(cls: type[Workload], config: Any, table: Table = TABLE, **setup: Any) -> Any:
    """Return a workload of a table, as a task would have it."""
    task = SimpleNamespace(table=table, made_up=lambda num: made_up(num))
    return cls(Setup(task=task, algorithm=config, **setup))


def one_round(work: Any, state: State, parts: list[Examples], server_round: int = 1) -> State:
    """Return the state after a round over the sums of nodes, with no aggregation between."""
    query, rng = Query(server_round), np.random.default_rng(0)
    sums = [work.contribute(state, query, data(part), rng).update for part in parts]
    assert all(each.dtype == np.int64 for each in sums)
    total = np.sum(sums, axis=0)
    assert total.shape == (work.length(state),)
    aggregate = Aggregate(total.astype(np.float64), {}, float(len(parts)))
    return work.apply(state, aggregate, server_round, None)


def fitted(work: Any, parts: list[Examples], state: State | None = None) -> State:
    """Run rounds until the workload has finished, or 30."""
    state = work.initial_state() if state is None else state
    for server_round in range(1, 31):
        state = one_round(work, state, parts, server_round)
        if work.is_finished(state):
            break
    return state


def files(folder: Path, parts: list[Examples]) -> Path:
    """Write a file for each node; return the list of nodes for a simulation."""
    for node, part in enumerate(parts):
        rows = [
            f"{age!r},{dose!r},{'fm'[int(sex)]},{time!r},{event:g}"
            for (age, dose, sex), (time, event) in zip(
                part.columns.tolist(), part.targets.tolist(), strict=True
            )
        ]
        write(folder, *rows, header="age,dose,sex,months,died", name=f"{node}.csv")
    nodes = [f"- data-path: {folder}/{node}.csv" for node in range(len(parts))]
    (folder / "nodes.yaml").write_text("\n".join(nodes))
    return folder / "nodes.yaml"


def partial_likelihood(x, time, event, beta) -> tuple[Any, Any, Any]:
    """Return log likelihood, score and information, event by event, in extended precision."""
    x, beta = np.asarray(x, np.longdouble), np.asarray(beta, np.longdouble)
    height = x @ beta
    risk = np.exp(height - height.max())
    p = x.shape[1]
    log, score, information = np.longdouble(0), np.zeros(p, "g"), np.zeros((p, p), "g")
    for at in np.unique(time[event == 1]):
        dying, there = (time == at) & (event == 1), time >= at
        num = int(dying.sum())
        for number in range(num):
            weight = risk * there - np.longdouble(number) / num * risk * dying
            total = weight.sum()
            mean = weight @ x / total
            log -= np.log(total)
            score -= mean
            information += (x * weight[:, None]).T @ x / total - np.outer(mean, mean)
        log += (height[dying] - height.max()).sum()
        score += x[dying].sum(axis=0)
    return log, score, information


def cox(x, time, event, strata=None) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit by Newton's method; return coefficients, standard errors, the log likelihood."""
    strata = np.zeros(len(x)) if strata is None else strata
    # About the mean, or digits are lost; the coefficients are the same.
    x = np.asarray(x, np.longdouble)
    x = x - x.mean(axis=0)
    beta = np.zeros(x.shape[1], np.longdouble)
    step, last = np.zeros_like(beta), -np.inf
    for _ in range(40):
        parts = [
            partial_likelihood(
                x[strata == one], time[strata == one], event[strata == one], beta
            )
            for one in np.unique(strata)
        ]
        log, score, information = (sum(part[i] for part in parts) for i in range(3))
        if not log >= last - 1e-12:
            step = step / 2
            beta = beta - step
            continue
        inverse, last = extended_inverse(information), log
        step = inverse @ score
        beta = beta + step
    return beta.astype(float), np.sqrt(np.diag(inverse)).astype(float), float(log)


def extended_inverse(matrix):
    """Return the inverse in extended precision: numpy's in double, refined."""
    scale = 1 / np.sqrt(np.diag(matrix))
    scaled = matrix * scale * scale[:, None]
    inverse = np.linalg.inv(scaled.astype(float)).astype(np.longdouble)
    for _ in range(6):
        inverse = inverse @ (2 * np.eye(len(matrix), dtype=np.longdouble) - scaled @ inverse)
    return inverse * scale * scale[:, None]


def joined(*parts: Examples) -> Examples:
    columns = np.concatenate([part.columns for part in parts])
    return examples(columns, np.concatenate([part.targets for part in parts]))


def table_with(**bounds: tuple[float, float]) -> Table:
    """Return the table with other bounds of some columns."""
    columns = [Column(c.name, *bounds[c.name]) if c.name in bounds else c for c in COLUMNS]
    return Table(tuple(columns), (), TABLE.label, TABLE.event)


def corners() -> np.ndarray:
    """Return a record for each combination of bounds and categories."""
    return np.array([[a, d, s] for a in (20, 100) for d in (0, 8) for s in (0, 1)], float)


def table_until(longest: float) -> Table:
    """Return the table with another longest time."""
    return Table(COLUMNS, (), Column("months", 0, longest), "died")
