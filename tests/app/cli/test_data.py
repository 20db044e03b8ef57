"""``tacet data check``: all that does not fit, before anything is sent."""

import shutil
from pathlib import Path

import pytest

from app.cli.main import main
from tests import ROOT

KEYS = """\
defaults:
  - csv_schema
  - _self_
label: {column: ill, classes: ["no", "yes"]}
numeric:
  age: {min: 0, max: 120}
  bmi: {min: 10, max: 60}
drop: [id]
"""
GOOD = [f"{i},{20 + i},30.5,{'no' if i % 2 else 'yes'}" for i in range(40)]


@pytest.fixture
def conf(tmp_path, monkeypatch) -> Path:
    """A folder of configurations with one more task, ``clinic``."""
    folder = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", folder)
    (folder / "task" / "clinic.yaml").write_text(KEYS)
    monkeypatch.setattr("app.config.load.CONF_DIR", folder)
    return folder


def write(folder: Path, *rows: str, header: str = "id,age,bmi,ill") -> Path:
    file = folder / "p.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def check(capsys, file: Path, *more: str) -> tuple[int, list[str]]:
    status = main(["data", "check", str(file), "--task", "clinic", *more])
    told = capsys.readouterr()
    assert told.err == ""
    return status, told.out.splitlines()


@pytest.mark.usefixtures("conf")
def test_a_file_that_fits(tmp_path, capsys):
    file = write(tmp_path, *GOOD, "41,NA,30,no")
    status, lines = check(capsys, file)
    assert status == 0
    assert lines[0] == f"{file}: 41 rows, 40 used, 1 left out"
    assert lines[1] == "  missing, so the row was left out: age 1"
    *_, last = lines
    assert last == "contributes: 33 records to train on, 7 held out"
    assert check(capsys, file, "--private") == (0, lines)


@pytest.mark.usefixtures("conf")
def test_misfits_are_all_told_and_refuse_what_is_not_private(tmp_path, capsys):
    file = write(tmp_path, *GOOD, '41,"4,1",30,no', "42,42,30,maybe", '43,43,"30,no')
    status, lines = check(capsys, file)
    assert status == 1
    assert lines[1] == "  rows that do not fit: 3; by column: age 1, ill 1, whole row 1"
    misfits = [line for line in lines if line.startswith("misfit: ")]
    assert [line.split(", first")[0] for line in misfits] == [
        "misfit: column age: 1 row",
        "misfit: column ill: 1 row",
        "misfit: whole row: 1 row",
    ]
    assert lines[-1].startswith(
        "contributes nothing: 3 of 43 rows do not fit, so a run without"
    )
    status, lines = check(capsys, file, "--private")
    assert (status, lines[-1]) == (0, "contributes: 33 records to train on, 7 held out")
    assert len([line for line in lines if line.startswith("misfit: ")]) == 3


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("rows", "header", "why"),
    [
        (['1,20,"30,5",no'] * 5, "id,age,bmi,ill", "no row can be used"),
        ([], "id,age,bmi,ill", "the file has no rows"),
        (GOOD, "id,age,weight,ill", "the header does not fit"),
        (GOOD, "", "the header does not fit"),
    ],
)
def test_a_file_of_which_nothing_is_used_fails_in_private_runs_too(
    tmp_path, capsys, rows, header, why
):
    file = write(tmp_path, *rows, header=header)
    status, lines = check(capsys, file, "--private")
    assert (status, lines[-1]) == (1, f"contributes nothing: {why}")


def test_a_file_of_which_all_is_held_out_fails(conf, tmp_path, capsys):
    (conf / "task" / "clinic.yaml").write_text(KEYS + "test_fraction: 0.999999999\n")
    status, lines = check(capsys, write(tmp_path, *GOOD))
    assert (status, lines[-1]) == (1, "contributes nothing: no record is left to train on")


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b""), lambda _: 0])
def test_what_is_no_table_fails(tmp_path, capsys, make):
    make(tmp_path / "x")
    status, (line,) = check(capsys, tmp_path / "x")
    assert status == 1
    assert line.startswith("contributes nothing: ")
    assert str(tmp_path / "x") in line


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("clinik", "task='clinik': no such option; did you mean clinic?"),
        ("digits", "task=digits: all nodes share its data set"),
        ("csv", "task.label.column='': must name the column to predict"),
    ],
)
def test_a_task_that_cannot_be_checked_is_one_line(tmp_path, capsys, task, why):
    assert main(["data", "check", str(write(tmp_path)), "--task", task]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"tacet: {why}")
    assert told.err.count("\n") == 1


def test_the_yaml_is_told_with_its_line(conf, tmp_path, capsys):
    (conf / "task" / "clinic.yaml").write_text(KEYS.replace('["no", "yes"]', "[no, yes]"))
    assert main(["data", "check", str(write(tmp_path)), "--task", "clinic"]) == 2
    assert capsys.readouterr().err == (
        "tacet: conf/task/clinic.yaml, line 4: YAML reads no as the truth value False; put a"
        ' name that looks like this in quotes: "no"\n'
    )


NODE = """\
dataset: a
unit: example
privacy: [{privacy}]
max_epsilon: 3
delta: 0.001
min_survivors: 1
min_colluding: 0
data_path: p.csv
"""


@pytest.mark.usefixtures("conf")
@pytest.mark.parametrize(
    ("privacy", "row", "gap"),
    [
        ("example_local", "", ""),
        ("example_local", "41,x,30,no", ""),
        ("none, example_local", "41,x,30,no", "1 of 41 rows do not fit, so a run without"),
        ("example_local", None, "the file has no rows"),
    ],
)
def test_the_check_of_a_node_looks_at_its_records_too(tmp_path, capsys, privacy, row, gap):
    file = write(tmp_path, *(GOOD if row is not None else []), *([row] if row else []))
    policy = tmp_path / "policy.yaml"
    policy.write_text(NODE.format(privacy=privacy))
    policy.chmod(0o600)
    argv = ["node", "check", "--node-config", f'policy-file="{policy}"', "--task"]
    assert main([*argv, "clinic"]) == 1  # the node lacks keys, and more
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{file}: 4") for line in lines) is (row is not None)
    found = [line for line in lines if "contributes nothing" in line]
    assert len(found) == bool(gap)
    if gap:
        assert found[0].startswith(f"gap: {file} contributes nothing to clinic: {gap}")
    main([*argv, "clinik"])
    assert "gap: --task: task='clinik': no such option" in capsys.readouterr().out
