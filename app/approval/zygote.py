"""A process of its own for each message, at the price of a fork.

A SuperNode's SuperExec starts ``flwr-clientapp`` for each message: a new Python, which imports
libraries for seconds before it does anything. ``main`` below is ``flower-superexec`` with a
process beside it, the zygote, that has imported them and waits. For each message it forks, and
the fork goes on as ``flwr-clientapp`` under the guard. The zygote itself never runs code of a
bundle; for one that has answered it keeps a fork that has it loaded (``app.approval.loaded``)
and that forks for the next messages. Nothing of a message is left for another one.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from logging import getLogger
from types import SimpleNamespace
from typing import Any

from app.approval import clientapp
from app.approval.kept import Kept
from app.approval.loaded import LONGEST, Job, Notes, is_fork

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
    # What some tasks read records with; last, as it looks for torch.
    "sklearn.datasets",
)
#: For one fork, or at the start for all imports.
_PATIENCE_SECONDS = 60.0
_FORKED = b"1"
_HASH_DIGITS = 64


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
            job = _fork_for_each(requests)
            sys.argv = job.arguments
            return clientapp.main(job.loaded, job.note)
        requests.close()
        start_by(zygote, pid)
    import_module("flwr.supercore.cli").flower_superexec()
    return 1


def _fork_for_each(requests: socket.socket) -> Job:
    """Fork for each request, or let a fork do it; return, in the fork of a message, its job.

    The zygote itself ends when the SuperExec has.
    """
    # Ctrl-C is for the SuperExec.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _preload()
    # Nobody waits for the forks.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    notes = Notes(mouth)
    kept = Kept(ear, notes)
    while True:
        ready, *_ = select.select([requests, ear], [], [])
        if ear in ready and (job := kept.hear(requests)):
            return job
        if requests not in ready:
            continue
        request = requests.recv(LONGEST)
        if not request:
            sys.exit()
        asked = json.loads(request)
        if not kept.pass_on(asked["bundle"], asked["arguments"]) and is_fork():
            requests.close()
            kept.close()
            return Job(asked["arguments"], None, notes.tell)
        requests.send(_FORKED)


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


def start_by(zygote: socket.socket, pid: int) -> None:
    """Let Flower start ``flwr-clientapp`` by a request to the zygote.

    Once it does not answer, start the command as Flower would.
    """
    zygote.settimeout(_PATIENCE_SECONDS)
    executor: Any = import_module(EXECUTOR)
    launch, bundle = executor.SubprocessExecutor.launch, ""

    def ask(arguments: list[str]) -> bool:
        try:
            request = {"arguments": arguments, "bundle": bundle}
            zygote.send(json.dumps(request).encode())
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

    def launch_of(self: Any, spec: Any) -> Any:
        nonlocal bundle
        # Flower's own SHA-256 of the bundle, as the server gives it.
        named = str(getattr(spec, "fab_hash", None) or "")
        bundle = named if len(named) == _HASH_DIGITS else ""
        return launch(self, spec)

    def popen(arguments: list[str], **options: Any) -> Any:
        # Flower does not look at what it gets.
        if arguments[0] == _CLIENTAPP and not options and ask(arguments):
            return None
        return subprocess.Popen(arguments, **options)

    stand_in = SimpleNamespace(**vars(subprocess) | {"Popen": popen})
    executor.subprocess = stand_in
    executor.SubprocessExecutor.launch = launch_of
