"""scikit-learn's 569 clinical records of breast masses: benign or malignant."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tasks.base import Classification, DataSource
from tasks.csv.new_rows import Form, Given, NewRows, read_new_rows
from tasks.csv.schema import CsvConfig, LabelConfig, NumericConfig
from tasks.partition import local_part
from tasks.records import Examples, LocalData
from tasks.schema import TaskConfig, require
from tasks.table import Column, Table

if TYPE_CHECKING:
    from torch import nn


class Model(Enum):
    """Which model is trained."""

    logistic = "logistic"
    mlp = "mlp"


@dataclass
class BreastCancerConfig(TaskConfig):
    """The keys of the breast-cancer task beside those of every task.

    Attributes
    ----------
    model : Model
        ``logistic`` or ``mlp`` (one hidden layer).
    hidden : int
        Width of the hidden layer, at least 1. Only ``mlp`` has one.
    """

    model: Model = Model.logistic
    hidden: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden >= 1, f"task.hidden={self.hidden}: must be at least 1")

    def idle_keys(self) -> dict[str, str]:
        """Return ``hidden`` where the model has no hidden layer."""
        if self.model is Model.mlp:
            return {}
        return {"hidden": f"task.model={self.model.name} has no hidden layer; take mlp"}


# Ten measures of the cell nuclei, each as mean, standard error and worst (largest) value. The
# bounds are round numbers about the ranges in the data set's published description (UCI Breast
# Cancer Wisconsin Diagnostic; lengths in pixels). They are constants because a mean or a
# maximum taken from the records at run time would tell the others about them.
_BOUNDS: tuple[
    tuple[str, tuple[float, float], tuple[float, float], tuple[float, float]], ...
] = (
    # measure, mean, standard error, worst
    ("radius", (5, 30), (0, 3), (5, 40)),
    ("texture", (5, 40), (0, 5), (10, 50)),
    ("perimeter", (40, 200), (0, 25), (50, 260)),
    ("area", (100, 2600), (0, 550), (150, 4500)),
    ("smoothness", (0.05, 0.2), (0, 0.04), (0.05, 0.25)),
    ("compactness", (0, 0.4), (0, 0.15), (0, 1.1)),
    ("concavity", (0, 0.5), (0, 0.4), (0, 1.3)),
    ("concave points", (0, 0.25), (0, 0.06), (0, 0.3)),
    ("symmetry", (0.1, 0.35), (0, 0.08), (0.1, 0.7)),
    ("fractal dimension", (0.04, 0.1), (0, 0.03), (0.05, 0.25)),
)


# The records have all means first, then all standard errors, then all worst values.
_TABLE = Table(
    columns=tuple(
        Column(f"{kind} {measure[0]}", *measure[1:][place])
        for place, kind in enumerate(("mean", "error", "worst"))
        for measure in _BOUNDS
    ),
    classes=("malignant", "benign"),
    label=Column("diagnosis", categories=("malignant", "benign")),
)


def _scale(records: np.ndarray) -> np.ndarray:
    """Map each feature's bounds to [-1, 1] and clip what lies outside."""
    low, high = np.array([(column.low, column.high) for column in _TABLE.columns]).T
    return np.clip(2 * (records - low) / (high - low) - 1, -1, 1)


def _to_records(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs of a model, float32, and the rows of the table."""
    return _scale(columns).astype(np.float32), columns


@cache
def _rows_config() -> CsvConfig:
    """Return what the columns of a file of rows to predict mean."""
    return CsvConfig(
        label=LabelConfig(column=_TABLE.label.name, classes=list(_TABLE.classes)),
        numeric={
            column.name: NumericConfig(column.low, column.high) for column in _TABLE.columns
        },
    )


@cache
def _records() -> Examples:
    from sklearn.datasets import load_breast_cancer

    records, labels = load_breast_cancer(return_X_y=True)
    scaled, columns = _to_records(np.asarray(records, np.float64))
    return Examples(scaled, np.asarray(labels, dtype=np.int64), columns)


class BreastCancer(Classification):
    """Classification of masses as benign (1) or malignant (0)."""

    Config = BreastCancerConfig
    has_table = True
    num_classes = 2

    def load(self, source: DataSource) -> LocalData:
        """Return this node's part of the records."""
        return local_part(
            _records(), source, self.config.partition, self.config.test_fraction, self.seed
        )

    def new_rows(self, given: Given) -> NewRows:
        """Return rows to predict, whose columns are those of the table."""
        return read_new_rows(
            given, Form(_rows_config(), _to_records, keeps_missing=self.keeps_missing)
        )

    @property
    def table(self) -> Table:
        """Return the thirty measures in their own units."""
        return _TABLE

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the number of features."""
        return (3 * len(_BOUNDS),)

    def build_model(self) -> nn.Module:
        """Return the model that ``task.model`` names, with one logit."""
        from tasks.models import linear, mlp

        (num_features,) = self.input_shape
        if self.config.model is Model.mlp:
            return mlp(num_features, 1, self.config.hidden)
        return linear(num_features, 1)
