"""Regressions over masked sums equal those of the pooled records, and say what has no fit."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import xlogy
from scipy.stats import norm

from app.builders.workload import build_workload
from app.config import load as loading
from app.config.load import ConfigError, load_config
from app.simulation.in_process import simulate
from strategies.codec.stages import NUM_WITHHELD
from tasks.base import DataSource
from tasks.records import Examples, LocalData, joined
from tasks.table import Column, Table
from tests.kits.csv_kit import write
from workloads.base import Setup
from workloads.model_arrays import hash_state
from workloads.statistics.family import LARGEST, Binomial, Gaussian, Poisson
from workloads.statistics.glm import FamilyName, Glm, GlmConfig
from workloads.values import Aggregate, Query, State

FAST = "rounds.deadline_seconds=2"
COLUMNS = 'algorithm.columns=["mean texture","mean smoothness","mean symmetry"]'


def run(tmp_path, num_nodes=5, aggregation="secagg", free=COLUMNS, **keys):
    """Run a regression; return its last state and the report that the folder holds."""
    folder = tmp_path / f"{aggregation}-{num_nodes}"
    given = {"task": "breast_cancer", "num-rounds": 20, "output-dir": str(folder)}
    given |= {"algorithm": "glm", "aggregation": aggregation, "overrides": f"{FAST} {free}"}
    outcome = simulate(given | {key.replace("_", "-"): v for key, v in keys.items()}, num_nodes)
    return outcome, json.loads((folder / "report.json").read_text())


def pooled(**keys):
    """Return all records of a task and its workload, as one node would have them."""
    given = {"task": "breast_cancer", "overrides": COLUMNS, "algorithm": "glm"} | keys
    workload = build_workload(load_config(given))
    data = workload.task.load(DataSource())
    return workload, joined([data.train, data.test])


def reference(x, y, family):
    """Fit by Newton steps in extended precision, which shares no code with what it checks."""
    x = np.column_stack([np.ones(len(x)), x]).astype(np.longdouble)
    y = y.astype(np.longdouble)
    beta = np.zeros(x.shape[1], np.longdouble)
    if family == "poisson":
        beta[0] = np.log(y.mean())
    for _ in range(60):
        eta = x @ beta
        mean = {"binomial": lambda e: 1 / (1 + np.exp(-e)), "poisson": np.exp}.get(
            family, lambda e: e
        )(eta)
        weight = {"binomial": mean * (1 - mean), "poisson": mean}.get(
            family, np.ones_like(mean)
        )
        inverse = refined_inverse((x * weight[:, None]).T @ x)
        beta = beta + inverse @ (x.T @ (y - mean))
    spread = ((y - mean) ** 2).sum() / (len(y) - x.shape[1]) if family == "gaussian" else 1
    return beta.astype(float), np.sqrt(np.diag(inverse) * spread).astype(float)


def refined_inverse(matrix):
    """Return the inverse in extended precision: numpy's in double, refined by Newton-Schulz."""
    scale = 1 / np.sqrt(np.diag(matrix))
    scaled = matrix * scale * scale[:, None]
    inverse = np.linalg.inv(scaled.astype(float)).astype(np.longdouble)
    for _ in range(6):
        inverse = inverse @ (2 * np.eye(len(matrix), dtype=np.longdouble) - scaled @ inverse)
    return inverse * scale * scale[:, None]


def check_equal(report, x, y, family):
    beta, errors = reference(x, y, family)
    found = np.array([[row["estimate"], row["std. error"]] for row in report["rows"]])
    np.testing.assert_allclose(found[:, 0], beta, rtol=1e-8)
    np.testing.assert_allclose(found[:, 1], errors, rtol=1e-8)


