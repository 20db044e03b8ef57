"""UCI Heart Disease: the patients of four real hospitals, one client each.

The records, features and split are those of FLamby's Fed-Heart-Disease (Ogier du Terrail et
al. 2022, arXiv 2210.04620), so that results can be compared with published ones. A record's
side of the split is a matter of that record alone: see ``tasks.heart_split``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy.unit import Unit
from tasks.base import Classification, DataSource
from tasks.csv.mends import parse
from tasks.csv.new_rows import Form, Given, NewRows, read_new_rows
from tasks.csv.rows import Row, rows_of_one_line
from tasks.files import keep_until_changed
from tasks.heart_rows import adapt_new, rows_config, values_by_name
from tasks.heart_split import flamby_split
from tasks.heart_table import COLUMNS, HEART_TABLE, heart_columns
from tasks.lines import physical_lines
from tasks.partition import local_part
from tasks.records import DataError, Examples, LocalData, joined
from tasks.schema import PartitionConfig, Scheme, TaskConfig
from tasks.table import Table

if TYPE_CHECKING:
    from torch import nn

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")

# Missing for most patients outside Cleveland; FLamby drops them, and so do we.
_DROPPED = ("slope", "ca", "thal")
# The codes that UCI's description allows. Being public, they give every hospital the same
# one-hot columns without a look at another's file.
_CODES: dict[str, tuple[float, ...]] = {
    "sex": (0, 1),
    "cp": (1, 2, 3, 4),
    "fbs": (0, 1),
    "restecg": (0, 1, 2),
    "exang": (0, 1),
    "num": (0, 1, 2, 3, 4),
}
_ONE_HOT = ("cp", "restecg")
_PLAIN = tuple(c for c in COLUMNS[:-1] if c not in (*_DROPPED, *_ONE_HOT))
# FLamby's: each first level of the codes left out.
_FEATURES = (*_PLAIN, *(f"{name}={code}" for name in _ONE_HOT for code in _CODES[name][1:]))

# What `public_bounds` keeps and maps to [-1, 1]. Clinical knowledge, none of it from these
# records. Noise falls on every weight alike, so a feature that says little costs more than it
# is worth: these are the ones of the classical scores before the coronary angiography, by age,
# sex and kind of chest pain (Diamond and Forrester 1979) and by exercise test (Mark et al.
# 1987, with the highest pulse for the time on the treadmill).
_PUBLIC_BOUNDS: dict[str, tuple[float, float]] = {
    "age": (30, 80),  # years: coronary disease is rare before, angiography rare after
    "sex": (0, 1),
    "thalach": (60, 200),  # beats a minute: bradycardia; the rule 220 - age at 20 years
    "exang": (0, 1),
    "oldpeak": (0, 4),  # mm ST depression: none; 1 is a positive test, 2 a strong one
}
_PUBLIC_CODES = tuple(name for name in _FEATURES if name.startswith("cp="))
# No living patient has 0: the hospital did not measure it (all of Switzerland). What was not
# asked for says something of the patient, too.
_ZERO_IS_UNKNOWN = "chol"
# Nothing measured in a patient comes near; a float32 holds all below.
_IMPOSSIBLE = 1e6

_LOGGER = logging.getLogger("flwr.tacet")


class Preprocessing(Enum):
    """How the features are scaled.

    ``public_bounds``: by fixed clinical constants, so that nothing is learnt from the records;
    nine features, which are of those of ``flamby`` or say that one is unknown.
    ``flamby``: FLamby's thirteen, by mean and standard deviation of the client's own training
    part, for which no guarantee of differential privacy accounts.
    """

    flamby = "flamby"
    public_bounds = "public_bounds"


@dataclass
class HeartConfig(TaskConfig):
    """The keys of the heart task beside those of every task.

    Under the scheme ``natural``, the default, client k is hospital k with FLamby's fixed split,
    and ``test_fraction`` is not used. Other schemes pool the records and split them anew.

    Attributes
    ----------
    preprocessing : Preprocessing
        ``public_bounds`` or ``flamby``.
    """

    partition: PartitionConfig = field(
        default_factory=lambda: PartitionConfig(scheme=Scheme.natural)
    )
    preprocessing: Preprocessing = Preprocessing.public_bounds

    def idle_keys(self) -> dict[str, str]:
        """Return ``test_fraction`` where FLamby's split is used."""
        if self.partition.scheme is not Scheme.natural:
            return {}
        return {"test_fraction": "task.partition.scheme=natural has FLamby's split; take iid"}


