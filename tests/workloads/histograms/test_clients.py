"""The client unit: all that a node adds to a round is one term, whatever its records are."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from privacy.bounding.bounded_sum import FINENESS, BoundedSum
from privacy.mode import Mode, Place
from privacy.unit import Unit
from tasks.records import Examples, LocalData
from tasks.table import Table
from tests.workloads.histograms.tables import (
    COLUMNS,
    LABELS,
    NUM_ROUNDS,
    ebm,
    queries,
    records,
    some_state,
)
from tests.workloads.histograms.test_bound import KINDS, adversarial, summed
from tests.workloads.trees.tables import random_states, random_trees
from workloads.base import Setup, Workload
from workloads.histograms.config import EbmConfig
from workloads.histograms.ebm import Ebm
from workloads.histograms.quantile import QuantileBinned
from workloads.values import Query, State

CLIENTS = Mode(Unit.CLIENT, Place.DISTRIBUTED)
NOBODY = np.zeros(0, np.intp)


def clients(kind: str) -> list[Examples]:
    """Return the worst nodes: everything at once, one record alone or often, none, some."""
    worst = adversarial(kind)
    alone = [worst.take(np.array([number])) for number in range(0, len(worst), 41)]
    often = worst.take(np.full(99, 3))
    return [worst, *alone, often, worst.take(NOBODY), records(kind, 30)]


def found_terms(workload: Workload, state: State, query: Query, kind: str) -> list[BoundedSum]:
    return [summed(workload, state, query, examples) for examples in clients(kind)]


def require_within(term: BoundedSum, workload: Workload) -> int:
    """Require that a term is what the plan says of one client; return its squared length."""
    square = sum(int(value) ** 2 for value in term.integers[term.integers != 0])
    assert term.unit is Unit.CLIENT
    assert term.delta2 == FINENESS
    assert term.grid * FINENESS == pytest.approx(workload.bound(), rel=1e-15)
    assert square <= int(FINENESS) ** 2
    return square


def asked_about(kind: str, size: float, seed: int) -> list[tuple[Workload, State, Query]]:
    """Return every kind of round of every workload, with states as a server makes them up."""
    curves, trees = ebm(kind, mode=CLIENTS), random_trees(kind, mode=CLIENTS)
    pairs = ebm(kind, mode=CLIENTS, interactions=[["age", "ward"], ["gain", "visits"]])
    edges = QuantileBinned(ebm(kind, mode=CLIENTS, binning="quantile").setup, Ebm)
    return [
        *((curves, some_state(curves, size, seed), query) for query in queries()[:3]),
        (pairs, some_state(pairs, size, seed), queries()[-1]),
        *((trees, state, Query(1)) for state in random_states(trees, size, seed).values()),
        (edges, edges.initial_state(), Query(1)),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.0, 0.5, 1e30])
def test_no_client_is_longer_than_the_bound(kind, size):
    """Whatever it holds and whatever is asked; the worst ones are as long as the bound."""
    longest = 0
    for workload, state, query in asked_about(kind, size, 0):
        for term in found_terms(workload, state, query, kind):
            longest = max(longest, require_within(term, workload))
    assert longest > 0.999 * int(FINENESS) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_in_the_bound(kind):
    """A class that counts four times, and records of 2.5 at most: 10 for the longest."""
    table = Table(COLUMNS, LABELS[kind].categories, LABELS[kind], largest_weight=2.5)
    given = {} if kind == "squared" else {LABELS[kind].categories[1]: 4.0}
    config = EbmConfig(class_weight=given)
    config.settle(CLIENTS, NUM_ROUNDS, is_settled=False)
    task = SimpleNamespace(table=table)
    workload = Ebm(Setup(task=task, algorithm=config, mode=CLIENTS, num_rounds=NUM_ROUNDS))
    assert workload.bound() == (2.5 if kind == "squared" else 10.0)
    weights = np.array([np.nan, np.inf, -np.inf, -1.0, 1e300, 2.5, 0.0])
    longest, heaviest = 0, records(kind, 1)
    heaviest.targets[:] = 1
    for query in queries()[:3]:
        for examples in (*clients(kind), heaviest):
            own = np.resize(weights if len(examples) > 1 else [2.5], len(examples))
            weighed = Examples(examples.inputs, examples.targets, examples.columns, own)
            term = summed(workload, some_state(workload, 1.0), query, weighed)
            longest = max(longest, require_within(term, workload))
    assert longest > 0.999 * int(FINENESS) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_clients_term_is_three_times_the_mean_of_its_records(kind):
    """So it does not matter how many they are; it is cut only where it is too long."""
    for workload, state, query in asked_about(kind, 0.3, 1):
        examples = records(kind, 30)
        rows = workload.terms(state, query, examples)
        mean = 3 * rows.mean(axis=0)
        due = mean / max(1.0, float(np.linalg.norm(mean)))
        for times in (1, 4):
            repeated = examples.take(np.tile(np.arange(30), times))
            term = summed(workload, state, query, repeated).in_units_of(1.0)
            np.testing.assert_allclose(term, due, rtol=0, atol=1e-7)


def test_what_is_short_is_stretched_and_not_cut():
    """Many different records: even three times their mean is under the bound."""
    workload, examples, query = ebm("binary", mode=CLIENTS), records("binary", 400), Query(3)
    state = workload.initial_state()
    term = summed(workload, state, query, examples).in_units_of(1.0)
    mean = workload.terms(state, query, examples).mean(axis=0)
    assert 0.5 < np.linalg.norm(term) < 0.9
    np.testing.assert_allclose(term, 3 * mean, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_without_records_adds_zeros(kind):
    """As it does where it is absent: nothing is refused, and no scores count."""
    for workload, state, query in asked_about(kind, 1.0, 0):
        nobody = records(kind, 3).take(NOBODY)
        workload.rehearse(LocalData(nobody, nobody))
        term = summed(workload, state, query, nobody)
        assert len(term) == workload.length(state)
        require_within(term, workload)
        assert not term.integers.any()
        assert not scores(workload, state, nobody).any()


def test_one_client_changes_its_own_term_only():
    """The sum over all less that without one is that one's term, which others do not move."""
    workload, query = ebm("binary", mode=CLIENTS), Query(3)
    state = some_state(workload, 1.0)
    terms = found_terms(workload, state, query, "binary")
    alone = [summed(workload, state, query, one) for one in reversed(clients("binary"))]
    for term, again in zip(terms, reversed(alone), strict=True):
        np.testing.assert_array_equal(term.integers, again.integers)


