"""The commands around the guard: ``tacet supernode`` and ``tacet bundle``."""

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import flwr
import pytest

from app.approval import guard, supernode
from app.approval.bundle import digest
from app.approval.supernode import check_flower, guarded_path
from app.cli.main import main
from app.node.running_code import RUNNING

COMMANDS = ("flwr-agentapp", "flwr-serverapp", "flwr-simulation", "flwr-model")

# What the SuperNode finds on its PATH


@pytest.fixture
def started(policy, tmp_path, monkeypatch):
    """Return how ``tacet supernode`` would become a SuperNode."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(RUNNING, "ab" * 32)
    found = SimpleNamespace()

    def execve(path, argv, environment):
        found.path, found.argv, found.environment = path, argv, environment

    monkeypatch.setattr(os, "execve", execve)
    options = ["--insecure", "--host", "h", "--node-config", f'policy-file="{policy}"']
    assert main(["supernode", *options]) == 0
    assert found.argv[0] == found.path == sys.executable
    assert found.argv[-len(options) :] == options
    return found


def test_a_guarded_supernode_finds_the_guard_and_no_other_command(started, policy):
    path = started.environment["PATH"]
    folder = Path(path.split(os.pathsep)[0])
    assert started.environment[guard.POLICY] == str(policy)
    # What was set outside is no word of the guard's.
    assert RUNNING not in started.environment
    assert "app.approval.waking" in started.argv[3]
    for name in ("flwr-clientapp", "flower-superexec", *COMMANDS):
        assert shutil.which(name, path=path) == str(folder / name)
    shutil.rmtree(folder)
    for name in ("flwr-clientapp", "flower-superexec", *COMMANDS):
        assert shutil.which(name, path=path) is None


@pytest.mark.slow
def test_the_commands_are_what_they_should_be(started):
    def run(*command: str):
        environment = started.environment | {"PYTHONPATH": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    for name in COMMANDS:
        assert run(name, "--token", "x").returncode == 1
    told = run(*started.argv[:4], "--help").stdout
    assert told.startswith("usage: flower-supernode ")
    assert "--auth-supernode-private-key" in told
    assert "--runtime-api-address" in run("flower-superexec", "--help").stdout
    assert "--runtime-api-address" in run("flwr-clientapp", "--help").stdout
    folder = Path(started.environment["PATH"].split(os.pathsep)[0])
    for name, module in (
        ("flwr-clientapp", "app.approval.clientapp"),
        ("flower-superexec", "app.approval.zygote"),
    ):
        assert module in (folder / name).read_text()
        assert (folder / name).stat().st_mode & 0o777 == 0o700


def test_a_path_keeps_what_has_no_command_of_flower(tmp_path):
    for name in ("clean", "flower"):
        (tmp_path / name).mkdir()
    (tmp_path / "flower" / "flwr-model").touch()
    path = f".:{tmp_path}/clean::{tmp_path}/flower:relative"
    assert guarded_path(Path("/guard"), path) == f"/guard:{tmp_path}/clean"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "nothing in it"),
        (["--node-config", "partition-id=1"], "policy-file is missing"),
        (["--node-config", 'policy-file="/nowhere/p.yaml"'], "No such file"),
        (["--isolation=process"], "the guard is in the processes"),
        (["--allow-runtime-dep"], "nobody approved what would be installed"),
    ],
)
def test_a_supernode_that_could_not_be_guarded_is_not_started(
    arguments, expected, capsys, monkeypatch
):
    monkeypatch.setattr(os, "execve", pytest.fail)
    assert main(["supernode", *arguments]) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1


def test_a_flower_that_starts_its_processes_in_another_way_is_refused(
    policy, capsys, monkeypatch
):
    check_flower()
    monkeypatch.setattr(os, "execve", pytest.fail)
    monkeypatch.setattr(supernode, "_commands", lambda: ["flwr-clientapp-2"])
    assert main(["supernode", "--node-config", f'policy-file="{policy}"']) == 2
    told = capsys.readouterr().err
    assert f"flwr {flwr.__version__}: a SuperNode starts ClientApps in another way" in told
    assert "pyproject.toml" in told


def test_a_flower_that_runs_clientapps_in_another_way_is_refused(policy, capsys, monkeypatch):
    runner = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    monkeypatch.delattr(runner, "install_from_fab")
    monkeypatch.setattr(os, "execve", pytest.fail)
    assert main(["supernode", "--node-config", f'policy-file="{policy}"']) == 2
    told = capsys.readouterr().err
    assert f"flwr {flwr.__version__}: run_clientapp does not call install_from_fab" in told


# What an owner approves


def tell(capsys, *argv: object) -> tuple[int, list[str]]:
    status = main([str(argument) for argument in argv])
    told = capsys.readouterr()
    assert told.err.count("\n") == (status == 2)
    return status, (told.err if status == 2 else told.out).splitlines()


def test_the_hash_is_that_of_what_flower_ships(checkout, bundle, altered, tmp_path, capsys):
    assert tell(capsys, "bundle", "hash", checkout) == (0, [digest(bundle)])
    file = tmp_path / "x.fab"
    file.write_bytes(altered)
    assert tell(capsys, "bundle", "hash", file) == (0, [digest(altered)])
    status, (line,) = tell(capsys, "bundle", "hash", tmp_path)
    assert (status, "neither a .fab file nor a checkout" in line) == (2, True)


def test_a_bundle_packed_otherwise_is_compared_file_by_file(
    checkout, bundle, altered, tmp_path, capsys
):
    """Another machine's zlib may give other bytes for the same files."""
    file, packed = tmp_path / "x.fab", BytesIO()
    with zipfile.ZipFile(BytesIO(bundle)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    file.write_bytes(packed.getvalue())
    status, lines = tell(capsys, "bundle", "check", file, checkout)
    assert (status, lines[1]) == (0, digest(packed.getvalue()))
    assert lines[1] != digest(bundle)
    file.write_bytes(altered)
    assert tell(capsys, "bundle", "check", file, checkout) == (
        1,
        ["differs: .info/CONTENT", "differs: strategies/masked/client.py"],
    )
    with zipfile.ZipFile(packed, "a") as new, pytest.warns(UserWarning, match="Duplicate"):
        new.writestr("app/client.py", "")
    file.write_bytes(packed.getvalue())
    assert "stands twice" in tell(capsys, "bundle", "check", file, checkout)[1][0]
    file.write_bytes(b"no zip")
    assert "not a bundle" in tell(capsys, "bundle", "check", file, checkout)[1][0]
