"""The rules of a node on exact sums hold for times to an event, through the handlers."""

import json

import numpy as np
import pytest
import yaml

from app.simulation.in_process import simulate
from strategies.rounds.attempt import RunStoppedError
from tests.kits import survival as kit
from workloads.survival.cox import Cox
from workloads.values import State

POLICY = {
    "dataset": "months",
    "privacy": ["none"],
    "min_survivors": 3,
    "min_colluding": 0,
    "require_identities": False,
    "exact": ["cox", "kaplan_meier"],
}


def run(tmp_path, own_conf, parts, free="", algorithm="cox", **changes):
    """Run over nodes whose owners have this policy; return the report."""
    (own_conf / "task" / "months.yaml").write_text(kit.YAML)
    kit.files(tmp_path, parts)
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(POLICY | changes))
    file.chmod(0o600)
    nodes = [
        {
            "data-path": str(tmp_path / f"{node}.csv"),
            "policy-file": str(file),
            "state-path": str(tmp_path / f"{node}.sqlite"),
        }
        for node in range(len(parts))
    ]
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    given = {"task": "months", "algorithm": algorithm, "num-rounds": 15}
    given |= {"output-dir": str(tmp_path / "run")}
    given |= {"simulation-nodes": str(tmp_path / "nodes.yaml")}
    free = f"rounds.deadline_seconds=2 aggregation.min_survivors=3 {free}"
    simulate(given | {"overrides": free}, len(parts))
    return json.loads((tmp_path / "run" / "report.json").read_text())


def parts_of(num: int) -> list:
    records = kit.made_up(num)
    return [records.take(np.arange(node, num, 4)) for node in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "free"),
    [("cox", ""), ("cox", "algorithm.strata=none"), ("kaplan_meier", "algorithm.by=sex")],
)
def test_honest_rounds_go_through(tmp_path, own_conf, algorithm, free):
    report = run(tmp_path, own_conf, parts_of(240), free, algorithm)
    assert report["records"] == 240
    assert "no fit" not in report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "num", "changes", "reason"),
    [
        ("cox", 240, {"exact": ["glm"]}, "policy_refused"),
        ("kaplan_meier", 240, {"exact": ["cox"]}, "policy_refused"),
        ("cox", 160, {}, "too_few_records"),
        ("kaplan_meier", 160, {}, "too_few_records"),
        ("cox", 240, {"max_parameter_share": 0.04}, "too_few_records"),
    ],
)
def test_what_the_owner_has_not_allowed_is_refused(
    tmp_path, own_conf, algorithm, num, changes, reason
):
    with pytest.raises(RunStoppedError, match=reason):
        run(tmp_path, own_conf, parts_of(num), "", algorithm, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("free", ["", "algorithm.strata=none"])
def test_coefficients_that_single_out_a_record_get_zeros(
    tmp_path, own_conf, monkeypatch, logged, free
):
    """A server asks at an age that weighs e^40 over its range: few carry the sums then."""
    honest, seen = Cox.apply, []

    def steer(self, state, aggregate, server_round, step):
        after = honest(self, state, aggregate, server_round, step)
        seen.append(np.abs(aggregate.total).max())
        steered = np.array([200.0, 0, 0])
        if server_round > 3 or after.header["step"] == "first":
            return after
        header = {**after.header, "shift": 150.0} if free else after.header
        return State({**after.arrays, "asked": steered}, header)

    monkeypatch.setattr(Cox, "apply", steer)
    run(tmp_path, own_conf, parts_of(240), free)
    assert seen[0] > 0
    assert seen[1] == 0
    told = [record.getMessage() for record in logged]
    assert any("under min_effective_records=10" in line for line in told)
