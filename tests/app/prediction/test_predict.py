"""``tacet predict``: what it writes is what the model says of each row, and what it refuses."""

import csv

import numpy as np
import pytest
import torch
from scipy.special import softmax

from app.cli.main import main
from app.prediction.saved_model import SavedModel
from app.results.model_file import load_model
from app.simulation.in_process import simulate
from tests.kits import clinic

NEW = clinic.rows(30, seed=9)
#: Of each label: the model of the task, the algorithm, and the rounds that it takes.
KINDS = [
    ("ill", "fedavg", {"model": "logistic"}),
    ("ill", "fedavg", {"model": "mlp", "hidden": 4}),
    ("ill", "ebm", {}),
    ("ill", "glm", {}),
    ("kind", "fedavg", {"model": "logistic"}),
    ("kind", "forest", {}),
    ("days", "fedavg", {"model": "linear"}),
    ("days", "gbdt", {"model": "linear"}),
    ("days", "glm", {"model": "linear"}),
]
ROUNDS = {"glm": 8, "cox": 8, "gbdt": 6, "forest": 6, "ebm": 4}


def run_of(label, algorithm, **more):
    return clinic.run(label, algorithm, ROUNDS.get(algorithm, 2), **more)


def predict(capsys, model, source, output) -> tuple[int, list[str], str]:
    status = main(["predict", str(model), "--input", str(source), "--output", str(output)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def read(file) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def said_by(folder) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return what the model says of ``NEW``, worked out by hand, and the classes."""
    task, model = load_model(folder / "model.safetensors")
    age, dose = (np.array([float(row[place]) for row in NEW]) for place in (1, 2))
    ward = np.array([["a", "b", "other"].index(row[3]) for row in NEW], float)
    if not isinstance(model, torch.nn.Module):
        return model.predict(np.stack([age, dose, ward], axis=1)), task.table.classes
    one_hot = [(ward == place).astype(float) for place in range(3)]
    inputs = np.stack([(age - 20) / 70 * 2 - 1, dose / 4 * 2 - 1, *one_hot], axis=1)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(inputs.astype(np.float32))).double().numpy()
    if not task.table.classes:
        return (outputs[:, 0] + 1) * 30, ()
    if outputs.shape[1] == 1:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
    return softmax(outputs, axis=1), task.table.classes


@pytest.mark.slow
@pytest.mark.parametrize(("label", "algorithm", "more"), KINDS)
def test_every_row_has_what_the_model_says(tmp_path, capsys, label, algorithm, more):
    folder = run_of(label, algorithm, **more)
    source = clinic.write(tmp_path / "new.csv", NEW)
    status, lines, error = predict(capsys, folder, source, tmp_path / "out.csv")
    assert (status, error) == (0, "")
    assert lines[0] == f"{source}: 30 rows, 30 used, 0 left out"
    found = read(tmp_path / "out.csv")
    # All that was given, in its order, then what is added.
    names = clinic.HEADER.split(",")
    assert [[row[name] for name in names] for row in found] == NEW
    due, classes = said_by(folder)
    added = [*found[0]][len(names) :]
    assert added == ["prediction", *(f"probability_{name}" for name in classes)]
    if classes:
        said = np.array([[float(row[name]) for name in added[1:]] for row in found])
        np.testing.assert_allclose(said, due, rtol=1e-6, atol=1e-9)
        named = np.array(classes)[due.argmax(axis=1)]
        assert [row["prediction"] for row in found] == named.tolist()
        right = np.mean(named == [row[label] for row in found])
        assert f"accuracy {right:.4f}, auc " in lines[-1]
        assert right > 0.4 or algorithm == "fedavg"
    else:
        said = np.array([float(row["prediction"]) for row in found])
        np.testing.assert_allclose(said, due, rtol=1e-6)
        errors = due - np.array([float(row["days"]) for row in found])
        assert f"RMSE {np.sqrt(np.mean(errors**2)):.4f}" in lines[-1]
        assert f"mean absolute error {np.abs(errors).mean():.4f}" in lines[-1]
    assert lines[-1].startswith("scored by the label of 30 rows: ")
    assert lines[-2] == f"{tmp_path / 'out.csv'}: 30 rows, 30 with a prediction"


def test_a_cox_regression_says_the_hazard_ratio(tmp_path, capsys):
    folder = run_of("died", "cox")
    source = clinic.write(tmp_path / "new.csv", NEW)
    status, lines, _ = predict(capsys, folder, source, tmp_path / "out.csv")
    assert status == 0
    # Hazards are not scored.
    assert lines[-1].endswith("30 rows, 30 with a prediction")
    found = read(tmp_path / "out.csv")
    report = (folder / "report.csv").read_text().splitlines()[1:]
    by_name = {line.split(",")[0]: float(line.split(",")[1]) for line in report}
    for row in found:
        # Held against the middle of the bounds and the first category.
        due = (float(row["age"]) - 55) * by_name["age"]
        due += (float(row["dose"]) - 2) * by_name["dose"]
        due += by_name.get(f"ward={row['ward']}", 0.0)
        assert float(row["linear_predictor"]) == pytest.approx(due, rel=1e-9)
        assert float(row["hazard_ratio"]) == pytest.approx(np.exp(due), rel=1e-9)


def test_a_support_vector_machine_says_margins_and_no_probabilities(tmp_path, capsys):
    folder = run_of("ill", "fedavg", model="svm")
    source = clinic.write(tmp_path / "new.csv", NEW)
    assert predict(capsys, folder, source, tmp_path / "out.csv")[0] == 0
    found = read(tmp_path / "out.csv")
    assert [*found[0]][-2:] == ["prediction", "margin_yes"]
    for row in found:
        assert row["prediction"] == ("yes" if float(row["margin_yes"]) > 0 else "no")


@pytest.mark.parametrize(("algorithm", "is_kept"), [("fedavg", False), ("ebm", True)])
def test_what_is_missing_unknown_or_out_of_bounds(tmp_path, capsys, algorithm, is_kept):
    folder = run_of("ill", algorithm, **({"model": "logistic"} if not is_kept else {}))
    lines = ["ward,note,age,ill", "a,x,NA,no", "b,,500,", "zz,y,30,yes"]
    text = "\n".join(line.replace(",", ",", 1) for line in lines)
    # Columns in any order, others between them; the dose is missing and filled.
    text = text.replace("note", "note,dose").replace(",x,", ",x,,").replace(",,500", ",,1,500")
    source = tmp_path / "new.csv"
    source.write_text(text.replace(",y,", ",y,NA,") + "\n")
    status, told, error = predict(capsys, folder, source, tmp_path / "out.csv")
    assert (status, error) == (0, ""), told
    used = 3 if is_kept else 2
    assert told[0] == f"{source}: 3 rows, {used} used, {3 - used} left out"
    assert "  missing, so the row was left out: age 1" in told
    assert "  missing, filled in: dose 2" in told
    assert "  outside the bounds, clipped: age 1" in told
    assert "  not a listed category: ward 1" in told
    assert "  without a label, so not scored: 1" in told
    gap = "  rows without a prediction: 1, as a value is missing; in line 2"
    assert (gap in told) is not is_kept
    found = read(tmp_path / "out.csv")
    assert [row["note"] for row in found] == ["x", "", "y"]
    assert [row["prediction"] != "" for row in found] == [is_kept, True, True]
    assert (found[0]["probability_yes"] == "") is not is_kept
    # What is clipped counts as at the bound, and the unknown category as the one for it.
    at = tmp_path / "at.csv"
    at.write_text("ward,dose,age\nb,1,90\nother,2,30\n")
    assert predict(capsys, folder, at, tmp_path / "at_out.csv")[0] == 0
    same = [row["probability_yes"] for row in read(tmp_path / "at_out.csv")]
    assert same == [row["probability_yes"] for row in found[1:]]


def test_what_the_model_does_not_use_is_passed_through_as_it_was(tmp_path, capsys):
    source, note = tmp_path / "new.csv", 'two "words",\n\u00fc; in two lines'
    with source.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(
            [["note", "", "age", "dose", "ward"], [note, " x ", "30", "1", "a"]]
        )
    status, told, _ = predict(capsys, run_of("ill", "ebm"), source, tmp_path / "out.csv")
    assert (status, told[0]) == (0, f"{source}: 1 rows, 1 used, 0 left out")
    (found,) = read(tmp_path / "out.csv")
    assert (found["note"], found[""], found["age"]) == (note, " x ", "30")


def test_a_regression_says_nothing_of_a_row_that_misses_a_value(tmp_path, capsys):
    source = tmp_path / "new.csv"
    source.write_text("age,dose,ward\n,1,a\n30,1,b\n")
    status, told, _ = predict(capsys, run_of("ill", "glm"), source, tmp_path / "out.csv")
    assert status == 0
    assert "  rows without a prediction: 1, as a value is missing; in line 2" in told
    assert [row["prediction"] != "" for row in read(tmp_path / "out.csv")] == [False, True]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("age,dose,ward\nold,1,a\n", "misfit: column age: 1 row, first in line 2: 'old' is no"),
        ("age,dose,ward,ill\n30,1,a,maybe\n", "column ill: 1 row, first in line 2: 'maybe' is"),
        (
            "age,dose,ward\n30,1\n",
            "whole row: 1 row, first in line 2: 2 fields, but the",
        ),
        ("age,ward\n30,a\n", "misfit: line 1, column dose: it is missing; the header has"),
        ("30,1,a\n", "none of the configuration's columns is there"),
        ("age;dose;ward\n30;1;a\n", "it looks like task.delimiter=';'"),
        ("age,dose,ward\n", "nothing is written: there are no rows"),
    ],
)
def test_rows_that_do_not_fit_are_all_told_and_nothing_is_written(tmp_path, capsys, text, why):
    source = tmp_path / "new.csv"
    source.write_text(text)
    status, told, error = predict(capsys, run_of("ill", "ebm"), source, tmp_path / "out.csv")
    assert (status, error) == (1, "")
    assert any(why in line for line in told), told
    assert told[-1].startswith("nothing is written: ")
    assert [*tmp_path.iterdir()] == [source]


def refused(capsys, model, source, output) -> str:
    status, lines, error = predict(capsys, model, source, output)
    assert (status, lines) == (2, [])
    assert error.startswith("tacet: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.slow
def test_refusals(tmp_path, capsys):
    source = clinic.write(tmp_path / "new.csv", NEW)
    folder, out = run_of("ill", "ebm"), tmp_path / "out.csv"
    assert "new.csv: is there already" in refused(capsys, folder, source, source)
    assert "no such folder" in refused(capsys, folder, source, tmp_path / "x" / "out.csv")
    assert "none.csv: No such file" in refused(capsys, folder, tmp_path / "none.csv", out)
    assert "give the model.safetensors" in refused(capsys, tmp_path, source, out)
    taken = tmp_path / "taken.csv"
    taken.write_text("age,dose,ward,probability_no\n30,1,a,0.5\n")
    assert "the rows have a column 'probability_no'" in refused(capsys, folder, taken, out)
    (tmp_path / "empty.csv").write_text("")
    assert "the file is empty" in refused(capsys, folder, tmp_path / "empty.csv", out)
    for algorithm, label in (("statistics", "ill"), ("kaplan_meier", "died")):
        told = refused(capsys, clinic.run(label, algorithm, 1), source, out)
        assert f"algorithm={algorithm} has tables as its result" in told
        assert "take algorithm=glm" in told
    assert not out.exists()


def test_images_are_no_rows(tmp_path, capsys):
    simulate({"task": "digits", "num-rounds": 1, "output-dir": str(tmp_path / "run")}, 3)
    source = clinic.write(tmp_path / "new.csv", NEW)
    told = refused(capsys, tmp_path / "run", source, tmp_path / "out.csv")
    assert "no rows of a table" in told
    assert "inputs of shape (n, 1, 8, 8)" in told
    assert SavedModel.load(tmp_path / "run").module(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_values_in_memory_are_as_those_of_a_file(tmp_path):
    model = SavedModel.load(run_of("ill", "ebm"))
    file = model.predict(clinic.write(tmp_path / "new.csv", NEW))
    columns = {
        "ward": [row[3] for row in NEW],
        "age": np.array([float(row[1]) for row in NEW]),
        "dose": [float(row[2]) for row in NEW],
    }
    found = model.predict(columns)
    assert found.prediction.tolist() == file.prediction.tolist()
    np.testing.assert_array_equal(found.probabilities, file.probabilities)
    assert (found.figures, file.num_scored) == ({}, 30)
    # None and NaN are missing.
    few = model.predict({"age": [None, np.nan], "dose": [1, 1], "ward": ["a", "a"]})
    assert few.probabilities[0].tolist() == few.probabilities[1].tolist()
