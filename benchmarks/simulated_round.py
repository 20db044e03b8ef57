"""CPU seconds of simulated secure rounds, early and late.

    python -m benchmarks.simulated_round --json FILE

All nodes and the server are one process, so a round's figure is the CPU of all of them. Early
rounds are those of short runs, each within a late round of the long run: a busy machine drifts,
but then for both.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Message

from app.config.load import Scalar
from app.simulation.in_process import Client, make_clients, simulate
from benchmarks.report import machine_line, median_round, table, write_json
from strategies.rounds.records import CONFIG, ROUND

_HEADERS = ("what", "nodes", "rounds", "CPU s a round")
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

    run_config: dict[str, Scalar] = {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": num_rounds,
        "overrides": "task.training.num_steps=1 task.partition.min_examples=1"
        " aggregation.secrets_seconds=86400",
    }
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        run_config["output-dir"] = f"{folder}/run"
        clients = make_clients(run_config, num_nodes)
        timed_clients = {node: timed(client) for node, client in clients.items()}
        simulate(run_config, num_nodes, timed_clients)
    return [ends[number] - starts[number] for number in range(1, num_rounds + 1)]


def measure_growth(last_round: int) -> tuple[float, float]:
    """Return the CPU seconds of an early round, and of the last ones of a long run."""
    early: list[float] = []

    def run_short(number: int) -> None:
        if last_round - _LATE_ROUNDS < number <= last_round:
            early.extend(measure(_LONG_NODES, _SHORT_ROUNDS)[_WARM_UP:])

    late = measure(_LONG_NODES, last_round, run_short)[-_LATE_ROUNDS:]
    return statistics.median(early), statistics.median(late)


def main() -> int:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated_round",
        description="Measure the CPU of a simulated secure round, early and late in a run.",
    )
    parser.add_argument("--nodes", type=int, default=100, help="of the first row (%(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="of the first row (%(default)s)")
    parser.add_argument(
        "--long", type=int, default=300, help="rounds of the long run, 5 nodes (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    if options.rounds < 2 or options.long <= _SHORT_ROUNDS + _LATE_ROUNDS:
        least = _SHORT_ROUNDS + _LATE_ROUNDS + 1
        parser.error(f"--rounds must be at least 2, --long at least {least}")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    many = median_round(measure(options.nodes, options.rounds))
    early, late = measure_growth(options.long)
    rows = [
        ["median", str(options.nodes), str(options.rounds), f"{many:.3f}"],
        ["round 10", str(_LONG_NODES), str(_SHORT_ROUNDS), f"{early:.3f}"],
        [f"round {options.long}", str(_LONG_NODES), str(options.long), f"{late:.3f}"],
    ]
    print(table(_HEADERS, rows))
    print(f"round {options.long} / round 10: {late / early:.2f}")
    print(machine_line())
    if options.json:
        figures = {"median": many, "early": early, "late": late, "ratio": late / early}
        write_json(options.json, "simulated_round", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
