"""Reading of rows to predict: by the encoder of the records that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.csv.encoder import Encoded, Encoder
from tasks.csv.encoding import Adapt, as_they_are, columns_of, header_row, rows_of, with_texts
from tasks.csv.header import Header
from tasks.csv.misfits import Misfits
from tasks.csv.rows import IN_MEMORY, Row, rows_in_memory
from tasks.csv.schema import CsvConfig
from tasks.csv.summary import Summary
from tasks.csv.targets import targets_of
from tasks.new_rows import Given, NewRows
from tasks.records import Examples


@dataclass(frozen=True)
class Form:
    """How rows to predict are read.

    Attributes
    ----------
    config : CsvConfig
        What the columns mean.
    to_records : callable
        From the values of rows, float64 of shape (n, columns), to a model's inputs, those of
        texts left out, and the rows of the task's table.
    adapt : callable
        As of ``tasks.csv.encoding.encode``.
    keeps_missing : bool
        As there.
    """

    config: CsvConfig
    to_records: Callable[[NDArray[np.float64]], tuple[NDArray[np.float32], NDArray[np.float64]]]
    adapt: Adapt = as_they_are
    keeps_missing: bool = False


def read_new_rows(given: Given, form: Form) -> NewRows:
    """Return rows to predict, and all that does not fit.

    A row that misses a feature is left out, unless it is filled or kept; a value that does not
    fit is an objection: both as in a run without privacy. The label and the weight may be
    lacking, and columns that the configuration does not name are passed over.

    Raises
    ------
    DataError
        If there is no header to go by, or the columns are not of one length.
    """
    config, own = form.config, dict[int, list[str]]()
    is_file = isinstance(given, Path)
    name = str(given) if is_file else IN_MEMORY
    source = (
        rows_of(given, config)
        if isinstance(given, Path)
        else rows_in_memory(given, config.missing_values)
    )
    rows = form.adapt(_noting(source, own))
    first = header_row(rows, name)
    header = Header(first, config, is_new=True)
    encoder = Encoder(config, header, form.keeps_missing, needs_label=False)
    encoder.misfits.add_header(header.misfits)
    read, used, places = list[Row](), list[Encoded](), list[int]()
    for row in () if header.misfits and not header.positions else rows:
        if (encoded := encoder.row(row)) is not None:
            used.append(encoded)
            places.append(len(read))
        read.append(row)
    if header.misfits:
        used, places = [], []
    found = _findings(name, len(read), len(used), encoder, config)
    return NewRows(
        header=own.get(first.line, first.fields),
        rows=[own[row.line] for row in read],
        lines=[row.line for row in read],
        delimiter=config.delimiter if is_file else ",",
        examples=_examples(used, form),
        places=np.array(places, np.intp),
        is_labelled=np.array([row.target is not None for row in used], np.bool_),
        findings=found,
        objection=_objection(len(read), encoder.misfits),
    )


def _noting(rows: Iterator[Row], own: dict[int, list[str]]) -> Iterator[Row]:
    """Yield rows, keeping their fields by line: what adapts a row may change them."""
    for row in rows:
        own[row.line] = list(row.fields)
        yield row


def _examples(used: list[Encoded], form: Form) -> Examples:
    config = form.config
    nothing = (0.0, 0.0) if config.label.time is not None else 0.0
    targets = [nothing if row.target is None else row.target for row in used]
    inputs, columns = form.to_records(columns_of(used, config))
    inputs = with_texts(inputs, used, config)
    return Examples(inputs, targets_of(targets, config, form.keeps_missing), columns)


def _findings(
    name: str, num_rows: int, num_used: int, encoder: Encoder, config: CsvConfig
) -> list[str]:
    """Return what was found, in the words in which a node is told of its records."""
    label = config.label.columns.values()
    missing = {key: count for key, count in encoder.missing.items() if key not in label}
    without = max((encoder.missing[key] for key in label), default=0)
    summary = Summary(
        Path(name),
        num_rows,
        num_used,
        missing,
        dict(encoder.filled),
        dict(encoder.clipped),
        dict(encoder.unknown),
        {},
        encoder.misfits,
    )
    lines = str(summary).splitlines()
    if without:
        lines.append(f"  without a label, so not scored: {without}")
    return [*lines, *(f"misfit: {misfit}" for misfit in encoder.misfits.lines())]


def _objection(num_rows: int, misfits: Misfits) -> str:
    if misfits.of_header:
        return "the header does not fit"
    if misfits.num_rows:
        return f"{misfits.num_rows} of {num_rows} rows do not fit; mend them or take them out"
    return "" if num_rows else "there are no rows"
