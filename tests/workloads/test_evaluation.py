"""What is read from counts in bins: beside scikit-learn on the scores themselves."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    roc_auc_score,
)

from workloads.scoring.area import area_under_curve
from workloads.scoring.bins import (
    EXACT_BINS,
    BinaryBins,
    ConfusionBins,
    OneVsRestBins,
    ResidualBins,
    logit_bins,
    logit_edges,
    score_bins,
)
from workloads.scoring.counted import evaluation_of

WEIRD = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, -0.0, 1e-300, 15.999, -16.0])


def binary(num=16_000, apart=1.5, spread=1.5, share=0.25, seed=0):
    """Return logits and classes of which so many are positive."""
    draws = np.random.default_rng(seed)
    targets = (draws.random(num) < share).astype(np.int64)
    return draws.normal(np.where(targets, apart, -apart), spread), targets


def evaluated(logits, targets, noise=0.0, *, is_private=False):
    bins = score_bins(2, is_private=is_private)
    counts = bins.count(logits[:, np.newaxis], targets).astype(float)
    return evaluation_of(bins, counts, noise, ("no", "yes"))


@pytest.mark.parametrize(
    ("apart", "spread", "most"),
    # A trained model, a sharp one, one after its first step, one of probabilities near 0 and 1.
    [(1.5, 1.5, 1e-4), (1.0, 0.5, 2e-4), (0.05, 0.03, 1e-3), (6.0, 4.0, 1e-4)],
)
def test_the_area_is_that_of_the_scores(apart, spread, most):
    logits, targets = binary(apart=apart, spread=spread)
    found = evaluated(logits, targets).metrics()["auc"]
    assert abs(found - roc_auc_score(targets, logits)) < most


def test_the_private_bins_cost_little_beside_their_noise():
    logits, targets = binary()
    found = evaluated(logits, targets, is_private=True).metrics()["auc"]
    assert abs(found - roc_auc_score(targets, logits)) < 1e-3


def test_the_other_figures_are_those_of_the_scores():
    logits, targets = binary()
    facts = evaluated(logits, targets).report({"loss": 0.5}).facts
    probability = 1 / (1 + np.exp(-logits))
    assert facts["records"] == len(targets)
    assert facts["positives"] == targets.sum()
    assert abs(facts["Brier score"] - brier_score_loss(targets, probability)) < 1e-4
    precision = average_precision_score(targets, logits)
    assert abs(facts["average precision"] - precision) < 1e-3
    assert facts["loss"] == 0.5


def test_the_standard_error_is_that_of_other_records():
    """Of 300 tables of 400 records each, drawn alike."""
    found = [evaluated(*binary(400, 0.7, seed=seed)).metrics() for seed in range(300)]
    areas = np.array([one["auc"] for one in found])
    assert np.mean([one["auc_se"] for one in found]) == pytest.approx(areas.std(), rel=0.12)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    truth = evaluated(*binary(400_000, 0.7, seed=999)).metrics()["auc"]
    held = 0
    for seed in range(300):
        facts = evaluated(*binary(400, 0.7, seed=seed)).report({}).facts
        low, high = facts["its 95 % interval from"], facts["its 95 % interval to"]
        held += low <= truth <= high
    assert 0.91 <= held / 300 <= 0.99


@pytest.mark.parametrize("noise", [3.0, 30.0])
def test_the_error_by_noise_is_that_of_noised_counts(noise):
    logits, targets = binary()
    bins = score_bins(2, is_private=True)
    counts = bins.count(logits[:, np.newaxis], targets).astype(float).reshape(2, -1)
    draws = np.random.default_rng(1)
    areas, told = [], []
    for _ in range(400):
        area = area_under_curve(*(counts + draws.normal(scale=noise, size=counts.shape)), noise)
        areas.append(area.value)
        told.append(area.noise)
    assert np.mean(told) == pytest.approx(np.std(areas), rel=0.12)


def test_noise_that_leaves_nothing_is_called_that():
    logits, targets = binary(400)
    assert "note" not in evaluated(logits, targets, is_private=True).report({}).facts
    noised = evaluated(logits, targets, 20.0, is_private=True).report({}).facts
    assert "too large" in noised["note"]


@pytest.mark.parametrize("counts", [np.zeros((2, 50)), np.eye(2, 50), -np.ones((2, 50))])
def test_a_class_that_is_missing_has_no_area(counts):
    counts[1] = -abs(counts[1])
    area = area_under_curve(*counts, 1.0)
    assert (area.value, area.interval) == (0.5, (0.0, 1.0))
    evaluation_of(BinaryBins(50), counts.ravel(), 1.0, ()).report({})


def test_no_row_shows_one_or_two_records_of_a_class():
    for seed in range(20):
        logits, targets = binary(300, 3.0, seed=seed)
        report = evaluated(logits, targets).report({})
        rows = [dict(zip(report.columns, row, strict=True)) for row in report.rows]
        assert sum(row["records"] for row in rows) == 300
        assert sum(row["positives"] for row in rows) == targets.sum()
        if len(rows) == 1:
            continue
        for row in rows:
            negatives = row["records"] - row["positives"]
            assert row["records"] >= 10
            assert all(not 0 < count < 3 for count in (row["positives"], negatives))


def test_the_rows_are_the_curves():
    logits, targets = binary()
    report = evaluated(logits, targets).report({})
    assert len(report.rows) > 10
    for row in report.rows:
        one = dict(zip(report.columns, row, strict=True))
        first = np.log(one["predicted from"]) - np.log1p(-one["predicted from"])
        above = logits >= first - 1e-9 if first > -15.9 else np.ones(len(logits), bool)
        assert one["recall above"] == pytest.approx(above[targets == 1].mean(), abs=1e-9)
        assert one["false positives above"] == pytest.approx(above[targets == 0].mean())
        assert one["precision above"] == pytest.approx(targets[above].mean())
        assert abs(one["mean predicted"] - one["share of positives"]) < 0.3


def test_the_rarer_class_decides_what_is_named_first():
    assert evaluated(*binary(share=0.1)).is_unbalanced
    assert evaluated(*binary(share=0.9)).is_unbalanced
    assert not evaluated(*binary(share=0.5)).is_unbalanced


def classes(num=5000, k=4, seed=0):
    draws = np.random.default_rng(seed)
    targets = draws.integers(k, size=num)
    outputs = draws.normal(size=(num, k)) + 1.5 * np.eye(k)[targets]
    return outputs, targets


def test_of_many_classes_each_is_held_against_the_rest():
    outputs, targets = classes()
    bins = score_bins(4, is_private=False)
    evaluation = evaluation_of(bins, bins.count(outputs, targets).astype(float), 0.0, "abcd")
    report = evaluation.report({})
    probability = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    expected = roc_auc_score(targets, probability, multi_class="ovr")
    assert abs(evaluation.metrics()["auc"] - expected) < 2e-4
    matrix = confusion_matrix(targets, outputs.argmax(axis=1))
    for number, row in enumerate(report.rows):
        one = dict(zip(report.columns, row, strict=True))
        assert one["class"] == "abcd"[number]
        assert one["recall"] == matrix[number, number] / matrix[number].sum()
        assert one["precision"] == matrix[number, number] / matrix[:, number].sum()
        area = roc_auc_score(targets == number, probability[:, number])
        assert abs(one["area against the rest"] - area) < 3e-4
        shown = [one[f"predicted {name}"] for name in "abcd"]
        assert shown == [float(count) for count in matrix[number]]


def test_a_cell_of_one_or_two_is_hidden_and_another_with_it():
    confusion = np.array([[50.0, 2, 9, 0], [0, 40, 1, 2], [3, 3, 30, 4], [0, 0, 0, 8]])
    rows = evaluation_of(ConfusionBins(4), confusion.ravel(), 0.0, "abcd").report({}).rows
    assert [row[4:] for row in rows] == [
        [50, None, None, 0],
        [0, 40, None, None],
        [3, 3, 30, 4],
        [0, 0, 0, 8],
    ]
    noised = evaluation_of(ConfusionBins(4), confusion.ravel(), 2.0, "abcd").report({}).rows
    assert noised[0][4:] == [50, 2, 9, 0]


def test_residuals_are_counted_by_their_size():
    draws = np.random.default_rng(0)
    targets = draws.uniform(-1, 1, 5000).astype(np.float32)
    outputs = (targets + draws.normal(scale=0.2, size=5000))[:, np.newaxis]
    bins = score_bins(0, is_private=False)
    report = evaluation_of(bins, bins.count(outputs, targets).astype(float), 0.0, ()).report({})
    assert report.facts["records"] == 5000
    for low, high, records, share in report.rows:
        residual = outputs[:, 0] - targets
        is_in = (residual >= low) & (residual < high)
        assert (records, share) == (is_in.sum(), is_in.sum() / 5000)


ALL_BINS = [BinaryBins(50), BinaryBins(256), ConfusionBins(4), OneVsRestBins(4, 64)]


@pytest.mark.parametrize("bins", [*ALL_BINS, ResidualBins(50)], ids=str)
def test_a_record_is_in_as_many_bins_as_is_promised(bins):
    """Whatever the model says: a bound on a record's part of the counts stands on this."""
    width = 4 if isinstance(bins, ConfusionBins | OneVsRestBins) else 1
    outputs = np.stack([np.roll(WEIRD, shift) for shift in range(width)], axis=1)
    if isinstance(bins, ResidualBins):
        targets = np.resize(np.array([-1, 1, 0.5], np.float32), len(WEIRD))
    else:
        targets = np.arange(len(WEIRD)) % (2 if width == 1 else 4)
    with np.errstate(all="ignore"):
        places = bins.places(outputs, targets)
    assert places.shape == (len(WEIRD), bins.per_record)
    assert places.min() >= 0
    assert places.max() < len(bins)
    assert all(len(set(row)) == bins.per_record for row in places.tolist())
    assert bins.count(outputs, targets).sum() == len(WEIRD) * bins.per_record
    assert len(bins.names) == len(bins)


