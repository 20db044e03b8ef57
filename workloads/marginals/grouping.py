"""Groups of cells, chosen from noised counts so that each has more records than noise."""

from __future__ import annotations

import numpy as np

from workloads.marginals.layout import Layout
from workloads.statistics.variables import Places, Variable
from workloads.values import Vector

# Of the noise of a cell of a pair, so that a group has more records than noise.
_DEVIATIONS = 4.0
# A group has so many records without noise, too: then no few of them are told apart.
_LEAST_RECORDS = 10.0


def groups_of(layout: Layout, singles: Vector, noise: float) -> Vector:
    """Return the group of each cell of all variables, shape (layout.num_cells,).

    Neighbouring bins of a number are put together until they have their share of the records.
    A category of few records shares a group with the others of few. So McKenna, Miklau and
    Sheldon (2021, arXiv 2108.04978, section 3.3) compress domains.

    Parameters
    ----------
    layout : Layout
    singles : ndarray, shape (layout.num_singles,)
        The counts of the first round, noise included.
    noise : float
        Standard deviation of the noise that each cell of a pair will have; 0 for none.
    """
    tables, least = list(layout.singles(singles)), max(_LEAST_RECORDS, _DEVIATIONS * noise)
    of_label = np.mean([table.sum(axis=1) for table in tables], axis=0)
    found = [_of_variable(layout, layout.label, of_label, least)]
    for variable, table in zip(layout.columns, tables, strict=True):
        found.append(_of_variable(layout, variable, table.sum(axis=0), least))
    return np.concatenate(found).astype(np.float64)


def _of_variable(layout: Layout, variable: Variable, counts: Vector, least: float) -> Places:
    counts = np.nan_to_num(np.maximum(counts, 0.0))
    if variable.place is None and not variable.is_number:
        # What is to be predicted stays as it is.
        return np.arange(variable.num_cells)
    if not variable.is_number:
        return _of_categories(counts, least)
    missing = counts[-1]
    found = _of_numbers(counts[:-1], layout.most_groups(variable) - 1, least)
    last = found[-1] + 1 if missing > least else 0
    return np.append(found, last)


def _of_numbers(counts: Vector, most: int, least: float) -> Places:
    """Return groups of neighbours, of about as many records each."""
    found = np.zeros(len(counts), np.intp)
    due, own, group = max(least, float(counts.sum()) / most), 0.0, 0
    rest = counts[::-1].cumsum()[::-1]
    for place, count in enumerate(counts):
        found[place] = group
        own += float(count)
        after = float(rest[place + 1]) if place + 1 < len(counts) else 0.0
        if own >= due and after > least and group + 1 < most:
            own, group = 0.0, group + 1
    return found


def _of_categories(counts: Vector, least: float) -> Places:
    """Return a group for each category of many records, and one for all others."""
    has_many = counts > least
    if not has_many.any():
        has_many[int(np.argmax(counts))] = True
    return np.where(has_many, np.cumsum(has_many) - 1, int(has_many.sum()))
