"""The settings and the result that both systems of the MNIST benchmark share."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.builders.workload import build_task
from app.config.load import load_config
from tasks.base import DataSource, Task
from tasks.records import Examples, LocalData

NUM_SILOS = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The training settings of all private rows.

    Attributes
    ----------
    epsilon, delta : float
        For every image.
    num_rounds : int
        Steps, one a round.
    batch_size : int
        Expected records in a step, of all silos together; divides ``num_records``, as Opacus
        takes the rate from the batches of an epoch.
    num_records : int
        Training images of all silos.
    clip_norm : float
        The clip norm of each image's gradient.
    learning_rate, beta_1, beta_2, tau : float
        Adam's, on the server: on noisy sums only.
    average_from : int
        The model is the mean of those from this round on.
    """

    epsilon: float = 3.0
    delta: float = 1e-5
    num_rounds: int = 100
    batch_size: int = 1000
    num_records: int = 60_000
    clip_norm: float = 1.0
    learning_rate: float = 0.02
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-6
    average_from: int = 91

    def __post_init__(self) -> None:
        if self.num_records % self.batch_size:
            raise ValueError(
                f"batch_size={self.batch_size}: must divide num_records={self.num_records}"
            )

    @property
    def sampling_rate(self) -> float:
        """The chance of each record to be in a step."""
        return self.batch_size / self.num_records

    def __str__(self) -> str:
        return (
            f"epsilon {self.epsilon:g}, delta {self.delta:g}, {self.num_rounds} rounds of one"
            f" step on {self.batch_size} expected images, clip {self.clip_norm:g}, Adam"
            f" {self.learning_rate:g}, mean of rounds {self.average_from}-{self.num_rounds}"
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one training.

    Attributes
    ----------
    accuracy : float
        On MNIST's test images.
    noise_multiplier : float or None
        The noise multiplier of the run; None without noise.
    seconds_per_round : float
        Median over the rounds.
    """

    accuracy: float
    noise_multiplier: float | None
    seconds_per_round: float


def pooled(data_dir: Path, seed: int, model: str = "cnn") -> tuple[Task, LocalData]:
    """Return the task and all of MNIST, as one node has it and a model takes it.

    Raises
    ------
    DataError
        If the files are missing or wrong.
    """
    given = {"task": "mnist", "data-dir": str(data_dir), "seed": seed}
    config = load_config({**given, "overrides": f"task.model={model}"})
    task = build_task(config)
    return task, task.load(DataSource(0, 1, data_dir))


def accuracy(task: Task, model: nn.Module, test: Examples) -> float:
    """Return the share of test images that the model gets right."""
    from tasks.training.local import evaluate

    sums = evaluate(task, model, test)
    return sums["accuracy"] / sums["num_examples"]


def median(seconds: list[float] | NDArray[np.float64]) -> float:
    """Return the median of the rounds' times."""
    return float(np.median(seconds))


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder with MNIST, which TACET_DATA_DIR stands in for."""
    given = os.environ.get("TACET_DATA_DIR")
    parser.add_argument(
        "--data-dir",
        type=Path,
        required=not given,
        default=Path(given) / "mnist" if given else None,
        help="folder with MNIST's four files (default: mnist in $TACET_DATA_DIR)",
    )