def test_a_record_is_held_against_its_other_classes_as_if_it_were_alone():
    bins = score_bins(5, is_private=False)
    outputs = np.random.default_rng(0).normal(scale=9, size=(300, 5))
    outputs[:9] *= 1e4
    outputs[9:20, 1] = outputs[9:20, 3] = 4
    targets = np.arange(300) % 5
    with np.errstate(all="raise", under="ignore"):
        found = bins.places(outputs, targets)
    alone = [bins.places(outputs[n : n + 1], targets[n : n + 1])[0] for n in range(300)]
    assert (found == np.stack(alone)).all()
    others = [logsumexp(np.delete(outputs, number, axis=1), axis=1) for number in range(5)]
    due = logit_bins(outputs - np.stack(others, axis=1), EXACT_BINS)
    assert ((found[:, 1:] - 25) % EXACT_BINS == due).all()


def test_the_bins_of_a_logit_are_between_its_edges():
    logits = np.random.default_rng(0).normal(scale=6, size=5000).clip(-15.9, 15.9)
    edges, found = logit_edges(EXACT_BINS), logit_bins(logits, EXACT_BINS)
    assert (edges[found] <= logits).all()
    assert (logits < edges[found + 1]).all()
    # Predicted class and confusion matrix are exact: no bin has both signs.
    assert 0.0 in edges


def test_under_privacy_a_record_is_in_one_bin():
    for num_classes in (0, 2, 3, 10):
        assert score_bins(num_classes, is_private=True).per_record == 1
