"""The federated rows of ``python -m benchmarks.adult``: data and runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from app.builders.workload import build_task
from app.config.load import Scalar, load_config
from benchmarks.table_runs import Privacy, Records, held_out_scores
from tasks.base import DataSource

NUM_SILOS = 10
#: The silos' sizes are drawn with this concentration: the largest is several times the least.
SKEW = 2
#: Chance of a record to be in a step of logistic regression.
LOGISTIC_RATE = 0.02
#: T and c.
MIN_SURVIVORS, MAX_COLLUDING = 9, 1


@dataclass(frozen=True)
class Adult(Records):
    """Both files; the official test set is what was held out.

    Attributes
    ----------
    folder : Path
        With ``adult.data`` and ``adult.test``, an absolute path.
    """

    folder: Path

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
        return cls(task.table, records.train, records.test, folder.absolute())


def federated(
    data: Adult,
    algorithm: str,
    num_rounds: int,
    seed: int,
    epsilon: float | None = None,
    more: Mapping[str, Scalar] = MappingProxyType({}),
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
    more : mapping, optional
        More keys of the run.
    """
    overrides: dict[str, Scalar] = {
        **more,
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
    privacy = None
    if epsilon is not None:
        # Boosting asks a few times for all, logistic regression often for some.
        rate = LOGISTIC_RATE if algorithm == "fedavg" else 1.0
        terms = (MIN_SURVIVORS, MAX_COLLUDING)
        privacy = Privacy(epsilon, NUM_SILOS, len(data.train), *terms, sampling_rate=rate)
    return data.auc(held_out_scores(data, run_config, NUM_SILOS, overrides, privacy))
