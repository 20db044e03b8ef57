"""Encoding of a CSV file's text as examples, with a summary of its quality."""

from collections import Counter
from collections.abc import Callable, Iterator
from math import nan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.csv.header import Header
from tasks.csv.mends import (
    mend_name,
    mend_number,
    parse,
    wrong_event,
    wrong_time,
    wrong_weight,
)
from tasks.csv.misfits import Misfit, Misfits
from tasks.csv.rows import Row, rows_of_lines, rows_of_one_line
from tasks.csv.schema import CategoricalConfig, CsvConfig, NumericConfig
from tasks.csv.summary import Summary
from tasks.csv.targets import Target, classes_of, targets_of
from tasks.lines import physical_lines
from tasks.records import DataError, Examples

#: Features, target and weight of a row.
_Encoded = tuple[list[float], Target, float]
#: What makes rows of the csv form, the header first, from a file's own.
Adapt = Callable[[Iterator[Row]], Iterator[Row]]


def as_they_are(rows: Iterator[Row]) -> Iterator[Row]:
    """Return the rows of a file that has the csv form already."""
    return rows


def encode(
    file: Path,
    config: CsvConfig,
    by_line: bool = False,
    adapt: Adapt = as_they_are,
    keeps_missing: bool = False,
) -> tuple[Examples, Summary]:
    """Read a file and return its usable rows as examples.

    Parameters
    ----------
    file : Path
        The CSV file.
    config : CsvConfig
        What its columns mean.
    by_line : bool
        Read each line alone and leave out a row that does not fit, as a private run does, in
        which no row may cause a refusal or change what another one becomes. Otherwise the file
        is refused for a row that does not fit, or if no row can be used.
    adapt : callable
        Makes rows of the csv form, the header first, from those of a file of another form. What
        it makes of a row must not depend on the others.
    keeps_missing : bool
        Keep rows that miss a feature, NaN in their inputs; otherwise they are left out.

    Raises
    ------
    DataError
        If the file cannot be read, its header does not fit, or it is refused.
    """
    examples, summary = survey(file, config, by_line, adapt, keeps_missing)
    refusal = summary.header_refusal or ("" if by_line else summary.refusal)
    if refusal:
        raise DataError(refusal)
    return examples, summary


def survey(
    file: Path,
    config: CsvConfig,
    by_line: bool = False,
    adapt: Adapt = as_they_are,
    keeps_missing: bool = False,
) -> tuple[Examples, Summary]:
    """Return what can be used of a file, and all that does not fit. See ``encode``.

    Raises
    ------
    DataError
        If there is no header to go by.
    """
    rows = adapt(_rows(file, config, by_line))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{file}: the file is empty; it must have a header and rows")
    if first.fault:
        raise DataError(f"{file}, line {first.line}: {first.fault}")
    header = Header(first, config)
    encoder = _Encoder(config, header, keeps_missing)
    encoder.misfits.add_header(header.misfits)
    if header.misfits and not header.positions:
        rows = iter(())  # it was cut wrongly, and so are the rows
    used: list[_Encoded] = []
    num_rows = num_long = 0
    for row in rows:
        num_rows += 1
        num_long += row.last_line > row.line and not row.fault
        if (encoded := encoder.row(row)) is not None:
            used.append(encoded)
    if header.misfits:
        used = []
    targets = [target for _, target, _ in used]
    summary = Summary(
        file,
        num_rows,
        len(used),
        dict(encoder.missing),
        dict(encoder.filled),
        dict(encoder.clipped),
        dict(encoder.unknown),
        classes_of(targets, config),
        encoder.misfits,
        num_long,
    )
    columns = np.array([values for values, _, _ in used], np.float64)
    columns = columns.reshape(len(used), len(config.numeric) + len(config.categorical))
    inputs = _inputs(columns, config)
    weights = None
    if config.weight is not None:
        weights = np.array([weight for _, _, weight in used], np.float64)
    kept = targets_of(targets, config, keeps_missing)
    return Examples(inputs, kept, columns, weights), summary


