"""Survival analysis is followed to its end, and no time of one event has a sum of its own."""

import numpy as np
import pytest

from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.strategy import RoundStrategy
from tests.kits import survival as kit
from tests.kits.ruled_nodes import RuledNodes
from workloads.values import State

NONE = "algorithm.strata=none"


def nodes_of(tmp_path, own_conf, algorithm, **changes) -> RuledNodes:
    """Return four signed nodes with 60 records each."""
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    records = kit.made_up(240)
    kit.files(tmp_path, [records.take(np.arange(node, 240, 4)) for node in range(4)])
    nodes = RuledNodes(tmp_path, 4, {"exact": [algorithm]} | changes, signed=True)
    for node, entry in enumerate(nodes.entries):
        entry["data-path"] = str(tmp_path / f"{node}.csv")
    return nodes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "free", "num_rounds"),
    [("cox", "", 15), ("cox", NONE, 15), ("kaplan_meier", "algorithm.by=sex", 1)],
)
def test_an_honest_run_is_followed_to_its_end(tmp_path, own_conf, algorithm, free, num_rounds):
    nodes = nodes_of(tmp_path, own_conf, algorithm)
    report = nodes.run(free, task="months", algorithm=algorithm, num_rounds=num_rounds)
    assert report["records"] == 240
    assert "no fit" not in report


@pytest.mark.slow
def test_one_event_does_not_pass_for_several(tmp_path, own_conf, monkeypatch):
    """Of several at a time there are sums of their own: of one they would be its record."""
    honest, opened = RoundStrategy.step, []

    def step(self, now, before, aggregate):
        after = honest(self, now, before, aggregate)
        if now > 1:
            opened.append(aggregate)
            return after
        events = after.arrays["events"]
        assert (events == 1).any()
        # Within the tolerance for the last digits.
        events = np.where(events == 1, 1 + 5e-7, events)
        return State({**after.arrays, "events": events}, after.header)

    monkeypatch.setattr(RoundStrategy, "step", step)
    nodes = nodes_of(tmp_path, own_conf, "cox")
    with pytest.raises(RunStoppedError, match="model_refused"):
        nodes.run(NONE, task="months", algorithm="cox", num_rounds=15)
    assert not opened


def test_times_of_few_records_are_refused(tmp_path, own_conf):
    """With min_at_risk=1 the sums of a time are the row of the one record that leaves then."""
    nodes = nodes_of(tmp_path, own_conf, "cox")
    with pytest.raises(RunStoppedError, match="policy_refused"):
        nodes.run(f"{NONE} algorithm.min_at_risk=2", task="months", algorithm="cox")