def test_a_logistic_regression_equals_the_pooled_one(tmp_path):
    outcome, report = run(tmp_path)
    _, records = pooled()
    check_equal(report, records.columns[:, [1, 4, 8]], records.targets, "binomial")
    assert report["records"] == 569
    assert 5 <= outcome.num_rounds <= 10
    text = (tmp_path / "secagg-5" / "report.csv").read_text()
    rows = list(csv.reader(text.splitlines()))
    assert [row[0] for row in rows[1:]] == [row[""] for row in report["rows"]]


def test_with_categories_on_real_records(tmp_path, data_dir):
    columns = "algorithm.columns=[age,sex,thalach,exang]"
    heart = {"task": "heart", "data_dir": str(data_dir / "heart"), "free": columns}
    _, report = run(tmp_path, 4, **heart)
    workload = build_workload(load_config({"task": "heart", "algorithm": "glm"}))
    parts = [workload.task.load(DataSource(node, 4, data_dir / "heart")) for node in range(4)]
    records = joined([part for data in parts for part in (data.train, data.test)])
    check_equal(report, records.columns[:, [0, 1, 7, 8]], records.targets, "binomial")
    names = [row[""] for row in report["rows"]]
    assert names == ["(Intercept)", "age", "sex=male", "thalach", "exang=yes"]


COUNTS = """
defaults: [csv_schema, _self_]
label: {column: count, min: 0, max: 80}
numeric: {x: {min: 0, max: 10}}
categorical: {sex: {categories: [f, m]}}
model: linear
"""


@pytest.fixture
def counts(tmp_path, monkeypatch):
    """Give five nodes a file each, with a count that grows with x; return all rows."""
    conf = tmp_path / "conf"
    shutil.copytree(loading.CONF_DIR, conf)
    (conf / "task" / "counts.yaml").write_text(COUNTS)
    monkeypatch.setattr(loading, "CONF_DIR", conf)
    rng, rows = np.random.default_rng(5), []
    for node in range(5):
        x, sex = rng.uniform(0, 10, 30 + 40 * node), rng.integers(2, size=30 + 40 * node)
        count = rng.poisson(np.exp(0.3 + 0.2 * x - 0.5 * sex))
        own = list(zip(x.tolist(), sex.tolist(), count.tolist(), strict=True))
        lines = [f"{a!r},{'fm'[b]},{c}" for a, b, c in own]
        write(tmp_path, *lines, "?,f,3", header="x,sex,count", name=f"{node}.csv")
        rows += own
    nodes = [f"- data-path: {tmp_path}/{node}.csv" for node in range(5)]
    (tmp_path / "nodes.yaml").write_text("\n".join(nodes))
    return np.array(rows)


@pytest.mark.parametrize("family", ["poisson", "gaussian"])
def test_numbers_from_files_and_a_missing_value(tmp_path, counts, family):
    keys = {"task": "counts", "simulation_nodes": str(tmp_path / "nodes.yaml")}
    _, report = run(tmp_path, 5, free=f"algorithm.family={family}", **keys)
    check_equal(report, counts[:, :2], counts[:, 2], family)
    assert report["left out, a value is missing"] == 5


@pytest.mark.slow
def test_however_records_are_spread_the_fit_is_the_same_bit_for_bit(tmp_path):
    uneven = f"{COLUMNS} task.partition.scheme=size_skew task.partition.min_examples=3"
    one, _ = run(
        tmp_path, 1, "plain", free=f"{COLUMNS} rounds.min_clients=1 rounds.min_replies=1"
    )
    for aggregation in ("secagg", "plain"):
        seven, _ = run(tmp_path, 7, aggregation, free=uneven)
        for name, values in one.state.arrays.items():
            np.testing.assert_array_equal(seven.state.arrays[name], values)


