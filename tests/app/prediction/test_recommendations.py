"""``tacet predict`` and ``tacet export`` of a recommender: lists made where the ratings are."""

import csv
import json

import numpy as np
import pytest

from app.cli.main import main
from app.prediction.predictions import PredictionError
from app.prediction.saved_model import SavedModel
from app.simulation.in_process import simulate
from tests.kits import raters as kit
from workloads.als.users import Items, Triples, foreseen, solve_users


@pytest.fixture
def folder(tmp_path, own_conf):
    """Return the folder of a run over three nodes."""
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    given = {
        "task": "films",
        "algorithm": "als",
        "num-rounds": 3,
        "output-dir": str(tmp_path / "run"),
        "simulation-nodes": str(kit.files(tmp_path, kit.ratings(60), [10, 20, 30])),
        "overrides": "rounds.deadline_seconds=60 algorithm.rank=2",
    }
    simulate(given, 3)
    return tmp_path / "run"


def read(file) -> list[list[str]]:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))


def test_each_user_has_the_items_that_are_foreseen_best_and_not_rated(folder, tmp_path, capsys):
    found = kit.ratings(4, seed=8)
    source, output = kit.write(tmp_path / "mine.csv", found), tmp_path / "list.csv"
    options = ["--input", str(source), "--output", str(output), "--top", "5"]
    assert main(["predict", str(folder), *options]) == 0
    said = capsys.readouterr().out
    assert f"{source}: {np.count_nonzero(~np.isnan(found))} ratings," in said
    header, *rows = read(output)
    assert header == ["user", "item", "prediction"]
    model = SavedModel.load(folder).model
    due = model.predict(kit.examples(found).inputs)
    for user in range(4):
        own = [
            (int(item) - 1, float(value)) for name, item, value in rows if name == f"u{user}"
        ]
        free = np.where(np.isnan(found[user]), due[user], -np.inf)
        best = np.argsort(-free, kind="stable")[:5]
        assert [item for item, _ in own] == best.tolist()
        np.testing.assert_array_equal([value for _, value in own], due[user, best])
    # As columns in Python, ten of each.
    names = ("user", "item", "rating")
    table = dict(zip(names, zip(*read(source)[1:], strict=True), strict=True))
    again = SavedModel.load(folder).predict(table)
    assert len(again.prediction) == 40
    assert again.columns["item"][:5].tolist() == [row[1] for row in rows[:5]]


def test_the_json_says_all_that_it_takes_to_recommend(folder, tmp_path):
    output = tmp_path / "items.json"
    assert main(["export", str(folder), "--format", "json", "--output", str(output)]) == 0
    told = json.loads(output.read_text())
    assert [one["item"] for one in told["items"]][:2] == ["1", "2"]
    bias, factors = (
        np.array([one[key] for one in told["items"]]) for key in ("bias", "factors")
    )
    items, records = Items(told["mean"], bias, factors), kit.examples(kit.ratings(5)).inputs
    own = solve_users(items, Triples.of(records), told["bias_ridge"], told["factor_ridge"])
    everything = Triples.of(np.zeros_like(records))
    half, middle = (told["max"] - told["min"]) / 2, (told["max"] + told["min"]) / 2
    found = middle + half * foreseen(items, own, everything).reshape(records.shape)
    np.testing.assert_array_equal(found, SavedModel.load(folder).model.predict(records))


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("user,item,rating\nu,99,3\n", [], "line 2: column item: '99' is none of"),
        ("user,film,rating\nu,9,3\n", [], "column item is missing"),
        ("user,item,rating\n", [], "no rating is there"),
        ("user,item,rating\nu,9,3\n", ["--top", "0"], "--top 0: must be at least 1"),
    ],
)
def test_ratings_that_do_not_fit_are_told_and_nothing_is_written(
    folder, tmp_path, capsys, text, more, says
):
    (tmp_path / "bad.csv").write_text(text)
    output = tmp_path / "list.csv"
    options = ["--input", str(tmp_path / "bad.csv"), "--output", str(output), *more]
    assert main(["predict", str(folder), *options]) != 0
    assert says in capsys.readouterr().err
    assert not output.exists()


def test_an_export_that_is_no_model_of_a_recommender_is_refused(folder, tmp_path, capsys):
    output = tmp_path / "model.onnx"
    assert main(["export", str(folder), "--format", "onnx", "--output", str(output)]) != 0
    assert "take json" in capsys.readouterr().err
    with pytest.raises(PredictionError, match="is no torch module"):
        _ = SavedModel.load(folder).module


def test_an_autoencoder_recommends_as_well(tmp_path, own_conf):
    """Of the family of fedavg, over the same files."""
    (own_conf / "task" / "films.yaml").write_text(kit.YAML)
    given = {
        "task": "films",
        "num-rounds": 1,
        "output-dir": str(tmp_path / "run"),
        "simulation-nodes": str(kit.files(tmp_path, kit.ratings(60), [10, 20, 30])),
        "overrides": "rounds.deadline_seconds=60 task.training.num_epochs=1",
    }
    simulate(given, 3)
    found = SavedModel.load(tmp_path / "run").predict(tmp_path / "0.csv")
    assert len(found.prediction) == 100
    assert ((found.prediction >= 1) & (found.prediction <= 5)).all()
