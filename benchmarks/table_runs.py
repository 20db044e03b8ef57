"""What the benchmarks on tables share: records, runs through both apps, pooled trees."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (  # pyright: ignore[reportMissingTypeStubs]
    HistGradientBoostingClassifier,
)
from sklearn.metrics import roc_auc_score  # pyright: ignore[reportMissingTypeStubs]

from app.config.load import Scalar
from app.results.model_file import TableModel, load_model
from app.simulation.in_process import simulate
from tasks.records import Examples
from tasks.table import Table
from workloads.histograms.bins import Bins

DELTA = 1e-5
#: Rounds with privacy and without.
PRIVATE_ROUNDS, EXACT_ROUNDS = {"ebm": 6, "gbdt": 12}, {"ebm": 100, "gbdt": 200}
#: As Tacet has without privacy.
MAX_BINS = 255

Scores = NDArray[np.floating]
Matrix = NDArray[Any]


@dataclass(frozen=True)
class Records:
    """Records of two classes, as all see them who see all.

    Attributes
    ----------
    table : Table
        The columns.
    train, test : Examples
        The records, and those that were held out.
    """

    table: Table
    train: Examples
    test: Examples

    def auc(self, scores: Scores) -> float:
        """Return the area under the ROC curve of scores for the held-out records."""
        return float(roc_auc_score(self.test.targets, scores))


@dataclass(frozen=True)
class Privacy:
    """What ``example_distributed`` needs to know of a run.

    Attributes
    ----------
    epsilon : float
        For every record, at ``DELTA``.
    population : int
        Nodes.
    num_records : int
        Training records of all nodes.
    min_survivors, max_colluding : int
        T and c.
    sampling_rate : float
        Chance of a record to be in a step.
    """

    epsilon: float
    population: int
    num_records: int
    min_survivors: int
    max_colluding: int
    sampling_rate: float = 1.0

    def overrides(self) -> dict[str, Scalar]:
        """Return the keys of the run."""
        return {
            "privacy.epsilon": self.epsilon,
            "privacy.delta": DELTA,
            "privacy.population": self.population,
            "privacy.sampling_rate": self.sampling_rate,
            "privacy.expected_batch_size": round(self.sampling_rate * self.num_records),
            "aggregation.min_survivors": self.min_survivors,
            "aggregation.max_colluding": self.max_colluding,
        }


def held_out_scores(
    records: Records,
    run_config: Mapping[str, Scalar],
    num_nodes: int,
    overrides: Mapping[str, Scalar],
    privacy: Privacy | None,
) -> Scores:
    """Train through both apps and return the model file's scores of the held-out records.

    Parameters
    ----------
    records : Records
        Only those that were held out are looked at here.
    run_config : mapping
        Keys and values, without overrides and output folder.
    num_nodes : int
        Nodes, each of which reads its own records.
    overrides : mapping
        More keys.
    privacy : Privacy or None
        None without.
    """
    given = dict(run_config)
    words = dict(overrides)
    if privacy is not None:
        given["privacy"] = "example_distributed"
        words |= privacy.overrides()
    given["overrides"] = " ".join(f"{key}={value}" for key, value in words.items())
    with tempfile.TemporaryDirectory(prefix="tacet-") as folder:
        simulate(given | {"output-dir": folder}, num_nodes)
        _, model = load_model(Path(folder) / "model.safetensors")
    return _scores(model, records.test)


def boosted_scores(records: Records, seed: int, *, same_bins: bool = False) -> Scores:
    """Train scikit-learn's histogram boosting of trees; return its held-out scores.

    Parameters
    ----------
    records : Records
        All of which it sees.
    seed : int
        Of its own draws.
    same_bins : bool
        Whether it has Tacet's bins in place of its own.
    """
    is_categorical: Any = [column.is_categorical for column in records.table.columns]
    train, test = records.train.columns, records.test.columns
    if same_bins:
        # It takes 255 values of a column at most; missing ones, which Tacet has a bin for, are
        # none here.
        train, test = (
            np.minimum(binned(records.table, part), MAX_BINS - 1) for part in (train, test)
        )
    model: Any = HistGradientBoostingClassifier(
        categorical_features=is_categorical, random_state=seed
    )
    model.fit(train, records.train.targets)
    return model.decision_function(test)


def binned(columns_of: Table, columns: Matrix | None) -> Matrix:
    """Return the number of the bin of each value, as a float."""
    assert columns is not None
    bins = Bins(columns_of, MAX_BINS)
    return (bins.places(columns) - bins.firsts).astype(np.float64)


def _scores(model: Any, records: Examples) -> Scores:
    if isinstance(model, TableModel):
        assert records.columns is not None
        return model.predict(records.columns)[:, 1]
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(records.inputs)).squeeze(1).numpy()
