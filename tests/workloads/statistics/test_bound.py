"""One record's term in `statistics`: within the bound, and as long as it in the worst case."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from privacy.bounding.bounded_sum import FINENESS
from tasks.records import LocalData
from tasks.table import Column
from tests.workloads.statistics.tables_kit import (
    COLUMNS,
    DISTRIBUTED,
    NAN,
    examples,
    records,
    statistics,
)
from workloads.values import Query, State

PRIVACY = SimpleNamespace(plan=SimpleNamespace(terms=SimpleNamespace(sampling_rate=1.0)))
WEIRD = [NAN, -np.inf, np.inf, -1e300, 1e300, -1.0, 0.0, 1e-300, 5.0, 90.0, 1e4, 2.5, 45.0]
KINDS = [
    ("classes", {}),
    ("number", {}),
    ("classes", {"correlations": False}),
    (
        "number",
        {
            "tables": [["ward", "sex"], ["age", "days"]],
        },
    ),
    ("classes", {"columns": ["age", "ward"], "tables": [["age", "ward"]], "max_bins": 2}),
]


def workload_of(label, keys):
    return statistics(label, DISTRIBUTED, **keys)


def squares(workload, some):
    return (workload.terms(workload.initial_state(), Query(1), some) ** 2).sum(axis=1)


def adversarial(label):
    """Return every combination of odd values of two columns, in all places, of every label."""
    rows = np.array(
        [
            np.roll((one, other, one, other, one), shift)
            for one, other in product(WEIRD, WEIRD)
            for shift in range(2)
        ]
    )
    labels = [0, 1, -5, 2**40] if label == "classes" else [-1.0, 1.0, 0.0, 1e30, NAN]
    return examples(np.repeat(rows, len(labels), axis=0), np.tile(labels, len(rows)))


@pytest.mark.parametrize(("label", "keys"), KINDS)
def test_no_record_is_longer_than_the_bound(label, keys):
    workload = workload_of(label, keys)
    found = squares(workload, adversarial(label))
    assert np.isfinite(found).all()
    assert found.max() <= workload.bound() ** 2 + 1e-9


@pytest.mark.parametrize(("label", "keys"), KINDS)
def test_the_worst_record_is_as_long_as_the_bound(label, keys):
    """All its numbers are at a bound and none is missing; the bound is an oracle's count."""
    workload = workload_of(label, keys)
    one = examples([[90, -50, 5, 2, 1]], [1] if label == "classes" else [1.0])
    names = keys.get("columns") or [column.name for column in COLUMNS]
    k = sum(not c.is_categorical for c in COLUMNS if c.name in names) + (label == "number")
    variables = len(names) + 1
    tables = len(keys.get("tables", []))
    if label == "classes":
        tables += sum(c.is_categorical for c in COLUMNS if c.name in names)
    square = 1 + variables + 2 * k + tables
    if keys.get("correlations", True) and k > 1:
        square += 1 + 2 * k + k * (k - 1) / 2
    assert workload.bound() ** 2 == pytest.approx(square, abs=1e-9)
    assert squares(workload, one) == pytest.approx(square, abs=1e-9)


@pytest.mark.slow
def test_a_search_finds_none_that_is_longer_and_comes_near():
    """Climb from random records to the longest, over values in range and out of it."""
    workload, draws = statistics("number", DISTRIBUTED), np.random.default_rng(0)
    best, longest = records(1, "number"), 0.0
    for _ in range(3000):
        scale = 10 ** draws.uniform(-3, 6)
        moved = best.columns + draws.normal(size=best.columns.shape) * scale
        moved[draws.random(moved.shape) < 0.05] = np.nan
        again = np.where(np.isnan(moved), draws.uniform(-1, 1, moved.shape) * scale, moved)
        moved = np.where(draws.random(moved.shape) < 0.5, again, moved)
        target = np.clip(best.targets + draws.normal(size=1), -2, 2)
        tried = examples(moved, target)
        found = float(squares(workload, tried)[0])
        assert found <= workload.bound() ** 2 + 1e-9
        if found > longest:
            best, longest = tried, found
    assert longest > 0.97 * workload.bound() ** 2


