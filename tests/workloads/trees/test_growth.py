"""How trees grow: splits against a search of all, missing values, categories, labels, bags."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from tasks.records import Examples, LocalData
from tasks.table import Column, Table
from tests.workloads.histograms.tables import LABELS, records, table
from tests.workloads.trees.tables import nothing, pooled, workload
from workloads.histograms.bins import Bins
from workloads.trees.bags import in_bags
from workloads.trees.criteria import Gain, Gini, Variance
from workloads.trees.splits import Asked, Splitter
from workloads.values import Query

CRITERIA = {"gain": Gain(0.5, 1.0), "gini": Gini(2), "variance": Variance()}


def some_sums(name: str, bins: Bins, num_nodes: int, seed: int) -> np.ndarray:
    """Return sums as of records, shape (nodes, bins, stats), some bins empty."""
    draws = np.random.default_rng(seed)
    counts = draws.integers(0, 12, (num_nodes, len(bins))) * (draws.random(len(bins)) < 0.8)
    share = draws.random((num_nodes, len(bins)))
    positive = np.rint(counts * share)
    stats = {
        "gain": [positive - 0.4 * counts, 0.24 * counts, counts],
        "gini": [counts - positive, positive],
        "variance": [counts, positive - 0.4 * counts],
    }
    return np.stack(stats[name], axis=2).astype(np.float64)


def gain_of(criterion, left, right) -> float:
    whole = criterion.scores(left + right)
    return float(criterion.scores(left) + criterion.scores(right) - whole)


def all_splits(bins: Bins, column: int):
    """Yield every split of a column that there is: which bins go left."""
    size = int(bins.sizes[column])
    if bins.columns[column].is_categorical:
        yield from (np.array(side) for side in product([False, True], repeat=size))
        return
    for cut, missing in product(range(1, size), (False, True)):
        yield np.append(np.arange(size - 1) < cut, missing)


def best_of_all(bins: Bins, criterion, least: int, sums, *, categories: bool) -> float:
    """Return the largest gain of a node by trying every split, sums (bins, stats)."""
    best = -np.inf
    for column, first in enumerate(bins.firsts):
        if bins.columns[column].is_categorical and not categories:
            continue
        own = sums[first : first + bins.sizes[column]]
        for side in all_splits(bins, column):
            both = np.stack([own[side].sum(axis=0), own[~side].sum(axis=0)])
            if criterion.counts(both).min() >= least and criterion.allows(both).all():
                best = max(best, gain_of(criterion, *both))
    return best


@pytest.mark.parametrize("name", CRITERIA)
def test_no_split_is_better_than_the_one_that_is_found(name):
    """Of numbers all cuts are tried; of categories their order may miss a little."""
    criterion, least, num = CRITERIA[name], 8, 20
    bins = Bins(table("binary"), 6)
    asked = Asked.of(np.tile(np.arange(4), (num, 1)), bins)
    for seed in range(5):
        sums = some_sums(name, bins, num, seed)
        # Node by node, all columns of one behind the other.
        total = sums.reshape(-1, sums.shape[-1]).T
        found = Splitter(bins, criterion, least).best(total, asked)
        for node in range(num):
            args = bins, criterion, least, sums[node]
            assert found.gain[node] >= best_of_all(*args, categories=False) - 1e-9
            assert found.gain[node] >= 0.8 * best_of_all(*args, categories=True) - 1e-9
            column = found.column[node]
            first, size = bins.firsts[column], bins.sizes[column]
            own, side = sums[node, first : first + size], found.goes_left[node, :size]
            np.testing.assert_allclose(own[side].sum(axis=0), found.left[node], atol=1e-9)
            np.testing.assert_allclose(own[~side].sum(axis=0), found.right[node], atol=1e-9)
            assert found.gain[node] == pytest.approx(
                gain_of(criterion, found.left[node], found.right[node])
            )


def examples(columns, targets) -> Examples:
    columns = np.asarray(columns, np.float64)
    return Examples(np.zeros((len(columns), 1), np.float32), np.asarray(targets), columns)


def fitted(name: str, label: str, data: Examples, num_rounds: int = 8, **keys):
    found = workload(name, label, **keys)
    return found, pooled(found, data, num_rounds)[-1]


def test_missing_values_go_to_the_side_that_suits_them():
    """All who miss the age are ill, as are all above 45: they go right; and the other way."""
    ages = np.tile(np.linspace(1, 89, 60), 2)
    for ill_if_missing in (True, False):
        age = np.where(np.arange(120) % 4 == 0, np.nan, ages)
        ill = np.where(np.isnan(age), ill_if_missing, age > 45).astype(int)
        data = examples(np.stack([age, np.zeros(120), np.zeros(120), np.zeros(120)], 1), ill)
        found, state = fitted("tree", "binary", data, max_depth=1, min_data_in_leaf=5)
        assert state.arrays["column"][0] == 0
        said = found.predict(state, data.columns)[:, 1]
        np.testing.assert_array_equal(said, ill)


def test_missing_alone_can_be_a_side():
    data = np.zeros((80, 4))
    data[::2, 0] = np.nan
    data[:, 1] = np.linspace(0, 9000, 80)
    found, state = fitted(
        "tree", "binary", examples(data, np.isnan(data[:, 0]).astype(int)), max_depth=1
    )
    np.testing.assert_array_equal(
        found.predict(state, data)[:, 1], np.isnan(data[:, 0]).astype(float)
    )


def test_who_comes_later_with_what_nobody_had_goes_with_most():
    """A category without a record, a missing value where none missed one."""
    ward = np.repeat([0, 1], [30, 70])
    data = np.zeros((100, 4))
    data[:, 3] = ward
    found, state = fitted("tree", "binary", examples(data, ward), max_depth=1)
    later = np.zeros((3, 4))
    later[:, 3] = [2, np.nan, 99]
    np.testing.assert_array_equal(found.predict(state, later)[:, 1], 1)


@pytest.mark.parametrize("name", ["gbdt", "forest", "tree"])
@pytest.mark.parametrize("label", LABELS)
def test_constant_columns_and_one_label_split_nothing(name, label):
    """The run ends by itself, and says what all have."""
    target = np.full(50, 0.5, np.float32) if label == "squared" else np.ones(50, np.int64)
    for data in (np.ones((50, 4)), np.full((50, 4), np.nan)):
        found = workload(name, label)
        states = pooled(found, examples(data, target), 8)
        assert found.is_finished(states[-1])
        assert len(states) <= 3
        said = found.predict(states[-1], data[:2])
        if label == "squared":
            assert said == pytest.approx(60, abs=5)
        else:
            assert (said[:, 1] > 0.9).all()


@pytest.mark.parametrize("name", ["gbdt", "forest", "tree"])
@pytest.mark.parametrize("label", LABELS)
def test_nobody_at_all_is_no_error(name, label):
    found = workload(name, label)
    state = found.initial_state()
    for server_round in range(1, 4):
        if not found.is_finished(state):
            state = found.apply(state, nothing(found, state), server_round, None)
    assert np.isfinite(found.predict(state, records(label, 5).columns)).all()


def labelled(label: str, num: int, seed: int) -> Examples:
    """Return records whose label depends on two columns together."""
    data = records(label, num, seed)
    age, ward = np.nan_to_num(data.columns[:, 0], nan=45), np.nan_to_num(data.columns[:, 3])
    score = np.where(ward == 1, age / 90, 1 - age / 90)
    if label == "squared":
        return examples(data.columns, (2 * score - 1).astype(np.float32))
    kinds = len(LABELS[label].categories)
    return examples(data.columns, np.minimum((score * kinds).astype(int), kinds - 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "keys"),
    [("gbdt", {"max_depth": 4}), ("forest", {"feature_fraction": 0.8}), ("tree", {})],
)
@pytest.mark.parametrize("label", LABELS)
def test_it_learns_what_two_columns_say_together(name, keys, label):
    data, test = labelled(label, 3000, 1), labelled(label, 1000, 2)
    found, state = fitted(name, label, data, 41, **keys)
    said = found.predict(state, test.columns)
    if label == "squared":
        assert r2_score(40 + 40 * test.targets, said) > 0.9
        return
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert (said.argmax(axis=1) == test.targets).mean() > 0.85
    if label == "binary":
        assert roc_auc_score(test.targets, said[:, 1]) > 0.95
    report = found.report(state)
    told = {row[0]: row[1] for row in report.rows}
    assert told["age"] + told["ward"] > 0.8
    assert sum(told.values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_random_trees_learn_what_two_columns_say_together(label):
    """Without noise; the curves alone cannot."""
    data, test = labelled(label, 3000, 1), labelled(label, 1000, 2)
    found = workload("gbdt", label, structure="random", max_depth=4)
    states = pooled(found, data, 32)
    state = states[-1]
    said = found.predict(state, test.columns)
    if label == "squared":
        curves = found.predict(states[2], test.columns)
        assert r2_score(40 + 40 * test.targets, curves) < 0.3
        assert r2_score(40 + 40 * test.targets, said) > 0.75
    else:
        curves = found.predict(states[2], test.columns)
        right = (curves.argmax(axis=1) == test.targets).mean()
        assert (said.argmax(axis=1) == test.targets).mean() > right + 0.15
    assert found.report(state).facts["trees"] == 300


@pytest.mark.parametrize("name", ["gbdt", "forest"])
def test_the_sum_does_not_depend_on_who_has_which_records(name):
    """Nor on their order; one node may have a class alone, another none at all."""
    data = labelled("softmax", 500, 3)
    found = workload(name, "softmax", bagging_fraction=0.6, feature_fraction=0.5, max_depth=3)
    order = np.argsort(data.targets, kind="stable")
    parts = [order[:200], order[200:200], order[200:437], order[437:]]
    for number, state in enumerate(pooled(found, data, 5)[:-1]):
        whole = found.contribute(state, Query(number + 1), LocalData(data, data), None).update
        split = [
            found.contribute(state, Query(number + 1), LocalData(data.take(p), data), None)
            for p in parts
        ]
        np.testing.assert_array_equal(sum(part.update for part in split), whole)
        assert whole.any()


def test_leaves_have_as_many_records_as_they_must():
    data = labelled("binary", 600, 4)
    for name in ("gbdt", "tree"):
        found, state = fitted(name, "binary", data, 7, min_data_in_leaf=35, max_depth=6)
        trees = found.growth
        from workloads.trees.ensemble import Trees

        ends = Trees.of(state.arrays).nodes_of(trees.within(data.columns), np.arange(1))
        assert np.bincount(ends[:, 0])[np.unique(ends)].min() >= 35


def test_a_gain_under_the_least_splits_nothing():
    data = labelled("binary", 600, 4)
    found = workload("gbdt", "binary", min_gain_to_split=1e6)
    states = pooled(found, data, 8)
    assert len(states) == 3
    assert found.is_finished(states[-1])


def test_bags_deal_evenly_and_each_tree_anew():
    data = records("binary", 20_000)
    bags = in_bags(data.columns, data.targets, 3, range(5), 0.632)
    # Six standard deviations of a share of 20,000 are 0.02.
    np.testing.assert_allclose(bags.mean(axis=0), 0.632, atol=0.02)
    both = (bags[:, 0] & bags[:, 1]).mean()
    assert both == pytest.approx(0.632**2, abs=0.02)
    other = in_bags(data.columns, data.targets, 4, range(5), 0.632)
    assert (bags[:, 0] & other[:, 0]).mean() == pytest.approx(0.632**2, abs=0.02)
    np.testing.assert_array_equal(
        in_bags(data.columns[::-1], data.targets[::-1], 3, range(3, 5), 0.632),
        bags[::-1, 3:],
    )
    assert in_bags(data.columns, data.targets, 3, range(2), 1.0).all()


def test_an_unknown_column_of_one_bin_can_be():
    """A table whose only column is one category."""
    one = Table((Column("site", categories=("here",)),), ("no", "yes"), LABELS["binary"])
    bins = Bins(one, 8)
    asked = Asked.of(np.zeros((1, 1), np.intp), bins)
    found = Splitter(bins, Gini(2), 1).best(np.array([[5.0, 0.0], [5.0, 0.0]]), asked)
    assert found.gain[0] == -np.inf
