"""``flwr-clientapp`` with the guard in it: one process, for one message.

``tacet supernode`` starts a SuperNode with a PATH on which Flower's commands are scripts of
ours: ``flwr-clientapp`` is ``main`` below, ``flower-superexec`` forks for it
(``app.approval.zygote``), the others do nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

from flwr import __version__

from app.approval.bundle import PACKAGES
from app.approval.guard import Guard, Loaded, LoadedGuard, Note
from app.node.running_code import RUNNING

#: Where bundles are unpacked, in ``FLWR_HOME``.
FOLDERS = "tacet-bundles"
_RUNNER = "flwr.supernode.runtime.run_clientapp"
_INSTALL, _LOADER = "install_from_fab", "get_load_client_app_fn"
_DEPENDENCIES = "install_app_dependencies"


class GuardError(RuntimeError):
    """The guard cannot work, so nothing runs. The message is one line with the mend."""


def other_flower(what: str) -> str:
    """Return the line that names a difference in the installed Flower."""
    return f"flwr {__version__}: {what}; install a flwr that Tacet's pyproject.toml allows"


def load_runner() -> ModuleType:
    """Return Flower's module that runs the ClientApp for ``flwr-clientapp``.

    Raises
    ------
    GuardError
        If the command runs it in another way.
    """
    try:
        runner = import_module(_RUNNER)
        command = import_module("flwr.supernode.cli").flwr_clientapp
        if command.__globals__["run_clientapp"] is runner.run_clientapp:
            return runner
    except (ImportError, AttributeError, KeyError):
        pass  # said below
    raise GuardError(other_flower("flwr-clientapp does not call run_clientapp"))


def require_known(runner: ModuleType) -> None:
    """Check that the runner calls the functions that the guard stands in for.

    Raises
    ------
    GuardError
        If not.
    """
    used = runner.run_clientapp.__code__.co_names
    for name in (_INSTALL, _LOADER, _DEPENDENCIES):
        if name not in used or not callable(getattr(runner, name, None)):
            raise GuardError(other_flower(f"run_clientapp does not call {name}"))


def wrap(runner: ModuleType, guard: Guard) -> None:
    """Put the guard into the module that runs the ClientApp."""
    setattr(runner, _INSTALL, guard.install)
    setattr(runner, _LOADER, guard.get_loader)
    setattr(runner, _DEPENDENCIES, guard.install_dependencies)


def main(loaded: Loaded | None = None, note: Note | None = None) -> int:
    """Run ``flwr-clientapp`` for one message, the guard before the bundle.

    Parameters
    ----------
    loaded : Loaded, optional
        The bundle, if this process has it.
    note : callable, optional
        Is told of the bundle before it answers.

    Returns
    -------
    int
        The exit status, if the guard cannot work; else Flower leaves by itself.
    """
    os.environ.pop(RUNNING, None)
    # The bundle's folder goes with this process.
    sys.dont_write_bytecode = True
    try:
        place = own_folder(FOLDERS)
    except (ImportError, AttributeError, OSError) as error:
        return _nothing_runs(error)
    with tempfile.TemporaryDirectory(
        prefix=f"{os.getpid()}-", dir=place, ignore_cleanup_errors=True
    ) as folder:
        try:
            runner = known_runner()
        except GuardError as error:
            return _nothing_runs(error)
        if loaded is None:
            wrap(runner, fresh_guard(runner, Path(folder), note))
        else:
            wrap(runner, LoadedGuard(loaded, note))
        import_module("flwr.supernode.cli").flwr_clientapp()
    return 1


def known_runner() -> ModuleType:
    """Return Flower's module that runs the ClientApp, if the guard can stand in its way.

    Raises
    ------
    GuardError
        If not.
    """
    runner = load_runner()
    require_known(runner)
    return runner


def fresh_guard(runner: ModuleType, folder: Path, note: Note | None = None) -> Guard:
    """Return the guard of a process that is going to import a bundle's own modules."""
    guard = Guard(folder, getattr(runner, _INSTALL), getattr(runner, _LOADER), note)
    _forget_own_modules()
    return guard


def _nothing_runs(error: Exception) -> int:
    print(f"tacet: nothing runs: {error}", file=sys.stderr)
    return 1


def sweep() -> None:
    """Remove the folders that killed processes have left.

    A node has a ``FLWR_HOME`` of its own, so what lies there is its own.
    """
    for folder in own_folder(FOLDERS).iterdir():
        named = re.match("([0-9]{1,9})-", folder.name)
        if named and not _lives(int(named[1])):
            shutil.rmtree(folder, ignore_errors=True)


def own_folder(name: str) -> Path:
    """Return Tacet's folder in ``FLWR_HOME``; make it if it is missing."""
    path = import_module("flwr.supercore.utils").get_flwr_home().absolute() / name
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _forget_own_modules() -> None:
    """Let the bundle import its own packages, not the installed ones of the same names."""
    for name in list(sys.modules):
        if name.split(".")[0] in PACKAGES:
            del sys.modules[name]
