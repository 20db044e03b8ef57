"""The report of `statistics`: facts and tables as statisticians read them."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import Any

import numpy as np

from workloads.report import Report, ReportTable
from workloads.statistics.counts import HIDDEN, NOISE, WIDEST, count_columns, count_header
from workloads.statistics.crosstabs import crosstabs
from workloads.statistics.summaries import PROBABILITIES, Summaries, pairs_of, share_of

# A correlation whose interval is as wide as this to either side says little of its sign.
_UNSURE = 0.5


def report_of(found: Summaries, facts: dict[str, Any], confidence: float) -> Report:
    """Return all that is told of the records."""
    tables = [
        *_categories(found),
        *_quantiles(found, confidence),
        *_histograms(found),
        *_correlations(found),
        *crosstabs(found),
    ]
    rows = [_number_row(found, number) for number in found.layout.numbers]
    columns = ["column"]
    for name in ("missing", "mean", "sd"):
        columns += [name, f"{name} +-"] if found.noise else [name]
    columns += [*map(_percent, PROBABILITIES), "at or below min", "at or above max"]
    columns += ["remark"] if found.noise else []
    return Report(
        "statistics",
        _facts(found) | facts,
        columns if rows else (),
        rows,
        tables,
        tuple(_notes(found)),
    )


def _facts(found: Summaries) -> dict[str, Any]:
    facts: dict[str, Any] = {"records": found.num_records}
    if found.noise:
        facts["records +-"] = found.noise
    else:
        facts["records"] = round(found.num_records)
    if found.layout.correlates:
        complete = found.num_complete
        shown = complete if found.noise or complete is None else round(complete)
        facts["records without a missing number"] = HIDDEN if complete is None else shown
    return facts


def _notes(found: Summaries) -> Iterator[str]:
    if found.min_cell > 0 and found.noise:
        yield f"noised counts under {found.min_cell} are hidden"
    elif found.min_cell > 1:
        yield (
            f"cells of fewer than {found.min_cell} records are hidden, bins of numbers are"
            " joined, and further cells are hidden where one would follow from the others; this"
            " protects from readers of the report, not from the server, which has the sums"
        )
    if found.noise:
        yield (
            f"each sum has noise of standard deviation {found.noise:.5g}; +- is the standard"
            " error by that noise alone, the sampling of the records not counted"
        )
        yield (
            f"remark {NOISE}: the noise may be as large as the figure itself (a count, a share,"
            " a deviation), as the deviation (a mean), or leaves a correlation or a quantile"
            " open over half of its range"
        )


def _number_row(found: Summaries, number: int) -> list[Any]:
    name, spread = found.variables[number].name, found.spreads[number]
    cells, present = found.cells[number], found.present(number)
    missing, missing_error = share_of(cells.counts[-1], found.num_records, found.noise)
    figures: list[Any] = [HIDDEN if cells.hidden[-1] else missing, missing_error]
    figures += [None] * 4 if spread is None else list(spread)
    row = [
        name,
        *(figures if found.noise else figures[::2]),
        *(None if one is None else one.value for one in found.quantiles[number]),
        *(_shown_share(found, number, place, present) for place in (0, -2)),
    ]
    if not found.noise:
        return row
    is_noise = spread is None or (
        found.z * max(spread.mean_error, spread.deviation_error) >= spread.deviation
    )
    return [*row, NOISE if is_noise else ""]


def _shown_share(found: Summaries, number: int, place: int, present: float) -> Any:
    """Return the share of those at a bound among those with a value."""
    cells = found.cells[number]
    # Who was joined with the next bin, or hidden, is not told.
    if cells.hidden[place] or cells.sizes[place] > 1 or cells.hidden[-1]:
        return HIDDEN
    return share_of(cells.counts[place], present, found.noise)[0]


def _categories(found: Summaries) -> Iterator[ReportTable]:
    """Yield counts and shares of categories: the balance of the classes comes first."""
    rows: list[list[Any]] = []
    for own, cells in zip(found.variables, found.cells, strict=True):
        if own.is_number:
            continue
        for place, name in enumerate(cells.names):
            count = float(cells.counts[place])
            share = share_of(count, found.num_records, found.noise)
            told = count_columns(found, count, bool(cells.hidden[place]), share)
            rows.append([own.name, name, *told])
    if rows:
        header = ["column", "category", *count_header(found, "share")]
        yield ReportTable("categories", header, rows)


def _histograms(found: Summaries) -> Iterator[ReportTable]:
    rows: list[list[Any]] = []
    for number in found.layout.numbers:
        cells = found.cells[number]
        for place, name in enumerate(cells.names):
            edges = [cells.begins[place], cells.ends[place]]
            count = float(cells.counts[place])
            told = count_columns(found, count, bool(cells.hidden[place]))
            edges = [None if isnan(edge) else float(edge) for edge in edges]
            rows.append([found.variables[number].name, name, *edges, *told])
    if rows:
        header = ["column", "bin", "from", "to", *count_header(found)]
        yield ReportTable("histograms", header, rows, is_printed=False)


def _quantiles(found: Summaries, confidence: float) -> Iterator[ReportTable]:
    """Yield each quantile with the interval that it is in."""
    rows: list[list[Any]] = []
    for number in found.layout.numbers:
        own = found.variables[number]
        for probability, one in zip(PROBABILITIES, found.quantiles[number], strict=True):
            told: list[Any] = [None, None, None] if one is None else list(one)
            if found.noise:
                is_noise = one is None or one.high - one.low >= own.half
                told.append(NOISE if is_noise else "")
            rows.append([own.name, probability, *told])
    note = "a quantile is between the edges of its bin, where numbers are taken to be even"
    if found.noise:
        note += f"; from and to hold the noise in with {100 * confidence:g} %"
    header = ["column", "probability", "quantile", "from", "to"]
    header += ["remark"] if found.noise else []
    if rows:
        yield ReportTable("quantiles", header, rows, note, is_printed=bool(found.noise))


def _correlations(found: Summaries) -> Iterator[ReportTable]:
    if not found.layout.correlates:
        return
    names = [found.variables[number].name for number in found.layout.numbers]
    r, errors = found.correlations
    # As lists: thousands of columns make millions of pairs.
    values, all_errors = r.tolist(), errors.tolist()
    rows: list[list[Any]] = []
    for one, other in pairs_of(len(names)):
        value, error = values[one][other], all_errors[one][other]
        row: list[Any] = [names[one], names[other], None if isnan(value) else value]
        if found.noise:
            is_noise = isnan(value) or found.z * error >= _UNSURE
            row += [None if isnan(error) else error, NOISE if is_noise else ""]
        rows.append(row)
    note = "of the records that miss no number (in R use='complete.obs'); - without spread"
    header = ["column", "other", "correlation", *(["+-", "remark"] if found.noise else [])]
    yield ReportTable("correlations", header, rows, note, is_printed=False)
    if len(names) <= WIDEST:
        largest = f"; +- at most {np.nanmax([*errors.ravel(), 0.0]):.2g}" if found.noise else ""
        table = [
            [name, *(None if isnan(value) else round(float(value), 4) for value in row)]
            for name, row in zip(names, r, strict=True)
        ]
        yield ReportTable(
            "correlation", ["", *names], table, f"{note}{largest}", is_written=False
        )


def _percent(probability: float) -> str:
    return f"{100 * probability:g} %"