@pytest.mark.parametrize("family", [Gaussian(0, 9), Binomial(), Poisson(0, 1e9)])
@pytest.mark.parametrize("predictor", [-1e300, -31.0, -1.0, 0.0, 7.9, 40.0, 1e300])
def test_no_entry_is_larger_than_what_fits(family, predictor):
    targets = np.array([0.0, 1.0]) if isinstance(family, Binomial) else np.array([-1.0, 1.0])
    said = family.said(np.full(2, predictor), family.response(targets))
    for entry in (said.residual, said.weight, said.deviance):
        assert np.isfinite(entry).all()
        assert np.abs(entry).max() <= LARGEST


@pytest.mark.parametrize("family", [Gaussian(0, 9), Binomial(), Poisson(0, 80)])
def test_a_records_entries_do_not_depend_on_its_place(family):
    rng = np.random.default_rng(3)
    predictor, targets = rng.normal(size=257) * 3, rng.integers(2, size=257).astype(float)
    whole = family.said(predictor, family.response(targets))
    for start in range(0, 257, 7):
        part = family.said(predictor[start:].copy(), family.response(targets[start:].copy()))
        np.testing.assert_array_equal(whole.deviance[start:], part.deviance)
        np.testing.assert_array_equal(whole.residual[start:], part.residual)


def fitted(rows, targets, label, columns, num_rounds=30):
    """Fit records that are made up, without any node; return the last report."""
    own = Column("y", -1, 1) if label == "number" else Column("y", categories=("no", "yes"))
    if label == "count":
        own = Column("y", 0, 40)
    task = SimpleNamespace(table=Table(columns, own.categories, own))
    family = FamilyName.poisson if label == "count" else FamilyName.auto
    workload = Glm(Setup(task=task, algorithm=GlmConfig(family=family)))
    rows = np.array(rows, float)
    some = Examples(np.zeros((len(rows), 1), np.float32), np.array(targets), rows)
    state = workload.initial_state()
    for number in range(num_rounds):
        data = LocalData(some, some)
        total = workload.contribute(state, Query(number + 1), data, None).update
        aggregate = Aggregate(total.astype(float), {}, 1.0)
        state = workload.apply(state, aggregate, number + 1, None)
        if workload.is_finished(state):
            break
    return workload.report(state)


X, Z = Column("x", 0, 10), Column("z", -5, 5)
WARD = Column("ward", categories=("a", "b", "c"))


def numbers(num=80, seed=0):
    draws = np.random.default_rng(seed)
    return draws.uniform(0, 10, num), draws.uniform(-5, 5, num), draws


@pytest.mark.parametrize("label", ["classes", "number", "count"])
def test_collinear_columns_are_named(label):
    """One follows from two others; nothing is said of the column that does not take part."""
    x, z, draws = numbers()
    other = draws.uniform(0, 1, 80)
    columns = (X, Column("free", 0, 1), Z, Column("both", -20, 20))
    targets = draws.integers(2, size=80) if label == "classes" else draws.uniform(-1, 1, 80)
    rows = np.column_stack([x, other, z, x + 2 * z])
    objection = fitted(rows, targets, label, columns).facts["no fit"]
    assert objection.startswith("collinear: both follows from x, z; leave one of them out")


def test_a_constant_column_and_an_empty_category_are_named():
    x, _, draws = numbers()
    targets = draws.integers(2, size=80)
    found = fitted(np.column_stack([x, np.full(80, 3.0)]), targets, "classes", (X, Z))
    assert "z is the same in all records" in found.facts["no fit"]
    found = fitted(
        np.column_stack([x, draws.integers(2, size=80)]), targets, "classes", (X, WARD)
    )
    assert found.facts["no fit"].startswith("ward=c: no record has it")


@pytest.mark.parametrize("by", ["number", "category"])
def test_separation_is_named_and_is_not_called_collinear(by):
    """By a number that parts the classes, or a ward in which all are ill."""
    x, z, draws = numbers()
    ward = draws.integers(3, size=80)
    targets = (draws.random(80) < 0.5).astype(int)
    targets[ward == 2] = 1
    if by == "number":
        targets = (z > 0.4).astype(int)
    found = fitted(np.column_stack([x, z, ward]), targets, "classes", (X, Z, WARD), 200)
    objection = found.facts["no fit"]
    name = "z" if by == "number" else "ward=c"
    assert objection.startswith(f"separation: the coefficient of {name} grows without end")