def _rows(file: Path, config: CsvConfig, by_line: bool) -> Iterator[Row]:
    lines = physical_lines(file)
    if by_line:
        return rows_of_one_line(lines, config.delimiter)
    return rows_of_lines(list(lines), config.delimiter, frozenset(config.columns()))


def scale(values: NDArray[np.float64] | float, bounds: NumericConfig) -> NDArray[np.float64]:
    """Clip numbers to the bounds and map them to [-1, 1]; NaN stays."""
    clipped = np.clip(np.asarray(values, np.float64), bounds.min, bounds.max)
    return (clipped - bounds.min) / (bounds.max - bounds.min) * 2 - 1


def unscale(values: NDArray[np.floating], bounds: NumericConfig) -> NDArray[np.float64]:
    """Map [-1, 1] back to the bounds: the inverse of ``scale`` for what was not clipped."""
    return bounds.min + (np.asarray(values, np.float64) + 1) / 2 * (bounds.max - bounds.min)


def _inputs(columns: NDArray[np.float64], config: CsvConfig) -> NDArray[np.float32]:
    """Return a model's inputs: numbers on [-1, 1], categories as one feature each, 0 or 1."""
    features = [
        scale(values, column)
        for values, column in zip(columns.T, config.numeric.values(), strict=False)
    ]
    chosen = columns.T[len(config.numeric) :]
    for values, column in zip(chosen, config.categorical.values(), strict=True):
        missing = np.where(np.isnan(values), np.nan, 0.0)
        features += [(values == place) + missing for place in range(len(column.categories))]
    inputs = np.empty((len(columns), len(features)), np.float32)
    for place, values in enumerate(features):
        inputs[:, place] = values
    return inputs


