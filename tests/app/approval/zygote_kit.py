"""A zygote in a process of its own, with Flower's SuperExec beside it."""

import os
import subprocess
import sys

from tests import ROOT

# Flower's SuperExec, which starts what a message needs; and what the guard would do then.
PROCESS = """
import json, os, signal, socket, stat, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from app.approval import clientapp, loaded, zygote
from app.approval.guard import Seen
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

# What the guard would have said of each token's message.
notes = {{}}
{before}

def answer(has=None, note=None):
    import random, numpy
    token = sys.argv[sys.argv.index("--token") + 1]
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
        loaded=has and has.bundle,
        client=has and sys.modules[type(has.app).__module__].__file__,
        threads=len(os.listdir("/proc/self/task")),
    )
    if token in notes:
        note(notes[token])
    file = folder / "new"
    file.write_text(json.dumps(told))
    file.rename(folder / token)
    return 0

C = TaskType.CLIENT_APP

def launch(task, token, bundle=None):
    SubprocessExecutor().launch(ExecutionSpec(
        task_type=task, runtime_api_address="h:1", token=token, insecure=True,
        root_certificates_path=None, runtime_dependency_install=False,
        parent_pid=os.getpid(), suppress_output={suppressed}, task_id=1, fab_hash=bundle))

def start(task, token, bundle=None):
    launch(task, token, bundle)
    while not (folder / token).exists():
        time.sleep(0.05)

def children():
    file = Path(f"/proc/self/task/{{os.getpid()}}/children")
    return [int(pid) for pid in file.read_text().split()]

def superexec():
    (folder / "superexec").write_text(str(os.getpid()))
    {steps}
    sys.exit()

clientapp.main, cli.flower_superexec = answer, superexec
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
