"""Train through both apps, then score the model on each silo's held-out records, outside."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.training.local import evaluate


def silo_accuracies(run_config: Mapping[str, Scalar], num_silos: int) -> list[float]:
    """Return the saved model's accuracy on each silo's held-out records.

    These are public, and the scores of single silos are the benchmark's alone: no run releases
    them.

    Raises
    ------
    DataError
        If the files are missing or wrong.
    """
    data_path = Path(str(run_config["data-dir"]))
    sources = [DataSource(number, num_silos, data_path) for number in range(num_silos)]
    # In the run, the reason would stay in the silo's own log, as it must.
    task = build_task(load_config(run_config))
    for source in sources:
        task.load(source)
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        simulate({**run_config, "output-dir": folder}, num_silos)
        task, model = load_model(Path(folder) / "model.safetensors")
    sums = [evaluate(task, model, task.load(source).test) for source in sources]
    return [score["accuracy"] / score["num_examples"] for score in sums]
