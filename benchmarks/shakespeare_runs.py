"""Runs of the Shakespeare benchmark: pooled, federated and private models of the plays."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.config.load import Scalar, load_config
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.base import DataSource, Task
from tasks.records import LocalData
from tasks.sequences import NO_TARGET
from tasks.shakespeare import Shakespeare
from tasks.training.local import evaluate, initial_model, seed_torch

NUM_NODES = 10
PRIVATE_EPSILON = 8.0

_POOLED_EPOCHS = 8
_LEARNING_RATE = 0.004
_BATCH = 16
_WINDOW = "task.length=256 task.training.batch_size=16"
_FEDERATED_ROUNDS = 20
_FEDERATED = "task.length=128 task.training.batch_size=8 task.training.learning_rate=0.005"
_PRIVATE_ROUNDS = 40
_PRIVATE = (
    "task.length=32 task.model=tcn task.width=128 task.embedding=32 task.num_layers=2"
    " algorithm.server_learning_rate=0.01 algorithm.beta_1=0.9 algorithm.beta_2=0.99"
    " algorithm.tau=1e-8 privacy.learning_rate=1 privacy.clip_norm=1 privacy.delta=1e-5"
    f" privacy.epsilon={PRIVATE_EPSILON:g} privacy.sampling_rate=0.13"
    f" privacy.expected_batch_size=4096 privacy.population={NUM_NODES}"
    f" aggregation.min_survivors={NUM_NODES} aggregation.max_colluding=1"
)


@dataclass(frozen=True)
class Run:
    """What a run through both apps came to.

    Attributes
    ----------
    accuracy : float
        Of the last model, on the test.
    num_rounds : int
    num_bytes : float
        A node's part of what a round sends and receives.
    """

    accuracy: float
    num_rounds: int
    num_bytes: float


@dataclass(frozen=True)
class Plays:
    """The plays, and where runs may write.

    Attributes
    ----------
    folder : Path
        With ``input.txt``.
    scratch : Path
    seed : int
        Of the initial model and the batches.
    """

    folder: Path
    scratch: Path
    seed: int

    def run(self, name: str, given: Mapping[str, Scalar], num_nodes: int = NUM_NODES) -> Run:
        """Train through both apps into the folder ``name`` of the scratch folder."""
        folder = self.scratch / name
        run_config: dict[str, Scalar] = {
            "task": "shakespeare",
            "data-dir": str(self.folder),
            "seed": self.seed,
            "output-dir": str(folder),
            **given,
        }
        if given.get("aggregation") != "plain":
            # The bytes are told of a deployment.
            words = f"{given.get('overrides', '')} aggregation.key_agreement=hybrid"
            run_config["overrides"] = words
        simulate(run_config, num_nodes)
        summary = json.loads((folder / "summary.json").read_text())
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        sent = [one["bytes_up"] + one["bytes_down"] for one in map(json.loads, lines)]
        num_bytes = sum(sent) / len(sent) / num_nodes
        accuracy = summary["metrics"].get("accuracy")
        if accuracy is None:
            # A private run releases no scores; the benchmark, which has all records, may look.
            task, model = load_model(folder / "model.safetensors")
            accuracy = accuracy_of(task, model, self.all_records(task))
        return Run(accuracy, len(lines), num_bytes)

    def federated(self) -> Run:
        """Train the GRU by FedAvg, the mean of the last half of the rounds' models."""
        return self.run(
            "federated",
            {
                "num-rounds": _FEDERATED_ROUNDS,
                "overrides": averaged(_FEDERATED, _FEDERATED_ROUNDS),
            },
        )

    def private(self) -> Run:
        """Train a small network of convolutions by DP-SGD over all nodes."""
        return self.run(
            "private",
            {
                "privacy": "example_distributed",
                "algorithm": "fedadam",
                "num-rounds": _PRIVATE_ROUNDS,
                "overrides": averaged(_PRIVATE, _PRIVATE_ROUNDS),
            },
        )

    def pooled(self) -> float:
        """Return the accuracy of the GRU trained on all speakers' lines in one place."""
        task = self.task(_WINDOW)
        data = self.all_records(task)
        return accuracy_of(task, trained(task, data, _POOLED_EPOCHS, self.seed), data)

    def bigrams(self) -> float:
        """Return the accuracy of the character that most often follows the last one."""
        task = self.task("")
        data = self.all_records(task)
        inputs, targets = data.train.inputs.ravel(), data.train.targets.ravel()
        counted = targets != NO_TARGET
        counts = np.zeros((1 + int(inputs.max()),) * 2, np.int64)
        np.add.at(counts, (inputs[counted], targets[counted]), 1)
        asked = data.test.targets != NO_TARGET
        foretold = counts.argmax(axis=1)[data.test.inputs]
        return float((foretold == data.test.targets)[asked].mean())

    def task(self, words: str) -> Shakespeare:
        """Return the task with other keys."""
        config: Any = load_config({"task": "shakespeare", "overrides": words}).task
        return Shakespeare(config, self.seed)

    def all_records(self, task: Task) -> LocalData:
        """Return the records of all speakers."""
        return task.load(DataSource(data_path=self.folder))


def averaged(words: str, num_rounds: int) -> str:
    """Return overrides with the mean of the models of the last half of the rounds."""
    return f"{words} algorithm.average_from={num_rounds // 2 + 1}"


def trained(task: Shakespeare, data: LocalData, num_epochs: int, seed: int) -> torch.nn.Module:
    """Return the model trained by Adam in one place, at a rate that falls to 0 by a cosine."""
    model, rng = initial_model(task), np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    inputs, targets = map(torch.from_numpy, (data.train.inputs, data.train.targets))
    firsts = range(0, len(inputs), _BATCH)
    num_steps, step = num_epochs * len(firsts), 0
    seed_torch(seed)
    for _ in range(num_epochs):
        order = rng.permutation(len(inputs))
        for first in firsts:
            batch = order[first : first + _BATCH]
            optimizer.param_groups[0]["lr"] = (
                _LEARNING_RATE * (1 + cos(pi * step / num_steps)) / 2
            )
            loss = task.per_example_loss(model(inputs[batch]), targets[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
    return model


def accuracy_of(task: Task, model: torch.nn.Module, data: LocalData) -> float:
    """Return the share of the test's characters that are foreseen."""
    scores = evaluate(task, model, data.test)
    return scores["accuracy"] / scores["num_examples"]
