"""Rows of UCI Heart Disease that are to be predicted, as the reader of CSV files takes them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tasks.csv.mends import parse
from tasks.csv.rows import Row
from tasks.csv.schema import CategoricalConfig, CsvConfig, LabelConfig, NumericConfig
from tasks.heart_table import COLUMNS, HEART_TABLE, heart_codes

# 0 was not measured, which the model knows of.
_LOWEST = {"chol": 0.0}


@cache
def rows_config() -> CsvConfig:
    """Return what the columns of a file mean: its codes are names, its label no or yes."""
    columns = HEART_TABLE.columns
    return CsvConfig(
        label=LabelConfig(column=HEART_TABLE.label.name, classes=list(HEART_TABLE.classes)),
        numeric={
            column.name: NumericConfig(_LOWEST.get(column.name, column.low), column.high)
            for column in columns
            if not column.is_categorical
        },
        categorical={
            column.name: CategoricalConfig([f"{code:g}" for code in heart_codes(column)])
            for column in columns
            if column.is_categorical
        },
    )


def values_by_name(rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the values of UCI's files by column, from rows as ``rows_config`` encodes them."""
    config = rows_config()
    found = dict(zip((*config.numeric, *config.categorical), rows.T, strict=True))
    for column in HEART_TABLE.columns:
        if column.is_categorical:
            found[column.name] = found[column.name] + heart_codes(column)[0]
    return found


def adapt_new(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield a header, then rows whose codes are whole numbers; UCI's files have no header.

    Each row is looked at alone.
    """
    first = next(rows, None)
    if first is None:
        return
    names = [field.strip() for field in first.fields]
    if not set(names) & set(COLUMNS):
        names, rows = list(COLUMNS), chain([first], rows)
        first = Row(0, 0, names)
    yield first
    config = rows_config()
    codes = [place for place, name in enumerate(names) if name in config.categorical]
    label = names.index(config.label.column) if config.label.column in names else None
    for row in rows:
        fields = list(row.fields)
        if len(fields) == len(names):
            for place in codes:
                fields[place] = _code(fields[place])
            if label is not None:
                fields[label] = _class(fields[label])
        yield row._replace(fields=fields)


def _code(text: str) -> str:
    """Return a code without the zeros that some of UCI's files write after the point."""
    value = parse(text)
    return text if value is None else f"{value:g}"


def _class(text: str) -> str:
    """Return no for the code 0 of no disease, yes for its grades 1 to 4."""
    code = _code(text.strip())
    if code in ("0", "1", "2", "3", "4"):
        return "no" if code == "0" else "yes"
    return code
