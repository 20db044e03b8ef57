"""Rows that a model is to predict: as they stand in their table, and as a task's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.records import Examples

#: A file, or the values of each column by its name.
Given = Path | Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class NewRows:
    """Rows to predict.

    Attributes
    ----------
    header : list of str
        The names of the columns, as they were given.
    rows : list of list of str
        All rows, as they were given, each as long as the header.
    lines : list of int
        Where each row begins in its file, from 1; rows that are in no file are counted.
    delimiter : str
        What separates the fields in the file.
    examples : Examples
        The rows that can be used. The target of one without a label stands for nothing.
    places : ndarray of int, shape (len(examples),)
        Where they stand among all rows.
    is_labelled : ndarray of bool, shape (len(examples),)
        Which of them have a label.
    findings : list of str
        What was found, to be printed: counts, and misfits with their places and values.
    objection : str
        Why nothing can be predicted, in one line; empty if something can.
    without : str
        Why a row is not among those that can be used.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str
    examples: Examples
    places: NDArray[np.intp]
    is_labelled: NDArray[np.bool_]
    findings: list[str] = field(default_factory=list[str])
    objection: str = ""
    without: str = "a value is missing"
