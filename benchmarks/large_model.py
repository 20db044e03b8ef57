"""A large model: seconds of a round through ``flwr run``, and what of its work is training.

python -m benchmarks.large_model --parameters 110000000 --clients 5 --json FILE
python -m benchmarks.large_model --in-process --json FILE
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from app.config.load import Scalar, load_config
from app.simulation.superlink import SimulationError, superlink
from benchmarks.report import machine_line, positive, table, write_json
from benchmarks.round_trip import measure_run
from benchmarks.simulated_round import cpu_of_rounds
from benchmarks.training_floor import measure_floor

_EPILOG = """\
A perceptron with one wide hidden layer on the 569 records of breast_cancer, two steps a round:
what is measured is the way of the vector, and not training. All is masked (aggregation=secagg)
and goes through Flower's SuperLink and Ray's workers, one for each CPU.

round s    each round after the first, median
cpu s      CPU seconds of all processes in it
peak       resident memory of the largest process, in vectors of 4 bytes a parameter: a worker
           has the model, its gradient and its update, what came and what it sends

--in-process: all clients and the server are one process, without Flower's transport, and each
client trains for an epoch, four batches of 32. "training" is what these steps and the scores
cost by themselves; the rest is Tacet's own work"""

#: Weights of a hidden unit: from 30 features, a bias, to the output.
_PER_UNIT = 32
OWN_HEADERS = ("parameters", "clients", "cpu s a round", "training", "own / training")
# Of training alone, which takes seconds with a large model.
_FLOOR_REPEATS = 3
HEADERS = ("parameters", "clients", "rounds", "round s", "cpu s", "peak GB", "peak, vectors")


def run_config(parameters: int, training: str = "num_steps=2") -> dict[str, Scalar]:
    """Return the configuration of a run of a model with about so many parameters.

    Parameters
    ----------
    parameters : int
        In all.
    training : str
        Key and value of ``task.training`` that say how long a client trains.
    """
    hidden = max(1, parameters // _PER_UNIT)
    return {
        "task": "breast_cancer",
        "aggregation": "secagg",
        # The wider, the more a step moves the output, which is a sum over hidden units.
        "overrides": f"task.model=mlp task.hidden={hidden} task.training.{training}"
        f" task.training.learning_rate={min(0.3, 1000 / hidden):.1e}"
        " rounds.deadline_seconds=7200 aggregation.secrets_seconds=14400",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.in_process:
        return _measure_own(options)
    load = os.getloadavg()[0]
    config = run_config(options.parameters)
    try:
        with tempfile.TemporaryDirectory(prefix="tacet-") as home, superlink(Path(home)) as env:
            seconds, watch = measure_run(env, config, options.clients, options.rounds)
    except SimulationError as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 1
    figures = {
        "parameters": options.parameters // _PER_UNIT * _PER_UNIT + 1,
        "clients": options.clients,
        "seconds": seconds,
        "cpu": watch.rounds(),
        "peak_bytes": watch.peak_bytes,
        "load_before": load,
    }
    vectors = watch.peak_bytes / (4 * options.parameters)
    cells = [
        f"{options.parameters:,}",
        str(options.clients),
        str(options.rounds),
        f"{statistics.median(seconds[1:]):.1f}",
        f"{statistics.median(watch.rounds()):.1f}",
        f"{watch.peak_bytes / 1e9:.2f}",
        f"{vectors:.1f}",
    ]
    print(table(HEADERS, [cells]))
    print(f"\nload average before: {load:.2f}\n{machine_line()}")
    if options.json:
        write_json(options.json, "large_model", figures)
    return 0


def _measure_own(options: argparse.Namespace) -> int:
    """Measure what of a round is not training, print it, and return the exit status."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    # As for the training by itself.
    torch.set_num_threads(1)
    config = run_config(options.parameters, "num_epochs=1")
    # The first round has no range of values yet, and the imports.
    rounds = cpu_of_rounds({**config, "num-rounds": options.rounds + 1}, options.clients)[1:]
    training = measure_floor(load_config(config), options.clients, 1, _FLOOR_REPEATS)
    cpu = statistics.median(rounds)
    ratio = (cpu - training) / training
    cells = [f"{options.parameters:,}", str(options.clients), f"{cpu:.2f}", f"{training:.2f}"]
    print(table(OWN_HEADERS, [[*cells, f"{ratio:.2f}"]]))
    print(f"\n{machine_line()}")
    if options.json:
        figures = {
            "parameters": options.parameters,
            "clients": options.clients,
            "cpu": rounds,
            "training": training,
            "own_by_training": ratio,
        }
        write_json(options.json, "large_model_own", figures)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large_model",
        description="Measure a masked round of a large model through `flwr run`.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parameters", type=positive, default=25_000_000, help="(%(default)s)")
    parser.add_argument("--clients", type=positive, default=4, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, choices=range(2, 20), default=2, metavar="N")
    parser.add_argument(
        "--in-process", action="store_true", help="what of the CPU is training, what our own"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
