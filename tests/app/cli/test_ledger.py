"""``tacet ledger show`` and ``tacet node check``: what they say; they change nothing."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.cli.main import main
from app.node.policy import Policy
from app.preflight.worst_case import worst_case
from privacy.ledger.heads import HeadChain
from privacy.ledger.ledger import Budget, Ledger
from privacy.unit import Unit
from tests import ROOT
from tests.app.cli.test_cli import complaint, tell
from tests.privacy.ledger.ledger_kit import DELTA, OTHER, PLAN, RELEASE

BUDGET = Budget(3.0, DELTA)


@pytest.fixture
def state(tmp_path) -> Path:
    path = tmp_path / "state.sqlite"
    now = iter(range(1_700_000_000, 1_800_000_000, 60))
    ledger = Ledger(path, "heart", clock=lambda: float(next(now)))
    for number in range(10):
        ledger.charge(2**63 + 1, number, 0, [RELEASE], PLAN, BUDGET)
    return path


def test_show_says_what_tacet_plan_said(state, tmp_path, capsys):
    from privacy.accounting.epsilon import epsilon

    before = state.read_bytes(), sorted(tmp_path.iterdir())
    out = tmp_path / "out.json"
    lines = tell(capsys, "ledger", "show", state, "--json", out)
    whole = epsilon(PLAN, DELTA)
    text = "\n".join(lines)
    assert "data set:      heart" in text
    assert "privacy unit:  example (add or remove one record)" in text
    assert f"epsilon {whole:.4g} at delta 1e-05 (PLD; charges: 10, runs: 1)" in text
    assert "cap:           epsilon 3 at delta 1e-05" in text
    assert "chain:         intact: 10 charges, 0 heads shown to others\n" in text
    row = lines[-1].split()
    assert row[:3] == [str(2**63 + 1), "10", "10"]
    assert row[3:7] == ["2023-11-14", "22:13:20Z", "2023-11-14", "22:22:20Z"]
    assert row[7:] == [f"{whole:.4g}", f"{whole:.4g}", "PLD"]
    told = json.loads(out.read_text())
    assert told["epsilon"] == told["runs"][0]["epsilon"] == whole
    assert told["budget"] == {"epsilon": 3.0, "delta": DELTA}
    assert told["runs"][0]["schedule"] == [{**RELEASE.to_dict(), "times": 10}]
    out.unlink()
    assert (state.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_show_with_several_runs_and_another_delta(state, capsys):
    Ledger(state, "heart").charge(7, 1, 0, [OTHER], [(OTHER, 5)], BUDGET)
    lines = tell(capsys, "ledger", "show", state, "--delta", "1e-6")
    text = "\n".join(lines)
    assert "at delta 1e-06 (RDP filter of order" in text
    assert "charges: 11, runs: 2" in text
    assert "do not add up" in lines[-1]


def test_show_checks_the_chain_and_tells_of_the_clock(state, capsys):
    chain = HeadChain(state, bytes(32))
    chain.next()
    past = Ledger(state, "heart", clock=lambda: 1e9)
    past.charge(7, 1, 0, [RELEASE], [(RELEASE, 10)], BUDGET)
    text = "\n".join(tell(capsys, "ledger", "show", state))
    assert "intact: 11 charges, 1 heads shown to others; the clock was set back 1 times" in text
    chain.next()
    with closing(sqlite3.connect(state)) as database, database:
        database.execute("UPDATE ledger_heads SET num_charges = 9 WHERE sequence = 1")
    assert main(["ledger", "show", str(state)]) == 2
    assert "the ledger is damaged: head 1 is not of the charges" in capsys.readouterr().err


def test_show_works_while_the_node_writes(state, capsys):
    node = sqlite3.connect(state, isolation_level=None)
    node.execute("BEGIN IMMEDIATE")
    assert tell(capsys, "ledger", "show", state)
    node.close()


def test_show_of_a_file_without_charges(tmp_path, capsys):
    path = tmp_path / "state.sqlite"
    path.touch()
    assert tell(capsys, "ledger", "show", path) == ["nothing was charged"]
    assert path.read_bytes() == b""


def test_show_refuses(state, tmp_path, capsys):
    missing = tmp_path / "nowhere" / "state.sqlite"
    assert f"{missing}: no such file" in complaint(capsys, "ledger", "show", missing)
    assert not missing.parent.exists()
    for wrong in ("0", "1", "x", "nan"):
        assert "--delta" in complaint(capsys, "ledger", "show", state, "--delta", wrong)
    before = state.read_bytes()
    own = complaint(capsys, "ledger", "show", state, "--json", state)
    assert "the node's own file" in own
    assert state.read_bytes() == before
    assert "--json" in complaint(capsys, "ledger", "show", state, "--json", missing)
    state.write_bytes(b"no database at all" * 300)
    assert "put back its file" in complaint(capsys, "ledger", "show", state)
    uncapped = tmp_path / "uncapped.sqlite"
    Ledger(uncapped, "heart").charge(1, 1, 0, [RELEASE], PLAN, None)
    assert "give --delta" in complaint(capsys, "ledger", "show", uncapped)
    assert tell(capsys, "ledger", "show", uncapped, "--delta", "1e-5")


POLICY = f"""
dataset: heart
data_path: data.csv
unit: example
max_epsilon: 3
delta: 1e-5
min_survivors: 3
min_colluding: 1
privacy: [example_local, example_distributed, example_central]
bundles: [{"ab" * 32}]
"""


@pytest.fixture
def node(state, tmp_path, capsys) -> dict[str, str]:
    """A node without a gap."""
    for name in "abc":
        tell(capsys, "keys", "new", tmp_path / f"{name}.key")
    merge(capsys, tmp_path, "abc")
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "policy.yaml").chmod(0o600)
    (tmp_path / "peers.yaml").chmod(0o600)
    (tmp_path / "data.csv").touch()
    files = {"policy-file": "policy.yaml", "identity-key": "a.key", "peers-file": "peers.yaml"}
    return {key: str(tmp_path / name) for key, name in files.items()} | {
        "state-path": str(state)
    }


def merge(capsys, tmp_path: Path, names: str) -> None:
    (tmp_path / "peers.yaml").unlink(missing_ok=True)
    entries = [f"{name}={tmp_path}/{name}.key.pub" for name in names]
    tell(capsys, "keys", "merge", "--out", tmp_path / "peers.yaml", *entries)


def look(capsys, node: dict[str, str]) -> tuple[int, list[str]]:
    text = " ".join(f'{key}="{value}"' for key, value in node.items())
    status = main(["node", "check", "--node-config", text])
    told = capsys.readouterr()
    assert told.err == ""
    return status, told.out.splitlines()


def gaps(capsys, node: dict[str, str]) -> list[str]:
    status, lines = look(capsys, node)
    found = [line for line in lines if line.startswith("gap: ")]
    assert status == bool(found)
    assert lines[-1] == (f"gaps: {len(found)}" if found else "no gap")
    return found


def test_a_node_without_a_gap(node, tmp_path, capsys):
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    status, lines = look(capsys, node)
    assert (status, lines[-1]) == (0, "no gap")
    text = "\n".join(lines)
    (own,) = tell(capsys, "keys", "fingerprint", tmp_path / "a.key.pub")
    assert f"identity:  {own}" in text
    assert all(f"  {name}  " in text for name in "abc")
    assert "floors:    min_survivors 3, min_colluding 1" in text
    assert "(PLD; charges: 10, runs: 1)" in text
    assert "left:      epsilon " in text
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_worst_case_by_colluders(node, capsys):
    _, lines = look(capsys, node)
    table = lines[lines.index("") + 1 :]
    assert "    0 to 1  epsilon 3" in table
    assert "example_local: epsilon 3, with any number of colluders" in table
    assert "example_central: the server is trusted: unbounded against it" in table
    worse = next(line for line in table if line.split()[:1] == ["2"])
    # Twice the variance is known, so mu is the root of 2 larger: about as much for epsilon.
    assert 1.35 * 3 < float(worse.split()[-1]) < 1.6 * 3


def test_the_table_grows_with_the_colluders():
    from privacy.accounting.epsilon import gdp_epsilon, gdp_mu

    policy = Policy(
        **{"dataset": "d", "privacy": ("client_distributed",), "unit": Unit.CLIENT},
        **{"max_epsilon": 1.0, "delta": DELTA, "min_survivors": 10, "min_colluding": 2},
    )
    rows = [float(line.split()[-1]) for line in worst_case(policy)[2:]]
    assert len(rows) == 8
    assert rows == sorted(rows)
    assert rows[-1] == pytest.approx(gdp_epsilon(gdp_mu(1.0, DELTA) * 8**0.5, DELTA), rel=1e-3)
    none = replace(policy, privacy=("none",))
    assert "unbounded" in worst_case(none)[1]


def test_each_gap_has_its_line(node, state, tmp_path, capsys):
    def with_policy(old: str, new: str) -> list[str]:
        (tmp_path / "policy.yaml").write_text(POLICY.replace(old, new))
        found = gaps(capsys, node)
        (tmp_path / "policy.yaml").write_text(POLICY)
        return found

    for key, words in {
        "policy-file": "policy-file is not given",
        "identity-key": "identity-key is not given",
        "peers-file": "peers-file is not given",
        "state-path": "state-path is not given",
    }.items():
        (one,) = gaps(
            capsys, {k: v for k, v in node.items() if k != key} | no_data(key, tmp_path)
        )
        assert words in one
        found = gaps(capsys, node | {key: str(tmp_path / "no" / "x")})
        assert bool(found) == (key != "state-path")
    assert "did you mean policy-file?" in gaps(capsys, node | {"policy-fil": "x"})[0]
    assert "drop one" in gaps(capsys, node | {"data-path": str(tmp_path)})[0]
    assert "nothing is there" in with_policy("data.csv", "none.csv")[0]
    assert "data-path is not given" in with_policy("data_path: data.csv", "")[0]
    assert "no such setting" in with_policy("unit:", "units:")[0]
    assert "privacy lists none" in with_policy("[example_local", "[none, example_local")[0]
    found = with_policy("unit: example", "unit: example\nrequire_identities: false")
    assert "play all other nodes" in found[0]
    found = with_policy("unit: example", "unit: example\nallow_sparse_graph: true")
    assert "surround this node" in found[0]
    found = with_policy("unit: example", "unit: example\nallow_classical_keys: true")
    assert "quantum computers" in found[0]
    assert "2 others, but min_survivors=4" in with_policy("survivors: 3", "survivors: 4")[0]
    found = with_policy("survivors: 3\nmin_colluding: 1", "survivors: 1\nmin_colluding: 0")
    assert "may show the server each contribution" in found[0]
    assert "dataset='heart', not of 'lungs'" in with_policy("heart", "lungs")[0]
    client = "client\nprivacy: [client_local]\n#"
    (one,) = with_policy("example\n", client.replace("#", ""))[:1]
    assert "privacy stands there twice" in one
    assert "the cap is spent" in with_policy("max_epsilon: 3", "max_epsilon: 0.1")[0]
    (found,) = with_policy("bundles:", "#")
    assert "bundles is not given: the server chooses the code" in found
    found = with_policy("max_epsilon: 3\ndelta: 1e-5", "")
    assert "max_epsilon is missing" in found[0]


def no_data(key: str, tmp_path: Path) -> dict[str, str]:
    """Without the policy nothing else names the data."""
    return {"data-path": str(tmp_path / "data.csv")} if key == "policy-file" else {}


def test_gaps_in_what_others_may_do(node, state, tmp_path, capsys, monkeypatch):
    for name, mode, words in (
        ("a.key", 0o640, "others may read it"),
        ("peers.yaml", 0o666, "others may write it; take that from them: chmod go-w"),
        ("policy.yaml", 0o666, "others may write it"),
    ):
        (tmp_path / name).chmod(mode)
        assert words in gaps(capsys, node)[0]
        (tmp_path / name).chmod(0o600)
    merge(capsys, tmp_path, "bc")
    assert "own key is not in it" in gaps(capsys, node)[0]
    merge(capsys, tmp_path, "ab")
    assert "1 others, but min_survivors=3" in gaps(capsys, node)[0]
    merge(capsys, tmp_path, "abc")
    (tmp_path / "a.key").write_text("no key")
    assert "no Ed25519 private key" in gaps(capsys, node)[0]


def test_gaps_in_the_state_file(node, state, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("app.preflight.node_check._LOCK_SECONDS", 0.05)
    holder = sqlite3.connect(state, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert "database is locked; end what holds it" in gaps(capsys, node)[0]
    holder.close()
    monkeypatch.setattr(
        "app.preflight.node_check.os.access", lambda path, _: Path(path) != state
    )
    assert "this user may not write it" in gaps(capsys, node)[0]
    monkeypatch.setattr("app.preflight.node_check.os.access", lambda *_: False)
    assert "not a folder that this user may write" in gaps(capsys, node)[0]
    monkeypatch.undo()
    state.write_bytes(state.read_bytes()[:5000])
    assert any("malformed" in gap for gap in gaps(capsys, node))
    fresh = tmp_path / "new" / "state.sqlite"
    assert gaps(capsys, node | {"state-path": str(fresh)}) == []
    assert not fresh.parent.exists()


def test_a_node_config_that_flower_would_not_take(tmp_path, capsys):
    for text in ("", "policy-file", 'policy-file="x', "a=[1", str(tmp_path / "none.toml")):
        assert "--node-config" in complaint(capsys, "node", "check", "--node-config", text)
    assert "--node-config" in complaint(capsys, "node", "check")


def test_a_node_config_in_a_file_is_read_too(node, tmp_path, capsys):
    file = tmp_path / "node.toml"
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in node.items()))
    assert main(["node", "check", "-c", str(file)]) == 0
    assert capsys.readouterr().out.endswith("no gap\n")


@pytest.mark.slow
def test_the_command_is_light_until_it_computes(state):
    script = (
        "import sys, app.cli.main;"
        "print({'torch', 'dp_accounting', 'flwr', 'hydra', 'scipy'} & set(sys.modules));"
        "sys.exit(app.cli.main.main(['ledger', 'show', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(state)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set()\ndata set:")
