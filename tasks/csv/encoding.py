"""Encoding of a CSV file's text as examples, with a summary of its quality."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.base import DataError, Examples
from tasks.csv.reader import Cell, read
from tasks.csv.schema import CategoricalConfig, CsvConfig, NumericConfig


@dataclass(frozen=True)
class Summary:
    """The quality of a file, in counts by column. For the participant's eyes only.

    Attributes
    ----------
    file : Path
        The file.
    rows, used : int
        How many rows it has, and how many are learnt from.
    missing : dict
        Missing values for which the row was left out. A row may miss several.
    filled : dict
        Missing values for which the column's ``fill`` stands.
    clipped : dict
        Numbers outside the bounds.
    unknown : dict
        Values outside the listed categories for which the column's ``unknown`` stands.
    classes : dict
        Rows used of each class; empty for a label that is a number.
    misfits : int
        Rows that hold something that the configuration does not allow, in a private run.
    """

    file: Path
    rows: int
    used: int
    missing: dict[str, int]
    filled: dict[str, int]
    clipped: dict[str, int]
    unknown: dict[str, int]
    classes: dict[str, int]
    misfits: int = 0

    def __str__(self) -> str:
        """Return one line for the file and one for each kind of finding."""
        lines = [
            f"{self.file}: {self.rows} rows, {self.used} used, {self.rows - self.used} left out"
        ]
        if self.misfits:
            lines.append(
                f"  {self.misfits} rows do not fit the configuration and were left out"
            )
        findings = (
            ("missing, so the row was left out", self.missing),
            ("missing, filled in", self.filled),
            ("outside the bounds, clipped", self.clipped),
            ("not a listed category", self.unknown),
            ("rows used of each class", self.classes),
        )
        for what, counts in findings:
            if counts:
                values = ", ".join(f"{name} {count}" for name, count in counts.items())
                lines.append(f"  {what}: {values}")
        return "\n".join(lines)


def encode(
    file: Path, config: CsvConfig, skip_misfits: bool = False
) -> tuple[Examples, Summary]:
    """Read a file and return its usable rows as examples.

    Parameters
    ----------
    file : Path
        The CSV file.
    config : CsvConfig
        What its columns mean.
    skip_misfits : bool
        Leave out a row that does not fit, each for itself, and give no row if none is usable.

    Raises
    ------
    DataError
        If the file does not fit the configuration, or no row is usable.
    """
    encoder = _Encoder(config)
    rows: list[tuple[list[float], float] | None] = []
    num_misfits = 0
    for cells in read(file, config, skip_misfits):
        try:
            rows.append(encoder.row(cells) if cells is not None else None)
        except DataError:
            if not skip_misfits:
                raise
            rows.append(None)
            num_misfits += 1
    used = [row for row in rows if row is not None]
    targets = [target for _, target in used]
    names = config.label.classes
    summary = Summary(
        file,
        len(rows),
        len(used),
        dict(encoder.missing),
        dict(encoder.filled),
        dict(encoder.clipped),
        dict(encoder.unknown),
        {name: targets.count(index) for index, name in enumerate(names)},
        num_misfits,
    )
    if not used and not skip_misfits:
        raise DataError(
            f"no row can be used: give task.*.fill for what is missing, or mend the file\n"
            f"{summary}"
        )
    features = [features for features, _ in used]
    inputs = np.array(features, np.float32).reshape(len(used), len(config.features()))
    kind = np.int64 if names else np.float32
    return Examples(inputs, np.array(targets, dtype=kind)), summary


def scale(value: float, bounds: NumericConfig) -> float:
    """Clip a number to the bounds and map them to [-1, 1]."""
    clipped = min(max(value, bounds.min), bounds.max)
    return (clipped - bounds.min) / (bounds.max - bounds.min) * 2 - 1


def unscale(values: NDArray[np.floating], bounds: NumericConfig) -> NDArray[np.float64]:
    """Map [-1, 1] back to the bounds: the inverse of ``scale`` for what was not clipped."""
    return bounds.min + (np.asarray(values, np.float64) + 1) / 2 * (bounds.max - bounds.min)


class _Encoder:
    """Encoder of rows that counts what it finds. Every cell is checked, used or not."""

    def __init__(self, config: CsvConfig) -> None:
        self._config = config
        self._missing_values = frozenset(config.missing_values)
        self.missing: Counter[str] = Counter()
        self.filled: Counter[str] = Counter()
        self.clipped: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def row(self, cells: dict[str, Cell]) -> tuple[list[float], float] | None:
        """Return features and target, or None if the row must be left out."""
        target = self._target(cells[self._config.label.column])
        features: list[float] = []
        complete = target is not None
        for name, numeric in self._config.numeric.items():
            value = self._number(cells[name], numeric)
            complete = complete and value is not None
            features.append(value or 0.0)
        for name, column in self._config.categorical.items():
            chosen = self._category(cells[name], column)
            complete = complete and chosen is not None
            features += [float(category == chosen) for category in column.categories]
        return (features, target) if complete and target is not None else None

    def _target(self, cell: Cell) -> float | None:
        label = self._config.label
        if label.bounds is not None:
            return self._number(cell, label.bounds)
        if self._is_missing(cell, None):
            return None
        if cell.text not in label.classes:
            raise cell.refused(_none_of("classes", label.classes))
        return label.classes.index(cell.text)

    def _number(self, cell: Cell, column: NumericConfig) -> float | None:
        """Return the scaled number, or None if it is missing."""
        if self._is_missing(cell, column.fill):
            return None if column.fill is None else scale(column.fill, column)
        value = _parse(cell)
        if not column.min <= value <= column.max:
            self.clipped[cell.column] += 1
        return scale(value, column)

    def _category(self, cell: Cell, column: CategoricalConfig) -> str | None:
        """Return one of the listed categories, or None if it is missing."""
        if self._is_missing(cell, column.fill):
            return column.fill
        if cell.text in column.categories:
            return cell.text
        if column.unknown is None:
            raise cell.refused(
                f"{_none_of('categories', column.categories)}; mend it, or let"
                f" task.categorical.{cell.column}.unknown name a category for all others"
            )
        self.unknown[cell.column] += 1
        return column.unknown

    def _is_missing(self, cell: Cell, fill: object) -> bool:
        if cell.text not in self._missing_values:
            return False
        (self.missing if fill is None else self.filled)[cell.column] += 1
        return True


def _parse(cell: Cell) -> float:
    try:
        # Python, unlike everybody else, reads 1_000 as a number.
        value = float("nan" if "_" in cell.text else cell.text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise cell.refused(
            "is no finite number; write it like 3.5, with a point, and what is missing as one"
            " of task.missing_values"
        )
    return value


def _none_of(what: str, allowed: list[str]) -> str:
    text = f"is none of the {what} {', '.join(allowed)}"
    if {"True", "False"} & set(allowed):
        text += " (YAML reads yes, no, on and off as True and False unless they are in quotes)"
    return text
