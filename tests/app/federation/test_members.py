"""``tacet federation`` before a SuperLink that is not there, or answers as told."""

import json

import pytest
import yaml

from app.cli.main import main
from app.federation.superlink import SuperLink, SuperLinkError
from app.node.identity import read_peers


class FakeSuperLink:
    """Flower's answers, from a table of the nodes that it knows."""

    def __init__(self):
        self.nodes, self.down, self.asked = {}, False, []

    def __call__(self, _, *words):
        self.asked.append(words)
        if self.down:
            raise SuperLinkError("Connection to the SuperLink is unavailable.")
        match words[1]:
            case "register":
                node_id = str(len(self.nodes) + 17)
                self.nodes[node_id] = "registered"
                return {"node-id": int(node_id)}
            case "unregister":
                if self.nodes.pop(words[2], None) is None:
                    raise SuperLinkError("Node not found.")
                return {}
        times = {"online-at": "2026-11-27 10:00:00Z", "offline-at": "2026-11-27 11:00:00Z"}
        found = [{"node-id": n, "status": s, **times} for n, s in self.nodes.items()]
        return {"nodes": found}


@pytest.fixture
def superlink(monkeypatch):
    fake = FakeSuperLink()
    monkeypatch.setattr(SuperLink, "_flwr", lambda self, *words: fake(self, *words))
    return fake


@pytest.fixture
def folder(tmp_path, capsys):
    tell(capsys, "init", tmp_path / "fed", "--host", "fl.example.org")
    return tmp_path / "fed"


def tell(capsys, *argv, status=0):
    assert main(["federation", *map(str, argv)]) == status
    return capsys.readouterr().out.splitlines()


def complaint(capsys, *argv):
    assert main(["federation", *map(str, argv)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    return told.err


def keys(tmp_path, name, capsys):
    assert main(["keys", "new", str(tmp_path / f"{name}-id")]) == 0
    assert main(["keys", "node", str(tmp_path / f"{name}-flower")]) == 0
    capsys.readouterr()
    files = (tmp_path / f"{name}-id.pub", tmp_path / f"{name}-flower.pub")
    return ["--identity", files[0], "--flower-key", files[1]]


def test_a_folder_is_made_once(folder, capsys):
    assert (folder / "tls" / "superlink.pem").exists()
    assert 'address = "127.0.0.1:9092"' in (folder / "flower" / "config.toml").read_text()
    before = (folder / "federation.yaml").read_bytes()
    assert "is there already" in complaint(capsys, "init", folder, "--host", "h")
    assert (folder / "federation.yaml").read_bytes() == before


def test_members_come_and_go(folder, superlink, tmp_path, capsys):
    for name in ("north", "east"):
        lines = tell(capsys, "add", folder, name, *keys(tmp_path, name, capsys))
        assert f"{name}: registered as node" in lines[-1]
    assert sorted(read_peers(folder / "peers")) == ["east", "north"]
    superlink.nodes = {"17": "online", "18": "offline", "99": "online"}
    shown = "\n".join(tell(capsys, "status", folder))
    assert "north  17    " in shown
    assert "since 2026-11-27 10:00:00Z" in shown
    assert "no, until 2026-11-27 11:00:00Z" in shown
    # One that nobody added, as whoever reaches the SuperLink can register.
    assert "\n?      99" in shown
    tell(capsys, "remove", folder, "north")
    assert superlink.nodes.keys() == {"18", "99"}
    assert sorted(read_peers(folder / "peers")) == ["east"]
    assert "none of the members: east" in complaint(capsys, "remove", folder, "north")


def test_without_a_superlink_what_was_done_is_kept_and_the_command_goes_on(
    folder, superlink, tmp_path, capsys
):
    superlink.down = True
    given = keys(tmp_path, "north", capsys)
    told = complaint(capsys, "add", folder, "north", *given)
    assert "not registered" in told
    assert "same command again" in told
    assert "north" in read_peers(folder / "peers")
    shown = "\n".join(tell(capsys, "status", folder, status=1))
    assert "NOT reached" in shown
    assert "not registered" in shown
    superlink.down = False
    assert "as node 17" in tell(capsys, "add", folder, "north", *given)[-1]
    # Nor is it registered twice.
    assert "already, as node 17" in tell(capsys, "add", folder, "north", *given)[-1]
    superlink.down = True
    assert "not unregistered" in complaint(capsys, "remove", folder, "north")
    assert "north" in read_peers(folder / "peers")


def test_another_key_under_a_known_name_is_refused(folder, superlink, tmp_path, capsys):
    first, other = keys(tmp_path, "north", capsys), keys(tmp_path, "other", capsys)
    tell(capsys, "add", folder, "north", *first)
    before = (folder / "peers").read_bytes()
    told = complaint(capsys, "add", folder, "north", *first[:2], *other[2:])
    assert "another Flower key" in told
    assert "another key" in complaint(capsys, "add", folder, "north", *other[:2], *first[2:])
    assert (folder / "peers").read_bytes() == before
    assert len(superlink.nodes) == 1


@pytest.mark.parametrize("name", ["../north", "", "a b", ".x"])
def test_a_name_is_a_name(folder, superlink, name, tmp_path, capsys):
    assert "a name is" in complaint(capsys, "add", folder, name, *keys(tmp_path, "n", capsys))
    assert not (folder / "peers").exists()
    assert superlink.asked == []


@pytest.mark.parametrize(
    "text", ["", "[]", "address: x\nmembers: [1]\n", "\x00", "members: {}\n"]
)
def test_a_damaged_file_is_named(folder, text, capsys):
    (folder / "federation.yaml").write_text(text)
    assert "put it back" in complaint(capsys, "status", folder)


def test_no_folder_is_told_with_the_mend(tmp_path, capsys):
    assert "tacet federation init" in complaint(capsys, "status", tmp_path)


def test_the_last_refusal_of_a_run_is_shown(folder, superlink, tmp_path, capsys):
    tell(capsys, "add", folder, "north", *keys(tmp_path, "north", capsys))
    run = tmp_path / "run"
    run.mkdir()
    left = {"17": {"epsilon_left": 1.25, "delta": 1e-5}}
    lines = [
        {"round": 1, "failures": {"17": "no_answer"}},
        {"round": 2, "failures": {"17": "budget_exhausted"}},
        {"round": 3, "failures": {}, "published": left},
        {"round": 4, "failures": {}, "published": {"17": {"gain_noise": "<b>"}, "18": 3}},
    ]
    text = "\n".join(map(json.dumps, lines))
    (run / "metrics.jsonl").write_text(f"{text}\n{{half")
    shown = "\n".join(tell(capsys, "status", folder, "--run", run))
    assert "budget_exhausted (round 2)" in shown
    assert "1.25 at delta 1e-05" in shown
    end = {"status": "completed", "published": {"17": {"epsilon_left": 0.5, "delta": 1e-5}}}
    (run / "summary.json").write_text(json.dumps(end, indent=2))
    assert "0.5 at delta 1e-05" in "\n".join(tell(capsys, "status", folder, "--run", run))
    assert "no run folder" in complaint(capsys, "status", folder, "--run", tmp_path)
    assert yaml.safe_load((folder / "federation.yaml").read_text())["members"].keys() == {
        "north"
    }


def test_a_removal_that_was_cut_off_after_the_superlink_goes_on(
    folder, superlink, tmp_path, capsys
):
    tell(capsys, "add", folder, "north", *keys(tmp_path, "north", capsys))
    superlink.nodes.clear()
    assert "north: let go" in tell(capsys, "remove", folder, "north")[0]
    assert "north" not in (folder / "federation.yaml").read_text()