def test_a_ward_without_counts_is_separation_too():
    x, _, draws = numbers()
    ward = draws.integers(3, size=80)
    counts = np.where(ward == 2, 0, draws.poisson(3, 80))
    found = fitted(np.column_stack([x, ward]), counts / 20 - 1, "count", (X, WARD), 200)
    assert "separation: the coefficient of ward=c" in found.facts["no fit"]


def test_a_fit_that_ran_out_of_rounds_names_what_still_moves():
    x, z, draws = numbers()
    targets = (z > 0.4).astype(int)
    found = fitted(np.column_stack([x, z]), targets, "classes", (X, Z), 6)
    assert "the coefficient of z still moves by" in found.facts["not converged"]
    noisy = (draws.random(80) < 1 / (1 + np.exp(-z))).astype(int)
    found = fitted(np.column_stack([x, z]), noisy, "classes", (X, Z))
    assert "not converged" not in found.facts


def test_a_large_effect_of_a_narrow_column_is_no_separation():
    """Its bounds are far wider than its values: coded coefficients are beyond 100."""
    draws = np.random.default_rng(2)
    x = draws.uniform(0, 1, 400)
    targets = (draws.random(400) < 1 / (1 + np.exp(-(3 * x - 1.5)))).astype(int)
    found = fitted(x[:, None], targets, "classes", (Column("x", 0, 1000),))
    assert abs(found.rows[1][1]) * 500 > 100
    assert "no fit" not in found.facts


@pytest.mark.parametrize("label", ["classes", "number", "count"])
def test_deviances_are_those_of_the_records(label):
    """Null and residual deviance and AIC by their definitions, over the records themselves."""
    x, z, draws = numbers(300)
    if label == "count":
        y = draws.poisson(np.exp(0.5 + 0.1 * x - 0.1 * z)).clip(0, 40)
        report = fitted(np.column_stack([x, z]), y / 20 - 1, label, (X, Z))
    elif label == "classes":
        y = (draws.random(300) < 1 / (1 + np.exp(-(0.4 * z)))).astype(int)
        report = fitted(np.column_stack([x, z]), y, label, (X, Z))
    else:
        y = (0.02 * x - 0.05 * z + draws.normal(0, 0.1, 300)).clip(-1, 1)
        report = fitted(np.column_stack([x, z]), y, label, (X, Z))
    beta = np.array([row[1] for row in report.rows])
    eta = beta[0] + beta[1] * x + beta[2] * z
    facts = report.facts
    for name, mean in (("null", np.full(300, y.mean())), ("residual", None)):
        if label == "classes":
            mean = 1 / (1 + np.exp(-eta)) if mean is None else mean
            due = -2 * np.log(np.where(y == 1, mean, 1 - mean)).sum()
        elif label == "count":
            mean = np.exp(eta) if mean is None else mean
            due = 2 * (xlogy(y, y / mean) - (y - mean)).sum()
        else:
            mean = eta if mean is None else mean
            due = ((y - mean) ** 2).sum()
        assert facts[f"{name} deviance"] == pytest.approx(due, rel=1e-9)
    assert facts["null degrees of freedom"] == 299
    assert facts["residual degrees of freedom"] == 297
    if label == "classes":
        assert facts["AIC"] == pytest.approx(facts["residual deviance"] + 6)
    elif label == "count":
        assert "AIC" not in facts
    else:
        sigma = np.sqrt(facts["residual deviance"] / 300)
        due = -2 * norm(eta, sigma).logpdf(y).sum() + 2 * 4
        assert facts["AIC"] == pytest.approx(due, rel=1e-9)
        assert facts["R squared"] == pytest.approx(np.corrcoef(eta, y)[0, 1] ** 2, rel=1e-8)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"overrides": "algorithm.columns=[x]"}, "'x' is no column; there are mean radius"),
        ({"overrides": "algorithm.family=poisson"}, "has classes; take binomial"),
        ({"task": "mnist"}, "has no columns for the workload glm"),
    ],
)
def test_what_cannot_be_fitted_is_refused(keys, says):
    with pytest.raises(ValueError, match=says):
        build_workload(load_config({"task": "breast_cancer", "algorithm": "glm"} | keys))


