"""The ``tacet`` command: what it prints, what it leaves, and its one-line errors."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from app.cli.main import main
from app.node.identity import read_peers, read_public, readable_fingerprint
from tests import ROOT


def tell(capsys, *argv: object) -> list[str]:
    """Run a command that works; return its lines."""
    assert main([str(argument) for argument in argv]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out.splitlines()


def complaint(capsys, *argv: object) -> str:
    """Run a command that fails; return its one line."""
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as leaving:
        status = leaving.code
    told = capsys.readouterr()
    assert (status, told.out) == (2, "")
    assert told.err.startswith("tacet")
    assert told.err.count("\n") == 1
    return told.err


@pytest.fixture
def key(tmp_path, capsys) -> Path:
    tell(capsys, "keys", "new", tmp_path / "a.key")
    return tmp_path / "a.key"


def test_new_makes_the_pair_and_prints_the_fingerprint(tmp_path, capsys):
    path = tmp_path / "keys" / "a.key"
    lines = tell(capsys, "keys", "new", path)
    shown = readable_fingerprint(read_public(Path(f"{path}.pub")))
    assert lines[2] == f"fingerprint: {shown}"
    assert [len(group) for group in shown.split()] == [4] * 16
    assert path.exists()
    assert not any("PRIVATE" in line for line in lines)


def test_new_does_not_overwrite(key, capsys):
    before = key.read_bytes()
    assert "never overwritten" in complaint(capsys, "keys", "new", key)
    assert key.read_bytes() == before


def test_fingerprint_reads_a_public_key_and_a_peers_file(key, tmp_path, capsys):
    tell(capsys, "keys", "new", tmp_path / "b.key")
    peers = tmp_path / "peers.yaml"
    merged = tell(
        capsys,
        "keys",
        "merge",
        "--out",
        peers,
        f"clinic-b={tmp_path}/b.key.pub",
        f"a={key}.pub",
    )
    (alone,) = tell(capsys, "keys", "fingerprint", f"{key}.pub")
    assert merged[0] == f"a         {alone}"
    assert merged[1].startswith("clinic-b  ")
    assert str(peers) in merged[2]
    assert tell(capsys, "keys", "fingerprint", peers) == merged[:2]
    assert read_peers(peers)["a"] == read_public(Path(f"{key}.pub"))


def test_merge_adds_to_what_is_there(key, tmp_path, capsys):
    peers = tmp_path / "peers.yaml"
    tell(capsys, "keys", "merge", "--out", peers, f"a={key}.pub")
    peers.chmod(0o600)
    other = tmp_path / "other"
    tell(capsys, "keys", "new", other)
    lines = tell(capsys, "keys", "merge", "--out", peers, f"b={other}.pub", f"a={key}.pub")
    assert [line[0] for line in lines[:2]] == ["a", "b"]
    assert read_peers(peers) == {
        "a": read_public(Path(f"{key}.pub")),
        "b": read_public(Path(f"{other}.pub")),
    }
    assert peers.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.partial"))


def test_a_pinned_key_is_never_replaced(key, tmp_path, capsys):
    peers, other = tmp_path / "peers.yaml", tmp_path / "other"
    tell(capsys, "keys", "merge", "--out", peers, f"a={key}.pub")
    tell(capsys, "keys", "new", other)
    before = peers.read_bytes()
    told = complaint(capsys, "keys", "merge", "--out", peers, f"a={other}.pub")
    assert f"tacet keys remove {peers} a" in told
    # Nor is a key taken in under a second name.
    assert "same key" in complaint(capsys, "keys", "merge", "--out", peers, f"b={key}.pub")
    assert peers.read_bytes() == before
    tell(capsys, "keys", "remove", peers, "a")
    assert read_peers(peers) == {}
    tell(capsys, "keys", "merge", "--out", peers, f"a={other}.pub")
    assert read_peers(peers) == {"a": read_public(Path(f"{other}.pub"))}


def test_remove_names_what_is_not_there(key, tmp_path, capsys):
    peers = tmp_path / "peers.yaml"
    assert str(peers) in complaint(capsys, "keys", "remove", peers, "a")
    tell(capsys, "keys", "merge", "--out", peers, f"a={key}.pub")
    assert "b is none of a" in complaint(capsys, "keys", "remove", peers, "a", "b")
    assert "a" in read_peers(peers)


def test_a_damaged_peers_file_is_not_overwritten(key, tmp_path, capsys):
    peers = tmp_path / "peers.yaml"
    peers.write_text("half a fi")
    assert "not a peers file" in complaint(
        capsys, "keys", "merge", "--out", peers, f"a={key}.pub"
    )
    assert peers.read_text() == "half a fi"


def test_merge_refuses_and_writes_nothing(key, tmp_path, capsys):
    peers, public = tmp_path / "peers.yaml", f"{key}.pub"
    wrong = {
        "has no name": ([public], "must be NAME=FILE.pub"),
        "name twice": ([f"a={public}", f"a={public}"], "the name a is given twice"),
        "key twice": ([f"a={public}", f"b={public}"], "a and b have the same key"),
        "private": ([f"a={key}"], "is a private key; give the public one"),
        "missing": ([f"a={tmp_path}/none.pub"], "No such file"),
    }
    for entries, expected in wrong.values():
        assert expected in complaint(capsys, "keys", "merge", "--out", peers, *entries)
    assert not peers.exists()
    nowhere = tmp_path / "none" / "peers.yaml"
    assert str(nowhere) in complaint(capsys, "keys", "merge", "--out", nowhere, f"a={public}")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "required"),
        (["keys"], "required"),
        (["keys", "new"], "PATH"),
        (["keys", "sign", "x"], "invalid choice"),
        (["keys", "merge", "a=b"], "--out"),
        (["keys", "fingerprint", "/nowhere/x.pub"], "/nowhere/x.pub: No such file"),
    ],
)
def test_a_wrong_command_is_one_line(argv, expected, capsys):
    assert expected in complaint(capsys, *argv)


def test_as_a_process_it_needs_neither_torch_nor_flower(tmp_path):
    script = (
        "import sys; from app.cli.main import main; status = main(sys.argv[1:]);"
        "heavy = {'torch', 'opacus', 'flwr', 'hydra'} & set(sys.modules);"
        "print('heavy', sorted(heavy)); sys.exit(status)"
    )
    command = [sys.executable, "-c", script, "keys", "new", str(tmp_path / "a.key")]
    first, second = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True) for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith("heavy []\n")
    assert second.returncode == 2
    assert second.stderr.startswith("tacet: ")
    assert "Traceback" not in second.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    """As in ``tacet plan | head -1``."""
    main(["keys", "new", str(tmp_path / "a.key")])
    script = "import sys; from app.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "keys", "fingerprint", str(tmp_path / "a.key.pub")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr.read() == ""


def test_the_entry_point_is_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, name = project["scripts"]["tacet"].split(":")
    assert getattr(import_module(module), name) is main
