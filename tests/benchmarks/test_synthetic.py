"""``python -m benchmarks.synthetic`` over made-up records."""

import json

import numpy as np
import pytest

from benchmarks import synthetic
from benchmarks.adult_runs import Adult
from benchmarks.table_rows import AUC, Row
from tests.benchmarks import test_tables
from workloads.marginals import mixture

made_up_adults = test_tables.made_up_adults


@pytest.mark.slow
def test_it_prints_what_it_writes(made_up_adults, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mixture, "_NUM_STEPS", 100)
    json_file = tmp_path / "figures.json"
    options = ["--data-dir", str(made_up_adults), "--seeds", "1"]
    # 600 records are too few for epsilon 1.
    assert synthetic.main([*options, "--json", str(json_file)]) == 1
    figures = json.loads(json_file.read_text())
    test_tables.check_text_against_json(capsys.readouterr().out, figures)
    private, exact, again, real = figures["rows"]
    assert [row["epsilon"] for row in figures["rows"]] == [1.0, None, None, None]
    assert exact["scores"][AUC][0] > 0.9
    assert real["scores"][AUC][0] > 0.99
    far = [row["scores"][synthetic.DISTANCE][0] for row in (real, again, exact, private)]
    assert far[0] == 0
    assert 0 < far[1] < far[3]
    assert 0 < far[2] < far[3]


@pytest.mark.parametrize(
    ("auc", "distance", "largest", "holds"),
    [
        (0.89, 0.05, 0.2, [True] * 3),
        (0.8899, 0.05, 0.2, [False, True, True]),
        (0.89, 0.0501, 0.2, [True, False, True]),
        (0.89, 0.05, 0.2001, [True, True, False]),
    ],
)
def test_each_limit_is_required(auc, distance, largest, holds):
    scores = {
        AUC: [auc, auc],
        synthetic.DISTANCE: [distance, distance],
        synthetic.LARGEST: [0.0, largest],
    }
    rows = [Row(synthetic.OURS, synthetic.EPSILON, 3, scores)]
    assert [one.holds for one in synthetic.verdicts(rows)] == holds
    assert not list(synthetic.verdicts([Row(synthetic.OURS, 4.0, 3, scores)]))


def test_distances_are_those_of_joint_shares(made_up_adults):
    data = Adult.load(made_up_adults)
    far = synthetic.distances(data.table, data.train, data.test)
    assert len(far) == 13 * 12 // 2
    sex = [column.name for column in data.table.columns].index("sex")
    codes = [2 * part.targets + part.columns[:, sex] for part in (data.train, data.test)]
    own = [np.array([(code == cell).mean() for cell in range(4)]) for code in codes]
    due = np.abs(own[0] - own[1]).sum() / 2
    assert min(abs(one - due) for one in far[:12]) < 1e-12
