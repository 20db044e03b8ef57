"""The nodes of a simulation, held against its plan."""

import pytest

from app.config.load import load_config
from app.preflight.run_plan import PlanError, plan_run
from tests.kits.private_kit import Nodes, composing, policy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("a: b", "must be a YAML list of mappings"),
        ("- {", "while parsing"),
        ("- {data-pth: x}\n- {}", "entry 0 has 'data-pth'"),
        ("- {}", "1 entries, but this is simulated node 1"),
        ("- {}\n- {data-path: away.csv}", "entry 1: .*away.csv is not there"),
        ("- {}\n- {policy-file: none.yaml}", "none.yaml"),
    ],
)
def test_a_file_of_simulated_nodes_that_a_run_would_refuse_has_no_plan(tmp_path, text, says):
    file = tmp_path / "nodes.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PlanError, match=says):
        plan_run(load_config({"simulation-nodes": str(file)}))


def test_simulated_nodes_without_the_keys_that_the_run_wants_have_no_plan(tmp_path):
    file = tmp_path / "nodes.yaml"
    file.write_text("[{}, {}, {}]")
    signed = (
        "aggregation.identities=true aggregation.min_survivors=3"
        " aggregation.peers_file=/nowhere/peers.yaml"
    )
    given = {"simulation-nodes": str(file), "aggregation": "secagg", "overrides": signed}
    with pytest.raises(PlanError, match=r"entry 0: .*lacks identity-key or peers-file"):
        plan_run(load_config(given))


def test_more_simulated_nodes_than_the_task_has_parts_have_no_plan(tmp_path):
    file = tmp_path / "nodes.yaml"
    file.write_text("[{}, {}, {}, {}, {}]")
    with pytest.raises(PlanError, match="there are 4 hospitals but 5 nodes"):
        plan_run(load_config({"simulation-nodes": str(file), "task": "heart"}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"privacy": ["client_central"]}, "entry 2: this node's policy: privacy=client_local"),
        ({"min_noise_multiplier": 3.0}, "entry 2: .*noise multiplier 2, but min_noise_mult"),
        ({"max_epsilon": 0.5}, "entry 2: .* over its max_epsilon=0.5"),
    ],
)
def test_a_policy_of_a_simulated_node_that_would_refuse_the_run_has_no_plan(
    tmp_path, changes, says
):
    nodes = Nodes(tmp_path, 4, {2: policy("client_local", **changes)})
    given = composing("client_local", "plain", **{"simulation-nodes": str(nodes.file)})
    if says is None:
        plan_run(load_config(given))
    else:
        with pytest.raises(PlanError, match=says):
            plan_run(load_config(given))
    assert not nodes.state(2).exists()
