"""A label of two columns: a time under observation, and whether it ended with the event."""

import numpy as np
import pytest
from omegaconf.errors import OmegaConfBaseException

from app.builders.workload import build_workload
from app.config import load as loading
from app.config.load import load_config
from app.preflight.data_check import check_data
from tasks.base import DataSource
from tasks.csv.task import Csv, CsvSurvival
from tasks.records import DataError
from tests.kits.csv_kit import make, write

HEADER = "age,days,died"
KEYS = {
    "label": {"time": {"column": "days", "max": 100}, "event": "died"},
    "numeric": {"age": {"min": 0, "max": 120}},
    "test_fraction": 0,
}
YAML = """
defaults: [csv_schema, _self_]
label: {time: {column: days, max: 100}, event: died}
numeric: {age: {min: 0, max: 120}}
"""


def load(tmp_path, *rows, is_private=False):
    task = Csv(make(KEYS), seed=0)
    task.is_private = is_private
    return task.load(DataSource(data_path=write(tmp_path, *rows, header=HEADER))).train


def test_a_record_has_a_time_and_an_event(tmp_path):
    found = load(tmp_path, "50,12.5,1", "60,100,0", "70,0.5,1.0", "80,3,0")
    np.testing.assert_array_equal(found.targets, [[12.5, 1], [100, 0], [0.5, 1], [3, 0]])
    assert found.targets.dtype == np.float64


def test_who_was_under_observation_for_longer_is_censored_at_the_end(tmp_path):
    """An event at 101 did not happen by 100: to keep it as one would be wrong."""
    found = load(tmp_path, "50,101,1", "60,250,0", "70,100,1")
    np.testing.assert_array_equal(found.targets, [[100, 0], [100, 0], [100, 1]])


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("50,-3,1", "line 2, column days: '-3' is not above 0; leave out a record"),
        ("50,0,1", "line 2, column days: '0' is not above 0; leave out a record"),
        ("50,inf,1", "line 2, column days: 'inf' is no finite number"),
        ("50,12 days,1", "line 2, column days: '12 days' is no finite number"),
        ("50,3,2", "column died: '2' is neither 1 (the event) nor 0 .*; where 1 is censored"),
        ("50,3,yes", "column died: 'yes' is neither 1 .*; write truth values as 1 and 0"),
        ("50,3,0.5", "column died: '0.5' is neither 1 (the event) nor 0 .*; mend it"),
    ],
)
def test_what_is_no_time_or_no_event_is_refused_with_its_place(tmp_path, row, told):
    with pytest.raises(DataError, match=told.replace("(", r"\(").replace(")", r"\)")):
        load(tmp_path, row, "60,5,0")
    # In a private run it is left out, and no other record with it.
    assert len(load(tmp_path, row, "60,5,0", is_private=True)) == 1


def test_a_missing_time_or_event_leaves_the_row_out(tmp_path):
    """NaN is one of the texts that mean that a value is missing."""
    found = load(tmp_path, "50,NaN,1", "60,5,", "70,6,1")
    np.testing.assert_array_equal(found.targets, [[6, 1]])


def test_a_file_without_the_columns_is_refused(tmp_path):
    file = write(tmp_path, "50,1", header="age,died")
    with pytest.raises(DataError, match="column days: it is missing"):
        Csv(make(KEYS), seed=0).load(DataSource(data_path=file))


def test_the_table_knows_the_time_and_the_event():
    task = Csv(make(KEYS), seed=0)
    assert isinstance(task, CsvSurvival)
    label = task.table.label
    assert (label.name, label.high, task.table.event) == ("days", 100, "died")
    assert task.table.classes == ()
    made_up = task.made_up(7)
    assert made_up.targets.shape == (7, 2)
    assert ((made_up.targets[:, 0] > 0) & (made_up.targets[:, 0] <= 100)).all()
    assert Csv.metric_names(task.config) == ("brier_score",)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ({"time": {"column": "days", "max": 0}, "event": "died"}, "time.max=0.0: must be"),
        ({"time": {"column": "days", "max": 9}}, "must name both columns"),
        ({"event": "died"}, "must name both columns"),
        (
            {"time": {"column": "days", "max": 9}, "event": "died", "min": 0, "max": 1},
            "nothing of these but time and event",
        ),
        ({"time": {"column": "days", "max": 9}, "event": "days"}, "must not be named again"),
        ({"time": {"column": "age", "max": 9}, "event": "died"}, "must not be named again"),
    ],
)
def test_a_label_that_makes_no_sense_is_refused(label, told):
    with pytest.raises((ValueError, OmegaConfBaseException), match=told):
        make({**KEYS, "label": label})


@pytest.mark.parametrize("model", ["linear", "svm"])
def test_a_model_without_hazards_is_refused(model):
    with pytest.raises((ValueError, OmegaConfBaseException), match="must be logistic or mlp"):
        make({**KEYS, "model": model})


@pytest.fixture
def conf(own_conf):
    (own_conf / "task" / "days.yaml").write_text(YAML)


@pytest.mark.parametrize("algorithm", ["gbdt", "ebm", "glm"])
def test_workloads_that_do_not_know_times_are_refused(conf, algorithm):
    config = load_config({"task": "days", "algorithm": algorithm})
    with pytest.raises(ValueError, match=r"has no loss for; take .*cox.*fedavg"):
        build_workload(config)


@pytest.mark.parametrize("algorithm", ["cox", "kaplan_meier"])
def test_workloads_of_times_want_such_a_label(algorithm):
    config = load_config({"task": "breast_cancer", "algorithm": algorithm})
    with pytest.raises(ValueError, match="the label has no time and event; give both"):
        build_workload(config)


def test_a_data_check_tells_of_all_that_does_not_fit(conf, tmp_path):
    file = write(tmp_path, "50,-3,1", "60,5,2", "70,101,1", "80,,1", header=HEADER)
    found = check_data("days", DataSource(data_path=file), is_private=False)
    assert "2 of 4 rows do not fit" in found.objection
    told = "\n".join(found.lines)
    assert "by column: days 1, died 1" in told
    assert "outside the bounds, clipped: days 1" in told
    assert "missing, so the row was left out: days 1" in told
    assert "rows used of each class: censored 1, event 0" in told
    file = write(tmp_path, "50,3,1", "60,5,0", header=HEADER)
    assert not check_data("days", DataSource(data_path=file), is_private=False).objection
    assert loading.CONF_DIR.name == "conf"
