"""CPU seconds of simulated secure rounds: with many nodes, and late in a long run.

    python -m benchmarks.simulated_round --nodes 100 300 1000 --json FILE

All nodes and the server are one process without transport: a round costs the CPU of all
of them. Flower's FedAvg, with its own loop, has the same nodes, records, model and training;
a run of one and a run of the other take turns. Early rounds are those of short runs, each
within a late round of the long run: a busy machine drifts, but then for both.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict

from app.config.load import Scalar
from app.simulation.in_process import Client, InProcessGrid, make_clients, simulate
from benchmarks import flower_fedavg
from benchmarks.report import machine_line, positive, table, write_json
from benchmarks.round_trip import TRAINING
from strategies.rounds.records import CONFIG, ROUND
from tasks.base import DataSource
from tasks.records import LocalData

_HEADERS = ("nodes", "Flower, CPU s a round", "secagg, CPU s a round", "x Flower")
_GROWTH_HEADERS = ("what", "nodes", "rounds", "CPU s a round")
#: Nodes have the parts of so many at most, some the same ones: there are 1,797 records.
_MOST_PARTS = 90
_LONG_NODES, _LATE_ROUNDS = 5, 8
_SHORT_ROUNDS, _WARM_UP = 12, 7


def measure(
    num_nodes: int, num_rounds: int, before: Callable[[int], None] = lambda _: None
) -> list[float]:
    """Return the CPU seconds of each round of a run of one local step.

    Parameters
    ----------
    num_nodes, num_rounds : int
        Of the run.
    before : callable
        Called with a round's number before its training; what it takes is of no round.
    """
    run_config: dict[str, Scalar] = {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": num_rounds,
        "overrides": "task.training.num_steps=1 task.partition.min_examples=1"
        " aggregation.secrets_seconds=86400",
    }
    return cpu_of_rounds(run_config, num_nodes, before=before)


def measure_many(num_nodes: int, num_rounds: int) -> list[float]:
    """Return the CPU seconds of each secure round of `digits` with any number of nodes."""
    run_config: dict[str, Scalar] = {
        **TRAINING,
        "aggregation": "secagg",
        "num-rounds": num_rounds,
        "overrides": "aggregation.secrets_seconds=86400",
    }
    task, parts = flower_fedavg.build_task(), min(num_nodes, _MOST_PARTS)
    held = [task.load(DataSource(node % parts, parts)) for node in range(num_nodes)]
    return cpu_of_rounds(run_config, num_nodes, held)


def measure_flower(num_nodes: int, num_rounds: int) -> list[float]:
    """Return the CPU seconds of each round of Flower's FedAvg with the same nodes."""
    from tasks.training.local import get_parameters, initial_model

    def make(partition: int, parts: int) -> Client:
        context = Context(
            run_id=1,
            node_id=1000 + partition,
            node_config={"partition-id": partition, "num-partitions": parts},
            state=RecordDict(),
            run_config={},
        )
        return lambda message: flower_fedavg.client(message, context)

    parts = min(num_nodes, _MOST_PARTS)
    grid = InProcessGrid({1000 + n: make(n % parts, parts) for n in range(num_nodes)})
    strategy, model = flower_fedavg.Timed(), initial_model(flower_fedavg.build_task())
    arrays = ArrayRecord({name: Array(one) for name, one in get_parameters(model).items()})
    strategy.start(grid, arrays, num_rounds=num_rounds)
    if answers := [one for one in strategy.rounds if one["num_replies"] != num_nodes]:
        raise RuntimeError(f"not all {num_nodes} nodes answered: {answers}")
    return [one["cpu"] for one in strategy.rounds]


def compare(num_nodes: int, num_rounds: int, passes: int) -> tuple[float, float]:
    """Return the CPU seconds of Flower's median round and of a secure one, taking turns."""
    flower: list[float] = []
    ours: list[float] = []
    for _ in range(passes):
        flower += measure_flower(num_nodes, num_rounds)[1:]
        ours += measure_many(num_nodes, num_rounds)[1:]
    return statistics.median(flower), statistics.median(ours)


