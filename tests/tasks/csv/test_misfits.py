"""All that does not fit is found at once, and each message names the case and the mend."""

import time

import pytest

from tasks.csv.encoding import encode, survey
from tasks.csv.schema import CsvConfig
from tasks.records import DataError
from tests.kits.csv_kit import GOOD, HEADER, KEYS, config_with, make, write


def told(file, config: CsvConfig, by_line: bool = False) -> list[str]:
    _, summary = survey(file, config, by_line)
    return list(summary.misfits.lines())


def test_misfits_are_grouped_by_column_and_kind(tmp_path):
    rows = [
        "1,50,30,f,a,no",
        '2,old,"30,5",F,a,no',
        '3,2_0,"31,5",female,a,no',
        "4,50,30",
        "5,50 kg,30,F,a,maybe",
        '6,young,30,m,a,"no',
        "7,50,30,f,a,no",
    ]
    lines = told(write(tmp_path, *rows), make(KEYS))
    assert [line.partition(": '")[0].partition(": 3 f")[0] for line in lines] == [
        "column age: 1 row, first in line 3",
        "column age: 2 rows, first in line 4",
        "column bmi: 2 rows, first in line 3",
        "column sex: 2 rows, first in line 3",
        "column sex: 1 row, first in line 4",
        "whole row: 1 row, first in line 5",
        "whole row: 1 row, first in line 7: unexpected end of data; mend the quotes of the row"
        " that begins here",
        "column ill: 1 row, first in line 6",
    ]


def test_a_row_is_counted_once_and_the_first_refusal_says_how_many_more(tmp_path):
    file = write(tmp_path, GOOD, "2,old,x,F,a,maybe", "3,old,30,f,a,no")
    _, summary = survey(file, make(KEYS))
    assert (summary.rows, summary.used, summary.misfits.num_rows) == (3, 1, 2)
    assert "rows that do not fit: 2; by column: ill 1, age 2, bmi 1, sex 1" in str(summary)
    with pytest.raises(DataError, match=r"line 3, column ill.*\(4 more: `tacet data check`"):
        encode(file, make(KEYS))


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("30,5", "with a decimal point in place of a comma"),
        ("1.234,5", "nothing between thousands"),
        ("1 234", "nothing between thousands"),
        ("1'234", "nothing between thousands"),
        ("50 kg", "the number alone, like 3.5, without unit, sign or letter"),
        ("<5", "the number alone"),
        ("€50", "the number alone"),
        ("5O", "the number alone"),
        ("'50", "the number alone"),
        ("\N{MINUS SIGN}5", "the number alone"),
        ("2020-01-02", "the number alone"),
        ("true", "a truth value; write 1 and 0, or list the column under task.categorical"),
        ("No", "a truth value"),
        ("old", "is no finite number; write it like 3.5"),
        ("-inf", "is no finite number; write it like 3.5"),
        ("1e999", "the number alone"),
    ],
)
def test_what_is_no_number_is_told_by_its_kind(tmp_path, text, mend):
    (line,) = told(write(tmp_path, f'1,"{text}",30,f,a,no'), make(KEYS))
    assert line.startswith(f"column age: 1 row, first in line 2: {text!r} is no finite number")
    assert mend in line


@pytest.mark.parametrize("text", ['"50"', " 50 ", "5e1", "+50.0", "050"])
def test_numbers_in_any_dress_are_numbers(tmp_path, text):
    examples, _ = encode(write(tmp_path, f"1,{text},30,f,a,no"), make(KEYS))
    assert examples.inputs[0, 0] == 0


@pytest.mark.parametrize(
    ("listed", "text", "mend"),
    [
        # As pandas writes whole numbers beside a missing one.
        (["0", "1"], "0.0", 'in quotes, under task.label.classes: "0.0"'),
        (["0.0", "1.0"], "1", 'in quotes, under task.label.classes: "1"'),
        (["010", "011"], "10", "it is 010 written in another way"),
        # As databases write truth values, of a YAML without quotes.
        (["False", "True"], "true", 'list "true" under task.label.classes'),
        (["False", "True"], "no", 'list "no" under task.label.classes'),
        (["no", "yes"], "Yes", "differs from yes in upper and lower case"),
        (["no", "yes"], "0", "is none of the classes no, yes"),
        ([str(i) for i in range(500)], "x", "18, 19, ... (500 in all)"),
    ],
)
def test_a_class_in_another_dress_is_told_by_its_kind(tmp_path, listed, text, mend):
    config = config_with(label={"column": "ill", "classes": listed})
    (line,) = told(write(tmp_path, f"1,50,30,f,a,{text}"), config)
    assert line.startswith(f"column ill: 1 row, first in line 2: {text!r} is none of")
    assert mend in line


