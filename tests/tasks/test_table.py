"""Columns as tasks declare them, and the bins of their values."""

import numpy as np
import pytest

from app.builders.workload import build_task
from app.config.load import ConfigError, load_config
from tasks.base import DataSource
from tasks.csv.task import Csv
from tasks.table import Column, Scale
from tests.kits.csv_kit import KEYS, config_with, make, write


@pytest.mark.parametrize(
    ("column", "max_bins", "cuts"),
    [
        (Column("a", 0, 1), 4, [0.25, 0.5, 0.75]),
        (Column("a", 1, 4), 3, [2, 3]),
        (Column("a", 1, 5, scale=Scale.integer), 2, [1.5, 2.5, 3.5, 4.5]),
        (Column("a", 0, 99, scale=Scale.log), 2, [9]),
        (Column("a", 0, 9, edges=(1.0, 7.0)), 255, [1, 7]),
        (Column("a", categories=("x", "y")), 255, []),
    ],
)
def test_cuts(column, max_bins, cuts):
    np.testing.assert_allclose(column.cuts(max_bins), cuts)


def test_every_value_has_a_bin_and_missing_ones_the_last():
    number = Column("a", 0, 4)
    values = np.array([-9.0, 0.4, 0.5, 3.0, 1e300, np.inf, np.nan])
    assert number.bins(values, 8).tolist() == [0, 0, 1, 6, 7, 7, 8]
    assert number.num_bins(8) == 9
    code = Column("a", categories=("x", "y", "z"))
    assert code.bins(np.array([0.0, 2.0, np.nan]), 5).tolist() == [0, 2, 3]
    assert code.num_bins(5) == 4


@pytest.mark.parametrize("task", ["breast_cancer", "heart", "adult"])
def test_made_up_rows_are_of_the_table(task):
    table = build_task(load_config({"task": task})).table
    rows = table.made_up(300)
    assert np.isnan(rows).any()
    for column, values in zip(table.columns, rows.T, strict=True):
        assert column.bins(values, 16).max() < column.num_bins(16)
        assert column.bins(values, 16).min() >= 0


def test_columns_of_a_file_are_in_their_own_units(tmp_path):
    file = write(tmp_path, "1,60,20,f,other,no", "2,200,,m,?,yes")
    task = Csv(make(KEYS), seed=0)
    assert [column.name for column in task.table.columns] == ["age", "bmi", "sex", "ward"]
    data = task.load(DataSource(data_path=file))
    kept = np.concatenate([data.train.columns, data.test.columns])
    assert [60, 20, 0, 2] in kept.tolist()


def test_a_record_that_misses_a_value_is_kept_for_a_table_only(tmp_path):
    keys = {**KEYS, "numeric": {"age": {"min": 0, "max": 120}, "bmi": {"min": 10, "max": 50}}}
    file = write(tmp_path, "1,60,?,f,a,no", "2,70,30,m,b,yes")
    task = Csv(make(keys), seed=0)
    left = task.load(DataSource(data_path=file))
    assert len(left.train) + len(left.test) == 1
    task.keeps_missing = True
    kept = task.load(DataSource(data_path=file))
    columns = np.concatenate([kept.train.columns, kept.test.columns])
    assert columns.shape == (2, 4)
    assert np.isnan(columns).sum() == 1
    # And a record's side of the split is the same.
    assert {*map(tuple, left.train.columns)} <= {*map(tuple, kept.train.columns)}


@pytest.mark.parametrize(
    ("bins", "says"),
    [
        ({"sex": {"edges": [1.0]}}, "task.bins.sex: must be a column of task.numeric"),
        ({"age": {"edges": [3.0, 2.0]}}, "must ascend, each between min=0 and max=100"),
        ({"age": {"edges": [0.0]}}, "must ascend"),
        ({"age": {"edges": [5.0], "scale": "log"}}, "give one of the two"),
    ],
)
def test_wrong_bins_are_refused(bins, says):
    with pytest.raises(ValueError, match=says):
        config_with(bins=bins)


def test_bins_without_a_histogram_are_refused():
    words = "task.bins.capital-gain.scale=uniform"
    with pytest.raises(ConfigError, match="only workloads of histograms have bins"):
        load_config({"task": "adult", "overrides": words})
