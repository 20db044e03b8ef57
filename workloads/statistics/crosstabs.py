"""Two-way tables as they are reported: one long table for the files, and each as printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from workloads.report import ReportTable
from workloads.statistics.counts import (
    HIDDEN,
    WIDEST,
    count_columns,
    count_header,
    shown_count,
)
from workloads.statistics.summaries import Summaries, share_of
from workloads.statistics.variables import MISSING


def crosstabs(found: Summaries) -> Iterator[ReportTable]:
    """Yield all two-way tables as one for the files, and each that is not too wide."""
    if not found.layout.pairs:
        return
    rows: list[list[Any]] = []
    printed: list[ReportTable] = []
    for number, (one, other) in enumerate(found.layout.pairs):
        counts, hidden = found.table(number)
        row, column = found.variables[one], found.variables[other]
        for place in np.ndindex(counts.shape[0] - 1, counts.shape[1] - 1):
            count = float(counts[place])
            total = float(counts[place[0], -1])
            share = share_of(count, total, found.noise)
            if hidden[place[0], -1]:
                share = (HIDDEN, None)
            told = count_columns(found, count, bool(hidden[place]), share)
            names = [row.name, row.cell_names[place[0]]]
            names += [column.name, column.cell_names[place[1]]]
            rows.append([*names, *told])
        if min(counts.shape) - 1 <= WIDEST:
            printed.append(_wide(found, number))
    header = ["row", "category", "column", "column category"]
    header += count_header(found, "share of row")
    note = "the share of a row is that of its cell in all with the row's category"
    yield ReportTable("tables", header, rows, note, is_printed=False)
    yield from printed


def _wide(found: Summaries, number: int) -> ReportTable:
    """Return a two-way table with its totals, as it is printed: the longer side downwards."""
    counts, hidden = found.table(number)
    sides = [found.variables[one] for one in found.layout.pairs[number]]
    if counts.shape[1] > counts.shape[0]:
        counts, hidden, sides = counts.T, hidden.T, sides[::-1]
    names = [[*one.cell_names, "total"] for one in sides]
    kept = [np.arange(size) for size in counts.shape]
    if not found.noise:
        # Nobody misses it: a line of zeros says nothing.
        totals = counts[:, -1], counts[-1]
        kept = [
            np.array([i for i in own if total[i] or names[side][i] != MISSING])
            for side, (own, total) in enumerate(zip(kept, totals, strict=True))
        ]
    rows = [
        [
            names[0][i],
            *(shown_count(found, float(counts[i, j]), bool(hidden[i, j])) for j in kept[1]),
        ]
        for i in kept[0]
    ]
    header = [f"{sides[0].name} \\ {sides[1].name}", *(names[1][j] for j in kept[1])]
    note = f"+- {found.noise:.3g} in each cell" if found.noise else ""
    name = f"{sides[0].name} x {sides[1].name}"
    return ReportTable(name, header, rows, note, is_written=False)
