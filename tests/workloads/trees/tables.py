"""Workloads of trees over the made-up tables of the histograms' tests, with states to ask."""

from types import SimpleNamespace

import numpy as np

from privacy.mode import Mode
from tasks.records import Examples, LocalData
from tests.workloads.histograms.tables import DISTRIBUTED, LABELS, records, table
from workloads.base import Setup
from workloads.trees.config import ForestConfig, GbdtConfig, Structure, TreeConfig
from workloads.trees.forest import Forest, Tree
from workloads.trees.gbdt import Gbdt
from workloads.trees.summed import TreeSum
from workloads.values import Aggregate, Query, State

NUM_ROUNDS, NUM_AT_ONCE, DEPTH = 8, 4, 3
KINDS = {"gbdt": Gbdt, "forest": Forest, "tree": Tree}
_CONFIGS = {"gbdt": GbdtConfig, "forest": ForestConfig, "tree": TreeConfig}


def workload(
    name: str, label: str = "binary", *, mode: Mode | None = None, noise: float = 0.0, **keys
) -> TreeSum:
    """Return a workload over a table whose label is of this kind."""
    config = _CONFIGS[name](**keys)
    config.settle(mode, NUM_ROUNDS, is_settled=False)
    task = SimpleNamespace(table=table(label), made_up=lambda n: records(label, n), seed=7)
    setup = Setup(task=task, algorithm=config, mode=mode, noise=noise, num_rounds=NUM_ROUNDS)
    return KINDS[name](setup)


def random_trees(label: str, *, mode: Mode | None = DISTRIBUTED, noise: float = 0.0, **keys):
    """Return boosted trees of random structure."""
    given = {"trees_per_round": NUM_AT_ONCE, "max_depth": DEPTH, "structure": Structure.random}
    return workload("gbdt", label, mode=mode, noise=noise, **(given | keys))


def nothing(workload: TreeSum, state: State) -> Aggregate:
    return Aggregate(np.zeros(workload.length(state)), {}, 1.0)


def random_states(workload: TreeSum, size: float, seed: int = 0) -> dict[str, State]:
    """Return a state of each step, with trees of random structure and values of any size."""
    draws = np.random.default_rng(seed)
    found, state = {}, workload.initial_state()
    for server_round in range(1, 5):
        arrays = dict(state.arrays)
        for name in ("curves", "base", "intercepts", "scalars", "value"):
            arrays[name] = draws.normal(scale=size, size=arrays[name].shape)
        found[state.header["step"]] = State(arrays, state.header)
        state = workload.apply(state, nothing(workload, state), server_round, None)
    return found


def pooled(workload: TreeSum, examples: Examples, num_rounds: int) -> list[State]:
    """Return the states of a run over one node, the first before its first round."""
    states = [workload.initial_state()]
    data = LocalData(examples, examples.take(np.zeros(0, np.intp)))
    for server_round in range(1, num_rounds + 1):
        if workload.is_finished(states[-1]):
            break
        found = workload.contribute(states[-1], Query(server_round), data, None)
        total = Aggregate(found.update, {}, 1.0)
        states.append(workload.apply(states[-1], total, server_round, None))
    return states


__all__ = ["DISTRIBUTED", "LABELS", "records"]
