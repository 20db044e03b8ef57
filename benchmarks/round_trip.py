"""How long a round takes, and how much of it is training.

    python -m benchmarks.round_trip --clients 5 10 50

Each row is a real ``flwr run`` of the task ``digits`` on a SuperLink of its own.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from app.build import build_task, proximal_mu
from app.config import Scalar, load_config
from app.simulation import SimulationError, flwr_run, read_summary, superlink
from benchmarks.report import machine_line, table, write_json
from tasks.base import Node
from tasks.training import evaluate, initial_model, train

_EPILOG = """\
first s    the first round, in which Ray starts its workers and they import torch
round s    median of the other rounds
floor s    the training and scoring of all clients, the fastest of several passes in one
           process with one thread, divided by the number of Ray's workers (one for each
           CPU, each client takes one): no round on this machine can be faster
training   floor / round: what share of a round is training
x floor    round / floor"""

#: What all rows train.
TRAINING: dict[str, Scalar] = {"task": "digits", "algorithm": "fedavg"}
#: Name of a row to what it adds to the run config.
SYSTEMS: dict[str, dict[str, Scalar]] = {"plain": {"aggregation": "plain"}}
HEADERS = ("system", "clients", "first s", "round s", "floor s", "training", "x floor")

_FLOOR_REPEATS = 10


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    system : str
        A key of ``SYSTEMS``.
    clients : int
        Simulated clients.
    seconds : list of float
        Wall time of each round, in order.
    floor : float
        Seconds that the training of one round takes at least on this machine.
    """

    system: str
    clients: int
    seconds: list[float]
    floor: float

    def figures(self) -> dict[str, object]:
        """Return what was measured and what follows from it."""
        return {
            **asdict(self),
            "first_round": self.seconds[0],
            "median_round": self.median,
            "training_share": self.floor / self.median,
            "times_floor": self.median / self.floor,
        }

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        return [
            *(self.system, str(self.clients)),
            *(f"{value:.3f}" for value in (self.seconds[0], self.median, self.floor)),
            *(f"{self.floor / self.median:.0%}", f"{self.median / self.floor:.1f}"),
        ]

    @property
    def median(self) -> float:
        """The median round, without the first."""
        return statistics.median(self.seconds[1:])


def measure_floor(num_clients: int, workers: int) -> float:
    """Return the seconds that one round's training takes if nothing else takes any.

    Parameters
    ----------
    num_clients : int
        How many clients share the data.
    workers : int
        Processes that train at the same time, with one thread each.
    """
    # As Ray sets it in a worker that was given one CPU.
    torch.set_num_threads(1)
    config = load_config(TRAINING)
    task, mu = build_task(config), proximal_mu(config)
    parts = [task.load(Node(k, num_clients)) for k in range(num_clients)]
    rng = np.random.default_rng(config.seed)
    totals: list[float] = []
    for _ in range(_FLOOR_REPEATS):
        total = 0.0
        for part in parts:
            model = initial_model(task)
            started = time.perf_counter()
            evaluate(task, model, part.test)
            train(task, model, part.train, rng, mu)
            total += time.perf_counter() - started
        totals.append(total)
    # The least: what torch sets up once and whatever else the machine does only adds. Fewer
    # clients than workers leave some of these idle.
    return min(totals) / min(workers, num_clients)


def measure_rounds(
    environment: dict[str, str],
    run_config: Mapping[str, Scalar],
    num_clients: int,
    num_rounds: int,
) -> list[float]:
    """Return the seconds of each round of one ``flwr run``.

    Parameters
    ----------
    environment : dict
        What ``superlink`` yielded.
    run_config : mapping
        For ``flwr run``; ``num-rounds`` and ``output-dir`` are added.
    num_clients : int
        Simulated clients.
    num_rounds : int
        At least 2.

    Raises
    ------
    SimulationError
        If the run did not end well, or a client did not answer. The message has its log.
    """
    with tempfile.TemporaryDirectory(prefix="tacet-") as home:
        folder = Path(home) / "run"
        values = {**run_config, "num-rounds": num_rounds, "output-dir": str(folder)}
        # JSON's strings and numbers are TOML's.
        pairs = " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
        log = flwr_run(environment, pairs, num_clients)
        try:
            read_summary(folder)
        except SimulationError as error:
            raise SimulationError(f"{log}\n{error}") from None
        text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    reports = [json.loads(line) for line in text.splitlines()]
    if any(report["num_replies"] != num_clients for report in reports):
        raise SimulationError(f"{log}\nnot all {num_clients} clients answered")
    return [report["seconds"] for report in reports]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    workers = os.cpu_count() or 1
    load = os.getloadavg()[0]
    # First, while nothing of Flower or Ray runs beside it.
    floors = {clients: measure_floor(clients, workers) for clients in options.clients}
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory(prefix="tacet-") as home, superlink(Path(home)) as env:
            for system, run_config in SYSTEMS.items():
                for clients, floor in floors.items():
                    values = TRAINING | run_config
                    seconds = measure_rounds(env, values, clients, options.rounds)
                    rows.append(Row(system, clients, seconds, floor))
    except SimulationError as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 1
    print(table(HEADERS, [row.cells() for row in rows]))
    print(f"\n{options.rounds} rounds of digits each, {workers} Ray workers")
    print(f"load average before: {load:.2f}; what else ran made the rounds slower")
    print(machine_line())
    if options.json:
        figures = {"rounds": options.rounds, "workers": workers, "load_before": load}
        figures |= {"rows": [row.figures() for row in rows]}
        write_json(options.json, "round_trip", figures)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.round_trip",
        description="Measure the seconds a round of `digits` takes through `flwr run`, and what"
        " share of them is training.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--clients",
        type=_at_least_two,
        nargs="+",
        default=[5, 10, 50],
        help="simulated clients, one row each (%(default)s)",
    )
    parser.add_argument(
        "--rounds", type=_at_least_two, default=6, help="rounds of each run (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


def _at_least_two(text: str) -> int:
    """Parse a number: a run needs two clients, and a median a round after the first."""
    if int(text) < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
