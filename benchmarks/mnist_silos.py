"""Tacet's rows of the MNIST benchmark: both apps in one process, ten silos."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from app.builders.privacy import privacy_plan
from app.builders.workload import build_workload
from app.config.load import Scalar, load_config
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from benchmarks.mnist_settings import NUM_SILOS, Result, Settings, accuracy, median, pooled
from tasks.base import DataSource
from tasks.mnist import Mnist
from tasks.records import LocalData


def run_fedavg(data_dir: Path, num_rounds: int, seed: int) -> Result:
    """Train without privacy: an epoch a round, with the settings of the task's YAML."""
    return run_silos(data_dir, {"num-rounds": num_rounds, "algorithm": "fedavg"}, seed)


def run_private(
    data_dir: Path, settings: Settings, min_survivors: int, max_colluding: int, seed: int
) -> Result:
    """Train with ``example_distributed`` under secure aggregation."""
    return run_silos(data_dir, private_config(settings, min_survivors, max_colluding), seed)


def private_config(
    settings: Settings, min_survivors: int, max_colluding: int
) -> dict[str, Scalar]:
    """Return the run config of training with ``example_distributed``, by Adam on the server."""
    overrides = {
        "aggregation.min_survivors": min_survivors,
        "aggregation.max_colluding": max_colluding,
        "algorithm.server_learning_rate": settings.learning_rate,
        "algorithm.beta_1": settings.beta_1,
        "algorithm.beta_2": settings.beta_2,
        "algorithm.tau": settings.tau,
        "algorithm.average_from": settings.average_from,
        # The server's rate counts; this one makes the update the mean gradient.
        "privacy.learning_rate": 1,
        "privacy.epsilon": settings.epsilon,
        "privacy.delta": settings.delta,
        "privacy.sampling_rate": settings.sampling_rate,
        "privacy.expected_batch_size": settings.batch_size,
        "privacy.clip_norm": settings.clip_norm,
        "privacy.population": NUM_SILOS,
    }
    return {
        "privacy": "example_distributed",
        "algorithm": "fedadam",
        "num-rounds": settings.num_rounds,
        "overrides": " ".join(f"{key}={value}" for key, value in overrides.items()),
    }


def run_silos(
    data_dir: Path, run_config: Mapping[str, Scalar], seed: int, model: str = "cnn"
) -> Result:
    """Run both apps with these keys over ten masked silos, and score the last model.

    ``model`` is ``task.model``, which must be in the keys too where it is not the default.
    """
    given: dict[str, Scalar] = {"task": "mnist", "aggregation": "secagg"}
    given |= {"data-dir": str(data_dir), "seed": seed, **run_config}
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory(prefix="tacet-") as name, parts_in_memory():
        folder = Path(name)
        simulate({**given, "output-dir": name}, NUM_SILOS)
        _, trained = load_model(folder / "model.safetensors")
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    task, data = pooled(data_dir, seed, model)
    noise = None
    if "privacy" in given:
        size = sum(parameter.numel() for parameter in trained.parameters())
        config = load_config(given)
        noise = privacy_plan(config, build_workload(config), size).noise_multiplier
    return Result(
        accuracy=accuracy(task, trained, data.test),
        noise_multiplier=noise,
        seconds_per_round=median([json.loads(line)["seconds"] for line in lines]),
    )


@contextmanager
def parts_in_memory() -> Iterator[None]:
    """Keep each silo's images in memory from round to round.

    One process runs all ten silos in turn; dividing the data set anew for each message would
    take as long as the training.
    """
    load, parts = Mnist.load, dict[DataSource, LocalData]()

    def remember(self: Mnist, source: DataSource) -> LocalData:
        if source not in parts:
            parts[source] = load(self, source)
        return parts[source]

    Mnist.load = remember
    try:
        yield
    finally:
        Mnist.load = load
