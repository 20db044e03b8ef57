"""What other tools say by an exported model is what the model says, on every edge."""

import json
from dataclasses import replace

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pytest

from app.export.comparisons import comparisons
from app.export.lightgbm_text import feature_names, lightgbm_text
from app.export.onnx_file import onnx_file
from app.results.model_file import TableModel
from tasks.table import Column
from tests.app.export.models import (
    COLUMNS,
    LABELS,
    MODELS,
    any_splits,
    model,
    rows,
    trees,
    trees_of,
)
from workloads.decisions import Decisions, Leaf, Node, Split

LOW, HIGH = LABELS["number"].low, LABELS["number"].high


def by_onnxruntime(exported: Decisions, columns: np.ndarray) -> list[np.ndarray]:
    # Its own threads would spin beside those of others.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_file(exported), options)
    return session.run(None, {"columns": columns})


def by_lightgbm(exported: Decisions, columns: np.ndarray) -> np.ndarray:
    """Return what LightGBM says, cut as the command tells."""
    booster = lightgbm.Booster(model_str=lightgbm_text(exported).decode())
    found = booster.predict(columns, num_threads=1)
    return found if exported.table.classes else np.clip(found, LOW, HIGH)


def for_lightgbm(columns: np.ndarray) -> np.ndarray:
    """Return rows without numbers that LightGBM takes for 0, nor infinite ones."""
    found = np.where(np.abs(columns) < 1e-35, 0.0, columns)
    return np.where(np.isinf(found), np.nan, found)


def same_in_onnxruntime(found: TableModel, columns: np.ndarray) -> None:
    """Hold onnxruntime's answers, which are float32, against the model's."""
    exported, due = trees_of(found), found.predict(columns)
    *label, values = by_onnxruntime(exported, columns)
    size = 1.0 if exported.table.classes else HIGH - LOW
    np.testing.assert_allclose(values, due, rtol=0, atol=2e-7 * size)
    if label:
        most = np.sort(due, axis=1)
        is_clear = most[:, -1] - most[:, -2] > 1e-6
        names = np.array(exported.table.classes)[due.argmax(axis=1)]
        assert (label[0][is_clear] == names[is_clear]).all()


def same_in_lightgbm(found: TableModel, columns: np.ndarray) -> None:
    """Hold LightGBM's answers, which are float64, against the model's."""
    columns, exported = for_lightgbm(columns), trees_of(found)
    due = found.predict(columns)
    if len(exported.table.classes) == 2:
        due = due[:, 1]
    size = 1.0 if exported.table.classes else HIGH - LOW
    np.testing.assert_allclose(by_lightgbm(exported, columns), due, rtol=0, atol=1e-14 * size)


def splits(node: Node) -> list[Split]:
    if isinstance(node, Leaf):
        return []
    return [node, *splits(node.left), *splits(node.right)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "label"), MODELS)
def test_onnxruntime_says_the_same(name, label):
    found = model(name, label)
    columns = rows(trees(name, label).cuts)
    assert found.predict(columns).std(axis=0).min() > 0.05
    columns[:50, :4], columns[50:100, :4] = np.inf, -np.inf
    same_in_onnxruntime(found, columns)


@pytest.mark.parametrize(("name", "label"), MODELS)
def test_lightgbm_says_the_same(name, label):
    same_in_lightgbm(model(name, label), rows(trees(name, label).cuts))


def test_every_split_by_a_number_is_one_comparison():
    """So a tree has no more nodes than before; the others of a curve are leaves."""
    seen = 0
    for name, label in MODELS:
        exported = trees(name, label)
        for split in [one for root in exported.trees for one in splits(root)]:
            if not COLUMNS[split.column].is_categorical:
                seen += 1
                assert len(comparisons(split, exported.cuts[split.column]).chain) == 1
    assert seen > 1000


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("name", "label"), [("forest", "binary"), ("greedy", "number")])
def test_splits_by_any_sets_of_bins(name, label, seed):
    """Many comparisons for one split, and splits of missing values alone."""
    found = any_splits(name, label, seed)
    columns = rows(trees(name, label).cuts)
    columns[:50, :4], columns[50:100, :4] = np.inf, -np.inf
    same_in_onnxruntime(found, columns)
    same_in_lightgbm(found, columns)


@pytest.mark.parametrize("goes_left", [[0, 0, 0, 1], [1, 1, 1, 0]])
@pytest.mark.parametrize("reached", [[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 1]])
def test_missing_values_alone(goes_left, reached):
    """No number goes with them, and infinite ones go with them in LightGBM only."""
    leaves = Leaf(np.array([-1.0])), Leaf(np.array([1.0]))
    split = Split(0, np.array(goes_left, bool), np.array(reached, bool), *leaves)
    table = replace(trees("tree", "number").table, columns=(Column("age", 0, 9),))
    exported = Decisions(
        table, (np.array([3.0, 6.0]),), (split,), np.zeros(1), trees("tree", "number").link
    )
    inside = [value for value, bin_ in zip((2.0, 4.0, 1e300), reached, strict=False) if bin_]
    columns = np.array([np.nan, *inside])[:, np.newaxis]
    due = np.where(np.isnan(columns[:, 0]) == goes_left[-1], LOW, HIGH)
    np.testing.assert_array_equal(by_onnxruntime(exported, columns)[0], due)
    np.testing.assert_array_equal(by_lightgbm(exported, columns), due)


@pytest.mark.parametrize(("name", "label"), MODELS)
def test_a_run_that_has_hardly_begun(name, label):
    found = model(name, label)
    state = found.workload.initial_state()
    first = TableModel(found.workload, state)
    columns = rows(trees(name, label).cuts, 100)
    same_in_onnxruntime(first, columns)
    same_in_lightgbm(first, columns)


def test_what_an_onnx_file_says_of_itself():
    found = onnx.load_from_string(onnx_file(trees("greedy", "three")))
    told = {one.key: json.loads(one.value) for one in found.metadata_props}
    assert told["classes"] == ["x", "y", "z"]
    assert told["label"] == "kind"
    assert told["columns"][0] == {"name": "age", "min": 0, "max": 90}
    assert told["columns"][4] == {"name": "ward", "categories": [*"abcdefg"]}
    operators = [node.op_type for node in found.graph.node]
    assert operators == ["TreeEnsembleClassifier", "ArgMax", "Gather"]
    number = onnx.load_from_string(onnx_file(trees("greedy", "number")))
    assert number.graph.node[0].op_type == "TreeEnsembleRegressor"


def test_lightgbm_has_the_names_of_the_columns():
    booster = lightgbm.Booster(model_str=lightgbm_text(trees("greedy", "binary")).decode())
    assert booster.feature_name() == ["age", "net_gain", "visits", "dose", "ward", "town"]
    odd = [Column(name, 0, 1) for name in ("a b", "a_b", "a\tb", 'x"[1]:{y},')]
    assert feature_names(odd) == ["a_b", "a_b_2", "a_b_3", "x__1___y__"]
