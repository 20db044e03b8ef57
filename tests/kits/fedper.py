"""Runs in which a part of the model stays on each node, and FedPer by hand."""

from pathlib import Path

import numpy as np

from app.builders.workload import build_workload
from app.config.load import load_config
from app.results.model_file import load_model, read_model
from app.round.contribute import rng_of
from tasks.base import DataSource
from tasks.training.local import (
    evaluate,
    get_parameters,
    initial_model,
    seed_torch,
    set_parameters,
    train,
)
from tasks.training.personal import get_personal, set_personal

NUM = 3
_WORDS = "task.personal=[classifier] task.training.num_steps=3"
HEAD = {"classifier.weight", "classifier.bias"}
_ROUNDED = 2e-5


def run_of(tmp_path, nodes=None, words="", **more):
    return {
        "task": "digits",
        "aggregation": "plain",
        "num-rounds": 2,
        "deterministic": True,
        "output-dir": str(tmp_path / "run"),
        "overrides": f"{_WORDS} {words}",
        **({"simulation-nodes": str(nodes.file)} if nodes else {}),
    } | {key.replace("_", "-"): value for key, value in more.items()}


class ByHand:
    """FedPer without anything of a run: the shared part's mean, a head for each node."""

    def __init__(self, run_config) -> None:
        self.config = load_config(run_config)
        self.task = build_workload(self.config).task
        model = initial_model(self.task)
        self.shared = get_parameters(model)
        self.heads = [get_personal(model) for _ in range(NUM)]
        self.data = [self.task.load(DataSource(node, NUM)) for node in range(NUM)]

    def model(self, node):
        model = initial_model(self.task)
        set_parameters(model, self.shared)
        set_personal(model, self.heads[node])
        return model

    def round(self, number):
        found = []
        for node in range(NUM):
            model = self.model(node)
            rng = rng_of(self.config, node, number, secure=False)
            seed_torch(int(rng.integers(2**63)))
            train(self.task, model, self.data[node].train, rng, 0.0)
            self.heads[node] = get_personal(model)
            found.append((len(self.data[node].train), get_parameters(model)))
        total = sum(count for count, _ in found)
        self.shared = {
            name: np.float32(sum(count / total * arrays[name] for count, arrays in found))
            for name in self.shared
        }

    def scores(self):
        sums = [evaluate(self.task, self.model(i), self.data[i].test) for i in range(NUM)]
        count = sum(one["num_examples"] for one in sums)
        return {name: sum(one[name] for one in sums) / count for name in ("loss", "accuracy")}

    def require_like(self, nodes, folder):
        """Compare the run's model, and each node's own part, with these.

        Means are summed in another order here, and training makes more of the difference: as
        much as 5e-6 on some processors. The heads of two nodes are further apart.
        """
        file = Path(folder) / "model.safetensors"
        found = read_model(file).state.arrays
        assert not HEAD & found.keys()
        for name, values in self.shared.items():
            np.testing.assert_allclose(found[name], values, atol=_ROUNDED)
        for node in range(NUM):
            _, model = load_model(file, nodes.state(node))
            for name, values in get_personal(model).items():
                np.testing.assert_allclose(values, self.heads[node][name], atol=_ROUNDED)
                assert np.abs(values - self.heads[node - 1][name]).max() > 1e-4


def heads_of(folder, nodes):
    file = Path(folder) / "model.safetensors"
    return [get_personal(load_model(file, nodes.state(node))[1]) for node in range(NUM)]


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        for name, values in left.items():
            np.testing.assert_array_equal(values, right[name])
