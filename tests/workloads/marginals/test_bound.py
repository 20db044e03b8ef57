"""One record's term in `marginals`: of length 1, whatever it is and whatever a server sends."""

import numpy as np
import pytest

from privacy.bounding.bounded_sum import FINENESS
from tasks.table import Column
from tests.workloads.marginals.marginals_kit import (
    DISTRIBUTED,
    PRIVACY,
    any_groups,
    local,
    marginals,
    records,
)
from tests.workloads.statistics.tables_kit import NAN, examples
from tests.workloads.statistics.test_bound import adversarial
from workloads.values import Query, State, StateRefusedError

KINDS = [("classes", {}), ("number", {}), ("classes", {"max_bins": 2, "max_groups": 2})]


def states(workload):
    """Return the first state and some that a malicious server may send."""
    draws = np.random.default_rng(0)
    return [workload.initial_state(), *(any_groups(workload, draws) for _ in range(8))]


@pytest.mark.parametrize(("label", "keys"), KINDS)
def test_every_record_is_of_length_1_under_every_state(label, keys):
    workload, some = marginals(label, DISTRIBUTED, **keys), adversarial(label)
    for state in states(workload):
        squares = (workload.terms(state, Query(1), some) ** 2).sum(axis=1)
        np.testing.assert_allclose(squares, workload.bound() ** 2, atol=1e-12)


@pytest.mark.parametrize(("label", "keys"), KINDS)
def test_one_record_moves_the_real_sum_by_no_more_than_the_bound(label, keys):
    """In whole numbers: records that are left out, one at a time; and none counts as zero."""
    workload, everyone = marginals(label, DISTRIBUTED, **keys), adversarial(label)
    some = everyone.take(np.arange(0, len(everyone), 41))
    for state in states(workload)[:4]:
        whole = summed(workload, state, some)
        for left_out in range(0, len(some), 5):
            rest = summed(workload, state, some.take(np.delete(np.arange(len(some)), left_out)))
            change = whole.integers - rest.integers
            square = sum(int(value) ** 2 for value in change)
            assert 0.999 * int(FINENESS) ** 2 < square <= int(FINENESS) ** 2


def summed(workload, state, some):
    rng = np.random.default_rng(0)
    return workload.bounded(state, Query(1), local(some), rng, PRIVACY).update


@pytest.mark.parametrize("label", ["classes", "number"])
def test_terms_the_bounded_sum_and_the_exact_sum_agree(label, monkeypatch):
    """Also where records are worked on in small parts, as many columns make them."""
    workload, exact, some = (
        marginals(label, DISTRIBUTED, max_groups=8),
        marginals(label, None, max_groups=8),
        records(300, label),
    )
    for state in states(workload)[:3]:
        rows = workload.terms(state, Query(1), some)
        bounded = summed(workload, state, some)
        assert len(bounded) == workload.length(state) == workload.longest()
        np.testing.assert_allclose(bounded.in_units_of(1.0), rows.sum(axis=0), atol=1e-5)
        counts = exact.contribute(state, Query(1), local(some), None).update
        assert len(counts) == exact.length(state)
        scaled = rows.sum(axis=0)[: len(counts)] / rows[rows > 0].min()
        np.testing.assert_allclose(counts, scaled, atol=1e-9)
        monkeypatch.setattr("workloads.marginals.marginals._CHUNK", 70)
        np.testing.assert_array_equal(summed(workload, state, some).integers, bounded.integers)
        monkeypatch.undo()


def test_a_records_term_does_not_depend_on_its_place():
    workload, some = marginals("number", DISTRIBUTED), records(67, "number")
    for state in states(workload)[:2]:
        rows = workload.terms(state, Query(1), some)
        for first in (1, 2, 3, 31, 66):
            part = some.take(np.arange(first, len(some)))
            np.testing.assert_array_equal(rows[first:], workload.terms(state, Query(1), part))


def changed(state, **arrays):
    return State({**state.arrays, **arrays}, state.header)


def refused_states():
    workload = marginals("classes", DISTRIBUTED)
    state = any_groups(workload, np.random.default_rng(0))
    groups = state.arrays["groups"]

    def with_group(value, place=-1):
        found = groups.copy()
        found[place] = value
        return changed(state, groups=found)

    return {
        "a group beyond the last": with_group(3),
        "a group beyond the last class": with_group(2, 0),
        "a group far beyond": with_group(1e12),
        "a negative group": with_group(-1),
        "half a group": with_group(0.5),
        "no number": with_group(NAN),
        "an infinite count": changed(state, singles=np.full(len(groups), np.inf)),
        "too few groups": changed(state, groups=groups[:-1]),
        "a table": changed(state, groups=groups[np.newaxis]),
        "too few counts": changed(state, singles=state.arrays["singles"][1:]),
        "groups without counts": changed(state, singles=np.zeros(0)),
        "another vector of pairs": changed(state, tables=np.zeros(7)),
        "text": changed(state, groups=np.array(["a"])),
        "no groups": State({"singles": state.arrays["singles"]}, {}),
    }


@pytest.mark.parametrize("what", list(refused_states()))
def test_a_state_that_would_put_records_elsewhere_is_refused(what):
    workload, state = marginals("classes", DISTRIBUTED), refused_states()[what]
    with pytest.raises(StateRefusedError):
        workload.check(state)
    with pytest.raises(StateRefusedError):
        summed(workload, state, records(3))
    with pytest.raises(StateRefusedError):
        workload.length(state)


def test_of_one_column_no_pair_is_asked_for():
    workload = marginals("classes", DISTRIBUTED, table=(Column("age", 0, 90),))
    state = any_groups(workload, np.random.default_rng(0))
    some = examples([[3.0]], [1])
    assert workload.is_finished(state)
    with pytest.raises(StateRefusedError, match="no pair is left"):
        summed(workload, state, some)
