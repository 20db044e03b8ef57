"""``tacet report``: one run's page, a comparison of several, and one-line errors."""

import pytest

from tests.app.cli.test_cli import complaint, tell
from tests.kits.pages import check, page_in, round_line, write_run

EVIL = "<script>1</script>"


def runs(tmp_path):
    made = []
    for number, epsilon in enumerate((0.5, 1.0, 4.0, None)):
        spent = (
            {} if epsilon is None else {"epsilon": epsilon, "delta": 1e-5, "unit": "example"}
        )
        name = "none" if epsilon is None else "example_distributed"
        rounds = [
            round_line(n, privacy=spent, metrics={"accuracy": 0.6 + number / 10, "auc": 0.7})
            for n in (1, 2)
        ]
        config = {"privacy": {"name": name, "epsilon": epsilon}, "num_rounds": 2}
        folder = tmp_path / f"run{number}"
        made.append(write_run(folder, rounds, config=config, seconds=10.0 * (number + 1)))
    return made


def test_a_run_gets_its_page(tmp_path, capsys):
    folder = runs(tmp_path)[0]
    told = tell(capsys, "report", folder)
    assert told[0] == f"report: {folder / 'report.html'}"
    size = (folder / "report.html").stat().st_size
    assert told[1].startswith(f"{size / 1000:.3g} kB, drawn in ")
    assert page_in(folder).tiles["Accuracy"][0] == "0.6"


def test_a_page_goes_where_it_is_asked_for(tmp_path, capsys):
    folder = runs(tmp_path)[0]
    assert tell(capsys, "report", folder, "--output", tmp_path / "a.html")[0] == (
        f"report: {tmp_path / 'a.html'}"
    )
    check((tmp_path / "a.html").read_text())
    assert not (folder / "report.html").exists()


def test_several_runs_are_compared(tmp_path, capsys):
    tell(capsys, "report", *runs(tmp_path), "--output", tmp_path / "all.html")
    page = check((tmp_path / "all.html").read_text())
    titles = [figure.title for figure in page.figures]
    costs = ("epsilon", "time", "bytes, both directions")
    assert titles == [f"{name} by {cost}" for name in ("AUC", "Accuracy") for cost in costs]
    assert page.figure("Accuracy by epsilon").alt == (
        "run0: 0.6 at 0.5; run1: 0.7 at 1; run2: 0.8 at 4"
    )
    table = page.table("run", "epsilon")
    at = {name: table.headers.index(name) for name in table.headers}
    rows = [
        [row[at[name]] for name in ("run", "Accuracy", "epsilon", "time")] for row in table.rows
    ]
    assert rows == [
        ["run0", "0.6", "0.5", "10 s"],
        ["run1", "0.7", "1", "20 s"],
        ["run2", "0.8", "4", "30 s"],
        ["run3", "0.9", "–", "40 s"],  # noqa: RUF001
    ]
    # 1,000 and 2,000 bytes to the nodes, and 900 from them, twice.
    assert {row[at["bytes, both directions"]] for row in table.rows} == {"4.8 kB"}


def test_runs_of_one_name_are_told_apart_and_names_are_text(tmp_path, capsys):
    first, second = tmp_path / "a" / "run", tmp_path / "b" / "run"
    for folder in (first, second):
        write_run(folder, [round_line(1)], config={"task": {"name": EVIL}})
    tell(capsys, "report", first, second, "--output", tmp_path / "both.html")
    page = check((tmp_path / "both.html").read_text())
    assert [row[0] for row in page.table("run").rows] == ["run (1)", "run (2)"]
    assert "<script" not in page.html


def test_several_runs_need_an_output(tmp_path, capsys):
    assert "--output FILE" in complaint(capsys, "report", *runs(tmp_path))


@pytest.mark.parametrize("missing", ["nothing", "run0/config.yaml"])
def test_what_is_no_run_is_named(tmp_path, capsys, missing):
    runs(tmp_path)
    told = complaint(capsys, "report", tmp_path / missing)
    assert f"{tmp_path / missing} is no run folder" in told
    assert "give a run folder" in told


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    folder = runs(tmp_path)[0]
    told = complaint(capsys, "report", folder, "--output", tmp_path / "no" / "a.html")
    assert str(tmp_path / "no") in told
    assert "No such file" in told
