"""The page of a node's own side, and the command that draws it."""

import stat
from pathlib import Path

import pytest

from app.cli.main import main
from app.node.own_report import Answer, Noted, OwnReport
from app.results.html.shown import number
from app.simulation.in_process import simulate
from privacy.ledger.ledger import Ledger
from tests.kits.pages import check
from tests.kits.private_kit import Nodes, policy, run_config_of

OPTION = "client_distributed"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    nodes = Nodes(folder, 4, {0: policy(OPTION, max_epsilon=200.0)})
    metrics = "privacy.metrics.every=1 privacy.metrics.noise_multiplier=1"
    simulate(
        run_config_of(folder, OPTION, "secagg", metrics, simulation_nodes=str(nodes.file)), 4
    )
    OwnReport(nodes.state(0)).note_refusal(7, "train", "policy_refused <b>")
    return nodes.state(0)


def drawn(state, file, *more) -> str:
    arguments = ["report", "--node", "--state-path", str(state), "--output", str(file)]
    assert main([*arguments, *more]) == 0
    return file.read_text()


def test_the_page_has_runs_rounds_budget_and_refusals(state, tmp_path, capsys):
    text = drawn(state, tmp_path / "node.html")
    assert "nothing of it is sent" in capsys.readouterr().out
    for part in ("Epsilon left", "of 200 at delta 0.001", "Epsilon charged", "own training"):
        assert part in text
    for part in ("Loss on own records", "Bytes of contributions", "3 of 3", "Round by round"):
        assert part in text
    assert "policy_refused &lt;b&gt;" in text
    # It holds that a browser is told to load nothing, too, and that it is below 1 MB.
    page = check(text)
    assert [page.tiles["Runs"], page.tiles["Epsilon left"][1]] == [
        ("1", "4 rounds answered"),
        "of 200 at delta 0.001",
    ]
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_nobody_else_on_the_machine_can_read_it(state, tmp_path, monkeypatch):
    file, modes = tmp_path / "node.html", []
    # As another one has left it, readable by all.
    file.write_text("old")
    file.chmod(0o644)
    write = Path.write_text

    def listening(self, *given, **more):
        modes.append(stat.S_IMODE(self.stat().st_mode))
        return write(self, *given, **more)

    monkeypatch.setattr(Path, "write_text", listening)
    drawn(state, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # Nor was it before it had its name.
    assert modes == [0o600]


def test_what_is_left_is_what_the_node_would_publish(state, tmp_path):
    # The filter's rule, which the next charge is held against, and not the smaller total.
    [cap] = {one.budget for one in Ledger(state, "records")._charges()}
    left = number(cap.epsilon - Ledger(state, "records").held(cap))
    page = check(drawn(state, tmp_path / "node.html"))
    assert page.tiles["Epsilon left"][0] == left


def test_only_one_data_set_where_that_is_asked(state, tmp_path, capsys):
    assert "This node: records" in drawn(state, tmp_path / "a.html", "--dataset", "records")
    arguments = ["report", "--node", "--state-path", str(state), "--output"]
    assert main([*arguments, str(tmp_path / "b.html"), "--dataset", "other"]) == 2
    assert "nothing about dataset=other; there is records" in capsys.readouterr().err
    assert not (tmp_path / "b.html").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--node"], "needs --state-path"),
        (["--node", "--state-path", "{state}"], "needs --output"),
        (["--node", "--state-path", "{none}", "--output", "{new}"], "no such file"),
        (["--node", "--state-path", "{state}", "--output", "{state}"], "name another"),
        (["--node", "{new}", "--state-path", "{state}", "--output", "{new}"], "give no RUN"),
        (["{new}", "--state-path", "{state}"], "goes with --node"),
        ([], "name a run folder"),
    ],
)
def test_wrong_arguments_say_what_and_how_to_mend(state, tmp_path, capsys, arguments, told):
    places = {"state": state, "none": tmp_path / "none", "new": tmp_path / "new.html"}
    before = state.read_bytes()
    assert main(["report", *(one.format(**places) for one in arguments)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert state.read_bytes() == before
    assert not places["new"].exists()


def test_a_node_that_has_answered_nothing_has_no_report(tmp_path, capsys):
    report = OwnReport(tmp_path / "state.sqlite")
    answer = Answer(run_id=1, kind="train", seconds=1.0, bytes_in=1, bytes_out=1)
    report.note_answer(answer, {"dataset": "x"}, Noted())
    assert "x" in drawn(tmp_path / "state.sqlite", tmp_path / "a.html")
    other = tmp_path / "empty.sqlite"
    from privacy.database import transaction

    with transaction(other, ""):
        pass
    arguments = ["report", "--node", "--state-path", str(other), "--output", "x.html"]
    assert main(arguments) == 2
    assert "has answered no run yet" in capsys.readouterr().err