@pytest.mark.parametrize(("label", "keys"), KINDS)
def test_one_record_moves_the_real_sum_by_no_more_than_the_bound(label, keys):
    """Through ``bounded``, in whole numbers: records that are left out, one at a time."""
    workload, everyone = workload_of(label, keys), adversarial(label)
    some = everyone.take(np.arange(0, len(everyone), 7))
    whole = summed(workload, some)
    assert len(whole) == workload.length(workload.initial_state())
    for left_out in range(0, len(some), len(some) // 11):
        rest = summed(workload, some.take(np.delete(np.arange(len(some)), left_out)))
        change = whole.integers - rest.integers
        assert 0 < sum(int(value) ** 2 for value in change) <= int(FINENESS) ** 2


def summed(workload, some):
    data = LocalData(some, some.take(np.zeros(0, np.intp)))
    rng = np.random.default_rng(0)
    return workload.bounded(workload.initial_state(), Query(1), data, rng, PRIVACY).update


@pytest.mark.parametrize("label", ["classes", "number"])
def test_terms_the_bounded_sum_and_the_exact_sum_agree(label):
    """Also where records are worked on in small parts, as many columns make them."""
    workload, some = statistics(label, DISTRIBUTED), records(300, label)
    rows = workload.terms(workload.initial_state(), Query(1), some)
    bounded = summed(workload, some)
    np.testing.assert_allclose(bounded.in_units_of(1.0), rows.sum(axis=0), atol=300 * 1e-8)
    data = LocalData(some, some)
    exact = workload.contribute(workload.initial_state(), Query(1), data, None).update
    in_units = np.where(workload._layout.is_number, exact / 2.0**36, exact)
    np.testing.assert_allclose(in_units, rows.sum(axis=0), atol=300 * 2.0**-37)


def test_parts_of_any_size_give_the_same_sums(monkeypatch):
    workload, some = statistics("number", DISTRIBUTED), records(300, "number")
    data = LocalData(some, some)
    whole = summed(workload, some).integers
    exact = workload.contribute(workload.initial_state(), Query(1), data, None).update
    monkeypatch.setattr("workloads.statistics.statistics._CHUNK", 333)
    np.testing.assert_array_equal(summed(workload, some).integers, whole)
    again = workload.contribute(workload.initial_state(), Query(1), data, None).update
    np.testing.assert_array_equal(again, exact)


@pytest.mark.parametrize("label", ["classes", "number"])
def test_a_records_term_does_not_depend_on_its_place(label):
    workload, some = statistics(label, DISTRIBUTED), records(67, label)
    rows = workload.terms(workload.initial_state(), Query(1), some)
    for number in range(0, len(some), 5):
        one = some.take(np.array([number]))
        found = workload.terms(workload.initial_state(), Query(1), one)
        np.testing.assert_array_equal(rows[[number]], found)
    for first in (1, 2, 3, 31):
        part = some.take(np.arange(first, len(some)))
        found = workload.terms(workload.initial_state(), Query(1), part)
        np.testing.assert_array_equal(rows[first:], found)


def test_no_state_changes_a_term():
    """The server chooses the state; a term is a function of the record alone."""
    workload, some = statistics("number", DISTRIBUTED), records(20, "number")
    length = workload.length(workload.initial_state())
    rows = workload.terms(workload.initial_state(), Query(1), some)
    other = State({"sums": np.full(length, 1e300)}, {"noise": -1.0})
    np.testing.assert_array_equal(workload.terms(other, Query(99), some), rows)


def test_bounds_of_any_size_keep_numbers_within_one():
    columns = (
        Column("tiny", -1e-300, 3e-300),
        Column("huge", -1e307, 1e307),
        Column("far", 1e15, 1e15 + 4),
    )
    workload = statistics("classes", DISTRIBUTED, table=columns)
    rows = [
        [a, b, c]
        for a in (1e-300, 3e-300, NAN)
        for b in (1e307, -1e300)
        for c in (0, 1e15 + 3, 1e99)
    ]
    found = squares(workload, examples(rows, np.zeros(len(rows), int)))
    assert found.max() <= workload.bound() ** 2 + 1e-9