@pytest.mark.parametrize(
    ("free", "says"),
    [
        ("task.test_fraction=0.3", "holds no record out"),
        ("task.training.momentum=0.5", "trains no model"),
        ("task.model=mlp", "no neural model"),
        ("aggregation.codec.clip_range=3", "whole numbers"),
    ],
)
def test_keys_without_effect_are_refused(free, says):
    with pytest.raises(ConfigError, match=says):
        load_config({"task": "breast_cancer", "algorithm": "glm", "overrides": free})


def test_masks_are_bound_to_every_digit_of_the_coefficients():
    """Or a server could ask two nodes at coefficients that differ in the tenth digit."""
    workload, _ = pooled()
    state = workload.initial_state()
    other = State({**state.arrays, "asked": state.arrays["asked"] + 1e-12})
    assert hash_state(state, {}, workload.loads_as) != hash_state(other, {}, workload.loads_as)
    assert workload.loads_as is np.float64


def test_an_empty_node_adds_nothing():
    workload, records = pooled()
    state = workload.initial_state()
    nobody = records.take(np.zeros(0, np.intp))
    data = type("Data", (), {"train": nobody, "test": nobody})
    found = workload.contribute(state, Query(1), data, np.random.default_rng(0))
    assert found.update.shape == (workload.length(state),)
    assert not found.update.any()
    assert isinstance(workload, Glm)
    assert NUM_WITHHELD not in found.sums


def with_weights(rows, targets, weights, label, columns, num_rounds=30):
    """Fit records that have weights, without any node; return the report."""
    own = {
        "number": Column("y", -1, 1),
        "count": Column("y", 0, 40),
        "classes": Column("y", categories=("no", "yes")),
    }[label]
    most = float(np.max(weights))
    task = SimpleNamespace(table=Table(columns, own.categories, own, largest_weight=most))
    family = FamilyName.poisson if label == "count" else FamilyName.auto
    workload = Glm(Setup(task=task, algorithm=GlmConfig(family=family)))
    rows, weights = np.array(rows, float), np.array(weights, float)
    some = Examples(np.zeros((len(rows), 1), np.float32), np.array(targets), rows, weights)
    state = workload.initial_state()
    for number in range(num_rounds):
        total = workload.contribute(state, Query(number + 1), LocalData(some, some), None)
        aggregate = Aggregate(total.update.astype(float), {}, 1.0)
        state = workload.apply(state, aggregate, number + 1, None)
        if workload.is_finished(state):
            break
    return workload.report(state)


