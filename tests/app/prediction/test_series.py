"""``tacet predict`` of time series: a row for each unit, in the unit of what is foretold."""

import csv
import json
import shutil

import numpy as np
import pytest

import app.config.load as loading
from app.api import load_model, predict
from app.cli.main import main
from app.simulation.in_process import simulate
from tasks.training.local import outputs_of

YAML = """
defaults: [series_schema, _self_]
goal: remaining_life
cap: 30
unit: engine
time: cycle
values: {heat: {min: 0, max: 40}}
window: 5
width: 8
"""


def engines(seed: int, num: int, is_whole: bool) -> str:
    rng, rows = np.random.default_rng(seed), ["engine,cycle,heat,note"]
    for engine in range(num):
        life = int(rng.integers(12, 25))
        seen = life if is_whole else int(rng.integers(4, life))
        rows += [
            f"e{engine:02d},{cycle},{40 - (life - cycle) + rng.normal():.3f},x"
            for cycle in range(1, seen + 1)
        ]
    return "\n".join(rows) + "\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    conf = tmp_path / "conf"
    shutil.copytree(loading.CONF_DIR, conf)
    (conf / "task" / "machines_of_mine.yaml").write_text(YAML)
    monkeypatch.setattr(loading, "CONF_DIR", conf)
    files = [tmp_path / f"{place}.csv" for place in range(3)]
    for place, file in enumerate(files):
        file.write_text(engines(place, 8, is_whole=True))
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text(json.dumps([{"data-path": str(file)} for file in files]))
    given = {"task": "machines_of_mine", "num-rounds": 2, "simulation-nodes": str(nodes)}
    simulate(given | {"output-dir": str(tmp_path / "run")}, 3)
    return tmp_path / "run"


def test_remaining_lives_are_written_for_each_engine(run, tmp_path, capsys):
    new, out = tmp_path / "new.csv", tmp_path / "out.csv"
    new.write_text(engines(9, 6, is_whole=False))
    status = main(["predict", str(run), "--input", str(new), "--output", str(out)])
    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
    assert f"{out}: 6 rows, 6 with a prediction" in said.out
    with out.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [*found[0]] == ["engine", "cycle", "prediction"]
    assert [row["engine"] for row in found] == [f"e{engine:02d}" for engine in range(6)]
    model = load_model(run)
    windows = model.task.new_rows(new).examples.inputs
    due = (outputs_of(model.module, windows)[:, 0] + 1) * 15
    np.testing.assert_allclose([float(row["prediction"]) for row in found], due, rtol=1e-6)
    np.testing.assert_array_equal(predict(run, new).prediction, due)
    # The first engine's own last rows alone decide.
    rows = new.read_text().splitlines()
    own = [row for row in rows[1:] if row.startswith("e00")]
    new.write_text("\n".join([rows[0], *own[-5:]]) + "\n")
    # A matrix product of one row rounds otherwise than that of six.
    np.testing.assert_allclose(predict(run, new).prediction[0], due[0], rtol=1e-6)
    # What is no row is refused with its place, and nothing is written.
    out.unlink()
    new.write_text("engine,cycle,heat\ne1,1,3\ne1,two,4\n")
    assert main(["predict", str(run), "--input", str(new), "--output", str(out)]) != 0
    assert "line 3: column cycle: 'two' is no time" in capsys.readouterr().err
    assert not out.exists()
