"""What a node refuses a private run: by its policy, and by what its ledger holds already."""

import logging

import pytest
from flwr.app import Context, Message, RecordDict

import app.client
import app.node.settings
from app.builders.privacy import privacy_plan
from app.builders.workload import build_workload
from app.config.load import load_config
from app.simulation.in_process import InProcessGrid
from tests.kits.private_kit import Nodes, has_charged, policy, run_config_of, write_policy
from tests.kits.real_node import real_node
from tests.kits.traced import Traced


@pytest.fixture
def told(caplog):
    """Return what the nodes log."""
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def asked(run_config, node_config) -> Message:
    """Ask one node of a deployment for its first keys, or for training."""
    InProcessGrid({})
    kind = "train.advert" if run_config["aggregation"] == "secagg" else "train"
    context = Context(
        run_id=1,
        node_id=7,
        node_config={"partition-id": 0, "num-partitions": 4} | node_config,
        state=RecordDict(),
        run_config=dict(run_config),
    )
    return app.client.app(Message(RecordDict(), dst_node_id=7, message_type=kind), context)


LISTED = ["client_central", "client_local"]


@pytest.mark.parametrize(
    ("option", "aggregation", "changes", "words"),
    [
        (
            "client_distributed",
            "secagg",
            {"privacy": LISTED},
            "privacy=client_distributed, but it allows client_central, client_local",
        ),
        (
            "example_distributed",
            "secagg",
            {"privacy": LISTED, "unit": "client"},
            "privacy=example_distributed, but it allows client_central",
        ),
        (
            "client_distributed",
            "secagg",
            {"min_survivors": 4},
            "aggregation.min_survivors=3, but min_survivors=4; raise the run's",
        ),
        (
            "client_distributed",
            "secagg",
            {"min_colluding": 2},
            "aggregation.max_colluding=1, but min_colluding=2",
        ),
        (
            "client_local",
            "secagg",
            {},
            "aggregation.min_survivors=0 (two thirds of the roster, plus one), but",
        ),
        (
            "client_distributed",
            "secagg",
            {"min_noise_multiplier": 2.001},
            "noise multiplier 2, but min_noise_multiplier=2.001; raise it",
        ),
        (
            "client_distributed",
            "secagg",
            {"delta": 1e-4},
            "delta=0.001, but its own is 0.0001; lower privacy.delta",
        ),
        (
            "client_distributed",
            "secagg",
            {"require_identities": True},
            "take aggregation.identities=true",
        ),
        (
            "client_central",
            "plain",
            {"min_survivors": 3},
            "shows the server each contribution, but min_survivors=3",
        ),
        ("client_local", "plain", {"tasks": ["heart"]}, "task=breast_cancer, but it allows"),
    ],
)
def test_a_policy_refuses(tmp_path, monkeypatch, told, option, aggregation, changes, words):
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", False)
    run_config = run_config_of(tmp_path, option, aggregation)
    file = write_policy(tmp_path / "policy.yaml", policy(option, **changes))
    config = {"policy-file": str(file), "state-path": str(tmp_path / "state.sqlite")}
    reply = asked(run_config, config)
    assert reply.error.reason == "policy_refused"
    assert words in told.text
    assert not has_charged(tmp_path / "state.sqlite")


@pytest.mark.parametrize("aggregation", ["plain", "secagg"])
def test_a_private_run_in_a_deployment_needs_a_policy(tmp_path, monkeypatch, told, aggregation):
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", False)
    run_config = run_config_of(tmp_path, "client_local", aggregation)
    reply = asked(run_config, {"state-path": str(tmp_path / "state.sqlite")})
    assert reply.error.reason == "policy_refused"
    assert "this node has no policy-file: give its path in --node-config" in told.text


@pytest.mark.parametrize("text", ["", "privacy: [client_local", "max_epsilom: 3\n"])
def test_a_policy_that_cannot_be_read_refuses(tmp_path, monkeypatch, text):
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    file.chmod(0o644)
    run_config = run_config_of(tmp_path, "client_local", "plain")
    reason = asked(run_config, {"policy-file": str(file)}).error.reason
    # The data path may stand in it, so that the data is what is missing first.
    assert reason in ("policy_refused", "data_refused")


def test_a_policy_without_a_state_path_is_refused_before_anything_leaves(
    tmp_path, monkeypatch, told
):
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_local")
    del node._context["node_config"]["state-path"]
    monkeypatch.setenv("HOME", str(tmp_path))

    def fault(message, real):
        return (node.answer if message.metadata.dst_node_id == 1003 else real)(message)

    traced = Traced(run_config, 4, fault)
    assert traced.reports()[0]["failures"] == {"1003": "ledger_refused"}
    assert "has a policy-file but no state-path" in told.text


def test_noise_that_was_calibrated_is_held_against_the_floor(tmp_path):
    """It is known only with the model: the refusal comes with the contribution."""
    option = "client_local"
    run_config = run_config_of(tmp_path, option, "plain", num_rounds=1)
    given, calibrated = "privacy.noise_multiplier=2", "privacy.epsilon=20"
    run_config["overrides"] = run_config["overrides"].replace(given, calibrated)
    config = load_config(run_config)
    noise = privacy_plan(config, build_workload(config), 31).noise_multiplier
    policies = {
        n: policy(option, min_noise_multiplier=noise * f) for n, f in ((0, 0.99), (1, 1.01))
    }
    nodes = Nodes(tmp_path, 4, policies)
    traced = Traced(run_config | {"simulation-nodes": str(nodes.file)}, 4)
    assert traced.reports()[0]["failures"] == {"1001": "policy_refused"}
    assert [has_charged(nodes.state(node)) for node in (0, 1)] == [True, False]
    assert nodes.spent(0, "records").num_charges == 1


def test_a_ledger_is_of_one_unit_and_one_data_set(tmp_path):
    nodes = Nodes(tmp_path, 3, {n: policy("client_local") for n in range(3)})
    for name, option, changes, expected in (
        ("first", "client_local", {}, {}),
        ("unit", "example_local", {}, {"1000": "ledger_refused"}),
        ("relation", "client_central", {}, {"1000": "ledger_refused"}),
        ("data", "client_local", {"dataset": "others"}, {"1000": "ledger_refused"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for node in range(3):
            values = policy(option, **(changes if node == 0 else {}))
            write_policy(tmp_path / f"policy{node}.yaml", values)
            if node and name != "first":
                nodes.state(node).unlink()
        keys = {"num_rounds": 1, "simulation_nodes": str(nodes.file)}
        traced = Traced(run_config_of(folder, option, "plain", **keys), 3)
        assert traced.reports()[0]["failures"] == expected, name
    assert nodes.spent(0, "records").num_charges == 1
