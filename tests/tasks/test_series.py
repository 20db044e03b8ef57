"""Time series: windows, what is foretold, what is held out, and whose record a row is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from privacy.unit import Unit
from tasks.base import DataSource
from tasks.csv.columns import NumericConfig
from tasks.records import DataError, LocalData
from tasks.series.reading import read_rows
from tasks.series.schema import Goal, Loss, SeriesConfig, TimeForm
from tasks.series.task import Series
from tasks.series.windows import last_windows, windows_of

BOUNDS = {"load": NumericConfig(0.0, 100.0)}
HOURLY = {
    "time": "at",
    "time_form": TimeForm.iso,
    "step": 3600.0,
    "values": BOUNDS,
    "target": "load",
    "window": 3,
    "test_fraction": 0.0,
}
LIVES = {
    "goal": Goal.remaining_life,
    "cap": 5.0,
    "time": "cycle",
    "unit": "engine",
    "values": {"heat": NumericConfig(0.0, 10.0)},
    "window": 4,
    "test_fraction": 0.0,
}


def hours(*loads: float, missing: tuple[int, ...] = ()) -> str:
    """Return a file with a row for each hour, but for those that are missing."""
    rows = [
        f"2026-01-{1 + hour // 24:02d} {hour % 24:02d}:00,{load}"
        for hour, load in enumerate(loads)
        if hour not in missing
    ]
    return "\n".join(["at,load", *rows]) + "\n"


def engines(**lives: int) -> str:
    """Return a file in which each engine's heat is the cycle, in no order."""
    rows = [f"{name},{c},{c}" for name, life in lives.items() for c in range(life, 0, -1)]
    return "\n".join(["engine,cycle,heat", *rows]) + "\n"


def load(folder: Path, text: str, keys: dict, *, is_private: bool = False) -> LocalData:
    file = folder / "own.csv"
    file.write_text(text)
    task = Series(SeriesConfig(**keys), seed=0)
    task.is_private = is_private
    return task.load(DataSource(data_path=file))


def test_a_window_shows_its_rows_and_foretells_what_comes_after_the_horizon(tmp_path):
    data = load(tmp_path, hours(0, 10, 20, 30, 40, 50), HOURLY | {"horizon": 2})
    assert data.train.inputs.shape == (2, 3, 2)
    seen = (data.train.inputs[:, :, 0] + 1) * 50
    np.testing.assert_allclose(seen, [[0, 10, 20], [10, 20, 30]], atol=1e-5)
    assert (data.train.inputs[:, :, 1] == 1).all()
    np.testing.assert_allclose((data.train.targets + 1) * 50, [40, 50], atol=1e-5)


def test_windows_over_a_gap_are_left_out(tmp_path):
    data = load(tmp_path, hours(*range(12), missing=(5,)), HOURLY)
    targets = np.round((data.train.targets + 1) * 50)
    assert targets.tolist() == [3, 4, 9, 10, 11]


def test_rows_in_any_order_and_twice_are_one_series(tmp_path):
    text = hours(*range(6))
    header, *rows = text.splitlines()
    mixed = "\n".join([header, *reversed(rows), rows[2].replace(",2", ",99")]) + "\n"
    first, second = load(tmp_path, text, HOURLY), load(tmp_path, mixed, HOURLY)
    assert np.array_equal(first.train.inputs, second.train.inputs)


def test_a_remaining_life_is_capped_and_a_short_past_is_filled_up(tmp_path):
    data = load(tmp_path, engines(a=7, b=2), LIVES)
    assert data.train.inputs.shape == (9, 4, 2)
    lives = (data.train.targets + 1) * 2.5
    np.testing.assert_allclose(lives, [5, 5, 4, 3, 2, 1, 0, 1, 0], atol=1e-5)
    is_there = data.train.inputs[:, :, 1]
    assert is_there[0].tolist() == [0, 0, 0, 1]
    assert is_there[6].tolist() == [1, 1, 1, 1]
    assert not data.train.inputs[0, :3].any()


