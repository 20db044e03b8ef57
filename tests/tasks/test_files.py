"""What was read is kept until its file changes."""

import os

import pytest

from app.builders.workload import build_task
from app.config.load import load_config
from tasks.base import DataSource
from tasks.files import keep_until_changed
from tasks.records import DataError


@pytest.fixture
def calls():
    return []


@pytest.fixture
def read(calls):
    @keep_until_changed(2)
    def read(first, second, kind):
        calls.append(kind)
        return first.read_text() + second.read_text() + kind

    return read


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "first", tmp_path / "second"
    for path in paths:
        path.write_text("old ")
    return paths


def test_a_file_is_read_once(read, calls, files):
    assert [read(*files, "a") for _ in range(3)] == ["old old a"] * 3
    assert read(*files, "b") == "old old b"
    assert calls == ["a", "b"]


def test_another_size_is_another_file(read, files):
    times = [path.stat().st_mtime_ns for path in files]
    read(*files, "a")
    files[1].write_text("newer ")
    os.utime(files[1], ns=(times[1], times[1]))
    assert read(*files, "a") == "old newer a"


def test_another_time_is_another_file(read, files):
    read(*files, "a")
    files[0].write_text("new ")
    os.utime(files[0], ns=(1, 1))
    assert read(*files, "a") == "new old a"


def test_a_file_that_is_gone_is_not_remembered(read, files):
    read(*files, "a")
    files[1].unlink()
    with pytest.raises(DataError, match="second: there is no such file"):
        read(*files, "a")


def test_a_file_where_a_folder_is_due_is_refused_and_no_record_of_it_is_noise(tmp_path):
    """It was no ``DataError``, so that a private run made, and charged, noise alone of it."""
    (tmp_path / "one.csv").write_text("1,2\n")
    task = build_task(load_config({"task": "heart", "privacy": "none"}))
    with pytest.raises(DataError, match="Not a directory"):
        task.load(DataSource(0, 4, tmp_path / "one.csv"))


def test_what_was_not_used_for_long_is_forgotten(read, calls, files):
    for kind in "abca":
        read(*files, kind)
    assert calls == list("abca")


def test_what_fails_is_tried_again(tmp_path):
    (tmp_path / "file").write_text("x")
    outcomes = iter([DataError("bad"), "good"])

    @keep_until_changed(1)
    def read(_):
        outcome = next(outcomes)
        if isinstance(outcome, DataError):
            raise outcome
        return outcome

    with pytest.raises(DataError, match="bad"):
        read(tmp_path / "file")
    assert read(tmp_path / "file") == "good"
