"""A process of its own for each message, at the price of a fork.

A SuperNode's SuperExec starts ``flwr-clientapp`` for each message: a new Python, which imports
libraries for seconds before it does anything. ``main`` below is ``flower-superexec`` with a
process beside it, the zygote, that has imported them and waits. For each message it forks, and
the fork goes on as ``flwr-clientapp`` under the guard. The zygote itself never runs code of a
bundle, so nothing of a message is left for the next one.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from logging import getLogger
from types import SimpleNamespace
from typing import Any

from app.approval import guard

log = getLogger("flwr.tacet.zygote")

_CLIENTAPP = "flwr-clientapp"
#: Flower's module that starts processes, by its ``subprocess``.
EXECUTOR = "flwr.supercore.superexec.executor.subprocess_executor"
#: Libraries only: our own packages are the bundle's business.
_PRELOADED = (
    "flwr.supernode.cli",
    "hydra",
    "randomgen",
    "sqlite3",
    # What Opacus imports of torch.
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torch.distributed.tensor.experimental",
)
#: More than a socket of this kind takes at once.
_LONGEST = 1 << 20
#: For one fork, or at the start for all imports.
_PATIENCE_SECONDS = 60.0
_FORKED = b"1"


def main() -> int:
    """Run ``flower-superexec``, or, in a fork of the zygote, ``flwr-clientapp``.

    Returns
    -------
    int
        The exit status, unless Flower leaves by itself.
    """
    # macOS' own libraries do not survive a fork.
    if sys.platform == "linux":
        requests, zygote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Before Flower has started any thread.
        pid = os.fork()
        if pid == 0:
            zygote.close()
            with requests:
                sys.argv = _fork_for_each(requests)
            return guard.main()
        requests.close()
        start_by(zygote, pid)
    import_module("flwr.supercore.cli").flower_superexec()
    return 1


def _fork_for_each(requests: socket.socket) -> list[str]:
    """Fork for each request; return, in the fork, the arguments of its ``flwr-clientapp``.

    The zygote itself ends when the SuperExec has.
    """
    # Ctrl-C is for the SuperExec.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _preload()
    # Nobody waits for the forks.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while request := requests.recv(_LONGEST):
        if os.fork() == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _draw_anew()
            arguments: list[str] = json.loads(request)
            return arguments
        requests.send(_FORKED)
    sys.exit()


def _preload() -> None:
    try:
        for name in _PRELOADED:
            import_module(name)
    except Exception as error:
        # A fork that needs it will say more.
        log.warning("not all libraries could be imported ahead: %s", error)
    # What is there now stays, so that collections in forks need not copy it.
    gc.collect()
    gc.freeze()


def _draw_anew() -> None:
    """Seed numpy's and torch's generators, which all forks inherit; Python reseeds its own."""
    for name in ("numpy.random", "torch"):
        if module := sys.modules.get(name):
            module.seed()


def start_by(zygote: socket.socket, pid: int) -> None:
    """Let Flower start ``flwr-clientapp`` by a request to the zygote.

    Once it does not answer, start the command as Flower would.
    """
    zygote.settimeout(_PATIENCE_SECONDS)

    def ask(arguments: list[str]) -> bool:
        try:
            zygote.send(json.dumps(arguments).encode())
            if zygote.recv(1) == _FORKED:
                return True
            raise OSError("it has ended")
        except OSError as error:
            log.warning(
                "no zygote (%s): each message takes seconds longer; start the node again", error
            )
            if zygote.fileno() >= 0:
                # Nothing that it may still have read is to be started twice.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                zygote.close()
            return False

    def popen(arguments: list[str], **options: Any) -> Any:
        # Flower does not look at what it gets.
        if arguments[0] == _CLIENTAPP and not options and ask(arguments):
            return None
        return subprocess.Popen(arguments, **options)

    stand_in = SimpleNamespace(**vars(subprocess) | {"Popen": popen})
    import_module(EXECUTOR).subprocess = stand_in  # type: ignore[attr-defined]
