"""Differential privacy for every patient of the four hospitals, at a stated epsilon.

Called by ``python -m benchmarks.flamby_heart --privacy``.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from app.config.load import Scalar, load_config
from app.preflight.run_plan import plan_run
from benchmarks.heart_rows import (
    PUBLISHED_FEDAVG,
    PUBLISHED_LOCAL_DP,
    PUBLISHED_NO_DP,
    PUBLISHED_POOLED,
    Row,
    row_of,
    train_and_score,
)
from privacy.ledger.ledger import Ledger
from tasks.heart import HOSPITALS

MODES = ("example_distributed", "example_central", "example_local")
EPSILONS = (0.5, 1.0)
DELTA = 1e-3
#: Training records of all hospitals: the public divisor of a step.
NUM_RECORDS = 486
#: T and c of the four hospitals.
MIN_SURVIVORS, MAX_COLLUDING = 3, 1
#: Mean accuracy that ``example_distributed`` has to reach, by epsilon.
REQUIRED = {0.5: 0.79, 1.0: 0.80}

HOW_CHOSEN = (
    "The private rows take the defaults: step, clip norm and averaging as `tacet plan` shows"
    " them. The rule behind\nthem, and the nine features, were chosen by cross-validation on"
    " training records alone. That search is not in\nepsilon: it is for the benchmark. The"
    " noise is the operating system's, so figures vary from run to run (by 0.006\nfor a mean"
    " of five seeds); a seed fixes the first model."
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The training settings of the private rows; all else is the default.

    Attributes
    ----------
    num_rounds : int
        Steps of gradient descent over all records.
    """

    num_rounds: int = 30

    @property
    def average_from(self) -> int:
        """The model is the mean of those from this round on."""
        return self.num_rounds // 2 + 1

    def __str__(self) -> str:
        return (
            f"public_bounds, {self.num_rounds} rounds x 1 step on all records, the default"
            f" recipe, mean of rounds {self.average_from}-{self.num_rounds}"
        )


@dataclass(frozen=True, kw_only=True)
class PrivateRow:
    """A row of the table with its privacy guarantee.

    Attributes
    ----------
    row : Row
        The accuracies.
    mode : str
        The privacy option; empty for rows of others and without privacy.
    epsilon : float or None
        What was promised to every patient; None where nothing is.
    ledger_epsilon : float or None
        The largest that any hospital's own ledger shows, over all seeds; None without ledger.
    """

    row: Row
    mode: str = ""
    epsilon: float | None = None
    ledger_epsilon: float | None = None

    def cells(self) -> list[str]:
        """Return the formatted cells."""
        system, _, *scores = self.row.cells()
        promised = "-" if self.epsilon is None else f"{self.epsilon:g}"
        charged = "-" if self.ledger_epsilon is None else f"{self.ledger_epsilon:.4f}"
        return [system, promised, charged, *scores]

    def figures(self) -> dict[str, object]:
        """Return the row for the JSON."""
        own = {"mode": self.mode, "epsilon": self.epsilon, "ledger": self.ledger_epsilon}
        return asdict(self.row) | own

    @property
    def shortcomings(self) -> list[str]:
        """The requirements that the row misses; empty if none."""
        name, found = f"{self.mode}, epsilon {self.epsilon}", list[str]()
        if self.epsilon is None or self.ledger_epsilon is None:
            return found
        if self.ledger_epsilon > self.epsilon:
            found.append(f"{name}: a hospital's ledger shows {self.ledger_epsilon:.6f}")
        least = REQUIRED.get(self.epsilon, 0.0) if self.mode == MODES[0] else 0.0
        if self.row.mean < least:
            found.append(
                f"{name}: mean accuracy {self.row.mean:.3f}, at least {least} required"
            )
        return found


HEADERS = ["system", "epsilon", "highest ledger", "mean accuracy", *HOSPITALS]


def published() -> list[PrivateRow]:
    """Return FLamby's own results."""
    rows = (PUBLISHED_POOLED, PUBLISHED_FEDAVG, PUBLISHED_NO_DP)
    return [PrivateRow(row=row) for row in rows] + [
        PrivateRow(row=PUBLISHED_LOCAL_DP, epsilon=4.21)
    ]