class Heart(Classification):
    """Classification of patients by heart disease."""

    Config = HeartConfig
    has_table = True
    num_classes = 2

    def check_private(self, unit: Unit) -> None:
        """Raise ``ValueError`` for a scale that is taken from the records."""
        if self.config.preprocessing is Preprocessing.flamby:
            raise ValueError(
                "task.preprocessing=flamby: it standardises by the hospital's own records,"
                " which no noise covers; take public_bounds"
            )

    def check_population(self, num_nodes: int) -> None:
        """Raise ``DataError`` unless there is one node for each hospital."""
        natural = self.config.partition.scheme is Scheme.natural
        if natural and num_nodes != len(HOSPITALS):
            raise DataError(
                f"task.partition.scheme=natural: there are {len(HOSPITALS)} hospitals but"
                f" {num_nodes} nodes; give"
                f" --federation-config 'num-supernodes={len(HOSPITALS)}' or"
                ' overrides="task.partition.scheme=iid"'
            )

    def load(self, source: DataSource) -> LocalData:
        """Return one hospital's patients, or this node's part of all.

        In a private run a line that does not fit is left out; otherwise it is refused.
        """
        self.check_population(source.num_partitions)
        first, *_, last = (f"processed.{name}.data" for name in HOSPITALS)
        directory = source.require_data_path(f"a directory with {first}, ..., {last}")
        files = [directory / f"processed.{name}.data" for name in HOSPITALS]
        if self.config.partition.scheme is Scheme.natural:
            # Only its own file: a real hospital has no other.
            data = flamby_split(_read(files[source.partition_id], self.is_private))
        else:
            parts = [_read(file, self.is_private) for file in files]
            pooled = joined(parts)
            config = self.config
            data = local_part(pooled, source, config.partition, config.test_fraction, self.seed)
        if self.config.preprocessing is Preprocessing.flamby:
            return _standardise(data)
        return LocalData(_bound(data.train), _bound(data.test))

    def new_rows(self, given: Given) -> NewRows:
        """Return rows to predict, whose columns are those of UCI's files.

        Raises
        ------
        DataError
            If a model's inputs are scaled by records that only the hospitals have.
        """
        is_neural = not self.keeps_missing
        if is_neural and self.config.preprocessing is Preprocessing.flamby:
            raise DataError(
                "task.preprocessing=flamby standardises each hospital's features by its own"
                " records, so a new row has no scale; train with public_bounds"
            )
        # In training, too, a record that misses a value is left out, whatever the model.
        return read_new_rows(given, Form(rows_config(), _to_records, adapt_new))

    @property
    def table(self) -> Table:
        """Return ten columns that the four hospitals have."""
        return HEART_TABLE

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the number of features."""
        return (
            (len(_FEATURES),)
            if self.config.preprocessing is Preprocessing.flamby
            else (len(_PUBLIC_BOUNDS) + len(_PUBLIC_CODES) + 1,)
        )

    def build_model(self) -> nn.Module:
        """Return logistic regression with one logit."""
        from tasks.models import linear

        (num_features,) = self.input_shape
        return linear(num_features, 1)


# Four hospitals, each in two ways.
@keep_until_changed(8)
def _read(file: Path, is_private: bool = False) -> Examples:
    """Return a hospital's complete records with unscaled features, in the file's order."""
    rows: list[dict[str, float | None]] = []
    misfits: list[DataError] = []
    # Each line alone: none has a say in how another one is read.
    for row in rows_of_one_line(physical_lines(file), ","):
        try:
            rows.append(_parse(row, f"{file}, line {row.line}"))
        except DataError as error:
            if not is_private:
                raise
            misfits.append(error)
    if misfits:
        _LOGGER.warning("%d lines do not fit, the first: %s", len(misfits), misfits[0])
    complete = [row for row in rows if None not in row.values()]
    if len(complete) < 2 and not is_private:
        raise DataError(
            f"{file}: {len(complete)} of {len(rows)} records are complete; it takes 2 or more"
        )
    read = [name for name in COLUMNS if name not in _DROPPED]
    columns = {name: np.array([row[name] for row in complete], np.float64) for name in read}
    return Examples(
        _unscaled(columns), (columns["num"] > 0).astype(np.int64), heart_columns(columns)
    )


def _unscaled(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float32]:
    """Return the features of a file's values by column, before any scale."""
    # As pandas.get_dummies orders them: the dummies last, each first level left out.
    features = [columns[name] for name in _PLAIN]
    features += [columns[name] == code for name in _ONE_HOT for code in _CODES[name][1:]]
    return np.stack(features, axis=1).astype(np.float32)


