"""The time of a round, and the share of training in it.

    python -m benchmarks.round_trip --clients 10 50

Each row is a real ``flwr run`` of the task ``digits`` on one SuperLink, one after the other.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.config.load import Scalar, load_config
from app.simulation.flwr_run import flwr_run, read_summary
from app.simulation.superlink import SUPERLINK_PID, SimulationError, superlink
from benchmarks import deployment, flower_fedavg, imports
from benchmarks.process_tree import TreeWatch
from benchmarks.report import machine_line, median_round, positive, table, write_json
from benchmarks.training_floor import measure_floor
from deploy.trial_home import TrialError

_EPILOG = """\
plain and secagg are this app, with the model scored on the way to training it; hybrid is
secagg with ML-KEM-768 beside X25519, which a deployment has and a simulation has not; flower
is Flower's own FedAvg with its own loop, train and evaluate, on the same task and data; idle
is that with clients that answer at once, all that Flower's two messages a client cost.

first s    the first round, in which Ray starts its workers and they import torch
round s    median of the other rounds
floor s    the training and scoring of all clients, the fastest of several passes in one
           process with one thread, divided by the number of Ray's workers (one for each
           CPU, each client takes one): no round on this machine can be faster
training   floor / round: what share of a round is training
x floor    round / floor
x flower   round / Flower's round with as many clients
cpu s      CPU seconds of the server's process, of Ray and of all workers in a round, median
           of the rounds after the first: less disturbed by what else the machine does
x flower   that / Flower's

With more than 150 clients each has few of the 1,797 records: a client needs one, and two in
a thousand are held out. Each pass runs all systems, one after the other; the figures are over
the rounds of all passes."""

#: What all rows train.
TRAINING: dict[str, Scalar] = {"task": "digits", "algorithm": "fedavg"}
#: Rows of Flower's own app: whether its clients do nothing.
FLOWERS = {"flower": False, "idle": True}
#: Name of a row to what it adds to the run config; None for Flower's own app.
SYSTEMS: dict[str, dict[str, Scalar] | None] = {
    **dict.fromkeys(FLOWERS),
    "plain": {"aggregation": "plain"},
    "secagg": {"aggregation": "secagg"},
    "hybrid": {
        "aggregation": "secagg",
        "overrides": "aggregation.key_agreement=hybrid",
    },
}
METRICS = "metrics.jsonl"
_SUPERNODES = 3
HEADERS = (
    "system",
    "clients",
    "first s",
    "round s",
    "floor s",
    "training",
    "x floor",
    "x flower",
    "cpu s",
    "x flower",
)


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
    flower : float
        Seconds of the median round of Flower's own FedAvg.
    cpu : list of float
        CPU seconds of each round but the first of each pass.
    flower_cpu : float
        Those of Flower's median round.
    """

    system: str
    clients: int
    seconds: list[float]
    floor: float
    flower: float
    cpu: list[float]
    flower_cpu: float

    def figures(self) -> dict[str, object]:
        """Return what was measured and what follows from it."""
        return {
            **asdict(self),
            "first_round": self.seconds[0],
            "median_round": self.median,
            "training_share": self.floor / self.median,
            "times_floor": self.median / self.floor,
            "times_flower": self.median / self.flower,
            "median_cpu": statistics.median(self.cpu),
            "times_flower_cpu": statistics.median(self.cpu) / self.flower_cpu,
        }

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        return [
            self.system,
            str(self.clients),
            *(f"{value:.3f}" for value in (self.seconds[0], self.median, self.floor)),
            f"{self.floor / self.median:.0%}",
            f"{self.median / self.floor:.1f}",
            f"{self.median / self.flower:.2f}",
            f"{statistics.median(self.cpu):.2f}",
            f"{statistics.median(self.cpu) / self.flower_cpu:.2f}",
        ]

    @property
    def median(self) -> float:
        """The median round."""
        return median_round(self.seconds)


def measure_rounds(
    environment: dict[str, str],
    run_config: Mapping[str, Scalar] | None,
    num_clients: int,
    num_rounds: int,
    *,
    idle: bool = False,
) -> tuple[list[float], list[float]]:
    """Return the seconds of each round of a ``flwr run``, and CPU seconds of all but the first.

    The parameters are those of ``measure_run``.
    """
    seconds, watch = measure_run(environment, run_config, num_clients, num_rounds, idle=idle)
    return seconds, watch.rounds()


def measure_run(
    environment: dict[str, str],
    run_config: Mapping[str, Scalar] | None,
    num_clients: int,
    num_rounds: int,
    *,
    idle: bool = False,
) -> tuple[list[float], TreeWatch]:
    """Return the seconds of each round of a ``flwr run``, and who watched its processes.

    Parameters
    ----------
    environment : dict
        What ``superlink`` yielded.
    run_config : mapping or None
        For ``flwr run``; ``num-rounds`` and ``output-dir`` are added. None for Flower's app.
    num_clients : int
        Simulated clients.
    num_rounds : int
        At least 2.
    idle : bool
        Whether the clients of Flower's app do nothing.

    Raises
    ------
    SimulationError
        If the run did not end well, or a client did not answer. The message has its log.
    """
    with tempfile.TemporaryDirectory(prefix="tacet-") as home:
        app, folder = Path(home), Path(home) / "run"
        is_ours = run_config is not None
        lines = flower_fedavg.lines_of(flower_fedavg.rounds_file(app))
        watched = folder / METRICS if is_ours else lines
        with TreeWatch(int(environment[SUPERLINK_PID]), watched) as watch:
            if run_config is None:
                reports, log = flower_fedavg.run(
                    environment, num_clients, num_rounds, app, idle=idle
                )
            else:
                values = {**run_config, "num-rounds": num_rounds}
                reports, log = _run_tacet(environment, values, num_clients, folder)
    answers = [report["num_replies"] for report in reports]
    if answers != [num_clients] * num_rounds:
        raise SimulationError(f"{log}\nnot all {num_clients} clients answered: {answers}")
    return [report["seconds"] for report in reports], watch


