"""A node publishes what its owner's policy says, charged before it leaves, and nothing else."""

import json
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import ConfigRecord

import app.node.publishing as publishing
import app.round.client_side as client_side
import privacy.noise.bounded_value as bounded_value
from app.cli.main import main
from app.node.own_report import read_own
from app.node.policy import PolicyError, load_policy
from app.results.html.gather import gather
from app.results.html.page import page_of
from app.simulation.in_process import make_clients, simulate
from privacy.ledger.ledger import Ledger
from privacy.noise.bounded_value import bounded_release
from privacy.plan.release import Neighbours
from privacy.unit import Unit
from tests.kits.pages import check
from tests.kits.private_kit import DELTA, Nodes, policy, run_config_of, write_policy

NONE = {"unit": "example", "max_epsilon": 10.0}
GAIN = {"publish_gain_epsilon": 2.0}


def nodes_of(tmp_path, option="none", number=4, first=None, **changes):
    """Return nodes that know what their parts are worth; the first one's policy differs."""
    common = (NONE if option == "none" else {}) | changes
    policies = {n: policy(option, **common) for n in range(number)}
    policies[0] |= first or {}
    nodes = Nodes(tmp_path, number, policies)
    entries = yaml.safe_load(nodes.file.read_text())
    nodes.file.write_text(yaml.safe_dump([one | {"contribution": True} for one in entries]))
    return nodes


def exact(tmp_path, nodes, **more):
    return {
        "task": "breast_cancer",
        "aggregation": "secagg",
        "num-rounds": 2,
        "output-dir": str(tmp_path / "run"),
        "simulation-nodes": str(nodes.file),
        "overrides": "rounds.deadline_seconds=2 task.training.num_steps=3"
        " aggregation.min_survivors=3",
    } | {key.replace("_", "-"): value for key, value in more.items()}


def lines_of(tmp_path, name="run"):
    text = (tmp_path / name / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def summary_of(tmp_path, name="run"):
    return json.loads((tmp_path / name / "summary.json").read_text())


def charges(nodes, node=0):
    return [
        (one.round, one.attempt, one.releases[0][0].mechanism)
        for one in Ledger(nodes.state(node), "records")._charges()
    ]


def without_noise(monkeypatch):
    monkeypatch.setattr(bounded_value, "draw", lambda *_: np.zeros(1, np.int64))


@pytest.mark.slow
def test_a_gain_is_that_of_the_nodes_own_records_and_charged_once(tmp_path, monkeypatch):
    without_noise(monkeypatch)
    nodes = nodes_of(tmp_path, first=GAIN)
    simulate(exact(tmp_path, nodes), 4)
    assert [line["published"] for line in lines_of(tmp_path)] == [{}, {}]
    published = summary_of(tmp_path)["published"]
    assert published.keys() == {"1000"}
    last = read_own(nodes.state(0)).runs[0].rounds[-1]
    told = last["contribution"]
    gained = told["with"]["accuracy"] - told["alone"]["accuracy"]
    assert published["1000"] == {
        "gain_accuracy": pytest.approx(max(-0.25, min(0.25, gained)), abs=1e-6),
        "gain_noise": pytest.approx(0.5 / 2.0),
    }
    assert charges(nodes) == [(0, 0, "laplace")]
    assert nodes.spent(0, "records", 1e-9).epsilon == pytest.approx(2.0, rel=1e-3)
    assert last["epsilon"] is not None
    # The same run again: once is once.
    simulate(exact(tmp_path, nodes, output_dir=str(tmp_path / "again")), 4)
    assert "published" not in summary_of(tmp_path, "again")
    assert len(charges(nodes)) == 1


def test_a_gain_has_the_noise_that_was_charged(tmp_path, monkeypatch):
    drawn = []
    draw = bounded_value.draw
    monkeypatch.setattr(
        bounded_value, "draw", lambda *asked: drawn.append(asked[:2]) or draw(*asked)
    )
    nodes = nodes_of(tmp_path, first=GAIN)
    simulate(exact(tmp_path, nodes, num_rounds=1), 4)
    [(mechanism, scale)] = drawn
    [charge] = Ledger(nodes.state(0), "records")._charges()
    release = charge.releases[0][0]
    assert (mechanism, scale) == (release.mechanism, release.noise_scale)
    assert release.noise_scale == release.l1_sensitivity / 2.0


def test_it_is_charged_before_it_is_noised(tmp_path, monkeypatch):
    seen = []
    noised = bounded_value.noised

    def listening(*given):
        seen.append(charges(nodes))
        return noised(*given)

    monkeypatch.setattr(bounded_value, "noised", listening)
    nodes = nodes_of(tmp_path, first=GAIN)
    simulate(exact(tmp_path, nodes, num_rounds=1), 4)
    assert seen == [[(0, 0, "laplace")]]


def test_what_the_cap_does_not_allow_is_not_published(tmp_path, caplog):
    nodes = nodes_of(tmp_path, first=GAIN | {"max_epsilon": 3.0, "publish_budget": True})
    release = bounded_release(2.0, Unit.EXAMPLE, Neighbours.ADD_OR_REMOVE)
    ledger = Ledger(nodes.state(0), "records")
    budget = load_policy(tmp_path / "policy0.yaml").budget
    ledger.charge(7, 0, 0, [release], [(release, 1)], budget)
    with caplog.at_level(logging.WARNING, "flwr.tacet"):
        outcome = simulate(exact(tmp_path, nodes), 4)
    assert outcome.num_rounds == 2
    published = summary_of(tmp_path)["published"]["1000"]
    assert published.keys() == {"epsilon_left", "delta"}
    assert published["epsilon_left"] == pytest.approx(3.0 - ledger.held(budget))
    assert 0 < published["epsilon_left"] < 1.1
    assert len(charges(nodes)) == 1
    told = [one.getMessage() for one in caplog.records]
    assert any("gain is not published" in one and "max_epsilon=3" in one for one in told)


def test_a_budget_depends_on_charges_and_comes_with_each_round(tmp_path):
    option = "client_distributed"
    nodes = nodes_of(tmp_path, option, first={"publish_budget": True, "max_epsilon": 200.0})
    config = run_config_of(tmp_path, option, "secagg", simulation_nodes=str(nodes.file))
    simulate(config, 4)
    told = [line["published"] for line in lines_of(tmp_path)]
    assert [one.keys() for one in told] == [{"1000"}] * 3
    left = [one["1000"]["epsilon_left"] for one in told]
    kept = [one["epsilon"] for one in read_own(nodes.state(0)).runs[0].rounds]
    assert left == pytest.approx([200 - one for one in kept])
    assert {one["1000"]["delta"] for one in told} == {DELTA}
    assert "published" not in summary_of(tmp_path)


def test_a_private_run_without_metrics_has_the_gain_in_its_last_round(tmp_path):
    option = "client_distributed"
    nodes = nodes_of(tmp_path, option, first=GAIN)
    config = run_config_of(tmp_path, option, "secagg", simulation_nodes=str(nodes.file))
    simulate(config, 4)
    told = [line["published"] for line in lines_of(tmp_path)]
    assert told[:2] == [{}, {}]
    assert told[2]["1000"].keys() == {"gain_accuracy", "gain_noise"}
    # One unit and one relation for all that a ledger holds.
    assert {one[2] for one in charges(nodes)} == {"laplace", "distributed_discrete_gaussian"}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["none", "client_distributed"])
