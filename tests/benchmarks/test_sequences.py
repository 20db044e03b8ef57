"""``benchmarks.shakespeare`` and ``benchmarks.engines`` over made-up plays and engines."""

import json

import numpy as np
import pytest

from benchmarks import engines, shakespeare, shakespeare_adapters, shakespeare_runs
from tests.benchmarks.test_tables import check_text_against_json

SPEAKERS = "ABCDEFGHIJKL"


@pytest.fixture
def plays(tmp_path):
    rng = np.random.default_rng(0)
    words = ["good", "my lord", "the king", "no more", "and so", "to die"]
    speeches = [
        f"{SPEAKERS[place % len(SPEAKERS)]}:\n{' '.join(rng.choice(words, 60))}."
        for place in range(300)
    ]
    folder = tmp_path / "plays"
    folder.mkdir()
    (folder / "input.txt").write_text("\n\n".join(speeches))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_row_of_shakespeare_runs(plays, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shakespeare_runs, "_POOLED_EPOCHS", 1)
    monkeypatch.setattr(shakespeare_runs, "_FEDERATED_ROUNDS", 2)
    monkeypatch.setattr(shakespeare_runs, "_PRIVATE_ROUNDS", 2)
    monkeypatch.setattr(shakespeare_adapters, "_BASE_STAGES", ((1, 0.003), (1, 0.001)))
    monkeypatch.setattr(shakespeare_adapters, "_NUM_ROUNDS", 2)
    json_file = tmp_path / "figures.json"
    assert shakespeare.main(["--data-dir", str(plays), "--json", str(json_file)]) == 1
    figures = json.loads(json_file.read_text())
    check_text_against_json(capsys.readouterr().out, figures)
    found = {row["system"]: row for row in figures["rows"]}
    assert {shakespeare.BIGRAMS, shakespeare.POOLED, shakespeare.FEDERATED} <= found.keys()
    assert found[shakespeare.PRIVATE]["epsilon"] == shakespeare_runs.PRIVATE_EPSILON
    sent = {name: row["scores"][shakespeare.BYTES][0] for name, row in found.items()}
    assert 0 < sent[shakespeare.ADAPTERS] < sent[shakespeare.WHOLE] / 4


@pytest.fixture
def fleet(tmp_path):
    """Return a folder with files like NASA's, of engines that wear as they run."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "engines"
    folder.mkdir()

    def rows(num_engines, is_whole):
        for engine in range(1, num_engines + 1):
            life = int(rng.integers(60, 90))
            for cycle in range(1, (life if is_whole else life // 2) + 1):
                wear = cycle / life
                yield [engine, cycle, *(wear + rng.normal(0, 0.02, 24))]

    np.savetxt(folder / "train_FD001.txt", list(rows(30, is_whole=True)), fmt="%.6g")
    np.savetxt(folder / "test_FD001.txt", list(rows(6, is_whole=False)), fmt="%.6g")
    np.savetxt(folder / "RUL_FD001.txt", rng.integers(30, 45, 6), fmt="%d")
    return folder


@pytest.mark.slow
def test_every_row_of_engines_runs(fleet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "NUM_ROUNDS", 2)
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(fleet), "--seeds", "1", "--json", str(json_file)]
    assert engines.main(options) in (0, 1)
    figures = json.loads(json_file.read_text())
    check_text_against_json(capsys.readouterr().out, figures)
    assert len(figures["rows"]) == 5
    for row in figures["rows"]:
        assert 0 < row["scores"][engines.RMSE][0] < 125
    assert engines.main(["--data-dir", str(tmp_path)]) == 2
