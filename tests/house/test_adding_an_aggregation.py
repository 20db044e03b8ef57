"""A third aggregation is known by its descriptor and its YAML: no other code names it.

The third one here is ``plain`` under another name, put into the registry by the test. That a
package of its own needs a line in the import contracts is in ``test_import_contracts.py``.
"""

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from app.config.load import load_config, option_of
from app.config.run import GROUPS
from app.node.admission import ProposedRun, check
from app.node.policy import PolicyError, load_policy
from app.preflight.run_plan import plan_run
from app.simulation.in_process import simulate
from strategies.plain.aggregation import PLAIN, PlainConfig
from strategies.registry import AGGREGATIONS, aggregation_of
from tests import ROOT
from tests.kits.private_kit import policy, write_policy


@dataclass
class LoopbackConfig(PlainConfig):
    """As ``plain``, under another name."""


@pytest.fixture(autouse=True)
def loopback(tmp_path, monkeypatch):
    """Put a third aggregation where its line and its YAML would put it."""
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    yaml = (conf / "aggregation" / "plain.yaml").read_text()
    yaml = yaml.replace("plain_schema", "loopback_schema")
    (conf / "aggregation" / "loopback.yaml").write_text(yaml)
    monkeypatch.setattr("app.config.load.CONF_DIR", conf)
    added = replace(PLAIN, name="loopback", config=LoopbackConfig)
    monkeypatch.setitem(AGGREGATIONS, "loopback", added)
    monkeypatch.setitem(GROUPS["aggregation"], "loopback", LoopbackConfig)


def run_config(folder: Path, aggregation: str) -> dict:
    return {
        "task": "breast_cancer",
        "aggregation": aggregation,
        "num-rounds": 1,
        "deterministic": True,
        "output-dir": str(folder / aggregation),
    }


def test_it_is_composed_planned_and_run(tmp_path):
    config = load_config(run_config(tmp_path, "loopback"))
    assert option_of(config, "aggregation") == "loopback"
    assert aggregation_of(config.aggregation).sees_contributions
    plan = plan_run(config)
    assert (plan.aggregation, plan.num_trips) == ("loopback", 2)
    found = simulate(run_config(tmp_path, "loopback"), 3).state.arrays
    expected = simulate(run_config(tmp_path, "plain"), 3).state.arrays
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_policy_asks_what_it_shows_the_server(tmp_path):
    file = write_policy(tmp_path / "policy.yaml", policy("client_local", min_survivors=3))
    proposed = ProposedRun(
        task="breast_cancer",
        privacy="client_central",
        aggregation="loopback",
        sees_contributions=True,
        unit=None,
        min_survivors=0,
        max_colluding=0,
        identities=False,
        is_sparse=False,
        is_classical=False,
        noise_multiplier=None,
        epsilon=None,
        delta=None,
    )
    with pytest.raises(PolicyError, match="client_central"):
        check(load_policy(file), proposed)
    allowed = write_policy(
        tmp_path / "other.yaml",
        policy("none", min_survivors=3, unit="client", privacy=["none"]),
    )
    with pytest.raises(PolicyError, match=r"aggregation=loopback .* shows the server each"):
        check(load_policy(allowed), replace(proposed, privacy="none"))


def test_nothing_else_tells_the_aggregations_apart():
    """By class or by name: the descriptor and the configuration answer for them."""
    own = {"plain", "masked", "homomorphic", "registry.py"}
    for folder in ("app", "strategies", "workloads"):
        for file in (ROOT / folder).rglob("*.py"):
            if own & set(file.relative_to(ROOT).parts):
                continue
            named = re.search(r"SecAggConfig|PlainConfig|HomomorphicConfig", file.read_text())
            assert not named, file