class _Encoder:
    """Encoder of rows that notes what it finds. Every cell is checked, used or not."""

    def __init__(self, config: CsvConfig, header: Header, keeps_missing: bool) -> None:
        places = header.positions
        self._num_columns = header.num_columns
        self._delimiter = config.delimiter
        self._label = config.label
        self._label_places = [places.get(name) for name in config.label.columns.values()]
        self._weight = config.weight
        self._weight_place = None if config.weight is None else places.get(config.weight.column)
        self._bounds = config.label.bounds
        self._longest = config.label.time.max if config.label.time is not None else 0.0
        self._classes = {name: float(i) for i, name in enumerate(config.label.classes)}
        self._numeric = [
            (name, places[name], column)
            for name, column in config.numeric.items()
            if name in places
        ]
        self._categorical = [
            (name, places[name], column)
            for name, column in config.categorical.items()
            if name in places
        ]
        self._codes = [
            {name: float(code) for code, name in enumerate(column.categories)}
            for _, _, column in self._categorical
        ]
        self._keeps_missing = keeps_missing
        self._missing_values = frozenset(config.missing_values)
        self._found: list[Misfit] = []
        self._line = 0
        self.misfits = Misfits()
        self.missing: Counter[str] = Counter()
        self.filled: Counter[str] = Counter()
        self.clipped: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def row(self, row: Row) -> _Encoded | None:
        """Return features, target and weight, or None if the row is left out."""
        self._found, self._line = [], row.line
        encoded = None
        if row.fault:
            self._found.append(Misfit(row.line, None, None, row.fault))
        elif len(row.fields) != self._num_columns:
            self._found.append(Misfit(row.line, None, None, self._other_width(row.fields)))
        else:
            encoded = self._values(row.fields)
        if not self._found:
            return encoded
        self.misfits.add_row(self._found)
        return None

    def _values(self, fields: list[str]) -> _Encoded | None:
        label = [fields[place].strip() for place in self._label_places if place is not None]
        target = None
        if len(label) == len(self._label_places):
            target = self._target(label[0]) if len(label) == 1 else self._survival(*label)
        values = [
            self._number(name, fields[place].strip(), column)
            for name, place, column in self._numeric
        ]
        for (name, place, column), codes in zip(self._categorical, self._codes, strict=True):
            values.append(self._category(name, fields[place].strip(), column, codes))
        weight = self._own_weight(fields)
        # Every column was looked at before the row is left out.
        if target is None or any(value is None for value in values):
            return None
        return [value for value in values if value is not None], target, weight

    def _own_weight(self, fields: list[str]) -> float:
        """Return how often the row counts; 1 where the file has no such column."""
        if self._weight is None or self._weight_place is None:
            return 1.0
        text, name = fields[self._weight_place].strip(), self._weight.column
        if why := wrong_weight(text, self._missing_values):
            self._found.append(Misfit(self._line, name, text, why))
            return 0.0
        if float(text) > self._weight.max:
            self.clipped[name] += 1
        return min(float(text), self._weight.max)

    def _target(self, text: str) -> float | None:
        column = self._label.column
        if self._bounds is not None:
            value = self._number(column, text, self._bounds, is_label=True)
            return None if value is None else float(scale(value, self._bounds))
        if text in self._missing_values:
            self.missing[column] += 1
            return None
        target = self._classes.get(text)
        if target is None:
            why = mend_name("label.classes", text, self._label.classes)
            self._found.append(Misfit(self._line, column, text, why))
        return target

    def _survival(self, time: str, event: str) -> tuple[float, float] | None:
        """Return time and event, or None if the row is left out.

        A record under observation for longer than what is looked at counts as censored at its
        end, which is all that is known of it there; its event came later.
        """
        found: list[float] = []
        of_time, of_event = self._label.columns.values()
        for name, text, wrong in ((of_time, time, wrong_time), (of_event, event, wrong_event)):
            if text in self._missing_values:
                self.missing[name] += 1
            elif why := wrong(text):
                self._found.append(Misfit(self._line, name, text, why))
            else:
                found.append(float(text))
        if len(found) < 2:
            return None
        if found[0] > self._longest:
            self.clipped[of_time] += 1
            return self._longest, 0.0
        return found[0], found[1]

    def _number(
        self, name: str, text: str, column: NumericConfig, *, is_label: bool = False
    ) -> float | None:
        """Return the number, NaN if it is missing and kept, or None if the row is left out."""
        if text in self._missing_values:
            (self.missing if column.fill is None else self.filled)[name] += 1
            return self._nothing(column.fill, is_label)
        value = parse(text)
        if value is None:
            self._found.append(Misfit(self._line, name, text, mend_number(text)))
            return None
        if not column.min <= value <= column.max:
            self.clipped[name] += 1
        return value

    def _nothing(self, fill: float | None, is_label: bool) -> float | None:
        """Return what stands for a missing value."""
        if fill is None and self._keeps_missing and not is_label:
            return nan
        return fill

    def _category(
        self, name: str, text: str, column: CategoricalConfig, codes: dict[str, float]
    ) -> float | None:
        """Return a category's position, NaN if it is missing and kept, or else None."""
        if text in self._missing_values:
            (self.missing if column.fill is None else self.filled)[name] += 1
            fill = None if column.fill is None else codes[column.fill]
            return self._nothing(fill, is_label=False)
        if text in codes:
            return codes[text]
        if column.unknown is not None:
            self.unknown[name] += 1
            return codes[column.unknown]
        or_else = (
            f"; mend it, or let task.categorical.{name}.unknown name a category for all others"
        )
        why = mend_name(f"categorical.{name}.categories", text, column.categories, or_else)
        self._found.append(Misfit(self._line, name, text, why))
        return None

    def _other_width(self, fields: list[str]) -> str:
        told = f"{len(fields)} fields, but the header has {self._num_columns}"
        if len(fields) == self._num_columns + 1 and not fields[-1].strip():
            return f"{told}: the line ends in a delimiter and the header does not; mend one"
        return f'{told}; put a value that holds the delimiter {self._delimiter!r} into "quotes"'
