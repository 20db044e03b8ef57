"""Digits that a GAN makes up over masked silos: what a classifier learns from them alone.

python -m benchmarks.generated --data-dir ../shared/data/mnist
"""

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from app.api import load_model
from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from app.simulation.in_process import simulate
from benchmarks.mnist_silos import parts_in_memory
from benchmarks.report import machine_line, parser_of, table, write_json
from tasks.base import DataSource
from tasks.records import DataError, Examples, LocalData, joined

NUM_SILOS = 5
MIN_SURVIVORS, MAX_COLLUDING = 4, 1
EPSILON, DELTA = 10.0, 1e-5
ROWS = ("records", "exact", "private")
#: Pictures that a classifier is trained on.
NUM_PICTURES = 2000
#: Steps of the classifier's solver, the same for records and pictures.
MOST_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one data set is learnt.

    Attributes
    ----------
    rounds, private_rounds : int
    rate, private_rate : float
        The chance of each record to count in a round.
    clip_norm : float
    algorithm : mapping
        Keys of ``algorithm``.
    """

    rounds: int
    private_rounds: int
    rate: float
    private_rate: float
    clip_norm: float
    algorithm: Mapping[str, Scalar]


SETTINGS = {
    "digits": Settings(
        rounds=200, private_rounds=100, rate=1.0, private_rate=0.3, clip_norm=1.0, algorithm={}
    ),
    "mnist": Settings(
        rounds=100,
        private_rounds=100,
        rate=0.01,
        private_rate=0.01,
        clip_norm=1.0,
        algorithm={"discriminator_learning_rate": 0.005},
    ),
}

_EPILOG = f"""\
The records are dealt to {NUM_SILOS} silos at random. Nobody is trusted: masks, T =
{MIN_SURVIVORS}, c = {MAX_COLLUDING}, each silo one node, through both apps. Under privacy
epsilon is {EPSILON:g} at delta {DELTA:g} for each record, by noise that the silos share
(example_distributed).

Each row is the share of the held-out records, of mnist its 10,000 test images, that
scikit-learn's LogisticRegression recognises: trained on all silos' training records, on as many
of them as there are pictures, or on {NUM_PICTURES} pictures that the run's generator makes up,
and no record.

The settings were looked for by hand on one split, whose held-out records were looked at,
without privacy and with noise: the figures may be a little kind.

