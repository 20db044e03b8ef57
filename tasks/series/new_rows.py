"""What is foretold of a file of time series: the window that ends with each unit's last row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.csv.rows import IN_MEMORY, rows_in_memory
from tasks.new_rows import Given, NewRows
from tasks.series.reading import read_rows, rows_from
from tasks.series.schema import SeriesConfig
from tasks.series.windows import last_whole_windows


def last_rows(given: Given, config: SeriesConfig) -> NewRows:
    """Return a row for each unit, with the time of its last row and the window that ends there.

    What is foretold lies behind that row, so nothing of it is in the window; the row has no
    label. Rows that miss a value are passed over, as in training: if the last ones of a unit
    do, its window ends before them.

    Raises
    ------
    DataError
        If there is no header, it lacks a column, or a row does not fit.
    """
    if isinstance(given, Path):
        name, delimiter = str(given), config.delimiter
        rows = read_rows(given, config, is_private=False)
    else:
        name, delimiter = IN_MEMORY, ","
        read = rows_in_memory(given, config.missing_values)
        rows = rows_from(read, name, config, is_private=False)
    units, ends, has_one, windows = last_whole_windows(rows, config)
    told = f"{name}: {len(rows.times)} rows used"
    told += f" of {len(units)} units" if config.unit else ""
    told += f", {rows.num_missing} left out, as they miss a value" if rows.num_missing else ""
    names = [config.unit] if config.unit else []
    return NewRows(
        header=[*names, config.time],
        rows=[
            [*([unit] if names else []), rows.written[end]]
            for unit, end in zip(units, ends, strict=True)
        ],
        lines=[rows.lines[end] for end in ends],
        delimiter=delimiter,
        examples=windows,
        places=np.flatnonzero(has_one),
        is_labelled=np.zeros(len(windows), np.bool_),
        findings=[told],
        objection="" if units else "there are no rows",
        without=f"fewer than task.window={config.window} rows end there without a gap",
    )
