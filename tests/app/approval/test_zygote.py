"""The process that forks for each message: what a fork is, and when there is none."""

import json
import os
import subprocess
import sys

import pytest

from tests import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has a zygote")

# Flower's SuperExec, which starts what a message needs; and what the guard would do then.
PROCESS = """
import json, os, signal, socket, stat, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from app.approval import guard
from app.approval import zygote
guarded = {{*sys.modules}}
sys.path.remove({root!r})
import flwr.supercore.cli as cli
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec

folder = Path({folder!r})

def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False

def answer():
    import random, numpy
    torch = sys.modules["torch"]
    ours = ("app", "strategies", "workloads", "tasks", "privacy")
    told = dict(
        pid=os.getpid(),
        parent=os.getppid(),
        argv=sys.argv,
        draws=[random.random(), numpy.random.random(), torch and torch.rand(1).item()],
        more=[name for name in {{*sys.modules}} - guarded if name.split(".")[0] in ours],
        default=signal.getsignal(signal.SIGINT) is signal.default_int_handler
        and signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        sockets=[fd for fd in range(3, 100) if is_socket(fd)],
    )
    file = folder / "new"
    file.write_text(json.dumps(told))
    file.rename(folder / sys.argv[sys.argv.index("--token") + 1])
    return 0

def start(task, token):
    SubprocessExecutor().launch(ExecutionSpec(
        task_type=task, runtime_api_address="h:1", token=token, insecure=True,
        root_certificates_path=None, runtime_dependency_install=False,
        parent_pid=os.getpid(), suppress_output={suppressed}, task_id=1, fab_hash=None))
    while not (folder / token).exists():
        time.sleep(0.05)

def children():
    file = Path(f"/proc/self/task/{{os.getpid()}}/children")
    return [int(pid) for pid in file.read_text().split()]

def superexec():
    (folder / "superexec").write_text(str(os.getpid()))
    {steps}
    sys.exit()

guard.main, cli.flower_superexec = answer, superexec
{before}
sys.exit(zygote.main())
"""
SCRIPT = '#!/bin/sh\nwhile [ "$1" != --token ]; do shift; done\necho $0 > {folder}/$2\n'


def run(folder, steps: str, suppressed: bool = False, before: str = "") -> dict[str, str]:
    """Return what each token's process left, and the SuperExec's pid."""
    scripts = folder / "scripts"
    scripts.mkdir()
    for name in ("flwr-clientapp", "flwr-agentapp"):
        (scripts / name).write_text(SCRIPT.format(folder=folder))
        (scripts / name).chmod(0o700)
    values = {"folder": str(folder), "steps": steps, "suppressed": suppressed}
    code = PROCESS.format(root=str(ROOT), before=before, **values)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        # Returns when the zygote, too, has closed its end: when it has ended.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": path, "PYTHONPATH": "", "FLWR_TELEMETRY_ENABLED": "0"},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    left = {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}
    return {**left, "output": done.stdout}


@pytest.mark.slow
def test_each_message_has_a_process_of_its_own(tmp_path):
    left = run(tmp_path, 'start(TaskType.CLIENT_APP, "a"); start(TaskType.CLIENT_APP, "b")')
    superexec = int(left["superexec"])
    a, b = json.loads(left["a"]), json.loads(left["b"])
    assert a["argv"] == [
        "flwr-clientapp",
        "--runtime-api-address",
        "h:1",
        "--token",
        "a",
        "--insecure",
        "--parent-pid",
        str(superexec),
    ]
    assert b["argv"][4] == "b"
    assert a["parent"] == b["parent"]
    assert len({superexec, a["pid"], b["pid"], a["parent"]}) == 4
    # Nothing of ours but what the guard itself is made of, which the guard forgets.
    assert a["more"] == b["more"] == []
    assert a["default"]
    # It does not have the zygote's ear.
    assert a["sockets"] == []
    # No generator of a library goes on where the other message's did.
    assert not {*a["draws"]} & {*b["draws"]}
    assert len({*a["draws"]}) == 3


@pytest.mark.slow
def test_without_the_zygote_messages_go_the_long_way(tmp_path):
    steps = (
        "(zygote,) = children(); os.kill(zygote, signal.SIGKILL); os.waitpid(zygote, 0);"
        ' start(TaskType.CLIENT_APP, "a")'
    )
    left = run(tmp_path, steps)
    assert left["a"] == f"{tmp_path}/scripts/flwr-clientapp\n"
    assert "each message takes seconds longer" in left["output"]


@pytest.mark.slow
def test_a_zygote_that_hangs_is_killed_and_messages_go_the_long_way(tmp_path):
    steps = (
        "zygote._PATIENCE_SECONDS = 0.5; hanging = subprocess.Popen(['sleep', '600']);"
        " pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        " zygote.start_by(pair[0], hanging.pid);"
        ' start(TaskType.CLIENT_APP, "a"); start(TaskType.CLIENT_APP, "b");'
        ' (folder / "ended").write_text(str(hanging.wait()))'
    )
    left = run(tmp_path, steps)
    assert left["a"] == left["b"] == f"{tmp_path}/scripts/flwr-clientapp\n"
    assert left["ended"] == "-9"
    assert left["output"].count("start the node again") == 2


@pytest.mark.slow
def test_a_library_that_is_missing_is_left_to_the_fork(tmp_path):
    steps = 'start(TaskType.CLIENT_APP, "a")'
    left = run(tmp_path, steps, before="sys.modules['torch'] = None")
    assert "could be imported ahead: No module named 'torch." in left["output"]
    assert json.loads(left["a"])["draws"][2] is None


@pytest.mark.slow
def test_other_commands_are_started_as_flower_does(tmp_path):
    left = run(tmp_path, 'start(TaskType.AGENT_APP, "a")')
    assert left["a"] == f"{tmp_path}/scripts/flwr-agentapp\n"


@pytest.mark.slow
def test_what_is_to_be_silent_is_started_as_flower_does(tmp_path):
    left = run(tmp_path, 'start(TaskType.CLIENT_APP, "a")', suppressed=True)
    assert left["a"] == f"{tmp_path}/scripts/flwr-clientapp\n"


@pytest.mark.slow
def test_nothing_heavy_is_left_to_a_fork():
    code = (
        "import sys; from app.approval import zygote; zygote._preload();"
        " before = {*sys.modules}; from benchmarks.imports import STEPS;"
        " [exec(step) for step in STEPS.values()];"
        " print(*({*sys.modules} - before))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    names = told.stdout.split()
    assert "workloads.model_update" in names
    heavy = {"flwr", "torch", "hydra", "numpy", "randomgen", "scipy", "sklearn", "sympy"}
    left = [name for name in names if name.partition(".")[0] in heavy]
    # Hydra looks for plugins when it is first asked; torch would be hundreds.
    assert len(left) < 20, left