def measure_private(
    data_dir: Path, mode: str, epsilon: float, seeds: Sequence[int], settings: Settings
) -> PrivateRow:
    """Train once for each seed with differential privacy for every patient.

    Parameters
    ----------
    data_dir : Path
        UCI's four files, an absolute path.
    mode : str
        One of ``MODES``.
    epsilon : float
        What each run may spend.
    seeds : sequence of int
        At least one.
    settings : Settings
        The training settings.

    Raises
    ------
    DataError
        If the files are missing or wrong.
    RunStoppedError
        If a hospital's own cap, which is that epsilon, refuses a round.
    """
    scores: list[dict[str, float]] = []
    spent: list[float] = []
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="tacet-nodes-") as folder:
            nodes = _nodes(Path(folder), mode, epsilon)
            run_config = _run_config(data_dir, mode, epsilon, settings)
            run_config |= {"seed": seed, "simulation-nodes": str(nodes)}
            scores.append(train_and_score(run_config))
            spent += _spent(Path(folder))
    row = row_of(f"Tacet, {mode}", str(settings), scores)
    return PrivateRow(row=row, mode=mode, epsilon=epsilon, ledger_epsilon=max(spent))


def _run_config(
    data_dir: Path, mode: str, epsilon: float, settings: Settings
) -> dict[str, Scalar]:
    local = mode == "example_local"
    # Locally, each hospital's step is divided by a quarter, and the mean of the four updates
    # taken: the same step, but for all the noise that each one adds.
    batch = NUM_RECORDS / len(HOSPITALS) if local else NUM_RECORDS
    overrides = {
        "task.preprocessing": "public_bounds",
        "aggregation.min_survivors": MIN_SURVIVORS,
        "aggregation.max_colluding": MAX_COLLUDING,
        "privacy.epsilon": epsilon,
        "privacy.delta": DELTA,
        "privacy.sampling_rate": 1,
        "privacy.expected_batch_size": batch,
        "privacy.population": len(HOSPITALS),
    }
    run_config: dict[str, Scalar] = {
        "task": "heart",
        "aggregation": "secagg",
        "privacy": mode,
        "data-dir": str(data_dir),
        "num-rounds": settings.num_rounds,
        "overrides": " ".join(f"{key}={value}" for key, value in overrides.items()),
    }
    return _as_one_step(run_config, settings) if local else run_config


def _as_one_step(run_config: dict[str, Scalar], settings: Settings) -> dict[str, Scalar]:
    """Make a hospital's own training the one step, of the settled length, that others are."""
    free = (
        f"{run_config['overrides']} task.training.optimizer=sgd task.training.momentum=0"
        f" task.training.num_steps=1 algorithm.average_from={settings.average_from}"
    )
    recipe = plan_run(load_config(run_config | {"overrides": free})).guarantee["recipe"]
    rate = f" task.training.learning_rate={recipe['settled']}"
    return run_config | {"overrides": free + rate}


def _nodes(folder: Path, mode: str, epsilon: float) -> Path:
    """Give each hospital a policy, whose cap is epsilon, and a ledger; return the list."""
    entries: list[dict[str, str]] = []
    for name in HOSPITALS:
        policy = {
            "dataset": name,
            "privacy": [mode],
            "unit": "example",
            "min_survivors": MIN_SURVIVORS,
            "min_colluding": MAX_COLLUDING,
            "max_epsilon": epsilon,
            "delta": DELTA,
            "require_identities": False,
        }
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(policy), encoding="utf-8")
        # As the policy demands, whatever this machine's umask is.
        file.chmod(0o600)
        entries.append({"policy-file": file.name, "state-path": f"{name}.sqlite"})
    nodes = folder / "nodes.yaml"
    nodes.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return nodes


def _spent(folder: Path) -> list[float]:
    """Return the cost of the run by each hospital's own ledger."""
    return [Ledger(folder / f"{n}.sqlite", n).spent(DELTA).epsilon for n in HOSPITALS]
