"""In a private run each line is a record: it cannot change what becomes of another."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.lines
from tasks.base import DataSource
from tasks.csv.encoding import encode, survey
from tasks.csv.task import Csv
from tasks.records import DataError, LocalData
from tests.kits.csv_kit import GOOD, HEADER, KEYS, config_with, make, write


def private(file: Path) -> LocalData:
    task = Csv(make(KEYS), seed=0)
    task.is_private = True
    return task.load(DataSource(data_path=file))


def people(number: int) -> list[str]:
    """Return rows that all differ."""
    return [f"{i},{i % 100},{10 + i / 100},f,a,no" for i in range(number)]


def test_a_stray_quote_takes_its_own_row_alone(tmp_path):
    rows = people(401)
    rows[10] = rows[10].replace(",f,", ',"f,')
    file = write(tmp_path, *rows)
    examples, summary = encode(file, make(KEYS), by_line=True)
    assert (summary.rows, summary.used, len(examples)) == (401, 400, 400)
    assert summary.misfits.first.line == 12
    with pytest.raises(DataError, match=r"p\.csv, line 12: .*mend the quotes"):
        encode(file, make(KEYS))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b'2,50,30,"f,a,no', "unexpected end of data; mend its quotes"),
        (b'2,50,30,"f"x,a,no', "expected after"),
        (b"2,50,30,f,a", "5 fields, but the header has 6"),
        (b"2,50,30,f,a,no,", "7 fields, but the header has 6: the line ends in a delimiter"),
        (b"2,50,30,\xe4,a,no", "byte 0xe4 is not UTF-8"),
        (b"2,50,30,f\0,a,no", "NUL"),
        (b"2,50,30,f," + b"a" * 400 + b",no", "longer than 200 characters"),
        (b"\xef\xbb\xbf2,50,x,f,a,no", "no finite number"),
    ],
)
def test_a_broken_line_is_one_misfit(tmp_path, monkeypatch, bad, why):
    monkeypatch.setattr(tasks.lines, "LONGEST_LINE", 200)
    good = [row.encode() for row in people(9)]
    file = tmp_path / "p.csv"
    for place in (0, 4, 9):
        lines = [HEADER.encode(), *good[:place], bad, *good[place:]]
        file.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
        examples, summary = encode(file, make(KEYS), by_line=True)
        assert (summary.rows, len(examples), summary.misfits.num_rows) == (10, 9, 1)
        assert summary.misfits.first.line == 2 + place
        assert why in summary.misfits.first.why


def test_a_line_break_in_quotes_makes_two_lines_that_do_not_fit(tmp_path):
    note = HEADER + ",note"
    file = write(tmp_path, *(f"{p},x" for p in people(3)), GOOD + ',"a\nb"', header=note)
    config = config_with(drop=["id", "note"])
    _, summary = encode(file, config, by_line=True)
    assert (summary.used, summary.misfits.num_rows) == (3, 2)
    _, summary = encode(file, config)
    assert (summary.used, summary.long_rows) == (4, 1)
    assert "rows with line breaks in quotes: 1" in str(summary)


@pytest.mark.parametrize("header", [HEADER + ',"x', HEADER[:-1] + "\0", "id,age"])
def test_a_header_that_does_not_fit_is_refused(tmp_path, header):
    with pytest.raises(DataError, match=r"p\.csv, line 1"):
        encode(write(tmp_path, *people(3), header=header), make(KEYS), by_line=True)


def records_of(data: LocalData) -> tuple[Counter[bytes], Counter[bytes]]:
    """Return the records of each side, with how often each is there."""
    return tuple(
        Counter(x.tobytes() + y.tobytes() for x, y in zip(p.inputs, p.targets, strict=True))
        for p in (data.train, data.test)
    )


ANY_LINE = st.one_of(
    st.text(st.sampled_from("0123456789,.\"'fmabno \x00é"), max_size=30).map(str.encode),
    st.binary(max_size=30),
    st.sampled_from([row.encode() for row in people(40)]),
).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(bad=st.lists(ANY_LINE, max_size=3), one=ANY_LINE, place=st.integers(0, 23))
def test_one_record_more_moves_no_other_to_another_side(tmp_path_factory, bad, one, place):
    folder = tmp_path_factory.mktemp("by_line")
    lines = [*(row.encode() for row in people(20)), *bad]
    sides: list[tuple[Counter[bytes], Counter[bytes]]] = []
    for name, own in (("a", lines), ("b", [*lines[:place], one, *lines[place:]])):
        (folder / name).write_bytes(b"\n".join([HEADER.encode(), *own]) + b"\n")
        sides.append(records_of(private(folder / name)))
    (train, test), (more_train, more_test) = sides
    assert not train - more_train
    assert not test - more_test
    assert (more_train - train).total() + (more_test - test).total() <= 1


def test_equal_records_lie_on_one_side(tmp_path):
    data = private(write(tmp_path, *people(20), *people(20)))
    train, test = records_of(data)
    assert set(train.values()) | set(test.values()) == {2}
    assert not train.keys() & test.keys()


def test_the_order_of_the_rows_decides_nothing(tmp_path):
    rows = people(50)
    first = records_of(private(write(tmp_path, *rows, name="a.csv")))
    second = records_of(private(write(tmp_path, *reversed(rows), name="b.csv")))
    assert first == second


def test_all_that_does_not_fit_is_said_loudly_in_the_nodes_own_log(tmp_path, logged):
    rows = [f'{i},{i},"2{i},5",f,a,no' for i in range(6)]
    rows[2] = '2,x,"22,5",f,a,no'
    file = write(tmp_path, *rows)
    assert len(private(file).train) == 0
    (told,) = (record.getMessage() for record in logged if record.levelname == "WARNING")
    assert told.startswith(f"{file}: no row can be used, and this node contributes nothing: ")
    assert "6 of 6 rows do not fit and are left out (bmi 6, age 1)" in told
    assert "the first: line 2, column bmi: '20,5' is no finite number: write it like" in told


def test_some_that_do_not_fit_are_warned_of_too(tmp_path, logged):
    private(write(tmp_path, *people(30), "1,2,3"))
    (told,) = (record.getMessage() for record in logged if record.levelname == "WARNING")
    assert (
        ": 1 of 31 rows do not fit and are left out (whole row 1); the first: line 32" in told
    )


def test_a_private_run_takes_a_file_without_a_row(tmp_path, logged):
    assert np.shape(private(write(tmp_path)).train.inputs) == (0, 7)
    assert [r.levelname for r in logged] == ["INFO", "WARNING"]


def test_both_ways_of_reading_agree_on_a_tidy_file(tmp_path):
    file = write(tmp_path, *people(30), '31,"50",30,"f","a","no"', "", "32,NA,30,f,a,no")
    (one, first), (two, second) = (survey(file, make(KEYS), way) for way in (False, True))
    np.testing.assert_array_equal(one.inputs, two.inputs)
    np.testing.assert_array_equal(one.targets, two.targets)
    assert str(first) == str(second)
