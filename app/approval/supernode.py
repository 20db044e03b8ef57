"""Flower's SuperNode with a PATH on which every message goes through the guard.

Assumptions about how ``flower-supernode`` starts its processes are made here and in
``zygote.py``; those about how a process runs a ClientApp, in ``clientapp.py``; those about how
it waits, in ``waking.py``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from app.approval.bundle import BundleError, digest
from app.node.running_code import RUNNING

_ROOT = Path(__file__).resolve().parents[2]
_SUPERNODE, _SUPEREXEC, _CLIENTAPP = "flower-supernode", "flower-superexec", "flwr-clientapp"
_START = (
    "import sys; sys.path.insert(0, {root!r}); from {module} import main;"
    " sys.path.remove({root!r}); sys.argv[0] = {name!r}; sys.exit(main())"
)
#: Flower's SuperExec looks for a message every second otherwise; a look takes 9 ms of CPU.
_FASTER = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.25"}
_ONLY = "echo 'tacet: only ClientApps run here' >&2; exit 1"


def become_supernode(policy: Path, arguments: list[str]) -> None:
    """Replace this process by a SuperNode with a guard; return only by an error.

    Raises
    ------
    PolicyError, BundleError
        If the policy lists no bundles, or Flower's commands are not as expected.
    """
    # Flower's logging comes with it, which other commands do without.
    from app.approval.clientapp import sweep
    from app.approval.guard import POLICY, require_bundles

    require_bundles(policy)
    check_flower()
    environment = _FASTER | os.environ | {POLICY: str(policy.absolute())}
    environment.pop(RUNNING, None)
    try:
        sweep()
        folder = _write_scripts()
        environment["PATH"] = guarded_path(folder, os.environ.get("PATH", os.defpath))
        command = _python(_SUPERNODE, "app.approval.waking")
        os.execve(command[0], [*command, *arguments], environment)  # noqa: S606 - no shell
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from None


def check_flower() -> None:
    """Check that this Flower starts and runs ClientApps as the guard and the zygote expect.

    Raises
    ------
    BundleError
        If not.
    """
    from app.approval.clientapp import GuardError, known_runner, other_flower
    from app.approval.waking import LOOP
    from app.approval.zygote import EXECUTOR

    try:
        known_runner()
    except GuardError as error:
        raise BundleError(str(error)) from None
    try:
        client = import_module("flwr.supernode.start_client_internal").start_client_internal
        executor = import_module("flwr.supercore.superexec.executor").SubprocessExecutor
        known = _SUPEREXEC in client.__code__.co_consts and _CLIENTAPP in _commands()
        known &= {"TASK_TYPE_TO_COMMAND", "Popen"} <= {*executor.launch.__code__.co_names}
        known &= import_module(EXECUTOR).subprocess is subprocess
        known &= callable(import_module("flwr.supercore.cli").flower_superexec)
        known &= callable(import_module("flwr.supernode.cli").flower_supernode)
        known &= import_module(LOOP).time is time
    except (ImportError, AttributeError):
        known = False
    if not known:
        raise BundleError(other_flower("a SuperNode starts ClientApps in another way"))


def _commands() -> list[str]:
    return list(import_module("flwr.supercore.constant").TASK_TYPE_TO_COMMAND.values())


def _python(name: str, module: str) -> list[str]:
    """Return the command that runs a module's ``main`` under the name of Flower's command."""
    code = _START.format(root=str(_ROOT), name=name, module=module)
    return [sys.executable, "-P", "-c", code]


def _write_scripts() -> Path:
    """Write the commands that a guarded SuperNode finds; return their folder.

    A server may also ask for other kinds of task, which Flower starts by other commands.
    """
    from app.approval.clientapp import own_folder

    started = dict.fromkeys(_commands(), _ONLY)
    for name, module in (
        (_CLIENTAPP, "app.approval.clientapp"),
        (_SUPEREXEC, "app.approval.zygote"),
    ):
        started[name] = f'exec {shlex.join(_python(name, module))} "$@"'
    folder = own_folder(f"tacet-guard-{digest(repr(started).encode())[:16]}")
    for name, line in started.items():
        handle, made = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{line}\n")
        Path(made).chmod(0o700)
        # Other SuperNodes may be using it.
        Path(made).replace(folder / name)
    return folder


def guarded_path(folder: Path, path: str) -> str:
    """Return a PATH on which Flower's commands are found in the folder alone.

    Should the folder vanish, Flower finds none at all.
    """
    names = {_SUPEREXEC, *_commands()}
    kept = [
        place
        for place in path.split(os.pathsep)
        if Path(place).is_absolute()
        and not any((Path(place) / name).exists() for name in names)
    ]
    return os.pathsep.join([str(folder), *kept])
