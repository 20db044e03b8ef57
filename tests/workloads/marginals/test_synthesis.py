"""The synthetic table: what it keeps of the counts, and that any counts give one."""

import csv
from itertools import combinations

import numpy as np
import pytest

from tasks.table import Column
from tests.workloads.marginals.marginals_kit import (
    DISTRIBUTED,
    LABELS,
    counted,
    marginals,
    noised,
    records,
)
from tests.workloads.statistics.tables_kit import COLUMNS, NAN, examples
from workloads.marginals import mixture, synthesis
from workloads.marginals.mixture import Shares, fit_mixture
from workloads.marginals.synthesis import _above_noise
from workloads.values import State


def related(num, label="classes", seed=0):
    """Return records whose columns depend on each other and on the label."""
    draws = np.random.default_rng(seed)
    some = records(num, label, seed, missing=0.0)
    age, gain, visits, ward, sex = some.columns.T
    ward[:] = np.clip(age // 30, 0, 2)
    gain[:] = np.where(draws.random(num) < 0.8, -50, 10_000 * draws.random(num) ** 3)
    visits[:] = np.clip(np.rint(ward * 2 + draws.normal(size=num)), 0, 5)
    sex[:] = draws.random(num) < 0.3 + 0.2 * ward
    old = (age + 20 * sex + draws.normal(size=num) * 10) / 120
    some.targets[:] = 2 * np.clip(old, 0, 1) - 1 if label == "number" else old > 0.5
    some.columns[draws.random(some.columns.shape) < 0.05] = NAN
    return some


def cells_of(workload, columns, label):
    values = [label, *columns.T]
    variables = workload._layout.variables
    return [one.cells(own) for one, own in zip(variables, values, strict=True)]


def distances(workload, some, made):
    """Return the total variation distances of all pairs of variables, by an own count."""
    label = workload._layout.label.values(some)
    real = cells_of(workload, some.columns, label)
    own = cells_of(workload, made.columns, made.label)
    found = []
    for one, two in combinations(range(len(real)), 2):
        counts = {}
        for sign, table in ((1 / len(real[0]), real), (-1 / len(own[0]), own)):
            for cell in zip(table[one].tolist(), table[two].tolist(), strict=True):
                counts[cell] = counts.get(cell, 0.0) + sign
        found.append(sum(map(abs, counts.values())) / 2)
    return np.array(found)


def in_schema(workload, made):
    """Check that every value is one of its column's."""
    task = workload.task
    for column, values in zip(task.table.columns, made.columns.T, strict=True):
        present = values[~np.isnan(values)]
        if column.is_categorical:
            assert set(present) <= set(range(len(column.categories)))
        else:
            assert ((present >= column.low) & (present <= column.high)).all()
    label = task.table.label
    if task.table.classes:
        assert set(made.label) <= set(range(len(task.table.classes)))
    else:
        assert ((made.label >= label.low) & (made.label <= label.high)).all()
    if task.missing_text is None:
        assert not np.isnan(made.columns).any()


@pytest.mark.parametrize("label", ["classes", "number"])
def test_exact_counts_give_the_joint_distributions_of_all_pairs(label):
    """Two samples of 4,000 records are 0.03 apart; independent columns 0.2 and more."""
    workload, some = marginals(label), related(4000, label)
    made = workload.synthetic(counted(workload, some))
    in_schema(workload, made)
    assert len(made.label) == 4000
    found = distances(workload, some, made)
    assert found.mean() < 0.06
    assert found.max() < 0.15
    shuffled = [np.random.default_rng(0).permutation(own) for own in some.columns.T]
    apart = examples(np.stack(shuffled, axis=1), some.targets)
    worse = distances(workload, some, made_of(workload, apart))
    assert worse.max() > 2 * found.max()


def made_of(workload, some):
    from workloads.marginals.synthesis import Synthetic

    return Synthetic(some.columns, workload._layout.label.values(some))


def test_noise_costs_little_where_there_are_many_records():
    workload, some = marginals(mode=DISTRIBUTED), related(20_000)
    made = workload.synthetic(noised(workload, some, 10.0, 1))
    in_schema(workload, made)
    assert distances(workload, some, made).mean() < 0.06
    # The mean of five tables of up to 2 x 19 cells, each with a deviation of 10 sqrt(5).
    assert abs(len(made.label) - 20_000) < 6 * 10 * 5**0.5 * 38**0.5


def hostile(workload):
    """Yield states of any sums that the noise, or nodes that lie, may have made."""
    layout, draws = workload._layout, np.random.default_rng(0)
    fillings = {
        "zeros": lambda n: np.zeros(n),
        "negative": lambda n: np.full(n, -3.0),
        "huge": lambda n: draws.choice([1e300, -1e300, 0.0], n),
        "largest": lambda n: np.full(n, 1.7e308),
        "tiny": lambda n: draws.normal(size=n) * 1e-300,
        "one cell": lambda n: np.eye(1, n, 3)[0] * 40,
        "noise": lambda n: draws.normal(size=n) * 100,
    }
    for name, fill in fillings.items():
        from workloads.values import Aggregate

        state = workload.initial_state()
        for number in (1, 2):
            length = workload.length(state)
            total = fill(length)
            with np.errstate(over="ignore"):
                state = workload.apply(state, Aggregate(total, {}, 1.0, 5.0), number, None)
        yield name, state
    assert layout.num_singles > 0


@pytest.mark.parametrize("label", ["classes", "number"])
@pytest.mark.parametrize("missing", ["", None])
@pytest.mark.filterwarnings("error")
def test_any_sums_give_rows_of_the_schema(label, missing, monkeypatch):
    monkeypatch.setattr(mixture, "_NUM_STEPS", 30)
    workload = marginals(label, DISTRIBUTED, missing=missing, rows=200)
    for name, state in hostile(workload):
        if all(np.isfinite(one).all() for one in state.arrays.values()):
            made = workload.synthetic(state)
            in_schema(workload, made)
            assert len(made.label) == 200, name
            assert workload.report(state).to_dict()["rows"]


def test_a_count_that_lies_makes_no_more_rows_than_memory_holds(monkeypatch):
    monkeypatch.setattr(mixture, "_NUM_STEPS", 3)
    monkeypatch.setattr(synthesis, "MOST_ROWS_UNASKED", 70)
    workload, asked = marginals(), marginals(rows=90)
    state = counted(workload, related(100))
    lying = State(
        state.arrays | {"singles": np.full_like(state.arrays["singles"], 2.0**53)}, state.header
    )
    assert len(workload.synthetic(lying).label) == 70
    assert len(asked.synthetic(lying).label) == 90


def test_what_is_never_missing_in_a_file_is_never_drawn_so():
    some = related(300)
    some.columns[:200] = NAN
    for missing, share in ((None, 0.0), ("?", np.isnan(some.columns).mean())):
        workload = marginals(missing=missing)
        made = workload.synthetic(counted(workload, some))
        assert np.isnan(made.columns).mean() == pytest.approx(share, abs=0.05 * (share > 0))


def test_the_table_follows_from_the_sums_and_the_seed(monkeypatch):
    monkeypatch.setattr(mixture, "_NUM_STEPS", 30)
    workload, some = marginals(rows=50), related(300)
    state = counted(workload, some)
    first, again = workload.synthetic(state), workload.synthetic(state)
    np.testing.assert_array_equal(first.columns, again.columns)
    workload.task.seed = 1
    assert not np.array_equal(first.columns, workload.synthetic(state).columns, equal_nan=True)
    assert len(first.label) == 50


def test_the_files_text_is_that_of_the_rows(monkeypatch):
    monkeypatch.setattr(mixture, "_NUM_STEPS", 30)
    workload = marginals(missing="?", rows=80)
    state = counted(workload, related(300))
    assert workload.files(workload.initial_state()) == {}
    assert workload.report(workload.initial_state()) is None
    (text,) = workload.files(state).values()
    header, *rows = csv.reader(text.splitlines())
    assert header == [*(column.name for column in COLUMNS), "ill"]
    made = workload.synthetic(state)
    for row, values, label in zip(rows, made.columns, made.label, strict=True):
        assert row[-1] == LABELS["classes"].categories[int(label)]
        for field, value, column in zip(row, values, COLUMNS, strict=False):
            if np.isnan(value):
                assert field == ""
            elif column.is_categorical:
                assert field == column.categories[int(value)]
            else:
                assert float(field) == value
                assert len(field) <= 10


def test_numbers_keep_their_bin_when_they_are_rounded(monkeypatch):
    monkeypatch.setattr(mixture, "_NUM_STEPS", 5)
    odd = (
        Column("tiny", -1e-300, 3e-300),
        Column("huge", -1e307, 1e307),
        Column("far", 1e15, 1e15 + 4),
        Column("edges", 0, 10, edges=(1e-9, 1.0)),
    )
    rows = np.random.default_rng(0).random((200, 4)) * [3e-300, 1e307, 0, 10]
    rows[:, 2] += 1e15 + rows[:, 3] / 3
    workload = marginals(table=odd, rows=500)
    made = workload.synthetic(counted(workload, examples(rows, np.arange(200) % 2)))
    in_schema(workload, made)


def test_counts_above_noise_are_the_nearest_of_none_below_zero():
    """Karush, Kuhn and Tucker: what is left is shifted by one number, the rest is under it."""
    draws = np.random.default_rng(0)
    for _ in range(200):
        counts = draws.normal(size=draws.integers(1, 30)) * 10 + 2
        found = _above_noise(counts)
        if counts.sum() <= 0:
            assert not found.any()
            continue
        assert (found >= 0).all()
        assert found.sum() == pytest.approx(counts.sum())
        shifts = (counts - found)[found > 0]
        assert np.ptp(shifts) < 1e-9
        assert (counts[found == 0] <= shifts[0] + 1e-9).all()


def test_the_fit_goes_down_the_gradient_of_the_squared_error():
    """The gradient is held against differences of the error, by an own formula."""
    draws = np.random.default_rng(0)
    sizes = (2, 3)
    singles = [draws.random((2, size)) for size in sizes]
    table = draws.random((2, *sizes))
    weights = [draws.random(size) for size in sizes]
    targets = mixture._Targets(Shares(singles, [(0, 1, table)], weights))
    labels, columns = draws.normal(size=(4, 2)), draws.normal(size=(4, 5))

    def error(labels, columns):
        label = np.exp(labels) / np.exp(labels).sum(axis=1, keepdims=True)
        parts = np.split(columns, [2], axis=1)
        own = [np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in parts]
        joint = np.einsum("kc,ki,kj->cij", label, *own) / 4
        found = ((joint - table) ** 2).sum() / 2
        for one, due, weight in zip(own, singles, weights, strict=True):
            apart = np.einsum("kc,ki->ci", label, one) / 4 - due
            found += (weight * apart**2).sum() / 2
        return found

    by_label, by_column = targets.gradients(labels, columns)
    step = 1e-6
    for place in np.ndindex(labels.shape):
        up = labels.copy()
        up[place] += step
        slope = (error(up, columns) - error(labels, columns)) / step
        assert by_label[place] / 4 == pytest.approx(slope, rel=1e-3, abs=1e-6)
    for place in np.ndindex(columns.shape):
        up = columns.copy()
        up[place] += step
        slope = (error(labels, up) - error(labels, columns)) / step
        assert by_column[place] / 4 == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_a_mixture_that_can_be_had_is_found():
    """Two columns that are equal, the label among them: no single product can say that."""
    table = np.zeros((2, 2, 2))
    table[0, 0, 0], table[1, 1, 1] = 0.7, 0.3
    singles = [table.sum(axis=2), table.sum(axis=1)]
    shares = Shares(singles, [(0, 1, table)], [np.ones(2)] * 2)
    label, groups = fit_mixture(shares, np.random.default_rng(0)).rows(
        1000, np.random.default_rng(1)
    )
    assert (groups[:, 0] == label).mean() > 0.98
    assert (groups[:, 0] == groups[:, 1]).mean() > 0.98
    assert label.mean() == pytest.approx(0.3, abs=0.05)


def test_a_state_that_is_none_gives_no_table():
    workload = marginals()
    state = counted(workload, related(300))
    broken = State({**state.arrays, "groups": state.arrays["groups"] + 99}, state.header)
    with pytest.raises(ValueError, match="groups must be from 0"):
        workload.synthetic(broken)
