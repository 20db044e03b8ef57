"""The benchmark of the recommender prints what it writes, over a few made-up users."""

import json

import numpy as np
import pytest

from benchmarks import ratings, ratings_runs
from tests.kits import raters as kit


@pytest.fixture
def made_up_ratings(tmp_path, monkeypatch):
    """Return a folder with ratings of 40 items by 66 users; rounds take less than seconds."""
    found = kit.ratings(220, share=0.6)
    rows = [
        f"{user + 5},{3 * item},{found[user, item]:g},0"
        for user, item in zip(*np.nonzero(~np.isnan(found)), strict=True)
    ]
    text = "\n".join(["userId,movieId,rating,timestamp", *rows])
    (tmp_path / ratings_runs.FILE_NAME).write_text(text + "\n")
    schema = tmp_path / "films.yaml"
    schema.write_text(ratings_runs.SCHEMA.read_text().replace("9066", str(kit.NUM_ITEMS)))
    monkeypatch.setattr(ratings, "SCHEMA", schema)
    for module in (ratings, ratings_runs):
        monkeypatch.setattr(module, "EXACT_ROUNDS", 2)
    monkeypatch.setattr(ratings_runs, "NUM_NODES", 4)
    return tmp_path


@pytest.mark.slow
def test_ratings_prints_what_it_writes(made_up_ratings, tmp_path, monkeypatch, capsys):
    # Biases that are plain to see are learnt in two rounds, but nothing is without an error.
    monkeypatch.setattr(ratings, "MOST_EXACT", 1.1)
    monkeypatch.setattr(ratings, "MOST_PRIVATE", 0.01)
    file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_ratings), "--folds", "2", "--json", str(file)]
    assert ratings.main(options) == 1
    said, told = capsys.readouterr().out, json.loads(file.read_text())
    assert [verdict["holds"] for verdict in told["required"]] == [True, False]
    assert "PASS  Tacet, als without privacy" in said
    assert "FAIL  Tacet, als: RMSE" in said
    scores = {row["system"]: row["scores"][ratings.RMSE] for row in told["rows"]}
    assert all(len(values) == 2 for values in scores.values())
    means = {name: np.mean(values) for name, values in scores.items()}
    assert means["Tacet, als without privacy"] < means["user means"]
    for name, mean in means.items():
        assert any(
            line.startswith(name) and f"{mean:.4f}" in line for line in said.splitlines()
        )


def test_pooled_figures_are_by_the_book(made_up_ratings):
    fold, *_ = ratings_runs.folds_of(made_up_ratings / ratings_runs.FILE_NAME, 1)
    kept = ~fold.is_held_out
    errors = [
        fold.ratings[kept & (fold.users == user)].mean() - rating
        for user, rating in zip(
            fold.users[fold.is_held_out], fold.ratings[fold.is_held_out], strict=True
        )
    ]
    assert fold.user_means() == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert fold.pooled_ridge() < fold.user_means()
    assert fold.is_held_out.mean() == pytest.approx(0.2, abs=0.01)


def test_a_file_that_is_another_is_refused(tmp_path, capsys):
    assert ratings.main(["--data-dir", str(tmp_path)]) == 2
    (tmp_path / ratings_runs.FILE_NAME).write_text("user,item,rating\n1,2,3\n")
    assert ratings.main(["--data-dir", str(tmp_path)]) == 2
    assert "the header must have userId, movieId, rating" in capsys.readouterr().err