exit status: 0; 2 if the data or an option is wrong."""


@dataclass(frozen=True)
class Row:
    """What was recognised, for each seed.

    Attributes
    ----------
    task, trained_on : str
    epsilon : float or None
        For every record; None without privacy.
    rounds : int or None
        Of the run.
    accuracies : list of float
    seconds : float or None
        Of a run, on average.
    """

    task: str
    trained_on: str
    epsilon: float | None
    rounds: int | None
    accuracies: list[float]
    seconds: float | None = None

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        spread = f" +- {stdev(self.accuracies):.3f}" if len(self.accuracies) > 1 else ""
        accuracy = f"{mean(self.accuracies):.3f}{spread}"
        epsilon = "-" if self.epsilon is None else f"{self.epsilon:g}"
        rounds = "-" if self.rounds is None else str(self.rounds)
        seconds = "-" if self.seconds is None else f"{self.seconds:.0f}"
        return [self.task, self.trained_on, epsilon, rounds, accuracy, seconds]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    rows: list[Row] = []
    try:
        for row in _measure(options):
            rows.append(row)
            print("measured " + ", ".join(row.cells()), file=sys.stderr)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    headers = ["task", "trained on", "epsilon", "rounds", "accuracy", "seconds"]
    print(table(headers, [row.cells() for row in rows]))
    print("\n" + machine_line())
    if options.json is not None:
        settings = {name: asdict(SETTINGS[name]) for name in {row.task for row in rows}}
        figures = {"rows": [asdict(row) for row in rows], "settings": settings}
        write_json(options.json, "generated", figures)
    return 0


def _measure(options: argparse.Namespace) -> Iterator[Row]:
    seeds = range(options.seeds)
    for name in options.tasks:
        data_dir = options.data_dir.absolute() if options.data_dir else None
        pooled = [_pooled(name, data_dir, seed) for seed in seeds]
        if "records" in options.rows:
            yield from _of_records(name, pooled)
        for which, epsilon in (("exact", None), ("private", EPSILON)):
            if which in options.rows:
                yield _generated(name, epsilon, pooled, data_dir, options.output_dir)


def _of_records(name: str, pooled: Sequence[LocalData]) -> Iterator[Row]:
    few = [accuracy(_some(data.train, n), data.test) for n, data in enumerate(pooled)]
    yield Row(name, f"{min(NUM_PICTURES, len(pooled[0].train))} records", None, None, few)
    whole = [accuracy(data.train, data.test) for data in pooled]
    yield Row(name, "all records", None, None, whole)


def _generated(
    name: str,
    epsilon: float | None,
    pooled: Sequence[LocalData],
    data_dir: Path | None,
    output_dir: Path | None,
) -> Row:
    found: list[float] = []
    started = time.perf_counter()
    for seed, data in enumerate(pooled):
        with TemporaryDirectory(prefix="tacet-") as temporary, parts_in_memory():
            place = f"{name}-{'none' if epsilon is None else f'{epsilon:g}'}-{seed}"
            folder = Path(temporary) if output_dir is None else output_dir.absolute() / place
            config = run_config(name, epsilon, seed, data_dir)
            simulate(
                {**config, "output-dir": str(folder)},
                NUM_SILOS,
                draws_page=output_dir is not None,
            )
            made = load_model(folder).sample(NUM_PICTURES)
        found.append(accuracy(made, data.test))
    seconds = (time.perf_counter() - started) / len(pooled)
    settings = SETTINGS[name]
    rounds = settings.rounds if epsilon is None else settings.private_rounds
    return Row(name, f"{NUM_PICTURES} pictures", epsilon, rounds, found, seconds)


def run_config(
    name: str, epsilon: float | None, seed: int, data_dir: Path | None
) -> dict[str, Scalar]:
    """Return the run config of a row."""
    settings = SETTINGS[name]
    keys: dict[str, Scalar] = {
        "aggregation.min_survivors": MIN_SURVIVORS,
        "aggregation.max_colluding": MAX_COLLUDING,
        **{f"algorithm.{key}": value for key, value in settings.algorithm.items()},
    }
    if epsilon is None:
        keys["algorithm.sampling_rate"] = settings.rate
    else:
        records = len(_pooled(name, data_dir, seed).train)
        keys |= {
            "privacy.epsilon": epsilon,
            "privacy.delta": DELTA,
            "privacy.population": NUM_SILOS,
            "privacy.clip_norm": settings.clip_norm,
            "privacy.sampling_rate": settings.private_rate,
            "privacy.expected_batch_size": round(settings.private_rate * records),
        }
    return {
        "task": name,
        "algorithm": "gan",
        "privacy": "none" if epsilon is None else "example_distributed",
        "num-rounds": settings.rounds if epsilon is None else settings.private_rounds,
        "seed": seed,
        "data-dir": "" if data_dir is None or name == "digits" else str(data_dir),
        "overrides": " ".join(f"{key}={value}" for key, value in keys.items()),
    }


def accuracy(train: Examples, test: Examples) -> float:
    """Return the share of records that a logistic regression on others recognises."""
    model = LogisticRegression(max_iter=MOST_STEPS)
    with warnings.catch_warnings():
        # It may end before it has converged, on records as on pictures.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_flat(train), train.targets)
    return float(model.score(_flat(test), test.targets))


def _flat(examples: Examples) -> np.ndarray:
    return examples.inputs.reshape(len(examples), -1)


def _some(examples: Examples, seed: int) -> Examples:
    """Return as many records, drawn at random, as there are pictures; or all."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return examples.take(order[:NUM_PICTURES])


def _pooled(name: str, data_dir: Path | None, seed: int) -> LocalData:
    """Return all records, held out as all silos together do."""
    task = build_task(load_config({"task": name, "seed": seed}))
    parts = [task.load(DataSource(n, NUM_SILOS, data_dir)) for n in range(NUM_SILOS)]
    return LocalData(joined([p.train for p in parts]), joined([p.test for p in parts]))


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("generated", __doc__, _EPILOG, seeds=1)
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST's four files")
    parser.add_argument("--tasks", nargs="+", choices=[*SETTINGS], default=[*SETTINGS])
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=[*ROWS],
        help="records: trained on records; exact and private: on made-up pictures (all)",
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="FOLDER",
        help="keep the run folders, with the pictures in their report.html",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
