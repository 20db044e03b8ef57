"""Predictions beside the rows they are of, for Python and as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.prediction.answers import Answers
from tasks.new_rows import Given, NewRows

#: A CSV file, the values of each column by its name (a data frame too), or a mapping a row.
Rows = str | Path | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]

_SHOWN = 20


class PredictionError(ValueError):
    """Rows cannot be predicted. One line, with the mend, or one for each finding."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for all rows that were given, in their order.

    Attributes
    ----------
    columns : dict
        An array of shape (rows,) for each column that is added. Of classes ``prediction``, with
        None for a row without one, and ``probability_CLASS``; of a support vector machine
        ``margin_CLASS``; of a number ``prediction`` in the label's own unit; of a Cox
        regression ``linear_predictor`` and ``hazard_ratio``. Numbers are float64, NaN for a
        row without a prediction. Of a recommender instead ``user``, ``item`` and
        ``prediction``, a row for each item that is recommended.
    figures : dict
        How good they are over the rows with a label; empty where there are none.
    num_scored : int
        How many these are.
    lines : list of str
        What was found in the rows, to be printed.
    """

    columns: dict[str, NDArray[Any]]
    figures: dict[str, float] = field(default_factory=dict[str, float])
    num_scored: int = 0
    lines: list[str] = field(default_factory=list[str])

    @property
    def prediction(self) -> NDArray[Any]:
        """Return the class, the number or the rating; or the linear predictor."""
        return self.columns.get("prediction", next(iter(self.columns.values())))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Return the probabilities of classes, shape (rows, classes).

        Raises
        ------
        PredictionError
            If the model says none.
        """
        found = [v for n, v in self.columns.items() if n.startswith("probability_")]
        if not found:
            raise PredictionError(f"the model says {', '.join(self.columns)}, no probabilities")
        return np.stack(found, axis=1)


def given_of(rows: Any) -> Given:
    """Return rows of any kind as a task takes them; ``None`` where a row lacks a column.

    Raises
    ------
    PredictionError
        If they are of no such kind.
    """
    if isinstance(rows, str | Path):
        return Path(rows).expanduser()
    if hasattr(rows, "keys"):
        return {str(name): _column(name, rows[name]) for name in rows.keys()}  # noqa: SIM118
    found = list(rows) if isinstance(rows, Sequence) else [rows]
    if not all(isinstance(row, Mapping) for row in found):
        raise PredictionError(
            f"rows of type {type(rows).__name__}: give the path of a CSV file, a mapping from"
            " names of columns to their values, or a list of mappings, one for each row"
        )
    names = dict.fromkeys(str(name) for row in found for name in row)
    return {name: [row.get(name) for row in found] for name in names}


def _column(name: Any, values: Any) -> list[Any]:
    """Return a column's values; a text is one value, and no column of letters."""
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise PredictionError(
            f"column {name}: {str(values)[:40]!r} is no sequence of values; give a row as"
            " [row], a list of mappings"
        )
    return list(values)


def spread_out(rows: NewRows, answers: Answers) -> dict[str, NDArray[Any]]:
    """Return the columns of answers over all rows, with nothing for those without one."""
    places = rows.places[answers.is_answered]
    found: dict[str, NDArray[Any]] = {}
    for name, values in answers.columns.items():
        is_text = values.dtype == object
        column = np.full(len(rows.rows), None if is_text else np.nan, values.dtype)
        column[places] = values[answers.is_answered]
        found[name] = column
    return found


def told_without(rows: NewRows, answers: Answers) -> list[str]:
    """Return a line that names the rows without a prediction; none where all have one."""
    has_one = np.zeros(len(rows.rows), np.bool_)
    has_one[rows.places[answers.is_answered]] = True
    lines = [rows.lines[place] for place in np.flatnonzero(~has_one)]
    if not lines:
        return []
    more = ", ..." if len(lines) > _SHOWN else ""
    return [
        f"  rows without a prediction: {len(lines)}, as {rows.without}; in line"
        f" {', '.join(map(str, lines[:_SHOWN]))}{more}"
    ]


def require_new_names(rows: NewRows, answers: Answers) -> None:
    """Refuse rows that have a column of the name of one that is added.

    Raises
    ------
    PredictionError
        Naming it.
    """
    given = {name.strip() for name in rows.header}
    if taken := [name for name in answers.columns if name in given]:
        raise PredictionError(
            f"the rows have a column {taken[0]!r}, and one of that name is added; rename or"
            " remove it"
        )


def as_csv(rows: NewRows, columns: dict[str, NDArray[Any]]) -> bytes:
    """Return the rows as they were given, and the columns after them, UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=rows.delimiter, lineterminator="\n")
    writer.writerow([*rows.header, *columns])
    for row, *added in zip(rows.rows, *columns.values(), strict=True):
        writer.writerow([*row, *map(_cell, added)])
    return text.getvalue().encode("utf-8", "surrogateescape")


def columns_as_csv(columns: dict[str, NDArray[Any]], delimiter: str) -> bytes:
    """Return columns alone, UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([*map(_cell, row)] for row in zip(*columns.values(), strict=True))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _cell(value: Any) -> str:
    """Return a value with all its digits; nothing for None and NaN."""
    if value is None or isinstance(value, str):
        return value or ""
    number = float(value)
    return "" if np.isnan(number) else repr(number)
