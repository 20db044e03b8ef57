"""Weights of classes and of records: what they multiply, what they bound, what is refused."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_workload
from app.config.load import ConfigError, load_config
from privacy.bounding.bounded_sum import FINENESS
from privacy.mode import Mode
from tasks.records import Examples, LocalData
from tests.workloads.histograms.tables import DISTRIBUTED, ebm, queries, records
from tests.workloads.histograms.tables import some_state as some_curves
from tests.workloads.histograms.test_bound import adversarial, summed
from tests.workloads.histograms.test_runs import records as all_records
from tests.workloads.histograms.test_runs import run
from tests.workloads.trees.tables import pooled, random_states, random_trees, workload
from workloads.trees.ensemble import Trees
from workloads.values import Aggregate, Query

KINDS = ("ebm", "gbdt", "random", "forest", "tree")
LABELS = ("binary", "softmax", "squared")
SMALL = {"max_depth": 3, "min_data_in_leaf": 5}


def made(kind: str, label: str, *, most: float | None = None, mode: Mode | None = None, **keys):
    """Return a workload over a table whose records have weights up to ``most``."""
    if kind == "ebm":
        found = ebm(label, mode=mode, **keys)
    elif kind == "random":
        found = random_trees(label, mode=mode, **keys)
    else:
        found = workload(kind, label, **SMALL, **keys)
    task = SimpleNamespace(
        table=replace(found.table, largest_weight=most), made_up=found.task.made_up, seed=7
    )
    return type(found)(replace(found.setup, task=task))


def weighted(examples: Examples, weights) -> Examples:
    return replace(examples, weights=np.asarray(weights, np.float64))


def assert_same_run(one, records_of_one, other, records_of_other, num_rounds: int = 6):
    """Check that both runs sum the same, bit for bit, and so leave the same states."""
    found, due = (
        pooled(work, some, num_rounds)
        for work, some in ((one, records_of_one), (other, records_of_other))
    )
    assert len(found) == len(due) > 3
    for state, expected in zip(found, due, strict=True):
        assert state.header == expected.header
        for name, values in expected.arrays.items():
            np.testing.assert_array_equal(state.arrays[name], values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", ["binary", "softmax"])
def test_a_class_of_weight_two_is_each_of_its_records_twice(kind, label):
    some = records(label, 300)
    name = {"binary": "yes", "softmax": "z"}[label]
    number = {"binary": 1, "softmax": 2}[label]
    twice = some.take(np.repeat(np.arange(300), np.where(some.targets == number, 2, 1)))
    heavy = made(kind, label, class_weight={name: 2.0})
    assert_same_run(heavy, some, made(kind, label), twice)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", LABELS)
def test_whole_weights_are_as_many_records_and_a_weight_of_0_is_none(kind, label):
    some = records(label, 300)
    counts = np.random.default_rng(3).integers(0, 4, 300)
    repeated = some.take(np.repeat(np.arange(300), counts))
    assert_same_run(
        made(kind, label, most=3.0), weighted(some, counts), made(kind, label), repeated
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_beyond_the_largest_counts_as_that(kind):
    some = records("binary", 100)
    draws = np.random.default_rng(1).uniform(0, 2, 100)
    work = made(kind, "binary", most=1.0, class_weight={"no": 0.3})
    other = weighted(some, np.minimum(draws, 1.0))
    assert_same_run(work, weighted(some, draws), work, other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_does_not_depend_on_who_has_which_records(kind):
    some = weighted(records("binary", 200), np.random.default_rng(1).uniform(0, 2.5, 200))
    work = made(kind, "binary", most=2.0, class_weight={"yes": 1.37})
    for number, state in enumerate(pooled(work, some, 5)[:-1]):
        whole = work.contribute(state, Query(number + 1), LocalData(some, some), None).update
        total = np.zeros_like(whole)
        for part in np.split(np.random.default_rng(0).permutation(200), [3, 50, 51, 120]):
            own = some.take(part)
            data = LocalData(own, own)
            total += work.contribute(state, Query(number + 1), data, None).update
        np.testing.assert_array_equal(total, whole)


@pytest.mark.parametrize("kind", ["forest", "tree"])
def test_small_weights_alone_make_the_same_shares(kind):
    """Leaves hold the shares of classes, also where all weights add up to less than 1."""
    some = records("binary", 300)
    work = made(kind, "binary", most=1.0)
    state = work.initial_state()
    data = LocalData(weighted(some, np.full(300, 2.0**-12)), some)
    given = work.contribute(state, Query(1), data, None)
    left = work.apply(state, Aggregate(given.update, {}, 1.0), 1, None)
    found = work.predict(left, some.columns[:5])
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_scores_do_not_look_at_weights():
    some = records("binary", 200)
    plain, heavy = made("ebm", "binary"), made("ebm", "binary", most=9.0)
    state = pooled(plain, some, 4)[-1]
    held_out = weighted(some, np.arange(200) % 10)
    found = heavy.score(state, LocalData(held_out, held_out))
    assert found == plain.score(state, LocalData(some, some))


def worst(label: str) -> Examples:
    """Return records at every edge, with weights that a file could not have."""
    found = adversarial(label)
    odd = np.array([np.nan, -5.0, np.inf, 1e300, 4.0, 0.0, 3.999])
    return weighted(found, np.resize(odd, len(found)))


@pytest.mark.parametrize("kind", ["ebm", "random"])
@pytest.mark.parametrize("label", LABELS)
def test_no_record_is_longer_than_the_bound_and_some_come_near(kind, label):
    heaviest = {"binary": {"yes": 2.5}, "softmax": {"w": 2.5}}
    given = {"class_weight": heaviest[label]} if label in heaviest else {}
    work = made(kind, label, most=4.0, mode=DISTRIBUTED, **given)
    due = 4.0 * (2.5 if given else 1.0)
    assert work.bound() == due
    longest = {}
    for size in (0.0, 0.5, 3.0, 1e30):
        if kind == "ebm":
            asked = [(query, some_curves(work, size)) for query in queries()]
        else:
            asked = [(Query(3), state) for state in random_states(work, size).values()]
        for query, state in asked:
            terms = work.terms(state, query, worst(label))
            assert np.isfinite(terms).all()
            found = float(np.sqrt((terms**2).sum(axis=1)).max())
            assert found <= due * (1 + 1e-12)
            key = query.server_round, state.header.get("step")
            longest[key] = max(longest.get(key, 0.0), found)
    # Counts of the heaviest class are as long as the bound itself.
    assert max(longest.values()) == pytest.approx(due, rel=1e-9)
    assert min(longest.values()) > 0.5 * due


def test_one_record_changes_its_own_term_alone():
    work = made("ebm", "binary", most=4.0, mode=DISTRIBUTED, class_weight={"yes": 2.0})
    some = weighted(records("binary", 40), np.linspace(0, 4, 40))
    state = some_curves(work, 0.5)
    for query in queries():
        whole = summed(work, state, query, some).integers
        for left_out in (1, 20, 39):
            rest = some.take(np.delete(np.arange(40), left_out))
            change = whole - summed(work, state, query, rest).integers
            alone = summed(work, state, query, some.take(np.array([left_out])))
            np.testing.assert_array_equal(change, alone.integers)
            assert sum(int(value) ** 2 for value in change) <= int(FINENESS) ** 2


CENTRAL = (
    "privacy.delta=1e-4 privacy.population=5 privacy.sampling_rate=1 task.test_fraction=0"
    " privacy.expected_batch_size=569 privacy.noise_multiplier=3"
)


def test_the_noise_is_as_much_larger_and_the_server_knows():
    free = f"{CENTRAL} algorithm.class_weight={{benign:4}}"
    config = load_config(
        {"task": "breast_cancer", "algorithm": "ebm", "num-rounds": 1}
        | {"privacy": "example_central", "overrides": free}
    )
    work = build_workload(config)
    length = work.length(work.initial_state())
    strategy = build_strategy(config, RunFacts(1, 5, work, length))
    assert strategy.workload.setup.noise == pytest.approx(12.0)


def test_the_sum_has_that_noise(tmp_path):
    """Under 30 % less this fails: 1,980 numbers, whose standard error is 1.6 %."""
    heavy = "algorithm.class_weight={benign:4} algorithm.max_bins=32"
    free = f"{CENTRAL} {heavy}"
    found = run(tmp_path / "run", 5, free, num_rounds=1, privacy="example_central")
    exact = run(tmp_path / "exact", 5, f"task.test_fraction=0 {heavy}", num_rounds=1)
    noise = found.arrays["slots"] - exact.arrays["slots"]
    assert noise.std() == pytest.approx(4 * 3 * np.sqrt(30), rel=0.095)
    _, targets, _ = all_records()
    due = np.bincount(targets) * 30 * np.array([1, 4])
    np.testing.assert_array_equal(exact.arrays["slots"].sum(axis=1), due)


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_judges_by_weights_whether_few_carry_a_sum(kind):
    some = records("binary", 100)
    work = made(kind, "binary", most=10.0, class_weight={"yes": 2.0})
    own = np.where(np.arange(100) < 3, 10.0, 0.01)
    found = work.weights(work.initial_state(), Query(1), weighted(some, own))
    share = found / (own * np.where(some.targets == 1, 2.0, 1.0))
    # A forest asks about a record in as many trees as have it in their bags.
    asked = 1.0 if kind != "forest" else np.rint(share)
    np.testing.assert_allclose(share, asked, rtol=1e-12)
    assert found.sum() ** 2 / (found**2).sum() < 4


def test_a_node_is_silent_where_the_weight_of_a_few_is_nearly_all():
    some = records("binary", 400)
    work = made("gbdt", "binary", most=1000.0)
    state = pooled(made("gbdt", "binary"), some, 3)[-1]
    trees = Trees.of(state.arrays)
    ends = trees.nodes_of(work.growth.within(some.columns), np.arange(1))[:, 0]
    counts = np.bincount(ends, minlength=len(trees.column))
    node = int(trees.open_nodes[counts[trees.open_nodes].argmax()])
    inside = np.flatnonzero(ends == node)
    own = np.ones(400)
    _, num_before = work.silenced(state, Query(3), weighted(some, own), 5)
    own[inside[0]] = 1000.0
    assert (own[inside].sum() ** 2) / (own[inside] ** 2).sum() < 5
    silent, num = work.silenced(state, Query(3), weighted(some, own), 5)
    assert num > num_before
    assert silent.growth.silent[node]


def test_probabilities_are_those_of_the_weighted_records():
    """Of a label that nothing tells of: the share of a class that counts three times."""
    some = records("binary", 2000)
    work = made("ebm", "binary", class_weight={"yes": 3.0})
    state = pooled(work, some, 1)[-1]
    share = np.mean(some.targets)
    found = 1 / (1 + math.exp(-float(state.arrays["intercepts"][0])))
    assert found == pytest.approx(3 * share / (3 * share + 1 - share), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "free", "told"),
    [
        ("ebm", "algorithm.class_weight={benign:0}", r"class_weight\.benign=0.*above 0"),
        ("gbdt", "algorithm.class_weight={benign:-1}", "must be above 0"),
        ("forest", "algorithm.class_weight={benign:inf}", "must be above 0"),
        ("forest", "algorithm.class_weight.benign=0", "must be above 0"),
        ("forest", "algorithm.class_weight={0:2}", r"write KEY\.NAME=VALUE"),
        ("tree", "algorithm.class_weight=balanced", "Cannot assign str"),
        ("tree", "algorithm.class_weight={benign:nan}", "must be above 0"),
        ("gbdt", "algorithm.class_weight={benign:1e9}", "at most 1e"),
        ("glm", "algorithm.class_weight={benign:2}", "not a key"),
        ("fedavg", "algorithm.class_weight={benign:2}", "not a key"),
    ],
)
def test_weights_that_are_none_are_refused(algorithm, free, told):
    with pytest.raises(ConfigError, match=told):
        load_config({"task": "breast_cancer", "algorithm": algorithm, "overrides": free})


@pytest.mark.parametrize("algorithm", ["ebm", "gbdt", "forest", "tree"])
def test_a_class_that_the_label_has_not_is_refused(algorithm):
    free = "algorithm.class_weight={Benign:2}"
    config = load_config({"task": "breast_cancer", "algorithm": algorithm, "overrides": free})
    with pytest.raises(ValueError, match=r"Benign: is none of the label's classes malignant"):
        build_workload(config)


def test_a_number_has_no_classes_to_weigh():
    with pytest.raises(ValueError, match="the label has none"):
        made("ebm", "squared", class_weight={"a": 2.0})


def test_records_without_the_weights_of_their_table_are_refused():
    work = made("ebm", "binary", most=2.0)
    with pytest.raises(ValueError, match="have no weights"):
        work.terms(work.initial_state(), Query(1), records("binary", 3))
