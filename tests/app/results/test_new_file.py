"""A command's output is a new file: whole or not there, and never over another one."""

import os

import pytest

from app.results import new_file
from app.results.new_file import NewFileError, require_new, write_new


def test_a_file_is_whole_and_alone(tmp_path):
    require_new(tmp_path / "out.csv")
    write_new(tmp_path / "out.csv", b"all of it")
    assert [*tmp_path.iterdir()] == [tmp_path / "out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"all of it"
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_came_to_be_there_meanwhile_stays(tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(NewFileError, match="is there already"):
        write_new(tmp_path / "out.csv", b"other")
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert [*tmp_path.iterdir()] == [tmp_path / "out.csv"]


def test_a_link_to_nowhere_is_there_too(tmp_path):
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NewFileError, match="is there already"):
        require_new(tmp_path / "out.csv")
    with pytest.raises(NewFileError, match="there is no such folder"):
        require_new(tmp_path / "none" / "out.csv")


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(new_file.os, "fsync", full)
    with pytest.raises(NewFileError, match=r"out\.csv: No space left on device"):
        write_new(tmp_path / "out.csv", b"all of it")
    assert [*tmp_path.iterdir()] == []
