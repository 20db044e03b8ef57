"""Accuracy against bytes: MNIST over ten masked silos, with updates in fewer and fewer bits.

python -m benchmarks.compression --data-dir /abs/mnist

Every row is the same FedAvg through the real apps in one process, with the same batches: only
``aggregation.codec`` differs. Beside their bytes stand those of Flower's SecAgg+, measured in
this run with its own functions, and of TenSEAL's CKKS, which is quoted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from app.builders.workload import build_workload
from app.config.load import ConfigError, Scalar, load_config
from app.preflight.run_plan import plan_run
from benchmarks.mnist_settings import NUM_SILOS, Settings, add_data_dir, pooled
from benchmarks.mnist_silos import private_config, run_silos
from benchmarks.report import machine_line, table, write_json
from strategies.rounds.attempt import RunStoppedError
from tasks.records import DataError

#: The rows, by name: what of ``aggregation.codec`` is given.
ROWS: dict[str, dict[str, float | str]] = {
    "32 bits": {},
    "16 bits": {"modulus_bits": 16},
    "8 bits": {"value_bits": 8},
    "4 bits": {"value_bits": 4},
    "4 bits, 70 % kept": {"value_bits": 4, "keep_fraction": 0.7},
    "50 % kept": {"keep_fraction": 0.5},
    "4 bits, 50 % kept": {"value_bits": 4, "keep_fraction": 0.5},
    "4 bits, 50 % kept, error feedback": {
        "value_bits": 4,
        "keep_fraction": 0.5,
        "error_feedback": "true",
    },
    "3 bits": {"value_bits": 3},
    "2 bits": {"value_bits": 2},
}
#: The rows that must keep up with the first one, and the bytes a parameter they may take.
AIMS = {"4 bits": 1.0, "4 bits, 70 % kept": 0.7}
POINTS = 0.3
FULL = "32 bits"
SECAGGPLUS = "Flower's SecAgg+"
#: Bytes a parameter of TenSEAL's CKKS ciphertexts (8,192 slots' ring, 60-40-40-60 bits), which
#: is no dependency of this project. Quoted, and not measured in this run.
CKKS_BYTES = 58.0
# T of the private runs.
_SURVIVORS = 7
#: The rows that there are under differential privacy, where the noise settles the values.
PRIVATE = (FULL, "16 bits", "50 % kept")
HEADERS = ("updates", "bytes a parameter", "first round", "accuracy", "to 32 bits")

_EPILOG = """\
bytes a parameter: of the masked vector of a node from the second round on; in the first round
nobody knows the ranges of few bits yet. accuracy: of the last model on MNIST's 10,000 test
images, mean over the seeds. to 32 bits: mean over the seeds of the difference in points.

