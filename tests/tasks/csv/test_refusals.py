"""Which CSV files, and which declarations of their columns, are refused, and in what words."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tasks.base import DataSource
from tasks.csv.encoding import encode
from tasks.csv.schema import CsvConfig
from tasks.csv.task import Csv
from tasks.records import DataError
from tests.kits.csv_kit import GOOD, KEYS, REGRESSION, config_with, from_yaml, make, write


def refusal(file: Path, config: CsvConfig) -> str:
    """Return the message that the file is refused with, without the path it begins with."""
    with pytest.raises(DataError) as caught:
        Csv(config, seed=0).load(DataSource(data_path=file))
    message = str(caught.value)
    assert message.startswith(str(file))
    return message.removeprefix(str(file))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("2,old,30,f,a,no", ", line 3, column age: 'old' is no finite number"),
        ("2,inf,30,f,a,no", ", line 3, column age: 'inf' is no finite number"),
        ("2,1_0,30,f,a,no", ", line 3, column age: '1_0' is no finite number"),
        ('2,50,"30,5",f,a,no', ", line 3, column bmi: '30,5' is no finite number"),
        ("2,50,30,F,a,no", ", line 3, column sex: 'F' is none of the categories f, m;"),
        ("2,50,30,f,a,maybe", ", line 3, column ill: 'maybe' is none of the classes no, yes"),
        # A row that is left out anyway is checked too.
        ("2,NA,30,x,a,no", ", line 3, column sex: 'x' is none of the categories f, m;"),
        ("2,50,30,f,a", ", line 3: 5 fields, but the header has 6"),
        ("2,50,30,f,a,no,", ", line 3: 7 fields, but the header has 6"),
        ('2,50,30,f,"a,no', ", line 3: unexpected end of data; mend the quotes"),
        ('2,50,30,f,"a"b,no', ", line 3: ',' expected after '\"'; mend the quotes"),
    ],
)
def test_wrong_row_is_refused_with_its_place(tmp_path, row, expected):
    assert refusal(write(tmp_path, GOOD, row), make(KEYS)).startswith(expected)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("id,age,bmi,sex,ward", ", line 1, column ill: it is missing; the header has 'id',"),
        ("id,Age,bmi,sex,ward,ill", ", line 1, column age: it is missing; the header has"),
        ("id;age;bmi;sex;ward;ill", ", line 1, column ill: it is missing; the header has 'id;"),
        ("id,age,bmi,sex,ward,ill,age", ", line 1, column age: it is there twice"),
        ("id,id,age,bmi,sex,ward,ill", ", line 1, column id: it is there twice"),
        (
            "id,name,age,bmi,sex,ward,ill",
            ", line 1, column name: the configuration does not name it; list it under",
        ),
    ],
)
def test_wrong_header_is_refused(tmp_path, header, expected):
    assert refusal(write(tmp_path, header=header), make(KEYS)).startswith(expected)


def test_names_that_yaml_takes_for_booleans_are_pointed_out(tmp_path):
    values = OmegaConf.create("{column: ill, classes: [no, yes]}")
    config = make({**KEYS, "label": values})
    message = refusal(write(tmp_path, GOOD), config)
    assert message.startswith(", line 2, column ill: 'no' is none of the classes False, True")
    assert 'unless it is in quotes: list "no" under task.label.classes' in message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file_is_refused(tmp_path, content):
    file = tmp_path / "empty.csv"
    file.write_bytes(content)
    assert refusal(file, make(KEYS)).startswith(": the file is empty")


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    file = write(tmp_path, GOOD)
    file.write_bytes(file.read_bytes() + "7,50,30,f,ä,no\n".encode("latin-1"))
    assert refusal(file, make(KEYS)) == (
        ", line 3: byte 0xe4 is not UTF-8; save the file as UTF-8"
    )


def test_file_without_a_usable_row_is_refused(tmp_path):
    with pytest.raises(DataError, match="no row can be used") as caught:
        encode(write(tmp_path, "1,NA,1,f,a,no"), make(KEYS))
    assert "p.csv: 1 rows, 0 used" in str(caught.value)


def test_file_without_a_row_is_refused_as_what_it_is(tmp_path):
    with pytest.raises(DataError, match=r"p\.csv: the file has no rows"):
        encode(write(tmp_path), make(KEYS))


def test_data_path_must_be_a_file(tmp_path):
    task = Csv(make(KEYS), seed=0)
    with pytest.raises(DataError, match=r"data-path.*a CSV file"):
        task.load(DataSource())
    with pytest.raises(DataError, match=r"nothing is there; it must be a CSV file"):
        task.load(DataSource(data_path=tmp_path / "none.csv"))
    with pytest.raises(DataError, match=r"Is a directory; it must be a text file"):
        task.load(DataSource(data_path=tmp_path))


def test_line_numbers_count_line_breaks_in_quotes(tmp_path):
    note = "id,age,bmi,sex,ward,ill,note"
    rows = ['1,50,30,f,a,no,"two\nlines"', "", '2,50,30,f,a,no,"x\n\ny"', "3,50,30,f,a,what,z"]
    message = refusal(
        write(tmp_path, *rows, header=note), config_with(drop=["id", "note", "absent"])
    )
    assert message.startswith(", line 8, column ill: 'what'")
    crlf = tmp_path / "crlf.csv"
    crlf.write_bytes("\r\n".join([note, *rows]).encode())
    assert refusal(crlf, config_with(drop=["id", "note"])).startswith(", line 8, column ill:")
    # A row with a break is named by the line that it begins on.
    rows[2] = '2,old,30,f,a,no,"x\n\ny"'
    message = refusal(write(tmp_path, *rows, header=note), config_with(drop=["id", "note"]))
    assert message.startswith(", line 5, column age: 'old'")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"label": {}}, r"task.label.column='': must name the column to predict"),
        ({"label": {"column": "ill"}}, r"task.label=.*must have either classes, or both"),
        ({"label": {"column": "ill", "min": 0}}, r"task.label=.*must have either"),
        (
            {"label": {"column": "ill", "classes": ["a", "b"], "min": 0, "max": 1}},
            r"task.label=.*must have either classes, or both min and max",
        ),
        ({"label": {"column": "ill", "classes": ["a"]}}, r"task.label.classes=.*at least two"),
        ({"label": {"column": "ill", "classes": ["a", "a"]}}, r"task.label.classes=.*differ"),
        ({"label": {"column": "x", "min": 3, "max": 3}}, r"task.label=.*min below max"),
        ({"numeric": {"age": {"min": 5, "max": 5}}}, r"task.numeric.age=.*min below max"),
        ({"numeric": {"age": {"min": 0, "max": "inf"}}}, r"task.numeric.age=.*finite"),
        (
            {"numeric": {"age": {"min": 0, "max": 9, "fill": 10}}},
            r"task.numeric.age.fill=10.0: must lie in \[0.0, 9.0\]",
        ),
        ({"categorical": {"sex": {"categories": ["f"]}}}, r"task.categorical.sex.categories"),
        ({"categorical": {"sex": {"categories": ["f", "f"]}}}, r"must be at least two, all"),
        ({"categorical": {"sex": {"categories": ["f", "NA"]}}}, r"'NA': must not be one of"),
        ({"categorical": {"sex": {"categories": ["f", " m"]}}}, r"' m': must have no spaces"),
        (
            {"categorical": {"sex": {"categories": ["f", "m"], "fill": "x"}}},
            r"task.categorical.sex.fill=x: must be one of f, m",
        ),
        (
            {"categorical": {"sex": {"categories": ["f", "m"], "unknown": "x"}}},
            r"task.categorical.sex.unknown=x: must be one of f, m",
        ),
        ({"numeric": {}, "categorical": {}}, r"must name at least one feature column"),
        (
            {"numeric": {"ill": {"min": 0, "max": 1}}},
            r"task.numeric=ill: must not be named again, it is under task.label.column",
        ),
        (
            {"numeric": {"sex": {"min": 0, "max": 1}}},
            r"task.categorical=sex: must not be named",
        ),
        (
            {"drop": ["age"]},
            r"task.drop=age: must not be named again, it is under task.numeric",
        ),
        ({"drop": ["id", "id"]}, r"task.drop=id: must not be named again"),
        ({"drop": ["id "]}, r"task.drop='id ': must have no spaces"),
        ({"delimiter": ""}, r"task.delimiter='': must be one character"),
        ({"delimiter": ";;"}, r"task.delimiter=';;': must be one character"),
        ({"delimiter": '"'}, r"task.delimiter='\"': must be one character"),
        ({"model": "linear"}, r"task.model=linear: must be logistic, svm or mlp"),
        ({"hidden": 0}, r"task.hidden=0: must be at least 1"),
        ({"test_fraction": 1.0}, r"task.test_fraction=1.0: must be in"),
    ],
)
def test_wrong_configuration_is_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        config_with(**keys)


def test_model_must_fit_a_number():
    with pytest.raises(ValueError, match=r"task.model=logistic: must be linear or mlp"):
        make({**REGRESSION, "model": "logistic"})


def test_bounds_must_be_given():
    with pytest.raises(OmegaConfBaseException, match="max"):
        config_with(numeric={"age": {"min": 0}})


def test_bare_csv_says_which_keys_to_give():
    with pytest.raises(ValueError, match=r"give label, numeric and categorical in a YAML"):
        from_yaml("csv")
    assert from_yaml("csv", KEYS).missing_values == make(KEYS).missing_values