def test_nothing_is_published_unless_the_policy_says_so(tmp_path, option):
    nodes = nodes_of(tmp_path, option)
    config = (
        exact(tmp_path, nodes)
        if option == "none"
        else run_config_of(tmp_path, option, "secagg", simulation_nodes=str(nodes.file))
    )
    replies = []

    def asking(client):
        def answer(message):
            # A server that asks for it in every way there is.
            wish = {"publish_budget": True, "publish_gain_epsilon": 100.0}
            message.content["published"] = ConfigRecord(wish)
            if "config" in message.content:
                message.content["config"].update(wish)
            replies.append(client(message))
            return replies[-1]

        return answer

    clients = {n: asking(one) for n, one in make_clients(config, 4).items()}
    simulate(config, 4, clients)
    assert len(replies) >= 16
    assert not any("published" in reply.content for reply in replies if reply.has_content())
    assert all(not line["published"] for line in lines_of(tmp_path))
    assert "published" not in summary_of(tmp_path)
    gains = [one for one in (charges(nodes) if option != "none" else []) if one[0] == 0]
    assert gains == []


def test_whether_a_gain_is_published_does_not_depend_on_records(tmp_path, monkeypatch):
    def fail(*_):
        raise ArithmeticError("a record")

    monkeypatch.setattr(client_side, "tell_contribution", fail)
    monkeypatch.setattr(client_side.SessionSide, "_tell_given", lambda *_, **__: None)
    without_noise(monkeypatch)
    nodes = nodes_of(tmp_path, first=GAIN)
    simulate(exact(tmp_path, nodes, num_rounds=1), 4)
    assert summary_of(tmp_path)["published"]["1000"]["gain_accuracy"] == 0.0