exit status: 0 if "4 bits" and "4 bits, 70 % kept" lose at most 0.3 points to "32 bits" with at
most 1.0 and 0.7 bytes a parameter; 1 if not; 2 if the data or an option is wrong. Under
--epsilon nothing is held against an aim."""


@dataclass(frozen=True)
class Row:
    """One row: what was sent, and what was learnt by it.

    Attributes
    ----------
    name : str
        Of the row.
    bytes_each, first_bytes_each : float
        Bytes a parameter of a masked vector: from the second round on, and in the first.
    accuracies : list of float
        In per cent, by seed.
    """

    name: str
    bytes_each: float
    first_bytes_each: float
    accuracies: list[float]

    @property
    def accuracy(self) -> float:
        """Return the mean over the seeds, in per cent."""
        return statistics.mean(self.accuracies)

    def points(self, full: Row) -> float:
        """Return the mean difference to another row of the same seeds, in points."""
        pairs = zip(self.accuracies, full.accuracies, strict=True)
        return statistics.mean(own - other for own, other in pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    options.rows = options.rows or [*(ROWS if options.epsilon is None else PRIVATE)]
    started, data_dir = time.monotonic(), options.data_dir.expanduser().resolve()
    try:
        pooled(data_dir, 0)
        rows = [measure(name, data_dir, options) for name in options.rows]
    except (ConfigError, DataError, RunStoppedError) as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 2
    full = next((row for row in rows if row.name == FULL), None)
    peers = {SECAGGPLUS: secaggplus_bytes(), "CKKS (TenSEAL, quoted)": CKKS_BYTES}
    print(table(HEADERS, [_cells(row, full) for row in rows] + _peer_cells(peers)))
    steps = f"{options.steps or 'all'} steps"
    if options.epsilon is not None:
        steps = f"one step under epsilon {options.epsilon:g}"
    print(
        f"\nseeds {', '.join(map(str, options.seeds))}; {options.rounds} rounds of {steps} on"
        f" {NUM_SILOS} silos"
    )
    verdicts = [_verdict(row, full) for row in rows if row.name in AIMS and full is not None]
    for holds, line in verdicts:
        print(f"{'PASS' if holds else 'FAIL'}  {line}")
    print(f"{time.monotonic() - started:.0f} seconds; {machine_line()}")
    if options.json:
        figures = {"rows": [asdict(row) for row in rows], "peers": peers}
        figures |= {"seeds": options.seeds, "rounds": options.rounds, "steps": options.steps}
        figures["verdicts"] = [{"holds": holds, "line": line} for holds, line in verdicts]
        write_json(options.json, "compression", figures)
    return 0 if all(holds for holds, _ in verdicts) else 1


def measure(name: str, data_dir: Path, options: argparse.Namespace) -> Row:
    """Train with one row's codec for each seed.

    Raises
    ------
    DataError, ConfigError, RunStoppedError
        If a training cannot be.
    """
    given = _run_config(name, options)
    accuracies = [
        100 * run_silos(data_dir, {**given, "deterministic": True}, seed).accuracy
        for seed in options.seeds
    ]
    first, later = bytes_each(given)
    return Row(name, later, first, accuracies)


def bytes_each(given: dict[str, Scalar]) -> tuple[float, float]:
    """Return the bytes a parameter of the vector of the first round and of all later ones."""
    config = load_config({"task": "mnist", "aggregation": "secagg", **given})
    plan, workload = plan_run(config), build_workload(config)
    # The scalars beside it are those of the scores, the same for any codec; none are released
    # under privacy.
    has_scores = config.privacy.mode is None
    scalars = 8 * (len(workload.sum_names(training=True)) + 2) * has_scores
    first = (plan.bytes_up_first or plan.bytes_up) - scalars
    return first / plan.num_parameters, (plan.bytes_up - scalars) / plan.num_parameters


def secaggplus_bytes(num_values: int = 10_000) -> float:
    """Return the bytes a parameter that Flower's SecAgg+ puts on the wire, by its own code."""
    from flwr.common import ndarrays_to_parameters
    from flwr.common.secure_aggregation.ndarrays_arithmetic import (
        parameters_addition,
        parameters_mod,
    )
    from flwr.common.secure_aggregation.quantization import quantize
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    vector = np.random.default_rng(0).normal(0, 0.01, num_values)
    # The defaults of its workflow: clip 8, 2^22 levels, modulus 2^32.
    quantised = quantize([vector], 8.0, 2**22)
    mask = pseudo_rand_gen(b"seed", 2**32, [vector.shape])
    masked = parameters_mod(parameters_addition(quantised, mask), 2**32)
    return sum(map(len, ndarrays_to_parameters(masked).tensors)) / num_values


def _run_config(name: str, options: argparse.Namespace) -> dict[str, Scalar]:
    keys = [f"aggregation.codec.{key}={value}" for key, value in ROWS[name].items()]
    if options.epsilon is not None:
        last_tenth = options.rounds - options.rounds // 10 + 1
        settings = Settings(
            epsilon=options.epsilon,
            num_rounds=options.rounds,
            average_from=min(last_tenth, options.rounds),
        )
        given = private_config(settings, _SURVIVORS, 1)
        return {**given, "overrides": " ".join([str(given["overrides"]), *keys])}
    keys.append(f"rounds.min_clients={NUM_SILOS}")
    # Each silo has 6,000 images at most, and its weight is a share of this.
    keys.append("aggregation.codec.max_weight_examples=6000")
    if options.steps:
        keys.append(f"task.training.num_steps={options.steps}")
    return {
        "algorithm": "fedavg",
        "num-rounds": options.rounds,
        "overrides": " ".join(keys),
    }


def _cells(row: Row, full: Row | None) -> list[str]:
    points = "" if full is None else f"{row.points(full):+.2f}"
    return [
        row.name,
        f"{row.bytes_each:.2f}",
        f"{row.first_bytes_each:.2f}",
        f"{row.accuracy:.2f} %",
        points,
    ]


def _peer_cells(peers: dict[str, float]) -> list[list[str]]:
    return [[name, f"{size:.2f}", f"{size:.2f}", "", ""] for name, size in peers.items()]


def _verdict(row: Row, full: Row) -> tuple[bool, str]:
    """Return whether a row keeps up, and how far, in words."""
    points, most = row.points(full), AIMS[row.name]
    # A scalar or two of the ranges, and the last byte.
    holds = points >= -POINTS and row.bytes_each <= most + 0.01
    return holds, (
        f"{row.name}: {points:+.2f} points (at least {-POINTS}) with {row.bytes_each:.2f} bytes"
        f" a parameter (at most {most})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compression",
        description="Train on MNIST over ten masked silos with updates in fewer bits.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_dir(parser)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS], default=[], metavar="ROW")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43])
    parser.add_argument("--rounds", type=int, default=8, help="%(default)s")
    parser.add_argument(
        "--steps", type=int, default=50, help="local steps a round; 0: an epoch (%(default)s)"
    )
    parser.add_argument(
        "--epsilon",
        type=float,
        help="train under example_distributed with it at delta 1e-5, one step on 1,000 expected"
        " images a round; rows that round values to few are refused (not given: no privacy)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