def test_the_mend_of_a_number_coded_label_works(tmp_path):
    rows = ["1,50,30,f,a,0.0", "2,50,30,f,a,1.0", "3,50,30,f,a,"]
    file = write(tmp_path, *rows)
    codes = {"column": "ill", "classes": ["0", "1"]}
    assert len(told(file, config_with(label=codes))) == 2
    examples, _ = encode(file, config_with(label=codes | {"classes": ["0.0", "1.0"]}))
    assert examples.targets.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("header", "before", "after", "where"),
    [
        (f",{HEADER}", "0,", "", "the first column has no name, like an index that pandas"),
        (f"{HEADER},", "", ",", "the last column has no name: the lines end in the delimiter"),
        (f"{HEADER}, ,", "", ",,", "columns 7, 8 of 8 have no name"),
        (f",{HEADER},", "0,", ",", "columns 1, 8 of 8 have no name"),
        (HEADER.replace(",sex", ",,sex"), "", "", "column 4 of 7 has no name"),
    ],
)
def test_unnamed_columns_are_told_by_their_place_and_can_be_dropped(
    tmp_path, header, before, after, where
):
    row = GOOD.replace(",f,", ",9,f,") if ",," in header and not after else GOOD
    file = write(tmp_path, before + row + after, header=header)
    (line,) = told(file, make(KEYS))
    assert line.startswith(f"line 1: {where}")
    assert 'out with drop: [""]' in line
    with pytest.raises(DataError, match=r"p\.csv, line 1: .* no name"):
        encode(file, make(KEYS))
    examples, _ = encode(file, config_with(drop=["id", ""]))
    assert len(examples) == 1


def test_a_feature_has_a_name():
    with pytest.raises(ValueError, match=r"task.numeric='': must be a name"):
        config_with(numeric={"": {"min": 0, "max": 1}})


def test_all_that_is_wrong_with_a_header_is_said_at_once(tmp_path):
    file = write(tmp_path, header="id,id,name,Age,bmi,ward,ill,phone")
    lines = told(file, make(KEYS))
    assert [line.partition(";")[0] for line in lines] == [
        "line 1, column id: it is there twice",
        "line 1, column age: it is missing",
        "line 1, column sex: it is missing",
        "line 1, column name, Age, phone: the configuration does not name them",
    ]
    assert lines[1].endswith("; Age differs in upper and lower case: mend one of them")
    with pytest.raises(DataError, match=r"line 1, column id: .*column age: .*column sex: "):
        encode(file, make(KEYS))


def test_rows_are_checked_under_a_wrong_header_too(tmp_path):
    file = write(tmp_path, "1,old,30,f,a,no,x", header=HEADER + ",name")
    header, row = told(file, make(KEYS))
    assert "column name" in header
    assert "column age: 1 row, first in line 2: 'old'" in row


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_guessed_once(tmp_path, delimiter):
    file = write(tmp_path, GOOD.replace(",", delimiter), header=HEADER.replace(",", delimiter))
    (line,) = told(file, make(KEYS))
    assert line.endswith(f"; it looks like task.delimiter={delimiter!r}")
    assert len(encode(file, config_with(delimiter=delimiter))[0]) == 1


def test_quotes_that_swallow_rows_do_not_hide_what_follows(tmp_path):
    rows = ["1,50,30,f,a,no"] * 9
    rows[2] = '2,50,30,"f,a,no'
    rows[5] = '5,50,30,f",a,no'
    rows[7] = "7,old,30,f,a,no"
    whole, closing, age = told(write(tmp_path, *rows), make(KEYS))
    assert whole.startswith("whole row: 1 row, first in line 4: its quotes go on to line 7,")
    assert closing.startswith("column sex: 1 row, first in line 7: 'f\"'")
    assert age.startswith("column age: 1 row, first in line 9: 'old'")


@pytest.mark.slow
def test_two_thousand_columns_take_under_a_second(tmp_path):
    names = [f"gene {i}" for i in range(2000)]
    config = config_with(numeric={name: {"min": 0, "max": 1} for name in names}, categorical={})
    rows = ["1," + ",".join(["0.5"] * 1999) + ",x,no"] * 20
    file = write(tmp_path, *rows, header="id," + ",".join(names) + ",ill")
    started = time.process_time()
    (line,) = told(file, config)
    took = time.process_time() - started
    assert line.startswith("column gene 1999: 20 rows, first in line 2: 'x'")
    assert took < 1


def test_a_wide_header_is_not_printed_whole(tmp_path):
    file = write(tmp_path, header=",".join(["ill", *(f"c{i}" for i in range(1999))]))
    missing = [line for line in told(file, make(KEYS)) if "it is missing" in line]
    assert len(missing) == 4
    assert all("... (2000 in all)" in line and len(line) < 400 for line in missing)


@pytest.mark.parametrize("by_line", [False, True])
def test_a_file_without_a_header_is_told_in_one_line(tmp_path, by_line):
    file = write(tmp_path, "2,51,31,m,b,yes", header=GOOD)
    (line,) = told(file, make(KEYS), by_line)
    assert line.startswith(
        "line 1: none of the configuration's columns is there, so this seems"
    )
    assert "put a line with the columns' names before it (ill, age, bmi, sex, ward)" in line
    assert "the line has '1', '50', '30', 'f', 'a', 'no' (task.delimiter=',')" in line
    with pytest.raises(DataError, match="seems to be no header but a record"):
        encode(file, make(KEYS), by_line)


def test_a_header_in_capitals_is_still_a_header(tmp_path):
    lines = told(write(tmp_path, GOOD, header=HEADER.upper()), make(KEYS))
    assert "age is" not in lines[0]
    assert any("AGE differs in upper and lower case" in line for line in lines)
