"""The check of a bundle on the node, before anything of it is installed or imported.

The SuperLink delivers the app, so what the app refuses counts only if the node chose the app.
All code of the guard is of the *installed* package, never of a bundle. Whatever goes wrong,
nothing runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from app.approval.bundle import digest
from app.node.policy import PolicyError, load_policy
from app.node.running_code import RUNNING
from strategies.refusals import Reason, refusal_reply

log = getLogger("flwr.tacet.guard")

#: Names the policy file; set by ``tacet supernode``.
POLICY = "TACET_POLICY"


@dataclass(frozen=True)
class Seen:
    """A bundle that is about to answer a message.

    Attributes
    ----------
    content : bytes
        The bundle, which the policy lists.
    bundle : str
        Its SHA-256 in hexadecimal digits.
    app_names : tuple of str
        Flower's id and version of the app, and a hash, as the server gives them.
    run_config : dict
        The configuration of the message's run.
    """

    content: bytes
    bundle: str
    app_names: tuple[str, ...]
    run_config: dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A bundle that this process approved and loaded before it knew of a message.

    Attributes
    ----------
    bundle, app_names
        As ``Seen``.
    app : callable
        Flower's ClientApp.
    """

    bundle: str
    app_names: tuple[str, ...]
    app: Callable[..., Any]


#: Is told which bundle answers, before it does.
Note = Callable[[Seen], None]


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
    note : callable, optional
        Is told of a bundle before it answers.
    """

    def __init__(
        self,
        folder: Path,
        install: Callable[..., Path],
        get_loader: Callable[..., Any],
        note: Note | None = None,
    ) -> None:
        self._folder, self._install, self._get_loader = folder, install, get_loader
        self._note = note
        self._content, self._bundle = b"", ""
        self._load: Callable[..., Any] | None = None

    def install(self, fab_file: bytes, **_options: Any) -> None:
        """Install an approved bundle; log why any other is refused."""
        try:
            found = approve(fab_file)
            load = self._loader_of(fab_file, found)
        except PolicyError as error:
            log.error("refused the bundle: %s", error)
        except Exception:
            # Flower would send the text of the exception.
            log.exception("the bundle could not be installed")
        else:
            os.environ[RUNNING] = found
            self._content, self._bundle, self._load = fab_file, found, load

    def get_loader(self, **_options: Any) -> Callable[..., Any]:
        """Return a loader of the installed app, or of an app that refuses every message.

        Flower would follow the bundle's name as the server gives it.
        """
        load, note = self._load, self._note
        if load is None:
            return lambda *_names: _refuse

        def load_noting(*names: str) -> Callable[..., Any]:
            app = load(*names)

            def answer(message: Any, context: Any) -> Any:
                if note is not None:
                    config = dict(context.run_config)
                    try:
                        note(Seen(self._content, self._bundle, names, config))
                    except Exception:
                        # Flower would send its text. It costs the next message time only.
                        log.exception("the bundle is not kept loaded")
                return app(message=message, context=context)

            return answer

        return load_noting

    def load(self, content: bytes, app_names: tuple[str, ...]) -> Loaded | None:
        """Install and load a bundle for messages to come; None, and a log, if it cannot be.

        Parameters
        ----------
        content, app_names
            As ``Seen``.
        """
        self.install(content)
        if self._load is None:
            return None
        try:
            return Loaded(self._bundle, app_names, self._load(*app_names))
        except Exception:
            log.exception("the bundle could not be loaded ahead")
            return None

    def _loader_of(self, fab_file: bytes, _found: str) -> Callable[..., Any]:
        installed = self._install(fab_file, install_dir=self._folder, skip_prompt=True)
        return self._get_loader(default_app_ref="", app_path=str(installed), multi_app=True)

    @staticmethod
    def install_dependencies(*_arguments: Any, **_options: Any) -> None:
        """Install nothing: nobody approved what an index would deliver."""
        log.error("dependencies are not installed; install them into the node's environment")


class LoadedGuard(Guard):
    """Guard of a process that has the bundle already, as its parent approved and loaded it.

    The policy is read for every message all the same, and what the server sends now must be
    the bundle that is loaded.

    Parameters
    ----------
    loaded : Loaded
        What is there.
    note
        As ``Guard``.
    """

    def __init__(self, loaded: Loaded, note: Note | None = None) -> None:
        super().__init__(Path(), _never, _never, note)
        self._loaded = loaded

    def _loader_of(self, fab_file: bytes, found: str) -> Callable[..., Any]:
        loaded = self._loaded
        if found != loaded.bundle:
            raise PolicyError(
                f"the server named the bundle {loaded.bundle}, but sent {found};"
                " tell its operator"
            )
        # The hash among the names leads nowhere: see get_loader.
        return lambda *names: loaded.app if names[:2] == loaded.app_names[:2] else _refuse


def _never(*_arguments: Any, **_options: Any) -> Any:
    raise AssertionError("what is loaded is not installed again")


def _refuse(message: Any, context: Any) -> Any:
    """Answer a message with a refusal by policy."""
    return refusal_reply(Reason.POLICY_REFUSED, message)
