"""Encoding of a CSV file's text as examples, with a summary of its quality."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.csv.encoder import Encoded, Encoder
from tasks.csv.hashing import vectors_of
from tasks.csv.header import Header
from tasks.csv.rows import Row, rows_of_lines, rows_of_one_line
from tasks.csv.scaling import inputs_of
from tasks.csv.schema import CsvConfig
from tasks.csv.summary import Summary
from tasks.csv.targets import classes_of, targets_of
from tasks.lines import physical_lines
from tasks.records import DataError, Examples

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
    rows = adapt(rows_of(file, config, by_line))
    header = Header(header_row(rows, file), config)
    encoder = Encoder(config, header, keeps_missing)
    encoder.misfits.add_header(header.misfits)
    if header.misfits and not header.positions:
        rows = iter(())  # it was cut wrongly, and so are the rows
    used: list[Encoded] = []
    num_rows = num_long = 0
    for row in rows:
        num_rows += 1
        num_long += row.last_line > row.line and not row.fault
        if (encoded := encoder.row(row)) is not None:
            used.append(encoded)
    if header.misfits:
        used = []
    targets = [row.target for row in used if row.target is not None]
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
    columns = columns_of(used, config)
    inputs = with_texts(inputs_of(columns, config), used, config)
    weights = None
    if config.weight is not None:
        weights = np.array([row.weight for row in used], np.float64)
    kept = targets_of(targets, config, keeps_missing)
    return Examples(inputs, kept, columns, weights), summary


def rows_of(file: Path, config: CsvConfig, by_line: bool = False) -> Iterator[Row]:
    """Return the rows of a file, the header first: see ``encode``."""
    lines = physical_lines(file)
    if by_line:
        return rows_of_one_line(lines, config.delimiter)
    # Only a note may have several lines.
    of_one_line = frozenset(config.columns()) - frozenset(config.text)
    return rows_of_lines(list(lines), config.delimiter, of_one_line)


def header_row(rows: Iterator[Row], name: Path | str) -> Row:
    """Take the header off the rows of what is called so.

    Raises
    ------
    DataError
        If there is none, or it cannot be read.
    """
    first = next(rows, None)
    if first is None:
        raise DataError(f"{name}: the file is empty; it must have a header and rows")
    if first.fault:
        raise DataError(f"{name}, line {first.line}: {first.fault}")
    return first


def columns_of(used: list[Encoded], config: CsvConfig) -> NDArray[np.float64]:
    """Return the values of rows, shape (n, columns), as of ``Examples.columns``."""
    columns = np.array([row.values for row in used], np.float64)
    return columns.reshape(len(used), len(config.numeric) + len(config.categorical))


def with_texts(
    inputs: NDArray[np.float32], used: list[Encoded], config: CsvConfig
) -> NDArray[np.float32]:
    """Return a model's inputs with the vectors of the rows' texts behind them, if any."""
    if not config.text:
        return inputs
    vectors = vectors_of([row.texts for row in used], list(config.text.values()))
    return np.concatenate([inputs, vectors], axis=1)
