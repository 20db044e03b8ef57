"""The report of real runs says what their folders say, in figures and tables that are told."""

import hashlib
import json
from pathlib import Path

import pytest

from app.results.html.page import write_page
from app.results.html.shown import number
from app.simulation.in_process import simulate
from tests.kits import survival
from tests.kits.killed_runs import plain_run, resumed, run_until
from tests.kits.pages import page_in

BASE = ["rounds", "privacy", "costs", "configuration"]
PRIVATE = (
    "privacy=example_distributed aggregation.min_survivors=3 aggregation.max_colluding=0"
    " privacy.epsilon=8 privacy.delta=1e-3 privacy.population=3 privacy.sampling_rate=1"
    " privacy.expected_batch_size=1400"
)


def run(folder, num_nodes=3, **keys):
    given = {name.replace("_", "-"): value for name, value in keys.items()}
    simulate(given | {"output-dir": str(folder)}, num_nodes, draws_page=True)
    return page_in(folder), json.loads((folder / "summary.json").read_text())


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


@pytest.mark.slow
def test_a_private_run_says_what_is_spent_and_what_is_not_protected(tmp_path):
    page, summary = run(tmp_path / "run", task="digits", num_rounds=3, overrides=PRIVATE)
    assert page.sections == BASE
    value, more = page.tiles["Epsilon spent"]
    assert value == number(summary["privacy"]["epsilon"])
    assert more == "of 8, at delta 0.001, for each record"
    spent = page.figure("Privacy spent")
    assert {"spent", "cap", "epsilon", "round"} <= {*spent.texts}
    plan = read(tmp_path / "run", "plan.json")
    told = page.table("who", "epsilon")
    assert told.rows == plan["adversaries"]
    assert len(told.rows) == 4
    for words in (*plan["not_promised"], *(w for n, w in plan["rows"] if n == "bad server")):
        assert words in page.text
    assert not [one for one in page.figures if one.title == "Accuracy"]


def test_a_neural_model_has_curves_scores_and_hashes(tmp_path):
    folder = tmp_path / "run"
    page, summary = run(folder, task="breast_cancer", num_rounds=3)
    assert page.sections == ["scores", *BASE]
    assert page.table("node", "rounds asked").rows == [
        [f"node {number}", "3", "3", "1-3"] for number in (1, 2, 3)
    ]
    for name, title in (("auc", "AUC"), ("accuracy", "Accuracy"), ("loss", "Loss")):
        value = number(summary["metrics"][name])
        assert page.tiles[title] == (value, "model of round 3")
        assert f"{value} at round 3" in page.figure(title).alt
    area = number(read(folder, "evaluation.json")["area under the ROC curve"])
    assert f"area {area}" in page.figure("ROC curve").alt
    for title in ("Precision and recall", "Calibration", "Time by stage", "Participation"):
        assert page.figure(title).alt
    assert page.tiles["Privacy"][0] == "none"
    rows = page.table("round", "training loss").rows
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for file in ("config.yaml", "model.safetensors"):
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() in page.text
    assert (folder / "config.yaml").read_text().strip() in page.text


@pytest.mark.slow
def test_a_boosted_model_has_the_curve_of_each_column(tmp_path):
    folder = tmp_path / "run"
    page, _ = run(folder, task="breast_cancer", algorithm="ebm", num_rounds=4)
    assert page.sections == ["scores", "result", *BASE]
    report = read(folder, "report.json")
    columns = [row["column"] for row in report["rows"]]
    assert len(columns) == 30
    titles = [figure.title for figure in page.figures]
    # In the order of importance.
    assert [title for title in titles if title in columns] == columns
    most = report["rows"][0]
    figure = page.figure("Importance of the columns")
    assert f"{most['column']}, {number(most['mean absolute score'])}" in figure.alt
    rows = page.table("column", "mean absolute score").rows
    assert rows == [[r["column"], number(r["mean absolute score"])] for r in report["rows"]]


