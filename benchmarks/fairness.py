"""The worst silo and the mean, with FedAvg and with q-FedAvg side by side.

python -m benchmarks.fairness --heart ../shared/data/heart --adult ../shared/data/adult
"""

import argparse
import logging
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.config.load import Scalar
from benchmarks.report import machine_line, positive, table, write_json
from benchmarks.silo_scores import silo_accuracies
from tasks.records import DataError

#: Data set -> silos, rounds, overrides.
SETTINGS = {
    "heart": (4, 20, ""),
    "adult": (10, 15, "task.partition.scheme=dirichlet task.partition.alpha=0.3"),
}
#: Name in the table -> algorithm, overrides.
ALGORITHMS = {
    "fedavg": ("fedavg", ""),
    "qfedavg, q = 0": ("qfedavg", "algorithm.q=0"),
    "qfedavg, q = 1": ("qfedavg", "algorithm.q=1"),
    "qfedavg, q = 5": ("qfedavg", "algorithm.q=5"),
}
HEADERS = ("data", "algorithm", "worst silo", "mean of silos", "spread of silos")

_EPILOG = """\
heart: the four hospitals of UCI Heart Disease, each a silo. adult: ten silos whose sizes and
shares of the two classes are drawn (Dirichlet, concentration 0.3). Without privacy, under
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
    folders = {name: getattr(options, name) for name in SETTINGS}
    rows: list[Row] = []
    try:
        for name, folder in folders.items():
            if folder is not None:
                for row in _measure(name, folder.absolute(), range(options.seeds)):
                    print("measured", ", ".join(row.cells()), flush=True)
                    rows.append(row)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    if not rows:
        print("give --heart, --adult or both", file=sys.stderr)
        return 2
    print(table(HEADERS, [row.cells() for row in rows]))
    print(f"\n{machine_line()}")
    if options.json:
        write_json(options.json, "fairness", {"rows": [asdict(row) for row in rows]})
    return 0


def _measure(name: str, folder: Path, seeds: Sequence[int]) -> Iterator[Row]:
    num_silos, num_rounds, overrides = SETTINGS[name]
    for told, (algorithm, more) in ALGORITHMS.items():
        found: list[list[float]] = []
        for seed in seeds:
            run_config: dict[str, Scalar] = {
                "task": name,
                "algorithm": algorithm,
                "data-dir": str(folder),
                "num-rounds": num_rounds,
                "seed": seed,
                "deterministic": True,
                "overrides": f"{overrides} {more}".strip(),
            }
            found.append(silo_accuracies(run_config, num_silos))
        yield Row(
            name,
            told,
            [min(scores) for scores in found],
            [statistics.mean(scores) for scores in found],
            [statistics.pstdev(scores) for scores in found],
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fairness",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--heart", type=Path, metavar="DIR", help="UCI's four files")
    parser.add_argument("--adult", type=Path, metavar="DIR", help="adult.data and adult.test")
    parser.add_argument("--seeds", type=positive, default=5, help="runs of each row (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
