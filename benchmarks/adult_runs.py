"""The federated rows of ``python -m benchmarks.adult``: data, runs and scores."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score  # pyright: ignore[reportMissingTypeStubs]

from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from app.results.model_file import TableModel, load_model
from app.simulation.in_process import simulate
from tasks.base import DataSource
from tasks.records import Examples
from tasks.table import Table

NUM_SILOS = 10
#: The silos' sizes are drawn with this concentration: the largest is several times the least.
SKEW = 2
#: Chance of a record to be in a step of logistic regression.
LOGISTIC_RATE = 0.02
DELTA = 1e-5
#: T and c.
MIN_SURVIVORS, MAX_COLLUDING = 9, 1


@dataclass(frozen=True)
class Adult:
    """Both files, as all see them who see all.

    Attributes
    ----------
    folder : Path
        With ``adult.data`` and ``adult.test``, an absolute path.
    table : Table
        The columns.
    train, test : Examples
        The records.
    """

    folder: Path
    table: Table
    train: Examples
    test: Examples

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the files.

        Raises
        ------
        DataError
            If one is missing or wrong.
        """
        task = build_task(load_config({"task": "adult"}))
        task.keeps_missing = True
        records = task.load(DataSource(data_path=folder.absolute()))
        assert task.table is not None
        return cls(folder.absolute(), task.table, records.train, records.test)

    def auc(self, scores: NDArray[np.floating]) -> float:
        """Return the area under the ROC curve of scores for the test records."""
        return float(roc_auc_score(self.test.targets, scores))


def federated(
    data: Adult, algorithm: str, num_rounds: int, seed: int, epsilon: float | None = None
) -> float:
    """Train through both apps and return the AUC of the model file.

    Parameters
    ----------
    data : Adult
        The records, of which each silo reads its own part.
    algorithm : str
        ``ebm``, ``gbdt``, ``forest``, ``tree``, or ``fedavg`` for logistic regression.
    num_rounds : int
        Rounds.
    seed : int
        Spreads the records; the noise is the operating system's.
    epsilon : float, optional
        For every record, under ``example_distributed``.
    """
    overrides: dict[str, Scalar] = {
        "task.partition.scheme": "size_skew",
        "task.partition.alpha": SKEW,
    }
    run_config: dict[str, Scalar] = {
        "task": "adult",
        "algorithm": algorithm,
        "data-dir": str(data.folder),
        "num-rounds": num_rounds,
        "seed": seed,
    }
    # Boosting asks a few times for all, logistic regression often for some.
    rate = LOGISTIC_RATE if algorithm == "fedavg" else 1.0
    if epsilon is not None:
        run_config["privacy"] = "example_distributed"
        overrides |= {
            "privacy.epsilon": epsilon,
            "privacy.delta": DELTA,
            "privacy.population": NUM_SILOS,
            "privacy.sampling_rate": rate,
            "privacy.expected_batch_size": round(rate * len(data.train)),
            "aggregation.min_survivors": MIN_SURVIVORS,
            "aggregation.max_colluding": MAX_COLLUDING,
        }
    run_config["overrides"] = " ".join(f"{key}={value}" for key, value in overrides.items())
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        simulate(run_config | {"output-dir": folder}, NUM_SILOS)
        _, model = load_model(Path(folder) / "model.safetensors")
    return data.auc(_scores(model, data.test))


def _scores(model: Any, records: Examples) -> NDArray[np.floating]:
    if isinstance(model, TableModel):
        assert records.columns is not None
        return model.predict(records.columns)[:, 1]
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(records.inputs)).squeeze(1).numpy()