def training(num_clients: int, more: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
    """Return what all rows train with so many clients, and what a row adds to it."""
    added = dict(more or {})
    overrides = [str(added.pop("overrides", ""))]
    if fraction := flower_fedavg.few_records(num_clients):
        overrides += ["task.partition.min_examples=1", f"task.test_fraction={fraction}"]
    return {**TRAINING, **added, "overrides": " ".join(overrides).strip()}


def _run_tacet(
    environment: dict[str, str],
    run_config: Mapping[str, Scalar],
    num_clients: int,
    folder: Path,
) -> tuple[list[dict[str, float]], str]:
    values = {**run_config, "output-dir": str(folder)}
    # JSON's strings and numbers are TOML's.
    pairs = " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
    log = flwr_run(environment, pairs, num_clients)
    try:
        read_summary(folder)
    except SimulationError as error:
        raise SimulationError(f"{log}\n{error}") from None
    text = (folder / METRICS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()], log


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.deployment:
        return _measure_deployment(options)
    workers = os.cpu_count() or 1
    load = os.getloadavg()[0]
    # First, while nothing of Flower or Ray runs beside it.
    floors = {n: measure_floor(load_config(training(n)), n, workers) for n in options.clients}
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory(prefix="tacet-") as home, superlink(Path(home)) as env:
            for clients, floor in floors.items():
                rows += _measure_systems(env, clients, options, floor)
    except SimulationError as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 1
    print(table(HEADERS, [row.cells() for row in rows]))
    print(f"\n{options.rounds} rounds of digits each, {workers} Ray workers")
    figures = {"workers": workers, "rows": [row.figures() for row in rows]}
    return _finish(options, load, "round_trip", figures)


def _measure_deployment(options: argparse.Namespace) -> int:
    """Measure over a SuperLink with TLS and three SuperNodes; return the exit status."""
    load = os.getloadavg()[0]
    seconds = imports.measure()
    try:
        with tempfile.TemporaryDirectory(prefix="tacet-") as home:
            rows = deployment.measure(Path(home), _SUPERNODES, options.rounds)
    except TrialError as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 1
    print(table(deployment.HEADERS, [row.cells() for row in rows]))
    print(f"\n{options.rounds} rounds of digits each, {_SUPERNODES} SuperNodes, TLS;")
    print("messages: what one node received in the whole run, a process for each;")
    print(f"{deployment.GUARDED}: on `tacet supernode`, as all rows below it\n")
    print(table(imports.HEADERS, imports.cells(seconds)))
    print("for each message on Flower's SuperNode; once on ours\n")
    figures = {"imports": seconds, "rows": [row.figures() for row in rows]}
    return _finish(options, load, "round_trip_deployment", figures)


def _finish(
    options: argparse.Namespace, load: float, name: str, figures: dict[str, Any]
) -> int:
    """Print the conditions, write the figures, and return the exit status."""
    print(f"load average before: {load:.2f}; what else ran made the rounds slower")
    print(machine_line())
    if options.json:
        figures = {"rounds": options.rounds, "load_before": load} | figures
        write_json(options.json, name, figures)
    return 0


def _measure_systems(
    environment: dict[str, str], clients: int, options: argparse.Namespace, floor: float
) -> list[Row]:
    seconds: dict[str, list[float]] = {system: [] for system in SYSTEMS}
    cpu: dict[str, list[float]] = {system: [] for system in SYSTEMS}
    for _ in range(options.passes):
        for system, more in SYSTEMS.items():
            values = None if more is None else training(clients, more)
            took, worked = measure_rounds(
                environment, values, clients, options.rounds, idle=FLOWERS.get(system, False)
            )
            # The first round of the first pass stands for all first ones.
            seconds[system] += took[1:] if seconds[system] else took
            cpu[system] += worked
    flower = median_round(seconds["flower"])
    flower_cpu = statistics.median(cpu["flower"])
    return [
        Row(system, clients, seconds[system], floor, flower, cpu[system], flower_cpu)
        for system in SYSTEMS
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.round_trip",
        description="Measure the seconds a round of `digits` takes through `flwr run`, and what"
        " share of them is training; beside Flower's own FedAvg.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--clients",
        type=_at_least_two,
        nargs="+",
        default=[10, 50],
        help="simulated clients, a row for each system (%(default)s)",
    )
    parser.add_argument(
        "--rounds", type=_at_least_two, default=6, help="rounds of each run (%(default)s)"
    )
    parser.add_argument(
        "--passes", type=positive, default=1, help="runs of each system (%(default)s)"
    )
    parser.add_argument(
        "--deployment",
        action="store_true",
        help="over a real SuperLink with TLS and 3 SuperNodes in place of a simulation",
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
