"""Under privacy each figure comes with an error that fits the noise that is in it.

Noise is drawn here, many times, and figures are held against those of the same records without
it: the spread of a figure must be the error that the report states. 400 draws have a deviation
that is known to 3.5 %; errors are to be right within 20 %, which is 5.6 standard errors
(2e-8), and 30 % too small or too large would fail.
"""

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.config.load import load_config
from app.simulation.in_process import simulate
from tests.workloads.statistics.tables_kit import (
    DISTRIBUTED,
    exact_state,
    noised_state,
    records,
    statistics,
    tables_of,
)
from workloads.statistics.estimates import quantile_of

NUM_DRAWS, NOISE = 400, 12.0


@pytest.fixture(scope="module")
def drawn():
    """Return the exact figures of 4,000 records, and those with noise, drawn many times."""
    label, some = "number", records(4000, "number")
    shape = {"tables": [["ward", "sex"]], "max_bins": 16}
    exact = statistics(label, None, min_cell=0, **shape)
    state = exact_state(exact, some)
    private = statistics(label, DISTRIBUTED, **shape)
    noised = [
        tables_of(private.report(noised_state(private, state.arrays["sums"], NOISE, seed)))
        for seed in range(NUM_DRAWS)
    ]
    return tables_of(exact.report(state)), noised


def errors_fit(exact, values, errors):
    """Check that values spread around the exact one as their errors say."""
    values, errors = np.array(values, float), np.array(errors, float)
    assert values.std() == pytest.approx(np.median(errors), rel=0.2)
    # 6 standard errors of a mean of 400 and a bias of second order.
    assert abs(values.mean() - exact) < 0.35 * np.median(errors)


@pytest.mark.parametrize("figure", ["missing", "mean", "sd"])
def test_errors_of_numbers_fit_the_noise(drawn, figure):
    exact, noised = drawn
    for place, row in enumerate(exact["columns"]):
        found = [one["columns"][place] for one in noised]
        errors_fit(row[figure], [f[figure] for f in found], [f[f"{figure} +-"] for f in found])


@pytest.mark.parametrize(
    ("table", "figure"),
    [("categories", "count"), ("categories", "share"), ("tables", "share of row")],
)
def test_errors_of_counts_and_shares_fit_the_noise(drawn, table, figure):
    exact, noised = drawn
    for place, row in enumerate(exact[table]):
        if figure == "share of row" and row["category"] == "(missing)":
            continue
        found = [one[table][place] for one in noised]
        errors_fit(row[figure], [f[figure] for f in found], [f[f"{figure} +-"] for f in found])


def test_errors_of_correlations_fit_the_noise(drawn):
    exact, noised = drawn
    for place, row in enumerate(exact["correlations"]):
        found = [one["correlations"][place] for one in noised]
        errors_fit(
            row["correlation"], [f["correlation"] for f in found], [f["+-"] for f in found]
        )


def test_intervals_of_quantiles_hold_the_bin_of_the_true_one(drawn):
    """Of 400 draws 95 % are 380, and 354 are 6 standard errors less."""
    exact, noised = drawn
    for place, row in enumerate(exact["quantiles"]):
        found = [one["quantiles"][place] for one in noised]
        held = sum(f["from"] <= row["from"] and row["to"] <= f["to"] for f in found)
        assert held >= 354, row
        assert all(f["from"] <= f["quantile"] <= f["to"] for f in found)


def test_intervals_of_quantiles_are_no_wider_than_they_must_be():
    """Where bins are narrow and well filled, they hold the true edge about as often as said."""
    edges, counts = np.arange(201.0), np.full(200, 50.0)
    draws, held = np.random.default_rng(0), 0
    for _ in range(2000):
        noised = counts + draws.normal(scale=20.0, size=200)
        found = quantile_of(0.5, edges[:-1], edges[1:], noised, 20.0, 1.96)
        held += found.low <= 100.0 <= found.high
    # The edge itself is held in by two one-sided tests, and a bin's width of slack.
    assert 0.95 <= held / 2000 <= 0.995


def test_what_is_mostly_noise_says_so():
    some, shape = records(60), {"max_bins": 16}
    state = exact_state(statistics("classes", None, min_cell=0, **shape), some)
    private = statistics("classes", DISTRIBUTED, **shape)
    told = tables_of(private.report(noised_state(private, state.arrays["sums"], 300.0, 1)))
    for name in ("columns", "categories", "correlations", "quantiles"):
        assert [row["remark"] for row in told[name]].count("noise") >= 0.6 * len(told[name])
    clear = tables_of(private.report(noised_state(private, state.arrays["sums"], 0.01, 1)))
    assert {row["remark"] for row in clear["columns"]} == {""}
    assert {row["remark"] for row in clear["quantiles"]} == {""}


@pytest.mark.parametrize("min_cell", [None, 5])
def test_noised_cells_are_hidden_on_demand_only(min_cell):
    some = records(60)
    state = exact_state(statistics("classes", None, max_bins=32), some)
    private = statistics("classes", DISTRIBUTED, min_cell=min_cell)
    report = private.report(noised_state(private, state.arrays["sums"], 30.0, 1))
    assert ("hidden" in str(report.to_dict())) == (min_cell is not None)
    counts = [row["count"] for row in tables_of(report)["histograms"]]
    if min_cell is None:
        assert min(counts) < 0
    else:
        assert min(count for count in counts if count != "hidden") >= 5


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["example_distributed", "example_central"])
@pytest.mark.parametrize("survivors", [4, 5])
def test_the_server_knows_the_noise_that_is_in_its_sum(tmp_path, privacy, survivors):
    """Through both apps, with one of five nodes that never comes, or all."""
    free = (
        "privacy.noise_multiplier=3 privacy.delta=1e-4 privacy.population=5"
        " privacy.sampling_rate=1 privacy.expected_batch_size=569 rounds.deadline_seconds=2"
    )
    if privacy == "example_distributed":
        free += " aggregation.min_survivors=4 aggregation.max_colluding=1"
    keys = {"task": "breast_cancer", "algorithm": "statistics", "privacy": privacy}
    keys |= {"output-dir": str(tmp_path / "run"), "overrides": free}
    found = simulate(keys, survivors).state
    plain = keys | {"privacy": "none", "output-dir": str(tmp_path / "exact")}
    plain |= {"overrides": "algorithm.max_bins=32"}
    exact = simulate(plain, 5).state
    noise = found.arrays["sums"] - exact.arrays["sums"]
    workload = build_workload(load_config(keys))
    share = survivors / 3 if privacy == "example_distributed" else 1
    due = 3 * np.sqrt(share) * workload.bound()
    assert found.header["noise"] == pytest.approx(due, rel=1e-3)
    # 1,600 numbers: 6 standard errors are 10.6 %.
    assert noise.std() == pytest.approx(due, rel=0.106)
    assert workload.report(found).facts["records +-"] == found.header["noise"]
