"""No reader of a report can tell a cell of a few people, also not from what is beside it."""

import numpy as np
import pytest
from scipy.optimize import linprog

from tests.workloads.statistics.tables_kit import exact_state, examples, statistics, tables_of
from workloads.statistics.hiding import hide_line, hide_table, merge_small


def feasible(whole, hidden, cell):
    """Return the range of a hidden cell over all tables that fit what is shown.

    An oracle by linear programming. Lines add up, and cells that are hidden are 1 at least, for
    empty ones are shown; unless nothing else was left to hide, then they may be 0.
    """
    places = [tuple(place) for place in np.argwhere(hidden)]
    number = {place: i for i, place in enumerate(places)}
    rows, sides = [], []
    for axis in (0, 1):
        for line in range(whole.shape[axis]):
            row, known = np.zeros(len(places)), 0.0
            for other in range(whole.shape[1 - axis]):
                place = (line, other) if axis == 0 else (other, line)
                sign = -1 if other == whole.shape[1 - axis] - 1 else 1
                if place in number:
                    row[number[place]] = sign
                else:
                    known += sign * whole[place]
            rows.append(row)
            sides.append(-known)
    found = []
    for sign in (1, -1):
        goal = np.zeros(len(places))
        goal[number[cell]] = sign
        least = 1 if whole[hidden].min() > 0 else 0
        solved = linprog(goal, A_eq=rows, b_eq=sides, bounds=(least, None))
        assert solved.status in (0, 3)
        found.append(sign * solved.fun if solved.status == 0 else np.inf)
    return found


def extended(counts):
    whole = np.zeros((counts.shape[0] + 1, counts.shape[1] + 1))
    whole[:-1, :-1] = counts
    whole[-1, :-1], whole[:-1, -1] = counts.sum(axis=0), counts.sum(axis=1)
    whole[-1, -1] = counts.sum()
    return whole


# The last two fell to a rule that did not know that shown empty cells make hidden ones 1.
@pytest.mark.parametrize("seed", [*range(50), 1085, 1894])
def test_no_hidden_cell_of_a_table_follows_from_the_others(seed):
    draws = np.random.default_rng(seed)
    shape = draws.integers(2, 6, size=2)
    counts = draws.poisson(draws.choice([0.7, 2, 6, 20]), size=shape).astype(float)
    counts[draws.random(shape) < 0.2] = 0
    rows, columns = (hide_line(counts.sum(axis=axis), 3) for axis in (1, 0))
    hidden, whole = hide_table(counts, 3, rows, columns), extended(counts)
    assert hidden[(whole > 0) & (whole < 3)].all() or counts.sum() < 3
    assert not hidden[-1, -1]
    if counts.sum() < 6:
        # All of a table of so few is hidden, or it is empty; there is no room for more.
        return
    for cell in np.argwhere(hidden & (whole > 0)):
        low, high = feasible(whole, hidden, tuple(cell))
        assert high > low, (whole, hidden, cell)


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ([5, 0, 7], [0, 0, 0]),
        ([2, 9, 5], [1, 0, 1]),
        ([1, 1, 8], [1, 1, 1]),
        ([2, 2, 8], [1, 1, 0]),
        ([1, 0, 0], [1, 1, 1]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_a_line(counts, hidden):
    found = hide_line(np.array(counts, float), 3)
    np.testing.assert_array_equal(found, np.array(hidden, bool))


def test_a_table_that_lines_alone_would_give_away():
    """Each line has two hidden cells or none, but two blocks meet in one cell: it is fixed."""
    counts = np.array([[2, 2, 9, 9], [2, 2, 9, 9], [9, 9, 2, 2], [9, 9, 2, 2]], float)
    counts[1, 2] = 1
    free = np.zeros(4, bool)
    hidden, whole = hide_table(counts, 3, free, free), extended(counts)
    for cell in np.argwhere(hidden):
        low, high = feasible(whole, hidden, tuple(cell))
        assert high > low


@pytest.mark.parametrize("seed", range(40))
def test_joined_bins_have_nobody_or_enough_and_bounds_stay(seed):
    draws = np.random.default_rng(seed)
    counts = draws.poisson(draws.choice([0.2, 1, 5]), size=12).astype(float)
    groups = merge_small(counts, 3)
    assert [begin for begin, _ in groups[1:]] == [end for _, end in groups[:-1]]
    assert (groups[0][0], groups[-1][1]) == (0, 12)
    sums = [counts[begin:end].sum() for begin, end in groups]
    if counts.sum() >= 3:
        assert all(total == 0 or total >= 3 for total in sums)
    for place, group in ((0, (0, 1)), (11, (11, 12))):
        # Unless all between are too few for a bin of their own.
        if counts[place] >= 3 and counts[1:-1].sum() >= 3 and counts[11 - place] >= 3:
            assert group in groups


def test_a_report_hides_small_cells_and_says_that_the_server_sees_them():
    rows = [[40 + i % 3, 7, 2, i % 2, i % 2] for i in range(30)]
    rows += [[80, 7, 2, 2, 0], [np.nan, 7, 2, 0, 0], [40, 7, 2, 1, 1]]
    workload = statistics()
    report = workload.report(exact_state(workload, examples(rows, [0, 1] * 16 + [1])))
    told = tables_of(report)
    wards = {one["category"]: one for one in told["categories"] if one["column"] == "ward"}
    assert (wards["c"]["count"], wards["c"]["share"]) == ("hidden", "hidden")
    # Beside the one person the next smallest, for their sum is known.
    assert [wards[name]["count"] for name in "ab"].count("hidden") == 1
    age = next(row for row in told["columns"] if row["column"] == "age")
    assert age["missing"] == "hidden"
    bins = [one for one in told["histograms"] if one["column"] == "age"]
    assert sum(one["count"] == "hidden" for one in bins) == 2
    assert all(
        one["count"] == "hidden" or one["count"] == 0 or one["count"] >= 3 for one in bins
    )
    assert report.facts["records without a missing number"] == "hidden"
    for one in told["tables"]:
        assert one["count"] in ("hidden", 0) or one["count"] >= 3
    assert any("not from the server" in note for note in report.notes)


def test_nothing_is_hidden_if_the_minimum_is_0():
    rows = [[40, 7, 2, i % 3, i % 2] for i in range(7)]
    workload = statistics(min_cell=0)
    report = workload.report(exact_state(workload, examples(rows, [0, 1, 0, 0, 1, 0, 0])))
    assert "hidden" not in str(report.to_dict())
    told = tables_of(report)
    assert sum(one["count"] for one in told["categories"] if one["column"] == "ward") == 7
    assert len([one for one in told["histograms"] if one["column"] == "age"]) == 255 + 3


def test_few_records_have_no_mean():
    workload = statistics()
    rows = [[40 if i < 2 else np.nan, 7, 2, 0, 0] for i in range(9)]
    report = workload.report(exact_state(workload, examples(rows, [0, 1, 0, 0, 1, 0, 0, 1, 1])))
    age = report.to_dict()["rows"][0]
    assert (age["mean"], age["sd"], age["50 %"]) == (None, None, None)
