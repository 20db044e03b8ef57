"""``python -m benchmarks.generated`` on one round: rows, figures, pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest

from app.config.load import load_config
from benchmarks import generated
from tasks.records import Examples
from tests.kits.pages import page_in


@pytest.fixture
def one_round(monkeypatch):
    quick = {"rounds": 1, "private_rounds": 1, "algorithm": {"made_up_batch": 20}}
    settings = {name: replace(one, **quick) for name, one in generated.SETTINGS.items()}
    monkeypatch.setattr(generated, "SETTINGS", settings)


def test_it_prints_what_it_writes(one_round, tmp_path, capsys):
    json_file, kept = tmp_path / "figures.json", tmp_path / "runs"
    options = ["--tasks", "digits", "--rows", "records", "exact", "--output-dir", str(kept)]
    assert generated.main([*options, "--json", str(json_file)]) == 0
    said = capsys.readouterr().out
    rows = json.loads(json_file.read_text())["rows"]
    named = [row["trained_on"] for row in rows]
    assert named[1:] == ["all records", "2000 pictures"]
    # There are not as many as pictures are made.
    assert 1350 < int(named[0].removesuffix(" records")) < 1530
    for row in rows:
        assert f"{row['accuracies'][0]:.3f}" in said
    assert rows[0]["accuracies"][0] > 0.9 > rows[2]["accuracies"][0]
    assert page_in(kept / "digits-none-0").figure("A row for each class")


def test_without_mnists_files_it_says_so(one_round, capsys):
    assert generated.main(["--tasks", "mnist", "--rows", "exact"]) == 2
    assert "data-path" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["digits"])
def test_a_private_row_asks_for_its_epsilon(name):
    config = load_config(generated.run_config(name, generated.EPSILON, 0, None))
    private, settings = config.privacy.private, generated.SETTINGS[name]
    assert (private.epsilon, private.delta) == (generated.EPSILON, generated.DELTA)
    # 1,797 records, of which a fifth is held out.
    expected = private.expected_batch_size / settings.private_rate
    assert 1350 < expected < 1530
    assert config.num_rounds == settings.private_rounds


def test_a_classifier_is_scored_on_what_it_has_not_seen():
    rng = np.random.default_rng(0)
    targets = np.arange(100) % 2
    inputs = (rng.normal(size=(100, 1, 2, 2)) + 3 * targets[:, None, None, None]).astype("f4")
    train, test = Examples(inputs[:50], targets[:50]), Examples(inputs[50:], 1 - targets[50:])
    assert generated.accuracy(train, test) < 0.1