def test_a_gain_that_cannot_be_worked_out_loses_no_contribution(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise ArithmeticError("a record")

    monkeypatch.setattr(client_side, "gain_to_publish", fail)
    monkeypatch.setattr(client_side, "tell_contribution", fail)
    nodes = nodes_of(tmp_path, "client_distributed", first=GAIN)
    config = run_config_of(
        tmp_path, "client_distributed", "secagg", simulation_nodes=str(nodes.file)
    )
    with caplog.at_level(logging.WARNING, "flwr.tacet"):
        outcome = simulate(config, 4)
    assert outcome.num_rounds == 3
    # What was charged for a contribution has left: none was asked for again.
    assert [one[0] for one in charges(nodes)] == [1, 2, 3]
    assert all(not line["failures"] for line in lines_of(tmp_path))
    assert any("could not be worked out" in one.getMessage() for one in caplog.records)


def test_where_no_gain_can_be_told_none_is_charged(tmp_path):
    nodes = nodes_of(tmp_path, first=GAIN)
    simulate(exact(tmp_path, nodes, algorithm="fedadam", num_rounds=1), 4)
    assert "published" not in summary_of(tmp_path)
    assert charges(nodes) == []


def test_what_fails_in_publishing_fails_no_round(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "_budget", fail)
    nodes = nodes_of(tmp_path, first={"publish_budget": True})
    with caplog.at_level(logging.WARNING, "flwr.tacet"):
        assert simulate(exact(tmp_path, nodes), 4).num_rounds == 2
    assert any("budget is not published" in one.getMessage() for one in caplog.records)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"publish_budget": True, "max_epsilon": None, "delta": None}, "no cap is given"),
        ({"publish_budget": "yes"}, "must be true or false"),
        (GAIN | {"unit": None}, "so give unit"),
        (GAIN | {"max_epsilon": None, "delta": None}, "so give max_epsilon"),
        (GAIN | {"max_epsilon": 1.0}, "over max_epsilon=1"),
        ({"publish_gain_epsilon": 0.0}, "from 0.001 to 100"),
        ({"publish_gain_epsilon": math.inf}, "from 0.001 to 100"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(tmp_path, changes, told):
    values = {k: v for k, v in (policy("none", **NONE) | changes).items() if v is not None}
    with pytest.raises(PolicyError, match=told):
        load_policy(write_policy(tmp_path / "policy.yaml", values))


@pytest.mark.slow
@pytest.mark.parametrize("given", ["true", 1, None])
def test_a_gain_needs_the_nodes_own_models(tmp_path, given, caplog):
    nodes = nodes_of(tmp_path, first=GAIN)
    entries = yaml.safe_load(nodes.file.read_text())
    entries[0].pop("contribution")
    entries[0] |= {} if given is None else {"contribution": given}
    nodes.file.write_text(yaml.safe_dump(entries))
    config = exact(tmp_path, nodes, num_rounds=1)
    simulate(config, 4)
    told = " ".join(one.getMessage() for one in caplog.records)
    assert ("must be true or false" if given else "with contribution=true") in told
    assert set(lines_of(tmp_path)[0]["failures"].values()) == {"data_refused"}


@pytest.mark.slow
def test_the_coordinator_sees_who_gains_by_pseudonym(tmp_path):
    nodes = nodes_of(tmp_path, first={"publish_budget": True}, **GAIN)
    simulate(exact(tmp_path, nodes), 4)
    text = page_of(gather(tmp_path / "run"))
    page = check(text)
    assert "gains" in page.sections
    found = page.table("gain, noised", "epsilon left")
    assert {row[0] for row in found.rows} == {"node 1", "node 2", "node 3", "node 4"}
    assert [row[4] != "–" for row in found.rows].count(True) == 1  # noqa: RUF001
    assert {row[3] for row in found.rows} == {"0.7489"}
    assert "The mean of 4 gains in accuracy" in text
    assert "own word" in text
    assert not re.search(r"\b100[0-3]\b", text)


def test_a_run_in_which_nobody_publishes_has_no_such_section(tmp_path):
    nodes = nodes_of(tmp_path)
    simulate(exact(tmp_path, nodes, num_rounds=1), 4)
    assert "gains" not in check(page_of(gather(tmp_path / "run"))).sections


def test_a_check_of_the_node_says_what_it_publishes(tmp_path, capsys):
    file = write_policy(
        tmp_path / "policy.yaml", policy("none", publish_budget=True, **NONE, **GAIN)
    )
    main(["node", "check", "--node-config", f'policy-file="{file}" contribution=true'])
    told = capsys.readouterr().out
    assert "publishes: what is left of its cap, once for each run what it gains" in told
    assert "nothing reads it" not in told
    assert "contribution=" not in told
    assert Path(file).exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "publish_gain_epsilon=2 in the policy: a gain is only worked out with"),
        (" contribution=false", "publish_gain_epsilon=2 in the policy"),
        (' contribution="true"', "contribution='true' in --node-config: must be true or false"),
    ],
)
def test_a_check_of_the_node_finds_what_would_refuse_every_run(tmp_path, capsys, given, told):
    file = write_policy(tmp_path / "policy.yaml", policy("none", **NONE, **GAIN))
    assert main(["node", "check", "--node-config", f'policy-file="{file}"{given}']) == 1
    assert f"gap: {told}" in capsys.readouterr().out