def _to_records(rows: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the inputs of a model by public bounds, and the rows of the table."""
    values = values_by_name(rows)
    return _bounded(_unscaled(values)), heart_columns(values)


def _parse(row: Row, where: str) -> dict[str, float | None]:
    """Return a line's values by column, None where one is missing."""
    if row.fault:
        raise DataError(f"{where}: {row.fault}")
    if len(row.fields) != len(COLUMNS):
        raise DataError(f"{where}: {len(row.fields)} columns; there must be {len(COLUMNS)}")
    values: dict[str, float | None] = {}
    for number, (name, text) in enumerate(zip(COLUMNS, row.fields, strict=True), start=1):
        if name in _DROPPED:
            continue
        cell = f"{where}, column {number} ({name}): {text.strip()!r}"
        value = parse(text)
        if value is None and text.strip() != "?":
            raise DataError(f"{cell} is no number; a missing value is written ?")
        if value is not None and abs(value) >= _IMPOSSIBLE:
            raise DataError(f"{cell} is no measurement; a missing value is written ?")
        if value is not None and name in _CODES and value not in _CODES[name]:
            raise DataError(f"{cell} is none of the codes {_CODES[name]}")
        values[name] = value
    return values


def _standardise(data: LocalData) -> LocalData:
    """Centre and scale by the training part's mean and unbiased standard deviation."""
    inputs = data.train.inputs
    if len(inputs) == 0:  # no mean to take; nothing will be trained
        return data
    mean = inputs.mean(axis=0)
    deviation = inputs.std(axis=0, ddof=1) if len(inputs) > 1 else np.ones_like(mean)
    deviation[deviation == 0] = 1
    train, test = (
        replace(part, inputs=(part.inputs - mean) / deviation)
        for part in (data.train, data.test)
    )
    return LocalData(train, test)


def _bound(examples: Examples) -> Examples:
    return replace(examples, inputs=_bounded(examples.inputs))


def _bounded(unscaled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map the public bounds to [-1, 1], and leave codes and marks 0 or 1."""
    values = dict(zip(_FEATURES, unscaled.T, strict=True))
    features: list[NDArray[np.float32]] = []
    for name, (low, high) in _PUBLIC_BOUNDS.items():
        features.append(np.clip(2 * (values[name] - low) / (high - low) - 1, -1, 1))
    features += [values[name] for name in _PUBLIC_CODES]
    features.append(values[_ZERO_IS_UNKNOWN] == 0)
    return np.stack(features, axis=1).astype(np.float32)