def cpu_of_rounds(
    run_config: dict[str, Scalar],
    num_nodes: int,
    held: Sequence[LocalData] | None = None,
    before: Callable[[int], None] = lambda _: None,
) -> list[float]:
    """Return the CPU seconds of each round of any run.

    Parameters
    ----------
    run_config : dict
        Of the run.
    num_nodes : int
        How many it has.
    held : sequence of LocalData, optional
        Each node's records in place of the task's.
    before : callable
        As in ``measure``.
    """
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}

    def timed(client: Client) -> Client:
        def answer(message: Message) -> Message | None:
            asked = message.content.config_records.get(CONFIG, {}).get(ROUND)
            # The last evaluation has a number too, and ends the last round.
            if isinstance(asked, int) and asked not in starts:
                ends[asked - 1] = time.process_time()
                before(asked)
                starts[asked] = time.process_time()
            return client(message)

        return answer

    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        config = {**run_config, "output-dir": f"{folder}/run"}
        clients = make_clients(config, num_nodes, held)
        timed_clients = {node: timed(client) for node, client in clients.items()}
        simulate(config, num_nodes, timed_clients, task_has_records=held is None)
    return [ends[number] - starts[number] for number in range(1, len(starts))]


def measure_growth(last_round: int) -> tuple[float, float]:
    """Return the CPU seconds of an early round, and of the last ones of a long run."""
    early: list[float] = []

    def run_short(number: int) -> None:
        if last_round - _LATE_ROUNDS < number <= last_round:
            early.extend(measure(_LONG_NODES, _SHORT_ROUNDS)[_WARM_UP:])

    late = measure(_LONG_NODES, last_round, run_short)[-_LATE_ROUNDS:]
    return statistics.median(early), statistics.median(late)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write the figures."""
    options = _options(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    found = {n: compare(n, options.rounds, options.passes) for n in options.nodes}
    rows = [
        [str(n), f"{flower:.2f}", f"{ours:.2f}", f"{ours / flower:.2f}"]
        for n, (flower, ours) in found.items()
    ]
    print(table(_HEADERS, rows))
    figures: dict[str, Any] = {
        "rows": [
            {"nodes": n, "flower": flower, "secagg": ours, "times_flower": ours / flower}
            for n, (flower, ours) in found.items()
        ]
    }
    if options.long:
        early, late = measure_growth(options.long)
        growth = [
            ["round 10", str(_LONG_NODES), str(_SHORT_ROUNDS), f"{early:.3f}"],
            [f"round {options.long}", str(_LONG_NODES), str(options.long), f"{late:.3f}"],
        ]
        print("\n" + table(_GROWTH_HEADERS, growth))
        print(f"round {options.long} / round 10: {late / early:.2f}")
        figures |= {"early": early, "late": late, "ratio": late / early}
    print(machine_line())
    if options.json:
        write_json(options.json, "simulated_round", figures)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_round",
        description="Measure the CPU of simulated secure rounds beside Flower's FedAvg, and"
        " early and late in a run.",
    )
    parser.add_argument(
        "--nodes",
        type=positive,
        nargs="+",
        default=[50, 100, 300],
        help="a row for each number (%(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=4, help="of each run (%(default)s)")
    parser.add_argument("--passes", type=positive, default=1, help="of each row (%(default)s)")
    parser.add_argument(
        "--long",
        type=int,
        default=300,
        help="rounds of the long run, with 5 nodes (%(default)s); 0 leaves it out",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    least = _SHORT_ROUNDS + _LATE_ROUNDS + 1
    if options.rounds < 2 or 0 != options.long < least or min(options.nodes) < 3:
        parser.error(f"--rounds must be at least 2, --nodes 3, --long 0 or at least {least}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
