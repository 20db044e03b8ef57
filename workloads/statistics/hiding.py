"""Which cells of a table are hidden, so that a reader cannot tell those of a few people.

Rules for readers of a report: whoever took the sum has seen it all. Cells from 1 to under a
public minimum are hidden (an empty cell is nobody's), and others beside them, so that no hidden
cell follows from what is shown: those of a line leave room for others, and by the test of
Gusfield (1988, SIAM Journal on Computing 17, 552-571) none of a two-way table is fixed by all
its lines together. Several tables of a report are held against each other in margins only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Counts = NDArray[np.float64]


def hide_line(counts: Counts, min_cell: int) -> Mask:
    """Return which cells of one line, whose total is known, are hidden, shape (n,)."""
    hidden = (counts > 0) & (counts < min_cell)
    _complete(counts, hidden, np.ones_like(hidden), min_cell)
    return hidden


def hide_table(counts: Counts, min_cell: int, rows: Mask, columns: Mask) -> Mask:
    """Return which cells of a two-way table are hidden, its margins included.

    Parameters
    ----------
    counts : ndarray, shape (R, C)
        Whole numbers from 0 on.
    min_cell : int
        The least count that is shown.
    rows, columns : ndarray of bool, shapes (R,) and (C,)
        Which totals are hidden already, where the variables stand by themselves.

    Returns
    -------
    ndarray of bool, shape (R + 1, C + 1)
        The last row and column are those of the totals.
    """
    inner = np.s_[:-1, :-1]
    whole = np.zeros((len(counts) + 1, counts.shape[1] + 1))
    whole[inner] = counts
    whole[-1, :-1], whole[:-1, -1] = counts.sum(axis=0), counts.sum(axis=1)
    hidden = (whole > 0) & (whole < min_cell)
    hidden[:-1, -1], hidden[-1, :-1] = rows, columns
    hidden[-1, -1] = False
    # Totals are shown elsewhere: to hide them here would hide nothing.
    may_hide = np.zeros_like(hidden)
    may_hide[inner] = True
    before = -1
    while before != (before := int(hidden.sum())):
        for line in [*range(len(whole) - 1)]:
            _complete(whole[line], hidden[line], may_hide[line], min_cell)
        for line in [*range(whole.shape[1] - 1)]:
            _complete(whole[:, line], hidden[:, line], may_hide[:, line], min_cell)
        _open_up(whole, hidden, may_hide)
    return hidden


def _complete(counts: Counts, hidden: Mask, may_hide: Mask, min_cell: int) -> None:
    """Hide the smallest further cells of a line, in place, until each hidden one has room.

    The hidden ones are 1 at least, so of h with the sum S one may be up to S - h + 1: that
    must not be under the minimum, or a reader knew all to be.
    """
    while hidden.sum() > 0 and (
        hidden.sum() < 2 or counts[hidden].sum() - hidden.sum() + 1 < min_cell
    ):
        others = np.flatnonzero(~hidden & may_hide & (counts > 0))
        if not len(others):
            others = np.flatnonzero(~hidden & may_hide)
        if not len(others):
            return
        hidden[others[np.argmin(counts[others])]] = True


def _open_up(counts: Counts, hidden: Mask, may_hide: Mask) -> None:
    """Hide one more cell in the line of each that all lines together still fix, in place."""
    for row, column in _fixed(counts, hidden):
        lines = np.s_[row, :], np.s_[:, column], np.s_[:, :]
        for least, line in ((1, lines[0]), (1, lines[1]), (1, lines[2]), (0, lines[2])):
            open_ = may_hide[line] & ~hidden[line] & (counts[line] >= least)
            if open_.any():
                smallest = int(np.where(open_, counts[line], np.inf).argmin())
                hidden[line].flat[smallest] = True
                break


def _fixed(counts: Counts, hidden: Mask) -> list[tuple[int, int]]:
    """Return the hidden cells that can have no other value, those of nobody left out.

    Lines are the nodes of a graph and hidden cells its edges. To change cells so that all
    lines keep their sums is to go round a circle: along an edge a cell grows, against it, it
    shrinks, which one at its least cannot. So a cell is fixed if its edge is in no circle:
    between two strong components, or a bridge inside of one (Gusfield 1988, theorem 2).
    """
    from scipy.sparse import csr_array  # pyright: ignore[reportMissingTypeStubs]
    from scipy.sparse.csgraph import (  # pyright: ignore[reportMissingTypeStubs]
        connected_components,
    )

    num_rows, num = len(hidden), sum(hidden.shape)
    places = np.argwhere(hidden)
    if not len(places):
        return []
    values = counts[hidden]
    # Hidden cells are 1 at least, unless some of nobody had to be hidden too.
    can_shrink = values > min(1.0, float(values.min()))
    # A total grows with its cells: on the other side of its line.
    is_total = (places[:, 0] == num_rows - 1) | (places[:, 1] == hidden.shape[1] - 1)
    ends = np.stack([places[:, 0], num_rows + places[:, 1]])
    tails, heads = np.where(is_total, ends[::-1], ends)
    both = (
        np.concatenate([tails, heads[can_shrink]]),
        np.concatenate([heads, tails[can_shrink]]),
    )
    graph = csr_array((np.ones(len(both[0])), both), shape=(num, num))
    parts = connected_components(graph, directed=True, connection="strong")[1]
    inside = parts[tails] == parts[heads]
    beside: list[list[int]] = [[] for _ in range(num)]
    for one, other in ends.T[inside].tolist():
        beside[one].append(other)
        beside[other].append(one)
    found = [*map(tuple, ends.T[~inside].tolist()), *_bridges(beside)]
    cells = [(one, other - num_rows) for one, other in found]
    return [cell for cell in cells if counts[cell] > 0]


def _bridges(beside: list[list[int]]) -> list[tuple[int, int]]:
    """Return the edges whose removal parts a graph, smaller node first (Tarjan 1974).

    Parameters
    ----------
    beside : list of list of int
        The neighbours of each node; no two edges have the same ends.
    """
    order, lowest = [-1] * len(beside), [0] * len(beside)
    found: list[tuple[int, int]] = []
    number = 0
    for root in range(len(beside)):
        if order[root] >= 0:
            continue
        # Each node with whom it was reached from and which neighbours are left.
        path = [(root, -1, iter(beside[root]))]
        order[root] = lowest[root] = number
        number += 1
        while path:
            node, parent, left = path[-1]
            other = next(left, None)
            if other is None:
                path.pop()
                if parent >= 0:
                    lowest[parent] = min(lowest[parent], lowest[node])
                    if lowest[node] > order[parent]:
                        found.append((min(node, parent), max(node, parent)))
            elif order[other] < 0:
                order[other] = lowest[other] = number
                number += 1
                path.append((other, node, iter(beside[other])))
            elif other != parent:
                lowest[node] = min(lowest[node], order[other])
    return found


def merge_small(counts: Counts, min_cell: int) -> list[tuple[int, int]]:
    """Return neighbouring bins of numbers joined so that each has nobody or enough.

    Parameters
    ----------
    counts : ndarray, shape (n,)
        Bins in order; the first and the last are those of the bounds, and stay by themselves
        unless they have too few.
    min_cell : int
        The least count of a bin that is not empty.

    Returns
    -------
    list of (int, int)
        First bin, and one past the last, of each joined one; all bins are in one.
    """
    num = len(counts)
    begin = 0 if 0 < counts[0] < min_cell else 1
    end = num if 0 < counts[-1] < min_cell else num - 1
    if 0 < counts[begin:end].sum() < min_cell:
        begin, end = 0, num
    groups = [(0, 1)] * begin
    groups += _merged(counts, min_cell, begin, end)
    return [*groups, *[(end, num)] * (num - end)]


def _merged(counts: Counts, min_cell: int, begin: int, end: int) -> list[tuple[int, int]]:
    groups: list[tuple[int, int]] = []
    total = 0.0
    for place in range(begin, end):
        total += counts[place]
        if total == 0 or total >= min_cell:
            groups.append((begin, place + 1))
            begin, total = place + 1, 0.0
    if total > 0:
        # Who is left over joins those before, over empty bins if need be.
        while groups:
            begin, last = groups.pop()
            if counts[begin:last].sum() > 0:
                break
        groups.append((begin, end))
    return groups
