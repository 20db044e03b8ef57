"""Four real hospitals beside FLamby's published results for Fed-Heart-Disease.

python -m benchmarks.flamby_heart --data-dir ../shared/data/heart
"""

import argparse
import logging
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from app.build import build_task
from app.config import ConfigError, Scalar, load_config
from app.in_process import simulate
from app.model_file import load_model
from app.schema import AppConfig
from benchmarks.report import machine_line, table, write_json
from tasks.base import DataError, Node
from tasks.heart import HOSPITALS, HeartConfig
from tasks.training import evaluate

_EPILOG = """\
The score is FLamby's: the final model's accuracy on each hospital's held-out part, and the
unweighted mean of the four; mean +- sample standard deviation over the seeds. The published
rows are FLamby's (Ogier du Terrail et al. 2022, arXiv 2210.04620; hospitals and spread agree
with the result files of its repository), everything else is trained here and now.

exit status: 0 if ours, with FLamby's settings, lies within FLamby's published spread for
FedAvg; 1 if it does not; 2 if the data or an option is wrong."""

# FLamby's own budget, for both preprocessings.
_BUDGET = "task.training.batch_size=4 task.training.num_steps=100"
_FLAMBY = f"{_BUDGET} task.preprocessing=flamby task.training.learning_rate=0.001"
# The learning rate is the one in the task's YAML: these features have another scale.
_PUBLIC_BOUNDS = f"{_BUDGET} task.preprocessing=public_bounds"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    system : str
        Who trained, and how.
    settings : str
        What the training used.
    mean : float
        Over the seeds, of the unweighted mean of the hospitals' accuracies.
    deviation : float or None
        Sample standard deviation over the seeds; None for a single seed.
    hospitals : dict
        Each hospital's accuracy, mean over the seeds.
    """

    system: str
    settings: str
    mean: float
    deviation: float | None
    hospitals: dict[str, float]

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        spread = "" if self.deviation is None else f" +- {self.deviation:.3f}"
        each = [f"{self.hospitals[name]:.3f}" for name in HOSPITALS]
        return [self.system, self.settings, f"{self.mean:.3f}{spread}", *each]


# Published, not measured here. Seeds 42 to 46.
_PUBLISHED_SETTINGS = "flamby, {}, batch 4"
PUBLISHED_POOLED = Row(
    system="FLamby, pooled (published)",
    settings=_PUBLISHED_SETTINGS.format("adam 0.001, 50 epochs"),
    mean=0.735,
    deviation=0.003,
    hospitals=dict(zip(HOSPITALS, (0.783, 0.764, 0.750, 0.644), strict=True)),
)
PUBLISHED_FEDAVG = Row(
    system="FLamby, FedAvg (published)",
    settings=_PUBLISHED_SETTINGS.format("sgd 0.001, 15 rounds x 100 steps"),
    mean=0.685,
    deviation=0.028,
    hospitals=dict(zip(HOSPITALS, (0.731, 0.719, 0.650, 0.640), strict=True)),
)


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
    scores = [_train_and_score(run_config | {"seed": seed}) for seed in seeds]
    means = [statistics.mean(score.values()) for score in scores]
    return Row(
        system="Tacet, FedAvg",
        settings=_settings(load_config(run_config)),
        mean=statistics.mean(means),
        deviation=statistics.stdev(means) if len(means) > 1 else None,
        hospitals={name: statistics.mean(s[name] for s in scores) for name in HOSPITALS},
    )


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
    try:
        flamby = measure(data_dir, _FLAMBY, options.rounds, options.seeds)
        public = measure(data_dir, _PUBLIC_BOUNDS, options.rounds, options.seeds)
    except (ConfigError, DataError) as error:
        print(f"{Path(__file__).stem}: {error}", file=sys.stderr)
        return 2
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


def _train_and_score(run_config: Mapping[str, Scalar]) -> dict[str, float]:
    """Train through both apps; return the saved model's accuracy at each hospital."""
    data_path = Path(str(run_config["data-dir"]))
    nodes = [Node(partition, len(HOSPITALS), data_path) for partition in range(len(HOSPITALS))]
    # In the run, the reason would stay in the hospital's own log, as it must.
    task = build_task(load_config(run_config))
    for node in nodes:
        task.load(node)
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        simulate({**run_config, "output-dir": folder}, len(HOSPITALS))
        task, model = load_model(Path(folder) / "model.safetensors")
    sums = [evaluate(task, model, task.load(node).test) for node in nodes]
    accuracies = [score["accuracy"] / score["num_examples"] for score in sums]
    return dict(zip(HOSPITALS, accuracies, strict=True))


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
        "--rounds", type=int, default=15, help="rounds of each training (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
