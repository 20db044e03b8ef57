"""A process of its own for each message, at the price of a fork.

A SuperNode's SuperExec starts ``flwr-clientapp`` for each message: a new Python, which imports
libraries for seconds before it does anything. ``main`` below is ``flower-superexec`` with a
process beside it, the zygote, that has imported them and waits. For each message it forks, and
the fork goes on as ``flwr-clientapp`` under the guard. No code of a bundle ever runs in the
zygote, so a message has a process, and memory, that no other has.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from importlib import import_module
from logging import getLogger
from types import SimpleNamespace
from typing import Any

from app import guard

log = getLogger("flwr.tacet.zygote")

CLIENTAPP = "flwr-clientapp"
_EXECUTOR = "flwr.supercore.superexec.executor.subprocess_executor"
#: Libraries only: our own packages are the bundle's business.
_PRELOADED = ("flwr.supernode.cli", "hydra", "randomgen", "sqlite3", "torch.distributed.fsdp")
#: More than a socket of this kind takes at once.
_LONGEST = 1 << 20


def main() -> int:
    """Run ``flower-superexec``, or, in a fork of the zygote, ``flwr-clientapp``.

    Returns
    -------
    int
        The exit status, unless Flower leaves by itself.
    """
    # Elsewhere, libraries do not survive a fork.
    if sys.platform == "linux":
        requests, zygote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Before Flower has started any thread.
        if os.fork() == 0:
            zygote.close()
            with requests:
                sys.argv = _fork_for_each(requests)
            return guard.main()
        requests.close()
        start_by(zygote)
    import_module("flwr.supercore.cli").flower_superexec()
    return 1


def _fork_for_each(requests: socket.socket) -> list[str]:
    """Return, in a fork, what its message's process was to be started with.

    The zygote itself ends when the SuperExec has.
    """
    # Ctrl-C is for the SuperExec; and nobody waits for the forks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _preload()
    while request := requests.recv(_LONGEST):
        if os.fork() == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _draw_anew()
            arguments: list[str] = json.loads(request)
            return arguments
    sys.exit()


def _preload() -> None:
    for name in _PRELOADED:
        import_module(name)
    torch = import_module("torch")
    # The first optimiser imports as much again as torch itself.
    torch.optim.SGD([torch.zeros(1)], lr=0.1)


def _draw_anew() -> None:
    """Seed the libraries' generators, which would be alike in all forks; Python's own is."""
    import_module("numpy").random.seed()
    import_module("torch").seed()


def start_by(zygote: socket.socket) -> None:
    """Let Flower start ``flwr-clientapp`` by a request to the zygote, if there is one.

    Should it have died, the command is started as Flower would.
    """

    def popen(arguments: list[str], **options: Any) -> None:
        if arguments[0] == CLIENTAPP and not options:
            try:
                zygote.send(json.dumps(arguments).encode())
            except OSError as error:
                log.warning("no zygote (%s): each message takes seconds longer", error)
            else:
                return
        subprocess.Popen(arguments, **options)

    stand_in = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL)
    import_module(_EXECUTOR).subprocess = stand_in  # type: ignore[attr-defined]
