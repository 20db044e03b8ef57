"""CPU seconds of simulated secure rounds, early and late.

    python -m benchmarks.simulated_round --json FILE

All nodes and the server are one process, so a round's figure is the CPU of all of them.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path

from app.builders.run import RunFacts, build_cohort_rng, build_settings, build_strategy
from app.builders.workload import build_workload
from app.config.load import Scalar, load_config
from app.node.settings import simulate_in_this_process
from app.simulation.in_process import InProcessGrid, make_clients
from benchmarks.report import machine_line, table, write_json
from strategies.rounds.loop import RoundLoop
from strategies.rounds.observer import ClosedRound, Observer
from strategies.rounds.transport import PollingGrid

_HEADERS = ("what", "nodes", "rounds", "CPU s a round")
_WINDOW = 8


class _Stopwatch(Observer):
    """Observer that records the process's CPU time when a round closes."""

    def __init__(self) -> None:
        self.marks = [time.process_time()]

    def round_closed(self, closed: ClosedRound) -> None:
        self.marks.append(time.process_time())

    def seconds(self) -> list[float]:
        """Return the CPU seconds of each round."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return [after - before for before, after in pairs]


def measure(num_nodes: int, num_rounds: int) -> list[float]:
    """Return the CPU seconds of each round of a run of one local step, without a run folder."""
    run_config: dict[str, Scalar] = {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": num_rounds,
        "overrides": "task.training.num_steps=1 task.partition.min_examples=1"
        " aggregation.secrets_seconds=86400",
    }
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        run_config["output-dir"] = f"{folder}/run"
        simulate_in_this_process()
        config = load_config(run_config)
        workload = build_workload(config)
        state = workload.initial_state()
        facts = RunFacts(1, num_nodes, workload, workload.length(state))
        grid = PollingGrid(InProcessGrid(make_clients(run_config, num_nodes)), settle_seconds=0)
        watch = _Stopwatch()
        loop = RoundLoop(
            build_strategy(config, facts),
            grid,
            build_settings(config, simulated=True),
            build_cohort_rng(config),
            (watch,),
        )
        loop.run(state)
    return watch.seconds()


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
    if options.rounds < 2 or options.long < 4 * _WINDOW:
        parser.error(f"--rounds must be at least 2, --long at least {4 * _WINDOW}")
    logging.getLogger("flwr").setLevel(logging.WARNING)
    many = statistics.median(measure(options.nodes, options.rounds)[1:])
    long = measure(5, options.long)
    early = statistics.median(long[10 - _WINDOW // 2 : 10 + _WINDOW // 2])
    late = statistics.median(long[-_WINDOW:])
    rows = [
        ["median", str(options.nodes), str(options.rounds), f"{many:.3f}"],
        ["round 10", "5", str(options.long), f"{early:.3f}"],
        [f"round {options.long}", "5", str(options.long), f"{late:.3f}"],
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
