"""A plain Flower app for comparison: FedAvg with train and evaluate on `digits`.

Task, model, data and local training are this project's, so that only the way of a round
differs. ``run`` copies this file and ``tasks`` into a folder of their own and submits that.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from tasks.base import DataSource, Task
from tasks.digits import Digits, DigitsConfig
from tasks.records import LocalData
from tasks.schema import Optimizer, PartitionConfig, TrainingConfig

if TYPE_CHECKING:
    from torch import nn

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "benchmarks"
fab-include = ["*.py", "tasks/**/*.py"]

[tool.flwr.app.components]
serverapp = "{module}:server"
clientapp = "{module}:client"

[tool.flwr.app.config]
num-rounds = 2
output-file = ""
idle = false
"""

_MANY_CLIENTS = 150

server = ServerApp()
client = ClientApp()


class Timed(FedAvg):
    """FedAvg that records seconds, CPU seconds here and the number of replies of each round.

    Parameters
    ----------
    file : Path, optional
        Gets a line of JSON at the end of each round.
    """

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self.rounds: list[dict[str, float]] = []
        self._file = file
        self._started = self._cpu = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Start the clock of a round."""
        self._started, self._cpu = time.perf_counter(), time.process_time()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Stop the clock of a round."""
        answers = list(replies)
        metrics = super().aggregate_evaluate(server_round, answers)
        seconds = time.perf_counter() - self._started
        good = sum(not answer.has_error() for answer in answers)
        cpu = time.process_time() - self._cpu
        self.rounds.append({"seconds": seconds, "cpu": cpu, "num_replies": good})
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as lines:
                print(json.dumps(self.rounds[-1]), file=lines)
        return metrics


def build_task(num_clients: int = 1) -> Task:
    """Return `digits` as its YAML has it; with many clients as `few_records` says."""
    training = TrainingConfig(
        optimizer=Optimizer.sgd, learning_rate=0.1, momentum=0.9, batch_size=32, num_epochs=2
    )
    more: dict[str, Any] = {}
    if fraction := few_records(num_clients):
        more = {"partition": PartitionConfig(min_examples=1), "test_fraction": fraction}
    return Digits(DigitsConfig(training=training, **more), 0)


def few_records(num_clients: int) -> float:
    """Return the share to hold out where each client has few of the 1,797 records, else 0.

    Under 18 records a client the task refuses, and a client of two whose records are both held
    out has none to train on.
    """
    return 0.002 if num_clients > _MANY_CLIENTS else 0.0


@server.main()
def _main(grid: Grid, context: Context) -> None:
    from tasks.training.local import initial_model

    output = Path(str(context.run_config["output-file"]))
    strategy, arrays = Timed(lines_of(output)), _record(initial_model(build_task()))
    strategy.start(grid, arrays, num_rounds=int(str(context.run_config["num-rounds"])))
    output.write_text(json.dumps(strategy.rounds), encoding="utf-8")


@client.train()
def _train(message: Message, context: Context) -> Message:
    from tasks.training.local import initial_model, set_parameters, train

    if context.run_config.get("idle"):
        content = {"arrays": message.content["arrays"], "metrics": _one_example()}
        return Message(RecordDict(content), reply_to=message)
    task, data = load(context)
    model = initial_model(task)
    set_parameters(model, _arrays(message))
    result = train(task, model, data.train, np.random.default_rng(), 0.0)
    metrics = {"num-examples": result.num_examples, "train_loss": result.mean_loss}
    content = {"arrays": _record(model), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


@client.evaluate()
def _evaluate(message: Message, context: Context) -> Message:
    from tasks.training.local import evaluate, initial_model, set_parameters

    if context.run_config.get("idle"):
        return Message(RecordDict({"metrics": _one_example()}), reply_to=message)
    task, data = load(context)
    model = initial_model(task)
    set_parameters(model, _arrays(message))
    sums = evaluate(task, model, data.test)
    count = int(sums.pop("num_examples"))
    metrics = {"num-examples": count, **{k: v / max(1, count) for k, v in sums.items()}}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


def _one_example() -> MetricRecord:
    return MetricRecord({"num-examples": 1})


def load(context: Context) -> tuple[Task, LocalData]:
    """Return the task and this node's part of its data."""
    partition, parts = (context.node_config[k] for k in ("partition-id", "num-partitions"))
    task = build_task(int(str(parts)))
    return task, task.load(DataSource(int(str(partition)), int(str(parts))))


def _record(model: nn.Module) -> ArrayRecord:
    from tasks.training.local import get_parameters

    return ArrayRecord({k: Array(v) for k, v in get_parameters(model).items()})


def _arrays(message: Message) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in message.content.array_records["arrays"].items()}


def write_app(folder: Path, module: str = "flower_fedavg") -> None:
    """Write an app into an empty folder, as ``flwr run`` wants it.

    Parameters
    ----------
    folder : Path
    module : str
        This one, or one beside it that uses it.
    """
    here = Path(__file__).resolve()
    for name in {here.stem, module}:
        shutil.copy(here.with_name(f"{name}.py"), folder)
    shutil.copytree(here.parent.parent / "tasks", folder / "tasks")
    project = _PROJECT.replace("{module}", module)
    project = project.replace("{name}", module.replace("_", "-"))
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")


def run(
    environment: dict[str, str],
    num_clients: int,
    num_rounds: int,
    folder: Path,
    *,
    idle: bool = False,
) -> tuple[list[dict[str, float]], str]:
    """Run the app through ``flwr run``.

    Parameters
    ----------
    environment : dict
        What ``app.simulation.superlink.superlink`` yielded.
    num_clients, num_rounds : int
    folder : Path
        An empty one, for the app.
    idle : bool
        Whether clients answer at once, without training or scoring.

    Returns
    -------
    list of dict, str
        Each round's ``seconds``, ``cpu`` seconds of the server's process and ``num_replies``,
        empty if the run failed; and the log.
    """
    write_app(folder)
    output = rounds_file(folder)
    command = [str(Path(sys.executable).parent / "flwr"), "run", str(folder), "--stream"]
    command += [
        "--federation-config",
        f"num-supernodes={num_clients} client-resources-num-cpus=1",
        "--run-config",
        f"num-rounds={num_rounds} output-file={json.dumps(str(output))}"
        f" idle={json.dumps(idle)}",
    ]
    finished = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    rounds = json.loads(output.read_text(encoding="utf-8")) if output.exists() else []
    return rounds, finished.stdout


def rounds_file(folder: Path) -> Path:
    """Return where ``run`` in a folder leaves its rounds."""
    return folder / "rounds.json"


def lines_of(output: Path) -> Path:
    """Return the file beside that which gets a line at the end of each round."""
    return output.with_suffix(".jsonl")
