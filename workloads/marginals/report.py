"""The report of `marginals`: the counts of single columns, as they were released."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from workloads.marginals.layout import Layout
from workloads.marginals.synthesis import num_records
from workloads.report import Report, ReportTable
from workloads.statistics.variables import Places, Variable
from workloads.values import State

# Exact counts are told to the nearest multiple, so that no few records can be read off.
_ROUNDED = 5


def report_of(layout: Layout, state: State, *, is_private: bool) -> Report:
    """Return the counts of each column's cells, over all labels, and what else was counted."""
    singles, noise = state.arrays["singles"], float(state.header["noise"])
    num, own = num_records(layout, singles), layout.by_variable(state.arrays["groups"])
    facts: dict[str, Any] = {"records": num if is_private else round(num)}
    if is_private:
        # The mean of the columns' counts, each over all of its cells.
        cells = [rows * columns for rows, columns in layout.single_shapes]
        facts["records +-"] = noise * float(np.sqrt(sum(cells))) / len(cells)
    facts["pairs of columns"] = len(layout.pairs)
    facts["rounds of pairs"] = int(state.header["num_tables"])
    if is_private:
        facts["noise of a cell of one column"] = noise
        facts["noise of a cell of a pair"] = float(state.header["table_noise"])
    rows: list[list[Any]] = []
    numbers: list[list[Any]] = []
    categories: list[list[Any]] = []
    tables = layout.singles(singles)
    for groups, table, variable in zip(own[1:], tables, layout.columns, strict=True):
        rows.append([variable.name, variable.num_cells, int(groups.max()) + 1])
        told = [_told(count, is_private) for count in table.sum(axis=0)]
        found = numbers if variable.is_number else categories
        found += _cells(variable, told, groups)
    return Report(
        "marginals",
        facts,
        ("column", "cells", "groups in pairs"),
        rows,
        tuple(
            ReportTable(name, header, found, is_printed=False)
            for name, header, found in (
                ("histograms", ("column", "bin", "from", "to", "count", "group"), numbers),
                ("categories", ("column", "category", "count", "group"), categories),
            )
            if found
        ),
        notes=tuple(_notes(layout, noise, is_private=is_private)),
    )


def _told(count: float, is_private: bool) -> float:
    return float(count) if is_private else _ROUNDED * round(float(count) / _ROUNDED)


def _cells(variable: Variable, told: list[float], groups: Places) -> Iterator[list[Any]]:
    """Yield a row for each cell: the edges of a number's, of which missing values have none."""
    cells = zip(variable.cell_names, told, map(int, groups), strict=True)
    if not variable.is_number:
        yield from ([variable.name, name, count, group] for name, count, group in cells)
        return
    edges = zip(*(map(float, ends) for ends in variable.edges), strict=True)
    for name, count, group in cells:
        yield [variable.name, name, *next(edges, (None, None)), count, group]


def _notes(layout: Layout, noise: float, *, is_private: bool) -> Iterator[str]:
    yield (
        "synthetic.csv has rows of nobody, drawn from these counts and those of all pairs; of"
        " three columns without the label and more nothing was counted, and nothing is promised"
    )
    if is_private:
        labels = layout.label.num_cells
        yield (
            f"each count is the sum of {labels} cells, with noise of standard deviation"
            f" {noise * labels**0.5:.5g} in all"
        )
    else:
        yield (
            f"counts are rounded to multiples of {_ROUNDED} here; synthetic.csv follows from"
            " exact counts, and how much it tells of a record is not bounded: for that take a"
            " privacy option"
        )
