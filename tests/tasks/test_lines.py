"""Physical lines: each is read alone, whatever the others hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.lines
from tasks.lines import Line, physical_lines
from tasks.records import DataError


def lines_of(file, data: bytes) -> list[Line]:
    file.write_bytes(data)
    return list(physical_lines(file))


def test_lines_end_as_on_any_system_and_a_mark_is_skipped(tmp_path):
    expected = [Line(1, "a"), Line(2, ""), Line(3, "é")]
    for end in (b"\n", b"\r\n", b"\r"):
        for mark in (b"", b"\xef\xbb\xbf"):
            data = mark + end.join([b"a", b"", "é".encode()])
            assert lines_of(tmp_path / "f", data) == expected
            assert lines_of(tmp_path / "f", data + end) == expected


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"x\xe4y", "byte 0xe4 is not UTF-8"),
        (b"\xe2\x82", "byte 0xe2 is not UTF-8"),
        (b"\xed\xa0\x80", "byte 0xed is not UTF-8"),
        (b"a\0b", "NUL byte"),
        (b"x" * 21, "longer than 20 characters"),
        (b"x" * 400, "longer than 20 characters"),
    ],
)
def test_a_line_that_cannot_be_read_is_its_own_fault_alone(tmp_path, monkeypatch, bad, why):
    monkeypatch.setattr(tasks.lines, "LONGEST_LINE", 20)
    found = lines_of(tmp_path / "f", b"one\n" + bad + b"\r\n" + b"y" * 20 + b"\nlast")
    assert [line.number for line in found] == [1, 2, 3, 4]
    assert why in found[1].fault
    assert [found[i] for i in (0, 2, 3)] == [Line(1, "one"), Line(3, "y" * 20), Line(4, "last")]


# Whole lines of any bytes but a line break.
LINES = st.lists(st.binary(max_size=12).filter(lambda b: not set(b) & set(b"\r\n")), max_size=8)


@settings(deadline=None)
@given(before=LINES, one=st.binary(max_size=40), after=LINES)
def test_one_line_more_changes_no_other(tmp_path_factory, before, one, after):
    file = tmp_path_factory.getbasetemp() / "lines"
    first = b"header\n"

    def texts(*lines: bytes) -> list[tuple[str, str]]:
        data = first + b"".join(line + b"\n" for line in lines)
        return [(line.text, line.fault) for line in lines_of(file, data)]

    without, both = texts(*before, *after), texts(*before, one, *after)
    place = 1 + len(before)
    assert both[:place] == without[:place]
    num_after = len(after)
    assert both[len(both) - num_after :] == without[len(without) - num_after :]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data-path=.*none: No such file.* a text file"):
        list(physical_lines(tmp_path / "none"))
