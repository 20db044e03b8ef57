"""The worst silo and the mean: FedAvg, FedProx, q-FedAvg, personal heads, and silos alone.

python -m benchmarks.fairness --digits --heart DIR --adult DIR
"""

import argparse
import logging
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.config.load import Scalar
from benchmarks.report import machine_line, parser_of, table, write_json
from benchmarks.silo_scores import lone_accuracies, silo_accuracies
from tasks.records import DataError

#: Data set -> silos, rounds, overrides, and the part of its model that is a silo's own.
SETTINGS = {
    "digits": (8, 10, "task.partition.scheme=dirichlet task.partition.alpha=0.1", "classifier"),
    "heart": (4, 20, "", "bias"),
    "adult": (10, 15, "task.partition.scheme=dirichlet task.partition.alpha=0.3", "bias"),
}
_ALONE, _OWN = "each silo alone", "{own}"
#: Name in the table -> algorithm, overrides.
ALGORITHMS = {
    "fedavg": ("fedavg", ""),
    "fedavg, personal head": ("fedavg", f"task.personal=[{_OWN}]"),
    _ALONE: ("fedavg", ""),
    "fedprox, mu = 0.1": ("fedprox", ""),
    "qfedavg, q = 0": ("qfedavg", "algorithm.q=0"),
    "qfedavg, q = 1": ("qfedavg", "algorithm.q=1"),
    "qfedavg, q = 5": ("qfedavg", "algorithm.q=5"),
}
HEADERS = ("data", "algorithm", "worst silo", "mean of silos", "spread of silos")

_EPILOG = """\
digits: eight silos, each with most of its images of a few digits (Dirichlet, concentration
0.1); its head is the last layer. heart: the four hospitals of UCI Heart Disease, each a silo.
adult: ten silos whose sizes and shares of the two classes are drawn (Dirichlet, concentration
0.3). Their models are linear; the personal head is the intercept. Alone, a silo trains the same
model as long, and nothing is exchanged. Without privacy, under
masks, everything else at its default. A silo's score is the final model's accuracy on the
records that it held out; worst, mean and standard deviation over silos, then mean +- sample
standard deviation over the seeds."""


@dataclass(frozen=True)
class Row:
    """One algorithm on one data set, a number for each seed."""

    data: str
    algorithm: str
    worst: list[float]
    mean: list[float]
    spread: list[float]

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        return [
            self.data,
            self.algorithm,
            *map(_over_seeds, (self.worst, self.mean, self.spread)),
        ]


def _over_seeds(values: Sequence[float]) -> str:
    deviation = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    rows: list[Row] = []
    try:
        for name in SETTINGS:
            if given := getattr(options, name):
                folder = None if given is True else given.absolute()
                for row in _measure(name, folder, range(options.seeds)):
                    print("measured", ", ".join(row.cells()), flush=True)
                    rows.append(row)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    if not rows:
        print("give --digits, --heart or --adult, or several", file=sys.stderr)
        return 2
    print(table(HEADERS, [row.cells() for row in rows]))
    print(f"\n{machine_line()}")
    if options.json:
        write_json(options.json, "fairness", {"rows": [asdict(row) for row in rows]})
    return 0


def _measure(name: str, folder: Path | None, seeds: Sequence[int]) -> Iterator[Row]:
    num_silos, num_rounds, overrides, own = SETTINGS[name]
    for told, (algorithm, more) in ALGORITHMS.items():
        found: list[list[float]] = []
        for seed in seeds:
            run_config: dict[str, Scalar] = {
                "task": name,
                "algorithm": algorithm,
                "data-dir": str(folder or ""),
                "num-rounds": num_rounds,
                "seed": seed,
                "deterministic": True,
                "overrides": f"{overrides} {more.replace(_OWN, own)}".strip(),
            }
            accuracies = lone_accuracies if told == _ALONE else silo_accuracies
            found.append(accuracies(run_config, num_silos))
        yield Row(
            name,
            told,
            [min(scores) for scores in found],
            [statistics.mean(scores) for scores in found],
            [statistics.pstdev(scores) for scores in found],
        )


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("fairness", __doc__, _EPILOG, seeds=5)
    parser.add_argument("--digits", action="store_true", help="scikit-learn's own images")
    parser.add_argument("--heart", type=Path, metavar="DIR", help="UCI's four files")
    parser.add_argument("--adult", type=Path, metavar="DIR", help="adult.data and adult.test")
    return parser


if __name__ == "__main__":
    sys.exit(main())
