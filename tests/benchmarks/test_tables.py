import json

import numpy as np
import pytest

from app.config import load as loading
from app.config.load import load_config
from benchmarks import adult, adult_clients, machines, table_rows
from benchmarks.machines_runs import FILE_NAME, NUM_FACTORIES, SCHEMA, Machines
from benchmarks.table_rows import AUC, Row, ours, private_verdicts
from benchmarks.table_runs import Records
from benchmarks.task_option import task_option
from tasks.adult import _CATEGORIES, _COLUMNS, TEST_FILE, TRAIN_FILE
from tasks.records import Examples
from tasks.table import Table
from tests import ROOT

HEADER = (
    "UDI,ProductID,Type,AirTemperature[K],ProcessTemperature[K],RotationalSpeed[rpm],"
    "Torque[Nm],ToolWear[min],MachineFailure,TWF,HDF,PWF,OSF,RNF"
)


@pytest.fixture
def made_up_machines(tmp_path):
    """Return a folder with a file of 900 records; a machine with high torque has failed."""
    rng = np.random.default_rng(0)
    lines = [HEADER]
    for number in range(900):
        torque, kind = rng.uniform(10, 70), rng.choice(list("LMH"))
        air, speed, wear = rng.uniform(296, 304), rng.integers(1200, 2800), rng.integers(240)
        measured = f"{air:.1f},{air + 10:.1f},{speed},{torque:.1f},{wear}"
        failed = int(torque > 60)
        lines.append(f"{number},{kind}{number},{kind},{measured},{failed},0,0,0,0,0")
    (tmp_path / FILE_NAME).write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def made_up_adults(tmp_path):
    """Return a folder with Adult's two files; who is educated for long earns much."""
    rng = np.random.default_rng(0)
    for name, number, end in ((TRAIN_FILE, 600, ""), (TEST_FILE, 200, ".")):
        lines: list[str] = []
        for _ in range(number):
            years = rng.integers(1, 17)
            fields = {column: str(rng.integers(20, 90)) for column in _COLUMNS}
            for column, categories in _CATEGORIES.items():
                fields[column] = rng.choice(categories.split()[:3])
            fields["education-num"] = str(years)
            fields["pay"] = (">50K" if years > 10 else "<=50K") + end
            lines.append(",".join(fields[column] for column in _COLUMNS))
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def short_rounds(benchmark, monkeypatch):
    """Let a run of each row take seconds."""
    monkeypatch.setattr(benchmark, "PRIVATE_ROUNDS", {"ebm": 2, "gbdt": 3})
    monkeypatch.setattr(benchmark, "EXACT_ROUNDS", {"ebm": 4, "gbdt": 3})


def check_text_against_json(text, figures):
    for row, line in zip(figures["rows"], text.splitlines()[2:], strict=False):
        assert line.startswith(row["system"])
        for values in row["scores"].values():
            assert f"  {np.mean(values):.4f}" in line
    for verdict in figures["required"]:
        assert f"{'PASS' if verdict['holds'] else 'FAIL'}  {verdict['what']}" in text


@pytest.mark.slow
def test_machines_prints_what_it_writes(made_up_machines, tmp_path, monkeypatch, capsys):
    short_rounds(machines, monkeypatch)
    # A torque that is plain to see is seen under noise as well, but nothing is beyond 1.
    monkeypatch.setattr(machines, "REQUIRED", {"ebm": {1.0: 0.5}, "gbdt": {1.0: 1.01}})
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_machines), "--seeds", "1"]
    assert machines.main([*options, "--json", str(json_file)]) == 1
    figures = json.loads(json_file.read_text())
    check_text_against_json(capsys.readouterr().out, figures)
    rows = {row["system"]: row for row in figures["rows"]}
    assert [row["epsilon"] for row in figures["rows"]] == [1.0, 1.0] + [None] * 5
    assert rows["scikit-learn, pooled HistGradientBoosting"]["scores"][AUC][0] > 0.99
    assert rows["Tacet, ebm without privacy"]["scores"][AUC][0] > 0.9
    mean, worst = (rows[f"scikit-learn, a factory alone, {n}"] for n in ("mean", "worst"))
    for measure in (AUC, machines.RECALL):
        assert worst["scores"][measure][0] < mean["scores"][measure][0]
    assert [verdict["holds"] for verdict in figures["required"]] == [True, False]


