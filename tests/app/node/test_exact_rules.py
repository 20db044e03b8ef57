"""A node with a policy keeps exact sums from singling out its records, through the handlers."""

from contextlib import suppress

import numpy as np
import pytest

from app.builders.workload import build_workload
from app.config.load import load_config
from app.node import exact_rules
from app.simulation.in_process import simulate
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.loop import RoundLoop
from tests.kits.ruled_nodes import COLUMNS, RuledNodes
from workloads.statistics.glm import Glm
from workloads.values import State


def run(tmp_path, number=4, changes=None, free=COLUMNS, **keys):
    """Run a regression over nodes whose owners have this policy."""
    return RuledNodes(tmp_path, number, changes).run(free, **keys)


@pytest.mark.slow
def test_an_honest_fit_goes_through(tmp_path):
    assert run(tmp_path)["records"] == 569


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "free", "keys", "reason"),
    [
        ({"exact": None}, COLUMNS, {}, "policy_refused"),
        ({"exact": ["cox"]}, COLUMNS, {}, "policy_refused"),
        ({}, f"{COLUMNS} task.partition.alpha=0.1", {}, None),
        ({}, COLUMNS, {"seed": 3}, "policy_refused"),
        ({"min_records": 300}, COLUMNS, {}, "too_few_records"),
        ({"max_parameter_share": 0.01}, COLUMNS, {}, "too_few_records"),
    ],
)
def test_what_the_owner_has_not_allowed_is_refused(tmp_path, changes, free, keys, reason):
    with pytest.raises(Exception, match=reason or "no effect") as refused:
        run(tmp_path, 4, changes, free, **keys)
    assert reason is None or isinstance(refused.value, RunStoppedError)


@pytest.mark.slow
def test_another_reading_of_the_columns_passes_only_as_the_owner_wrote_it(tmp_path):
    other = ["task.partition.scheme=size_skew", "task.partition.min_examples=60"]
    free = f"{COLUMNS} {' '.join(other)}"
    with pytest.raises(RunStoppedError, match="policy_refused"):
        run(tmp_path, 4, {}, free)
    (tmp_path / "again").mkdir()
    assert run(tmp_path / "again", 4, {"exact_overrides": other}, free)["records"] == 569


def steered(monkeypatch):
    """Let the server ask at coefficients at which one record has nearly all the weight."""
    honest = Glm.apply

    def apply(self, state, aggregate, server_round, step):
        after = honest(self, state, aggregate, server_round, step)
        asked = after.arrays["asked"] + np.array([-60.0, 70.0, 0.0])
        return State({**after.arrays, "asked": asked}, after.header)

    monkeypatch.setattr(Glm, "apply", apply)


@pytest.mark.slow
@pytest.mark.parametrize("is_on", [True, False])
def test_a_question_that_a_few_records_answer_gets_zeros(tmp_path, monkeypatch, is_on, caplog):
    """At such coefficients nearly all probabilities are 0, and X'WX is one record's x x'."""
    opened = []
    honest = Glm.apply

    def watch(self, state, aggregate, server_round, step):
        opened.append(aggregate)
        return honest(self, state, aggregate, server_round, step)

    monkeypatch.setattr(Glm, "apply", watch)
    steered(monkeypatch)
    if not is_on:
        monkeypatch.setattr(exact_rules, "_effective", lambda weights: np.inf)
    workload = build_workload(
        load_config({"task": "breast_cancer", "algorithm": "glm", "overrides": COLUMNS})
    )
    assert workload.num_parameters(workload.initial_state()) == 3
    with suppress(RunStoppedError, np.linalg.LinAlgError):
        run(tmp_path, num_rounds=2)
    first, second = opened[:2]
    assert first.sums["num_withheld"] == 0
    assert second.sums["num_withheld"] == (4 if is_on else 0)
    assert second.total.any() != is_on


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free", "needed", "num_rounds"),
    [
        ("algorithm.max_bins=32", 32, 1),
        ("algorithm.binning=quantile algorithm.max_bins=16 algorithm.fine_bins=128", 128, 3),
        (
            'algorithm.interactions=[["mean texture","mean area"]] algorithm.max_bins=16'
            " algorithm.interaction_bins=6",
            36,
            6,
        ),
    ],
)
@pytest.mark.parametrize("is_enough", [True, False])
def test_bins_are_no_narrower_than_the_owner_allows(
    tmp_path, free, needed, num_rounds, is_enough
):
    changes = {"exact": ["ebm"], "max_bins": needed if is_enough else needed - 1}
    given = {"algorithm": "ebm", "num_rounds": num_rounds}
    if is_enough:
        run(tmp_path, 4, changes, free, **given)
        return
    with pytest.raises(RunStoppedError, match="policy_refused"):
        run(tmp_path, 4, changes, free, **given)


EBM = {"algorithm": "ebm", "num_rounds": 2}


@pytest.mark.slow
@pytest.mark.parametrize("is_on", [True, False])
def test_few_held_out_records_are_not_scored(tmp_path, monkeypatch, is_on, caplog):
    """Some 28 of a node's 142 records are held out, and all others are trained on."""
    if not is_on:
        monkeypatch.setattr(exact_rules, "_none_of", lambda records: records)
    nodes = RuledNodes(tmp_path, 4, {"exact": ["ebm"], "min_effective_records": 60})
    config = nodes.config("", **EBM)
    outcome = simulate(config, 4)
    assert ("accuracy" in outcome.metrics) != is_on
    assert "it scores none" in caplog.text
    # Of the last evaluation alone: the sums of training are whole.
    assert caplog.text.count("4 clients added zeros") == 1


def test_a_server_that_only_evaluates_gets_no_more_than_one_that_trains(
    tmp_path, monkeypatch, caplog
):
    """Nodes with fewer records than their owner allows answer neither."""
    opened = []

    def score(self, state, checkpoint):
        opened.append(self._closer.score(1, state))
        raise RunStoppedError("seen enough")

    monkeypatch.setattr(RoundLoop, "_run", score)
    for number, least in enumerate((100, 143)):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(RunStoppedError):
            run(tmp_path / str(number), 4, {"exact": ["ebm"], "min_records": least}, "", **EBM)
    first, second = opened
    assert first.aggregate.sums["eval_num_examples"] > 0
    assert second.aggregate is None
    assert "min_records=143" in caplog.text


STATISTICS = {"algorithm": "statistics", "num_rounds": 1}


def test_statistics_go_through_where_the_owner_lists_them(tmp_path):
    report = run(tmp_path, 4, {"exact": ["statistics"]}, **STATISTICS)
    assert report["records"] == 569
    assert len(report["tables"]["correlations"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "policy_refused"),
        ({"exact": ["statistics"], "min_records": 300}, "too_few_records"),
        # Products of two columns from 142 records.
        ({"exact": ["statistics"], "max_parameter_share": 0.01}, "too_few_records"),
    ],
)
def test_statistics_that_the_owner_has_not_allowed_are_refused(tmp_path, changes, reason):
    with pytest.raises(RunStoppedError, match=reason):
        run(tmp_path, 4, changes, **STATISTICS)
