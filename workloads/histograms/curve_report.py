"""What is read of additive curves: what each column moves, and the curves themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from tasks.table import Table
from workloads.decisions import Curves
from workloads.histograms.bins import Bins, Floats
from workloads.histograms.losses import Loss
from workloads.histograms.pairs import Pairs
from workloads.report import Report, ReportTable
from workloads.values import Arrays


def curve_report(
    bins: Bins, counts: Floats, intercepts: Floats, curves: Floats, scores: Sequence[str]
) -> Report:
    """Return the importance of each column, and every curve as a table.

    Parameters
    ----------
    bins : Bins
        Of the columns.
    counts : ndarray, float64, shape (bins,)
        Records in each bin, noisy under privacy.
    intercepts : ndarray, float64, shape (scores,)
    curves : ndarray, float64, shape (scores, bins)
    scores : sequence of str
        What the scores are called.

    Returns
    -------
    Report
        A column's importance is the mean of its curve's absolute value over the records (as
        in Nori et al. 2019), over all scores.
    """
    records = np.maximum(counts, 0.0)
    moved = bins.sum_columns(np.abs(curves).mean(axis=0) * records)
    importance = moved / np.maximum(bins.sum_columns(records), 1.0)
    ranked = np.argsort(-importance, kind="stable")
    named = zip(scores, intercepts, strict=True)
    facts = {f"intercept of {name}": float(value) for name, value in named}
    rows = [(bins.columns[number].name, float(importance[number])) for number in ranked]
    columns = ["column", "bin", "from", "to", *scores]
    lines = [
        [*label, *map(float, values)]
        for label, values in zip(_labels(bins), curves.T, strict=True)
    ]
    table = ReportTable("curves", columns, lines, is_printed=False)
    return Report("curves", facts, ("column", "mean absolute score"), rows, [table])


def with_pairs(
    report: Report, pairs: Pairs, tables: Floats, curvature: Floats, scores: Sequence[str]
) -> Report:
    """Return the report with the importance and the table of each pair.

    Parameters
    ----------
    report : Report
        Of the curves.
    pairs : Pairs
    tables, curvature : ndarray, float64, shape (scores, cells)
        The values of all cells, and their weight in the importance.
    scores : sequence of str
        What the scores are called.
    """
    names = [[pairs.bins.columns[number].name for number in both] for both in pairs.columns]
    moved = pairs.importance(tables, curvature)
    rows = [(" x ".join(both), float(much)) for both, much in zip(names, moved, strict=True)]
    rows = sorted([*report.rows, *rows], key=lambda row: -row[1])
    lines: list[list[Any]] = []
    for pair, (one, other) in enumerate(pairs.columns):
        cells = product(pairs.edges(one), pairs.edges(other))
        values = tables[:, pairs.firsts[pair] : pairs.firsts[pair + 1]].T
        lines += [
            [names[pair][0], *row, names[pair][1], *column, *map(float, value)]
            for (row, column), value in zip(cells, values, strict=True)
        ]
    header = [f"{what} {n}" for n in (1, 2) for what in ("column", "bin", "from", "to")]
    table = ReportTable("pairs", [*header, *scores], lines, is_printed=False)
    return replace(report, rows=rows, tables=[*report.tables, table])


def curves_of(table: Table, bins: Bins, loss: Loss, arrays: Arrays) -> Curves:
    """Return the curves of a state that has ``curves``, ``intercepts`` and ``slots``."""
    counts = bins.by_column(loss.counts(arrays["slots"]))
    curves = bins.by_column(arrays["curves"])
    return Curves(table, bins.cuts, curves, counts, arrays["intercepts"], loss.link)


def _labels(bins: Bins) -> list[list[Any]]:
    """Return column, name, begin and end of every bin; None where there is no such edge."""
    found: list[list[Any]] = []
    for number, column in enumerate(bins.columns):
        if column.is_categorical:
            found += [[column.name, name, None, None] for name in column.categories]
        else:
            edges = [None, *map(float, column.cuts(bins.max_bins)), None]
            found += [
                [column.name, f"bin {place}", *edges[place : place + 2]]
                for place in range(int(bins.sizes[number]) - 1)
            ]
        found.append([column.name, "missing", None, None])
    return found