def weighted_reference(x, y, w, family):
    """Return R's glm(weights=w): coefficients, errors, both deviances and the AIC.

    As of R 4's glm.fit and summary.glm: the dispersion of a number is over the records whose
    weight is not 0, less the coefficients; that of other families is 1.
    """
    x = np.column_stack([np.ones(len(x)), x]).astype(np.longdouble)
    y, w = y.astype(np.longdouble), w.astype(np.longdouble)
    beta = np.zeros(x.shape[1], np.longdouble)
    mean_of_all = (w * y).sum() / w.sum()
    if family == "poisson":
        beta[0] = np.log(mean_of_all)
    means = {"binomial": lambda e: 1 / (1 + np.exp(-e)), "poisson": np.exp}
    for _ in range(60):
        mean = means.get(family, lambda e: e)(x @ beta)
        curved = {"binomial": mean * (1 - mean), "poisson": mean}.get(family, 1.0)
        inverse = refined_inverse((x * (w * curved)[:, None]).T @ x)
        beta = beta + inverse @ (x.T @ (w * (y - mean)))

    def deviance(mu):
        if family == "gaussian":
            return (w * (y - mu) ** 2).sum()
        if family == "binomial":
            return -2 * (w * np.log(np.where(y == 1, mu, 1 - mu))).sum()
        part = np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mu), 0)
        return 2 * (w * (part - (y - mu))).sum()

    num, p = int((w > 0).sum()), x.shape[1]
    spread = deviance(mean) / (num - p) if family == "gaussian" else 1
    errors = np.sqrt(np.diag(inverse) * spread)
    whole = deviance(np.full_like(y, mean_of_all))
    log_weights = np.log(w[w > 0]).sum()
    aic = num * (np.log(2 * np.pi * deviance(mean) / num) + 1) + 2 - log_weights + 2 * p
    return beta, errors, float(deviance(mean)), float(whole), float(aic)


@pytest.mark.parametrize(
    ("label", "family"),
    [("number", "gaussian"), ("classes", "binomial"), ("count", "poisson")],
)
def test_prior_weights_are_those_of_r(label, family):
    draws = np.random.default_rng(2)
    x = np.column_stack([draws.uniform(0, 10, 120), draws.uniform(-5, 5, 120)])
    w = draws.uniform(0.2, 3.0, 120)
    w[::17] = 0.0
    eta = 0.1 * x[:, 0] - 0.2 * x[:, 1]
    y = {
        "number": 0.2 * eta + draws.normal(scale=0.1, size=120),
        "classes": (draws.random(120) < 1 / (1 + np.exp(-eta))).astype(np.int64),
        "count": draws.poisson(np.exp(0.5 * eta)).clip(0, 40),
    }[label]
    coded = (y / 20 - 1) if label == "count" else y
    report = with_weights(x, coded, w, label, (X, Z))
    beta, errors, residual, null, aic = weighted_reference(x, y, w, family)
    np.testing.assert_allclose([row[1] for row in report.rows], beta.astype(float), rtol=1e-7)
    np.testing.assert_allclose([row[2] for row in report.rows], errors.astype(float), rtol=1e-7)
    facts = report.facts
    assert facts["records"] == (w > 0).sum()
    assert facts["sum of their weights"] == pytest.approx(w.sum(), rel=1e-9)
    assert facts["residual deviance"] == pytest.approx(residual, rel=1e-8)
    assert facts["null deviance"] == pytest.approx(null, rel=1e-8)
    assert facts["residual degrees of freedom"] == (w > 0).sum() - 3
    if family == "gaussian":
        assert facts["AIC"] == pytest.approx(aic, rel=1e-8)


@pytest.mark.parametrize("label", ["number", "classes", "count"])
def test_a_weight_of_two_is_two_records_but_for_the_degrees_of_freedom(label):
    draws = np.random.default_rng(3)
    x = np.column_stack([draws.uniform(0, 10, 90), draws.uniform(-5, 5, 90)])
    y = {"number": draws.uniform(-1, 1, 90), "classes": draws.integers(2, size=90)}.get(
        label, draws.integers(0, 9, size=90) / 20 - 1
    )
    w = draws.integers(1, 4, 90)
    found = with_weights(x, y, w, label, (X, Z))
    due = fitted(np.repeat(x, w, axis=0), np.repeat(y, w), label, (X, Z))
    scale = 1.0
    if label == "number":
        scale = np.sqrt((w.sum() - 3) / (90 - 3))
    for row, other in zip(found.rows, due.rows, strict=True):
        assert row[1] == pytest.approx(other[1], rel=1e-12)
        assert row[2] == pytest.approx(other[2] * scale, rel=1e-12)
