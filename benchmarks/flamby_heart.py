"""Four real hospitals beside FLamby's published results for Fed-Heart-Disease.

python -m benchmarks.flamby_heart --data-dir ../shared/data/heart
python -m benchmarks.flamby_heart --data-dir ../shared/data/heart --privacy

The first compares FedAvg with FLamby's. The second gives every patient differential privacy at
epsilon 0.5 and 1, as each hospital's own ledger counts it, and compares noise in shares under
the mask (``example_distributed``), noise of a trusted server (``example_central``) and all the
noise on each hospital (``example_local``) with FedAvg and with what FLamby published.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from app.config.load import ConfigError, Scalar, load_config
from app.config.run import AppConfig
from benchmarks import heart_privacy
from benchmarks.heart_rows import (
    PUBLISHED_FEDAVG,
    PUBLISHED_POOLED,
    Row,
    row_of,
    train_and_score,
)
from benchmarks.report import machine_line, table, write_json
from strategies.rounds.attempt import RunStoppedError
from tasks.heart import HOSPITALS, HeartConfig
from tasks.records import DataError

_EPILOG = """\
The score is FLamby's: the final model's accuracy on each hospital's held-out part, and the
unweighted mean of the four; mean +- sample standard deviation over the seeds. The published
rows are FLamby's (Ogier du Terrail et al. 2022, arXiv 2210.04620; hospitals and spread agree
with the result files of its repository), everything else is trained here and now.

exit status: 0 if ours, with FLamby's settings, lies within FLamby's published spread for
FedAvg; 1 if it does not; 2 if the data or an option is wrong. With --privacy: 0 if
example_distributed reaches 0.79 at epsilon 0.5 and 0.80 at epsilon 1 and no ledger shows more
than was promised; 1 if not; 2 as above."""

# FLamby's own budget, for both preprocessings.
_BUDGET = "task.training.batch_size=4 task.training.num_steps=100"
_FLAMBY = f"{_BUDGET} task.preprocessing=flamby task.training.learning_rate=0.001"
# The learning rate is the one in the task's YAML: these features have another scale.
_PUBLIC_BOUNDS = f"{_BUDGET} task.preprocessing=public_bounds"


def measure(data_dir: Path, overrides: str, num_rounds: int, seeds: Sequence[int]) -> Row:
    """Train once for each seed and score the final models.

    Parameters
    ----------
    data_dir : Path
        UCI's four files, an absolute path.
    overrides : str
        What differs from the task's YAML.
    num_rounds : int
        Rounds of each training.
    seeds : sequence of int
        At least one.

    Raises
    ------
    DataError
        If the files are missing or wrong.
    """
    run_config: dict[str, Scalar] = {
        "task": "heart",
        "algorithm": "fedavg",
        "data-dir": str(data_dir),
        "num-rounds": num_rounds,
        "deterministic": True,
        "overrides": f"{overrides} task.training.optimizer=sgd task.training.momentum=0",
    }
    scores = [train_and_score(run_config | {"seed": seed}) for seed in seeds]
    return row_of("Tacet, FedAvg", _settings(load_config(run_config)), scores)


def is_within_published_spread(row: Row) -> bool:
    """Return whether a row's mean is at most FLamby's deviation away from FLamby's mean."""
    assert PUBLISHED_FEDAVG.deviation is not None
    return abs(row.mean - PUBLISHED_FEDAVG.mean) <= PUBLISHED_FEDAVG.deviation


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    options = _parser().parse_args(arguments)
    # A line a round of ten trainings would bury the table.
    logging.getLogger("flwr").setLevel(logging.WARNING)
    # The models have 14 parameters; more threads only cost.
    torch.set_num_threads(1)
    data_dir = options.data_dir.expanduser().resolve()
    compare = _compare_privacy if options.privacy else _compare_fedavg
    try:
        return compare(data_dir, options)
    except (ConfigError, DataError, RunStoppedError) as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 2


def _compare_fedavg(data_dir: Path, options: argparse.Namespace) -> int:
    flamby = measure(data_dir, _FLAMBY, options.rounds, options.seeds)
    public = measure(data_dir, _PUBLIC_BOUNDS, options.rounds, options.seeds)
    rows = [PUBLISHED_POOLED, PUBLISHED_FEDAVG, flamby, public]
    within = is_within_published_spread(flamby)
    headers = ["system", "settings", "mean accuracy", *HOSPITALS]
    print(table(headers, [row.cells() for row in rows]))
    print(
        f"\nseeds {', '.join(map(str, options.seeds))}; ours with FLamby's settings is"
        f" {'within' if within else 'OUTSIDE'} the published spread"
    )
    print(machine_line())
    if options.json:
        figures: dict[str, object] = {"seeds": options.seeds, "rounds": options.rounds}
        figures |= {"rows": [asdict(row) for row in rows], "within_published_spread": within}
        write_json(options.json, "flamby_heart", figures)
    return 0 if within else 1


def _compare_privacy(data_dir: Path, options: argparse.Namespace) -> int:
    settings, started = heart_privacy.Settings(), time.monotonic()
    fedavg = measure(data_dir, _PUBLIC_BOUNDS, options.rounds, options.seeds)
    rows = [*heart_privacy.published(), heart_privacy.PrivateRow(row=fedavg)]
    for epsilon in heart_privacy.EPSILONS:
        for mode in heart_privacy.MODES:
            rows.append(
                heart_privacy.measure_private(data_dir, mode, epsilon, options.seeds, settings)
            )
    shortcomings = [text for row in rows for text in row.shortcomings]
    print(table(heart_privacy.HEADERS, [row.cells() for row in rows]))
    print(
        f"\nseeds {', '.join(map(str, options.seeds))}; delta {heart_privacy.DELTA:g};"
        f" secagg, T={heart_privacy.MIN_SURVIVORS}, c={heart_privacy.MAX_COLLUDING}"
        f"\nFedAvg: {fedavg.settings}\nprivate rows: {settings}\n{heart_privacy.HOW_CHOSEN}"
    )
    print("\n".join(f"FAIL  {text}" for text in shortcomings) or "PASS  all that is required")
    print(f"{time.monotonic() - started:.0f} seconds; {machine_line()}")
    if options.json:
        figures: dict[str, object] = {"seeds": options.seeds, "delta": heart_privacy.DELTA}
        figures |= {"settings": asdict(settings), "how_chosen": heart_privacy.HOW_CHOSEN}
        figures |= {"rows": [row.figures() for row in rows], "shortcomings": shortcomings}
        write_json(options.json, "flamby_heart_privacy", figures)
    return 1 if shortcomings else 0


def _settings(config: AppConfig) -> str:
    """Say what a run used, from its resolved configuration."""
    assert isinstance(config.task, HeartConfig)
    training = config.task.training
    return (
        f"{config.task.preprocessing.value}, {training.optimizer.value}"
        f" {training.learning_rate:g}, {config.num_rounds} rounds x {training.num_steps} steps,"
        f" batch {training.batch_size}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flamby_heart",
        description="Train FedAvg on the four hospitals of UCI Heart Disease, through the real"
        " apps in one process, and print the result beside FLamby's published one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        required=True,
        help="folder with processed.cleveland.data and the other three files of UCI",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[42, 43, 44, 45, 46],
        help="one training each; FLamby's are %(default)s",
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds of each FedAvg training (%(default)s)"
    )
    parser.add_argument(
        "--privacy", action="store_true", help="compare differential privacy instead"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
