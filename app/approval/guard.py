"""The check of a bundle on the node, before anything of it is installed or imported.

The SuperLink delivers the app, so what the app refuses counts only if the node chose the app.
``tacet supernode`` starts a SuperNode with a PATH on which Flower's commands are scripts of
ours: ``flwr-clientapp`` is ``main`` below, ``flower-superexec`` forks for it
(``app.approval.zygote``), the others do nothing. All code of the guard is of the *installed*
package, never of a bundle. Whatever goes wrong, nothing runs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from logging import getLogger
from pathlib import Path
from types import ModuleType
from typing import Any

from flwr import __version__

from app.approval.bundle import PACKAGES, digest
from app.node.policy import PolicyError, load_policy
from app.node.running_code import RUNNING
from strategies.refusals import Reason, refusal_reply

log = getLogger("flwr.tacet.guard")

#: Names the policy file; set by ``tacet supernode``.
POLICY = "TACET_POLICY"
_FOLDERS = "tacet-bundles"
_RUNNER = "flwr.supernode.runtime.run_clientapp"
_INSTALL, _LOADER = "install_from_fab", "get_load_client_app_fn"
_DEPENDENCIES = "install_app_dependencies"


class GuardError(RuntimeError):
    """The guard cannot work, so nothing runs. The message is one line with the mend."""


def approve(content: bytes) -> str:
    """Return the SHA-256 of a bundle that the policy lists.

    Raises
    ------
    PolicyError
        If it does not, or cannot be read.
    """
    file = os.environ.get(POLICY, "")
    if not file:
        raise PolicyError(f"{POLICY} is not set; start the node with `tacet supernode`")
    bundles = require_bundles(Path(file))
    found = digest(content)
    if found not in bundles:
        raise PolicyError(
            f"{file}: the server sent the bundle {found}, which is not approved; compare it"
            " with `tacet bundle hash` of the code that you reviewed, and add it to bundles"
        )
    return found


def require_bundles(policy: Path) -> tuple[str, ...]:
    """Return the approved bundles of a policy file, at least one.

    Raises
    ------
    PolicyError
        If it has none.
    """
    bundles = load_policy(policy).bundles
    if not bundles:
        raise PolicyError(
            f"{policy}: bundles is missing; list what `tacet bundle hash` prints for the code"
            " that you reviewed"
        )
    return bundles


class Guard:
    """Replacement for the functions by which ``flwr-clientapp`` installs and loads a bundle.

    Parameters
    ----------
    folder : Path
        An empty folder that only this process uses. Flower would take what it finds under
        ``FLWR_HOME/apps`` for the bundle if name, version and 8 digits of the hash agree.
    install, get_loader : callable
        Flower's functions for the same.
    """

    def __init__(
        self, folder: Path, install: Callable[..., Path], get_loader: Callable[..., Any]
    ) -> None:
        self._folder, self._install, self._get_loader = folder, install, get_loader
        self._installed: Path | None = None

    def install(self, fab_file: bytes, **_options: Any) -> None:
        """Install an approved bundle; log why any other is refused."""
        try:
            found = approve(fab_file)
            installed = self._install(fab_file, install_dir=self._folder, skip_prompt=True)
        except PolicyError as error:
            log.error("refused the bundle: %s", error)
        except Exception:
            # Flower would send the text of the exception.
            log.exception("the bundle could not be installed")
        else:
            os.environ[RUNNING] = found
            self._installed = installed

    def get_loader(self, **_options: Any) -> Callable[..., Any]:
        """Return a loader of the installed app, or of an app that refuses every message.

        Flower would follow the bundle's name as the server gives it.
        """
        if self._installed is None:
            return lambda *_names: _refuse
        return self._get_loader(
            default_app_ref="", app_path=str(self._installed), multi_app=True
        )

    @staticmethod
    def install_dependencies(*_arguments: Any, **_options: Any) -> None:
        """Install nothing: nobody approved what an index would deliver."""
        log.error("dependencies are not installed; install them into the node's environment")


def _refuse(message: Any, context: Any) -> Any:
    """Answer a message with a refusal by policy."""
    return refusal_reply(Reason.POLICY_REFUSED, message)


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


def main() -> int:
    """Run ``flwr-clientapp`` for one message, the guard before the bundle.

    Returns
    -------
    int
        The exit status, if the guard cannot work; else Flower leaves by itself.
    """
    os.environ.pop(RUNNING, None)
    # The bundle's folder goes with this process.
    sys.dont_write_bytecode = True
    try:
        place = own_folder(_FOLDERS)
    except (ImportError, AttributeError, OSError) as error:
        return _nothing_runs(error)
    with tempfile.TemporaryDirectory(
        prefix=f"{os.getpid()}-", dir=place, ignore_cleanup_errors=True
    ) as folder:
        try:
            runner = load_runner()
            require_known(runner)
        except GuardError as error:
            return _nothing_runs(error)
        flowers = getattr(runner, _INSTALL), getattr(runner, _LOADER)
        wrap(runner, Guard(Path(folder), *flowers))
        _forget_own_modules()
        import_module("flwr.supernode.cli").flwr_clientapp()
    return 1


def _nothing_runs(error: Exception) -> int:
    print(f"tacet: nothing runs: {error}", file=sys.stderr)
    return 1


def sweep() -> None:
    """Remove the folders that killed processes have left.

    A node has a ``FLWR_HOME`` of its own, so what lies there is its own.
    """
    for folder in own_folder(_FOLDERS).iterdir():
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
