"""Train through both apps, then score the model on each silo's held-out records, outside."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from app.config.run import AppConfig
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.base import DataSource, Task
from tasks.training.local import evaluate, initial_model, seed_torch, train


def silo_accuracies(run_config: Mapping[str, Scalar], num_silos: int) -> list[float]:
    """Return the saved model's accuracy on each silo's held-out records.

    Where a part of the model stays on each silo, it is scored with the silo's own. The records
    are public, and the scores of single silos are the benchmark's alone: no run releases them.

    Raises
    ------
    DataError
        If the files are missing or wrong.
    """
    config, sources = _silos(run_config, num_silos)
    has_own = bool(config.task.personal)
    with tempfile.TemporaryDirectory(prefix="tacet-") as name:
        folder = Path(name)
        states = [folder / f"silo{number}.sqlite" for number in range(num_silos)]
        given = {**run_config, "output-dir": str(folder / "run")}
        if has_own:
            given["simulation-nodes"] = str(_nodes(folder, sources, states))
        simulate(given, num_silos)
        file = folder / "run" / "model.safetensors"
        loaded = [load_model(file, state if has_own else None) for state in states]
    pairs = zip(loaded, sources, strict=True)
    return [_accuracy(task, model, source) for (task, model), source in pairs]


def lone_accuracies(run_config: Mapping[str, Scalar], num_silos: int) -> list[float]:
    """Return the accuracy on each silo's held-out records, of a model that it trains alone.

    For as many rounds as a run has, each with the configured training.

    Raises
    ------
    DataError
        As of ``silo_accuracies``.
    """
    config, sources = _silos(run_config, num_silos)
    task, found = build_task(config), list[float]()
    for number, source in enumerate(sources):
        model, rng = initial_model(task), np.random.default_rng([config.seed, number])
        seed_torch(int(rng.integers(2**63)))
        for _ in range(config.num_rounds):
            train(task, model, task.load(source).train, rng, 0.0)
        found.append(_accuracy(task, model, source))
    return found


def _silos(
    run_config: Mapping[str, Scalar], num_silos: int
) -> tuple[AppConfig, list[DataSource]]:
    """Return the configuration and each silo's records, which are there and can be read."""
    given = run_config.get("data-dir")
    place = Path(str(given)) if given else None
    sources = [DataSource(number, num_silos, place) for number in range(num_silos)]
    config = load_config(run_config)
    # In the run, the reason would stay in the silo's own log, as it must.
    task = build_task(config)
    for source in sources:
        task.load(source)
    return config, sources


def _nodes(folder: Path, sources: list[DataSource], states: list[Path]) -> Path:
    """Write which silo has which files, as ``simulation-nodes`` has it."""
    entries = [{"state-path": str(state)} for state in states]
    for entry, source in zip(entries, sources, strict=True):
        if source.data_path is not None:
            entry["data-path"] = str(source.data_path)
    file = folder / "nodes.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file


def _accuracy(task: Task, model: Any, source: DataSource) -> float:
    score = evaluate(task, model, task.load(source).test)
    return score["accuracy"] / score["num_examples"]