def scores(workload: Workload, state: State, examples: Examples) -> np.ndarray:
    nobody = examples.take(NOBODY)
    privacy = SimpleNamespace(loss_clip=3.0, mode=workload.setup.mode)
    found = workload.bounded_metrics(state, LocalData(nobody, examples), privacy)
    assert found.unit is workload.setup.mode.unit
    assert found.delta2 * found.grid <= workload.scores_bound * (1 + 1e-12)
    return found.in_units_of(1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e30])
def test_a_clients_scores_are_the_mean_of_its_records(kind, size):
    workload, of_records = ebm(kind, mode=CLIENTS), ebm(kind)
    state = some_state(workload, size)
    for examples in clients(kind):
        with np.errstate(all="ignore"):
            own = scores(workload, state, examples)
            total = scores(of_records, state, examples)
        assert own.shape == (len(workload.score_names),)
        assert np.linalg.norm(own) <= workload.scores_bound == 2.0
        np.testing.assert_allclose(own, total / max(1, len(examples)), rtol=0, atol=1e-6)


def test_a_participant_is_counted_by_its_own_accuracy():
    """In the bin of just that share: 3 of 5 are 0.6, where the thirteenth of 20 bins begins."""
    plain = ebm("binary", mode=CLIENTS)
    workload = Ebm(replace(plain.setup, counts_participants=True))
    assert workload.scores_bound == pytest.approx(np.sqrt(5))
    state, examples = workload.initial_state(), records("binary", 5)
    state.arrays["intercepts"] = np.array([1.0])
    examples.targets[:] = [1, 1, 1, 0, 0]
    found = scores(workload, state, examples)
    assert found.shape == (len(workload.score_names),)
    np.testing.assert_allclose(found[-20:], np.arange(20) == 12, atol=1e-6)
    assert not scores(workload, state, examples.take(NOBODY)).any()