def test_a_regression_has_a_forest_of_its_coefficients(tmp_path):
    folder = tmp_path / "run"
    columns = "algorithm.columns=['mean texture','worst texture']"
    keys = {"task": "breast_cancer", "algorithm": "glm", "num_rounds": 10}
    page, _ = run(folder, **keys, overrides=columns)
    report = read(folder, "report.json")
    rows = page.table("estimate", "p", "odds ratio").rows
    assert [row[1] for row in rows] == [number(row["estimate"]) for row in report["rows"]]
    figure = page.figure("Odds ratios")
    for row in report["rows"][1:]:
        ends = [row[name] for name in ("odds ratio", "odds ratio from", "odds ratio to")]
        assert "{} {} ({} to {})".format(row[""], *map(number, ends)) in figure.alt
    assert "Intercept" not in figure.alt


@pytest.mark.slow
def test_statistics_are_tables_with_a_histogram_of_each_number(tmp_path):
    folder = tmp_path / "run"
    page, _ = run(folder, task="breast_cancer", algorithm="statistics")
    report = read(folder, "report.json")
    rows = page.table("column", "mean", "sd").rows
    assert [row[2] for row in rows] == [number(row["mean"]) for row in report["rows"]]
    assert {row["column"] for row in report["rows"]} <= {one.title for one in page.figures}
    assert page.table("column", "category", "count").rows
    for note in report["notes"]:
        assert note[1:] in page.text


@pytest.mark.parametrize("algorithm", ["kaplan_meier", "cox"])
def test_times_to_an_event_have_their_curves_and_ratios(tmp_path, own_conf, algorithm):
    (own_conf / "task" / "months.yaml").write_text(survival.YAML)
    nodes = survival.files(tmp_path, survival.dealt(survival.made_up(300), 3))
    by = {"overrides": "algorithm.by=sex"} if algorithm == "kaplan_meier" else {}
    keys = {"task": "months", "simulation_nodes": str(nodes), "num_rounds": 10}
    if algorithm == "kaplan_meier":
        keys["num_rounds"] = 1
    page, _ = run(tmp_path / "run", algorithm=algorithm, **keys, **by)
    rows = read(tmp_path / "run", "report.json")["rows"]
    if algorithm == "cox":
        assert all(row[""] in page.figure("Hazard ratios").alt for row in rows)
        return
    figure = page.figure("Kaplan-Meier curves")
    assert {"sex=f", "sex=m", "time: months", "share without the event"} <= {*figure.texts}
    last = [row for row in rows if row["group"] == "sex=m"][-1]
    assert f"sex=m: {number(last['survival'])} at {number(last['time'])}" in figure.alt


def test_a_killed_run_has_its_rounds_and_a_resumed_one_all(tmp_path):
    run_config = plain_run(tmp_path) | {"num-rounds": 20}
    folder = Path(run_config["output-dir"])
    run_until(run_config, 7)
    write_page(folder)
    page = page_in(folder)
    assert "7 of 20 rounds" in page.text
    assert len(page.table("round", "seconds").rows) == 7
    assert "KilledError" in page.text
    simulate(resumed(run_config), 3, draws_page=True)
    page = page_in(folder)
    assert "20 of 20 rounds" in page.text
    assert len(page.table("round", "seconds").rows) == 20
    assert "KilledError" not in page.text


def test_the_bytes_and_the_stages_of_a_round_are_those_that_were_sent(tmp_path):
    from tests.kits.traced import Traced, reports_of

    run_config = {"task": "breast_cancer", "num-rounds": 2, "output-dir": str(tmp_path / "run")}
    traced = Traced(run_config, 3)
    lines = reports_of(traced.folder)
    assert {*lines[0]["stage_seconds"]} >= {"train", "train.unmask", "train.advert"}
    for line in lines:
        waited = sum(line["stage_seconds"].values())
        assert 0 < waited <= line["seconds"]
    # The model alone goes to each of the three nodes, and an update comes back.
    model = sum(array.numpy().nbytes for array in traced.outcome.arrays.values())
    for line in lines:
        assert line["bytes_down"] > 3 * model
        assert line["bytes_up"] > 3 * model
        assert line["bytes_down"] < 3 * model + 100_000
