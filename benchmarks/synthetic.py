"""A synthetic table of 32,561 people's income, made over ten masked silos, and its worth.

python -m benchmarks.synthetic --data-dir ../shared/data/adult
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from app.simulation.in_process import simulate
from benchmarks.adult_runs import MAX_COLLUDING, MIN_SURVIVORS, NUM_SILOS, SKEW, Adult
from benchmarks.report import parser_of
from benchmarks.table_rows import AUC, Row, Verdict, ours, publish, told
from benchmarks.table_runs import Privacy, boosted_scores
from tasks.base import DataSource
from tasks.records import DataError, Examples
from tasks.table import Table
from workloads.marginals.config import MarginalsConfig
from workloads.statistics.variables import Places, variables_of

EPSILON, NUM_ROUNDS = 1.0, 3
DISTANCE, LARGEST = "mean distance of pairs", "largest"
#: Over all pairs of columns and label: means over the seeds that each measure has to keep to.
LEAST_AUC, MOST_DISTANCE, MOST_LARGEST = 0.89, 0.05, 0.2
OURS, EXACT = ours("marginals", is_private=True), ours("marginals", is_private=False)
REAL, AGAIN = "the real rows", "rows drawn again from the real ones"

_EPILOG = f"""\
Ten silos of uneven size, nobody trusted: masks, T = {MIN_SURVIVORS}, c = {MAX_COLLUDING}, delta
1e-5, {NUM_ROUNDS} rounds through both apps. The run's synthetic.csv is read back by the task's
own reader. AUC is that of scikit-learn's histogram boosting, trained on those rows, on the
official test set. Distances are total variation distances between the joint distribution of
two columns in the real training records and in the synthetic rows, over all 78 pairs of columns
and label, in the public bins of the run (16 of a column of numbers, where edges are not given).

exit status: 0 if at epsilon {EPSILON:g} the means over the seeds are AUC at least {LEAST_AUC},
the mean distance at most {MOST_DISTANCE}, and the largest, in every seed, at most
{MOST_LARGEST}; 1 if not; 2 if the data or an option is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        data = Adult.load(options.data_dir)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    rows = told(_measure(data, options))
    return publish("synthetic", rows, list(verdicts(rows)), options.json)


def _measure(data: Adult, options: argparse.Namespace) -> Iterator[Row]:
    seeds = range(options.seeds)
    for epsilon in options.epsilons:
        made = (synthetic(data, seed, epsilon) for seed in seeds)
        yield _row(data, OURS, epsilon, NUM_ROUNDS, made)
    yield _row(data, EXACT, None, 2, (synthetic(data, seed, None) for seed in seeds))
    again = (_again(data.train, seed) for seed in seeds)
    yield _row(data, AGAIN, None, None, again)
    yield _row(data, REAL, None, None, [data.train])


def _row(
    data: Adult,
    system: str,
    epsilon: float | None,
    rounds: int | None,
    made: Iterator[Examples] | list[Examples],
) -> Row:
    """Return the measures of each table."""
    found: dict[str, list[float]] = {AUC: [], DISTANCE: [], LARGEST: []}
    for seed, records in enumerate(made):
        own = Adult(data.table, records, data.test, data.folder)
        apart = distances(data.table, data.train, records)
        found[AUC].append(data.auc(boosted_scores(own, seed)))
        found[DISTANCE].append(float(np.mean(apart)))
        found[LARGEST].append(float(np.max(apart)))
    return Row(system, epsilon, rounds, found)


def synthetic(data: Adult, seed: int, epsilon: float | None) -> Examples:
    """Make a table through both apps and return its rows, as the task reads the file.

    Parameters
    ----------
    data : Adult
        The records, of which each silo reads its own part.
    seed : int
        Spreads the records and draws the rows; the noise is the operating system's.
    epsilon : float or None
        For every record, under ``example_distributed``; None without privacy.
    """
    keys: dict[str, Scalar] = {
        "task": "adult",
        "algorithm": "marginals",
        "data-dir": str(data.folder),
        "num-rounds": NUM_ROUNDS,
        "seed": seed,
    }
    words: dict[str, Scalar] = {
        "task.partition.scheme": "size_skew",
        "task.partition.alpha": SKEW,
    }
    if epsilon is not None:
        terms = Privacy(epsilon, NUM_SILOS, len(data.train), MIN_SURVIVORS, MAX_COLLUDING)
        keys["privacy"], words = "example_distributed", words | terms.overrides()
    keys["overrides"] = " ".join(f"{key}={value}" for key, value in words.items())
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        simulate(keys | {"output-dir": folder}, NUM_SILOS)
        return read_back(Path(folder) / "synthetic.csv")


def read_back(file: Path) -> Examples:
    """Return the rows of a file as a node of the task would read them, all to train on."""
    given = {"task": "adult", "overrides": "task.test_fraction=0"}
    task = build_task(load_config(given))
    task.keeps_missing = True
    return task.load(DataSource(data_path=file)).train


def distances(table: Table, real: Examples, made: Examples) -> list[float]:
    """Return the total variation distance of each pair of columns, the label among them.

    Parameters
    ----------
    table : Table
        Its columns have the run's public bins.
    real, made : Examples
        Records whose joint distributions are compared.
    """
    variables = variables_of(table, (), MarginalsConfig().max_bins)
    first, second = (
        [one.cells(one.values(records)) for one in variables] for records in (real, made)
    )
    found: list[float] = []
    for one, two in combinations(range(len(variables)), 2):
        width = variables[two].num_cells
        length = variables[one].num_cells * width
        shares = [_shares(own[one] * width + own[two], length) for own in (first, second)]
        found.append(float(np.abs(shares[0] - shares[1]).sum() / 2))
    return found


def _shares(cells: Places, length: int) -> Any:
    return np.bincount(cells, minlength=length) / max(1, len(cells))


def _again(records: Examples, seed: int) -> Examples:
    """Return as many records as there are, drawn with replacement: a limit for any sample."""
    rng = np.random.default_rng(seed)
    return records.take(rng.integers(len(records), size=len(records)))


def verdicts(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Yield whether each requirement holds, where that epsilon was measured."""
    row = next((one for one in rows if (one.system, one.epsilon) == (OURS, EPSILON)), None)
    if row is None:
        return
    auc, distance, largest = row.mean(AUC), row.mean(DISTANCE), max(row.scores[LARGEST])
    limits: Mapping[str, tuple[bool, str]] = {
        f"AUC {auc:.4f}": (auc >= LEAST_AUC, f"at least {LEAST_AUC}"),
        f"mean distance {distance:.4f}": (
            distance <= MOST_DISTANCE,
            f"at most {MOST_DISTANCE}",
        ),
        f"largest distance {largest:.4f}": (largest <= MOST_LARGEST, f"at most {MOST_LARGEST}"),
    }
    for name, (holds, limit) in limits.items():
        yield Verdict(holds, f"marginals, epsilon {EPSILON:g}: {name}, {limit}")


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("synthetic", __doc__, _EPILOG, data="adult.data and adult.test", seeds=5)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[EPSILON])
    return parser


if __name__ == "__main__":
    sys.exit(main())
