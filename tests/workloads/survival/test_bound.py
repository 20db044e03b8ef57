"""One record's term of a survival curve: of norm 1, whatever the record and the state."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from privacy.bounding.bounded_sum import FINENESS
from privacy.mode import Mode, Place
from privacy.unit import Unit
from tests.kits import survival as kit
from workloads.survival.kaplan_meier import KaplanMeier, KaplanMeierConfig
from workloads.values import Query, State

PRIVACY = SimpleNamespace(plan=SimpleNamespace(terms=SimpleNamespace(sampling_rate=1.0)))
TIMES = [np.nan, -np.inf, np.inf, -1.0, 0.0, 1e-300, 1.0, 1.5, 59.9, 60.0, 61.0, 1e300]
EVENTS = [0.0, 1.0, 2.0, -1.0, 0.5, np.nan, np.inf]
GROUPS = [0.0, 1.0, 2.0, -1.0, 0.5, np.nan, np.inf, 1e300]


def make(**keys) -> KaplanMeier:
    mode = Mode(Unit.EXAMPLE, Place.DISTRIBUTED)
    return kit.workload(KaplanMeier, KaplanMeierConfig(**keys), mode=mode)


def worst():
    """Return each combination of times, events and groups, of which a task gives few."""
    targets = np.array(list(product(TIMES, EVENTS, GROUPS)))
    columns = np.column_stack([np.full((len(targets), 2), np.nan), targets[:, 2]])
    return kit.examples(columns, targets[:, :2])


def summed(work, state, records):
    rng = np.random.default_rng(0)
    return work.bounded(state, Query(1), kit.data(records), rng, PRIVACY).update


@pytest.mark.parametrize("keys", [{}, {"by": "sex"}, {"times": [5.0, 20.0], "by": "sex"}])
def test_every_term_is_one_count(keys):
    work, records = make(**keys), worst()
    rows = work.terms(work.initial_state(), Query(1), records)
    np.testing.assert_array_equal((rows != 0).sum(axis=1), 1)
    np.testing.assert_array_equal((rows**2).sum(axis=1), work.bound() ** 2)
    np.testing.assert_array_equal(np.abs(rows).sum(axis=1), 1)


@pytest.mark.parametrize("keys", [{}, {"by": "sex"}])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e300])
def test_one_record_moves_the_real_sum_by_one_count_whatever_the_state(keys, size):
    work, records = make(**keys), worst()
    counts = work.initial_state().arrays["counts"]
    draws = np.random.default_rng(2).normal(size=counts.shape)
    state = State({"counts": draws * size}, {"noise": size})
    everyone = np.arange(len(records))
    whole = summed(work, state, records).integers
    for left_out in everyone[:: len(everyone) // 40]:
        rest = records.take(np.delete(everyone, left_out))
        change = whole - summed(work, state, rest).integers
        alone = summed(work, state, records.take(everyone[[left_out]])).integers
        np.testing.assert_array_equal(change, alone)
        assert 0 < sum(int(value) ** 2 for value in change) <= int(FINENESS) ** 2


def test_terms_and_the_exact_sum_and_the_bounded_one_agree():
    work, records = make(by="sex"), kit.made_up(200)
    state = work.initial_state()
    rows = [work.terms(state, Query(1), one)[0] for one in records.one_by_one(np.arange(200))]
    exact = work.contribute(state, Query(1), kit.data(records), np.random.default_rng(0))
    np.testing.assert_array_equal(np.sum(rows, axis=0), exact.update)
    found = summed(work, state, records).in_units_of(1.0)
    np.testing.assert_allclose(found, exact.update, rtol=0, atol=200 * 2e-9)


def test_made_up_records_are_counted_before_anything_is_paid():
    work = make(by="sex")
    work.rehearse()
    assert work._cells(work.task.made_up(8)).shape == (8,)
