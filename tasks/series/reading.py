"""The rows of a file of time series: units, times and values."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.csv.columns import NumericConfig
from tasks.csv.mends import mend_number, parse
from tasks.csv.rows import Row, rows_of_one_line
from tasks.lines import physical_lines
from tasks.records import DataError
from tasks.series.schema import SeriesConfig, time_of

_LOGGER = logging.getLogger("flwr.tacet")


@dataclass(frozen=True)
class Rows:
    """The rows of a file that can be used.

    Attributes
    ----------
    units : ndarray of str, shape (n,)
    times : ndarray, float64, shape (n,)
    values : ndarray, float64, shape (n, columns)
        Within the columns' bounds.
    lines : list of int
        Where each stands in its file, from 1.
    written : list of str
        The times as they stand there.
    num_missing : int
        How many others miss a value.
    """

    units: NDArray[np.str_]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    lines: list[int] = field(default_factory=list[int])
    written: list[str] = field(default_factory=list[str])
    num_missing: int = 0


def read_rows(file: Path, config: SeriesConfig, *, is_private: bool) -> Rows:
    """Read a file, each line by itself; see ``rows_from``."""
    rows = rows_of_one_line(physical_lines(file), config.delimiter)
    return rows_from(rows, str(file), config, is_private=is_private)


def rows_from(
    rows: Iterator[Row], name: str, config: SeriesConfig, *, is_private: bool
) -> Rows:
    """Read rows, the header first.

    Parameters
    ----------
    rows : iterator of Row
        What is called ``name``.
    config : SeriesConfig
        What its columns mean; others are not read.
    is_private : bool
        Leave out a row that does not fit, as no record may cause a refusal. Otherwise it is
        refused.

    Raises
    ------
    DataError
        If there is no header, or it lacks a column; if a row does not fit.
    """
    header = next(rows, None)
    if header is None:
        raise DataError(f"{name}: the file is empty; it must have a header and rows")
    names = [name.strip() for name in header.fields]
    if lacking := [column for column in config.columns() if column not in names]:
        raise DataError(
            f"{name}, line {header.line}: column {lacking[0]} is missing; the header has"
            f" {', '.join(names[:20])} (task.delimiter={config.delimiter!r})"
        )
    places = {column: names.index(column) for column in config.columns()}
    units: list[str] = []
    lines: list[int] = []
    written: list[str] = []
    numbers: list[list[float]] = []
    num_left_out = num_missing = 0
    for row in rows:
        try:
            found = _numbers(row, len(names), places, config)
        except ValueError as error:
            if not is_private:
                raise DataError(f"{name}, line {row.line}: {error}") from None
            num_left_out += 1
            continue
        if found is None:
            num_missing += 1
            continue
        units.append(row.fields[places[config.unit]].strip() if config.unit else "")
        numbers.append(found)
        lines.append(row.line)
        written.append(row.fields[places[config.time]].strip())
    if num_left_out or num_missing:
        _LOGGER.info(
            "%s: %d rows used, %d left out as they do not fit, %d as they miss a value",
            name,
            len(numbers),
            num_left_out,
            num_missing,
        )
    table = np.array(numbers, np.float64).reshape(len(numbers), 1 + len(config.values))
    own = np.array(units, np.str_)
    return Rows(own, table[:, 0], table[:, 1:], lines, written, num_missing)


def _numbers(
    row: Row, width: int, places: dict[str, int], config: SeriesConfig
) -> list[float] | None:
    """Return time and values of a row; None if it misses one.

    Raises
    ------
    ValueError
        If it does not fit: column, value and what is due.
    """
    if row.fault:
        raise ValueError(row.fault)
    if len(row.fields) != width:
        raise ValueError(f"{len(row.fields)} fields where the header has {width}")
    text = row.fields[places[config.time]].strip()
    if text in config.missing_values:
        return None
    try:
        found = [time_of(text, config.time_form)]
    except (ValueError, OverflowError):
        form = config.time_form.name
        raise ValueError(
            f"column {config.time}: {text[:60]!r} is no time (task.time_form={form})"
        ) from None
    for name, column in config.values.items():
        value = _value(row.fields[places[name]].strip(), name, column, config)
        if value is None:
            return None
        found.append(value)
    return found


def _value(text: str, name: str, column: NumericConfig, config: SeriesConfig) -> float | None:
    if text in config.missing_values:
        return column.fill
    number = parse(text)
    if number is None:
        raise ValueError(f"column {name}: {text[:60]!r} {mend_number(text)}")
    return min(max(number, column.min), column.max)