def test_the_last_window_of_each_unit_is_what_is_asked_of_new_rows(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text(engines(b=2, a=7))
    config = SeriesConfig(**LIVES)
    units, windows = last_windows(read_rows(file, config, is_private=False), config)
    assert units == ["a", "b"]
    heat = (windows.inputs[:, :, 0] + 1) * 5
    np.testing.assert_allclose(heat[0], [4, 5, 6, 7], atol=1e-5)
    assert windows.inputs[1, :, 1].tolist() == [0, 0, 1, 1]


def test_what_is_held_out_is_later_or_whole_units(tmp_path):
    data = load(tmp_path, hours(*range(10)), HOURLY | {"held_out_from": "2026-01-01 07:00"})
    assert np.round((data.test.targets + 1) * 50).tolist() == [7, 8, 9]
    assert np.round((data.train.targets + 1) * 50).tolist() == [3, 4, 5, 6]
    names = {f"e{number}": 5 for number in range(40)}
    split = load(tmp_path, engines(**names), LIVES | {"test_fraction": 0.3})
    assert len(split.test) % 5 == len(split.train) % 5 == 0
    assert 0.1 < len(split.test) / 200 < 0.5


def test_the_calendar_is_the_hour_and_the_day_of_the_week(tmp_path):
    data = load(tmp_path, hours(*range(30)), HOURLY | {"calendar": True})
    hour = data.train.inputs[:, -1, 2:4]
    # The window's last row: from 2 o'clock on.
    angles = 2 * np.pi * (np.arange(2, 29) % 24) / 24
    np.testing.assert_allclose(hour, np.stack([np.sin(angles), np.cos(angles)], 1), atol=1e-5)


def test_one_row_more_changes_one_window_and_no_other(tmp_path):
    """Of those that example privacy takes: apart, and anchored in time."""
    keys = HOURLY | {"stride": 4}
    Series(SeriesConfig(**keys), seed=0).check_private(Unit.EXAMPLE)
    loads = [float(place * 7 % 50) for place in range(40)]
    whole = load(tmp_path, hours(*loads), keys, is_private=True).train
    for hour in range(40):
        fewer = load(tmp_path, hours(*loads, missing=(hour,)), keys, is_private=True).train
        kept = {one.tobytes() for one in fewer.inputs}
        lost = [one for one in whole.inputs if one.tobytes() not in kept]
        assert len(fewer) >= len(whole) - 1
        assert len(lost) <= 1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (HOURLY | {"stride": 3}, "task.stride=4"),
        (HOURLY | {"stride": 4, "step": 0.0}, "task.step=0"),
        (LIVES, "the last row of a unit"),
    ],
)
def test_windows_that_share_rows_are_no_records_to_protect(keys, words):
    task = Series(SeriesConfig(**keys), seed=0)
    with pytest.raises(ValueError, match=words):
        task.check_private(Unit.EXAMPLE)
    task.check_private(Unit.CLIENT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("at,other\n", "line 1: column load is missing; the header has at, other"),
        ("at,load\n2026-01-01 00:00,x\n", "line 2: column load: 'x' is no finite number"),
        (
            "at,load\n2026-01-01 00:00,0_4\n",
            "line 2: column load: '0_4' is no finite number: write the number alone",
        ),
        ("at,load\nyesterday,1\n", "line 2: column at: 'yesterday' is no time"),
        ("at,load\n2026-01-01 00:00,1,2\n", "line 2: 3 fields where the header has 2"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        load(tmp_path, text, HOURLY)


def test_a_row_that_does_not_fit_refuses_nothing_in_a_private_run(tmp_path):
    text = hours(*range(8)) + "yesterday,1\n2026-01-02 00:00,x\n"
    data = load(tmp_path, text, HOURLY | {"stride": 4}, is_private=True)
    assert len(data.train) == len(
        load(tmp_path, hours(*range(8)), HOURLY | {"stride": 4}).train
    )


def test_values_are_cut_to_their_bounds_and_filled_up(tmp_path):
    values = {"load": NumericConfig(0.0, 100.0, fill=50.0)}
    text = hours(-5, 400, 10, 20).replace(",10\n", ",NA\n")
    data = load(tmp_path, text, HOURLY | {"values": values})
    np.testing.assert_allclose((data.train.inputs[0, :, 0] + 1) * 50, [0, 100, 50], atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (HOURLY | {"target": "heat"}, "task.target='heat': must be one of task.values, load"),
        (HOURLY | {"time": ""}, "task.time=''"),
        (HOURLY | {"values": {}}, "task.values={}"),
        (HOURLY | {"window": 1}, "task.window=1: must be at least 2"),
        (HOURLY | {"held_out_from": "soon"}, "task.held_out_from='soon'"),
        (HOURLY | {"test_fraction": 0.2}, "give task.held_out_from"),
        (LIVES | {"cap": 0.0}, "task.cap=0.0"),
        (LIVES | {"unit": ""}, "task.unit=''"),
        (LIVES | {"calendar": True}, "needs task.time_form=iso"),
    ],
)
def test_keys_that_cannot_be_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        SeriesConfig(**keys)


def test_the_outputs_are_in_the_units_of_what_is_foretold():
    task = Series(SeriesConfig(**LIVES), seed=0)
    assert task.to_label_units(np.array([-1.0, 0.0, 1.0])).tolist() == [0.0, 2.5, 5.0]


def test_windows_are_those_of_the_rows(tmp_path):
    """Against a reading by hand, of numbers drawn at random."""
    rng = np.random.default_rng(0)
    loads = rng.uniform(0, 100, 50).round(3)
    file = tmp_path / "own.csv"
    file.write_text(hours(*loads))
    config = SeriesConfig(**HOURLY | {"window": 5, "horizon": 3})
    found = windows_of(read_rows(file, config, is_private=False), config, 0).train
    assert len(found) == 50 - 5 - 3 + 1
    for place, (window, target) in enumerate(zip(found.inputs, found.targets, strict=True)):
        np.testing.assert_allclose((window[:, 0] + 1) * 50, loads[place : place + 5], atol=1e-4)
        np.testing.assert_allclose((target + 1) * 50, loads[place + 7], atol=1e-4)


def test_the_loss_is_the_error_that_is_named():
    outputs, targets = torch.tensor([[0.5], [-1.0]]), torch.tensor([0.0, 1.0])
    found = {
        loss.value: Series(SeriesConfig(**HOURLY, loss=loss), seed=0)
        .per_example_loss(outputs, targets)
        .tolist()
        for loss in Loss
    }
    assert found == {"squared": [0.25, 4.0], "absolute": [0.5, 2.0]}


def test_a_row_for_each_unit_says_what_is_foretold_and_when(tmp_path):
    file = tmp_path / "new.csv"
    file.write_text(engines(b=2, a=7) + "c,1,NA\n")
    found = Series(SeriesConfig(**LIVES), seed=0).new_rows(file)
    assert found.header == ["engine", "cycle"]
    # The line of each one's last row: engines fall from their last cycle.
    assert (found.rows, found.lines) == ([["a", "7"], ["b", "2"]], [4, 2])
    assert found.findings == [
        f"{file}: 9 rows used of 2 units, 1 left out, as they miss a value"
    ]
    assert not found.is_labelled.any()
    config = SeriesConfig(**LIVES)
    _, due = last_windows(read_rows(file, config, is_private=False), config)
    np.testing.assert_array_equal(found.examples.inputs, due.inputs)


def test_rows_in_memory_are_those_of_a_file(tmp_path):
    file = tmp_path / "new.csv"
    file.write_text(engines(b=2, a=7))
    task = Series(SeriesConfig(**LIVES), seed=0)
    rows = [line.split(",") for line in engines(b=2, a=7).splitlines()[1:]]
    names, cycles, heats = zip(*rows, strict=True)
    given = {"engine": names, "cycle": list(map(int, cycles)), "heat": list(map(float, heats))}
    found, due = task.new_rows(given), task.new_rows(file)
    assert found.rows == due.rows
    np.testing.assert_array_equal(found.examples.inputs, due.examples.inputs)


def test_a_forecast_needs_a_whole_window(tmp_path):
    """By unit: enough rows, too few, and a row that is missing."""
    keys = HOURLY | {"unit": "meter", "test_fraction": 0.2}
    rows = [
        f"{meter},2026-01-01 {hour:02d}:00,{hour}"
        for meter, hours_of in (("a", (4, 5, 6)), ("b", (5, 6)), ("c", (3, 5, 6)))
        for hour in hours_of
    ]
    file = tmp_path / "new.csv"
    file.write_text("\n".join(["meter,at,load", *rows]) + "\n")
    found = Series(SeriesConfig(**keys), seed=0).new_rows(file)
    assert found.places.tolist() == [0]
    assert len(found.rows) == 3
    assert "fewer than task.window=3 rows" in found.without


def test_what_is_foretold_does_not_look_at_the_future(tmp_path):
    """Rows whose target is not known yet, and whatever stands in columns that are not read."""
    task = Series(SeriesConfig(**HOURLY), seed=0)
    known, later = tmp_path / "known.csv", tmp_path / "later.csv"
    known.write_text(hours(1, 2, 3, 4))
    later.write_text(hours(1, 2, 3, 4) + "2026-01-01 04:00,NA\n2026-01-01 05:00,\n")
    one, other = task.new_rows(known), task.new_rows(later)
    assert one.rows == other.rows == [["2026-01-01 03:00"]]
    np.testing.assert_array_equal(one.examples.inputs, other.examples.inputs)
    np.testing.assert_allclose((one.examples.inputs[0, :, 0] + 1) * 50, [2, 3, 4], atol=1e-5)


def test_no_rows_and_rows_that_do_not_fit_are_told(tmp_path):
    task = Series(SeriesConfig(**LIVES), seed=0)
    file = tmp_path / "new.csv"
    file.write_text("engine,cycle,heat\n")
    assert task.new_rows(file).objection == "there are no rows"
    file.write_text("engine,cycle,heat\na,1,hot\n")
    with pytest.raises(DataError, match="line 2: column heat: 'hot' is no finite number"):
        task.new_rows(file)