def test_the_factories_hold_each_record_once_and_are_unlike(made_up_machines, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    with task_option(SCHEMA):
        data = Machines.deal(made_up_machines / FILE_NAME, 0, folder)
        other = Machines.deal(made_up_machines / FILE_NAME, 1, folder)
    rows = [factory.train.columns for factory in data.factories]
    dealt = np.concatenate([row for row in rows if row is not None])
    assert data.train.columns is not None
    assert sorted(map(tuple, dealt)) == sorted(map(tuple, data.train.columns))
    assert len(data.train) + len(data.test) == 900
    assert len(data.factories) == len(data.failures()) == NUM_FACTORIES
    assert data.failures() != other.failures()
    shares = [
        number / len(f.train) for number, f in zip(data.failures(), data.factories, strict=True)
    ]
    assert max(shares) > 3 * min(shares)


def test_the_schema_is_found_within_and_gone_after():
    before = loading.CONF_DIR
    with task_option(SCHEMA):
        task = load_config({"task": "machines"}).task
        assert "AirTemperature[K]" in task.numeric
        assert {"TWF", "HDF", "PWF", "OSF", "RNF"} < set(task.drop)
    assert before == loading.CONF_DIR
    with pytest.raises(ValueError, match="no such option"):
        load_config({"task": "machines"})


def recall(targets, scores):
    none = Examples(np.zeros((0, 1), np.float32), np.zeros(0))
    test = Examples(np.zeros((len(targets), 1), np.float32), np.array(targets))
    table = Table((), (), None)  # pyright: ignore[reportArgumentType]
    data = Machines(table, none, test, 0, ROOT, ())
    return data.recall(np.array(scores))


def test_recall_counts_failures_among_the_highest_scores():
    targets = [0] * 40
    targets[3] = targets[7] = targets[9] = 1
    rising = np.arange(40.0)
    # Two alarms of 40 records.
    assert recall(targets, rising) == 0
    assert recall(targets, -np.abs(rising - 3)) == pytest.approx(1 / 3)
    assert recall(targets, np.isin(rising, [3, 7]) * 1.0) == pytest.approx(2 / 3)
    # One place left for two records of one score, one of them a failure.
    scores = np.zeros(40)
    scores[3], scores[[7, 8]] = 2, 1
    assert recall(targets, scores) == pytest.approx(1.5 / 3)
    # Who says nothing of anyone has a share of alarms as of all.
    assert recall(targets, np.zeros(40)) == pytest.approx(0.05)


@pytest.mark.slow
def test_adult_prints_what_it_writes(made_up_adults, tmp_path, monkeypatch, capsys):
    short_rounds(adult, monkeypatch)
    monkeypatch.setattr(adult, "LEVELS", {"tree": 2})
    monkeypatch.setattr(adult, "REQUIRED_EXACT", {"tree": 1.01})
    monkeypatch.setattr(adult, "has_interpret", lambda: False)
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_adults), "--seeds", "2", "--epsilons", "4"]
    options += ["--algorithms", "ebm", "tree", "--json", str(json_file)]
    assert adult.main(options) == 1
    figures = json.loads(json_file.read_text())
    text = capsys.readouterr().out
    check_text_against_json(text, figures)
    assert "without the rows of interpret: pip install" in text
    assert [len(row["scores"][AUC]) for row in figures["rows"]] == [2, 1, 1, 1, 1]
    for row in figures["rows"][-2:]:
        assert row["system"].startswith("scikit-learn")
        assert row["scores"][AUC][0] > 0.99
    # What ebm has to reach at epsilon 4, and the tree.
    assert [verdict["what"].split()[0] for verdict in figures["required"]] == ["ebm,", "tree:"]
    assert not figures["required"][1]["holds"]


def test_adult_dealt_to_clients_prints_what_it_writes(
    made_up_adults, tmp_path, monkeypatch, capsys
):
    """600 records over 150 clients at a high epsilon: enough to learn from."""
    monkeypatch.setattr(adult_clients, "PRIVATE_ROUNDS", {"ebm": 2, "gbdt": 3})
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_adults), "--seeds", "1", "--epsilons", "20"]
    options += ["--clients", "150", "--json", str(json_file)]
    assert adult_clients.main([*options, "--by-label"]) == 0
    figures = json.loads(json_file.read_text())
    check_text_against_json(capsys.readouterr().out, figures)
    assert [row["scores"][AUC][0] > 0.9 for row in figures["rows"]] == [True, True]
    # Nothing is required of other numbers of clients.
    assert not figures["required"]


def test_a_requirement_is_on_the_mean_of_a_row_that_was_measured():
    row = Row(ours("ebm", is_private=True), 1.0, 6, {AUC: [0.88, 0.90]})

    def found(least):
        return [v.holds for v in private_verdicts([row], {"ebm": {1.0: least, 4.0: 0.9}})]

    assert found(0.889) == [True]
    assert found(0.891) == [False]
    assert table_rows.mean_of([row], row.system, None) is None


def test_the_exit_status_says_whether_all_hold(capsys):
    row = Row("x", None, None, {AUC: [0.5]})
    yes, no = table_rows.Verdict(True, "a"), table_rows.Verdict(False, "b")
    assert table_rows.publish("x", [row], [yes], None, ["a note"]) == 0
    assert "\na note\n" in capsys.readouterr().out
    assert table_rows.publish("x", [row], [yes, no], None) == 1


@pytest.mark.parametrize("benchmark", [adult, machines])
def test_missing_tables_are_one_clear_line(benchmark, tmp_path, capsys):
    assert benchmark.main(["--data-dir", str(tmp_path), "--seeds", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path) in error


@pytest.mark.parametrize("column", ["Torque[Nm]", "MachineFailure"])
def test_machines_refuses_a_file_without_a_column(column, made_up_machines, capsys):
    file = made_up_machines / FILE_NAME
    file.write_text(file.read_text().replace(column, "other"))
    assert machines.main(["--data-dir", str(made_up_machines), "--seeds", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert column in error


@pytest.mark.parametrize("benchmark", [adult, machines])
def test_help_says_what_was_chosen_where(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--help"])
    text = capsys.readouterr().out
    for part in ("exit status", "training", "--json FILE"):
        assert part in text


def test_auc_is_of_what_was_held_out():
    held_out = Examples(np.zeros((4, 1), np.float32), np.array([0, 1, 0, 1]))
    table = Table((), (), None)  # pyright: ignore[reportArgumentType]
    data = Records(table, held_out.take(np.zeros(0, np.intp)), held_out)
    assert data.auc(np.array([0.0, 1.0, 2.0, 3.0])) == 0.75
