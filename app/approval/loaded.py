"""Processes that have a bundle loaded, and fork for its messages.

To unpack, import and configure a bundle takes a second or two, for every message the same. So
the first process that answers for a bundle tells the zygote of it, which forks once more: that
fork goes through the guard as any message does, loads the bundle, and waits. It knows of no
message, only which run config its app has been warmed up with. A message still has a process
of its own, in which the guard looks at the policy and at the bundle again.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any, NoReturn

from app.approval import clientapp
from app.approval.guard import Loaded, Note, Seen

log = getLogger("flwr.tacet.loaded")

#: More than a socket of this kind takes at once.
LONGEST = 1 << 20
# To load a bundle takes a second or two, to configure a run less.
_LONGEST_SECONDS = 30
#: What an app may have: it does ahead what each message of a run would do first.
_WARM_UP = "warm_up"
#: What a process with a bundle is asked: to fork with these arguments, or to warm up.
ARGUMENTS, CONFIG = "arguments", "run_config"
_BUNDLE, _NAMES = "bundle", "app_names"


@dataclass(frozen=True)
class Job:
    """What a fork has to do: run ``flwr-clientapp`` with these arguments.

    Attributes
    ----------
    arguments : list of str
        The command line, its name first.
    loaded : Loaded or None
        The bundle, if this process has it.
    note : callable
        Tells the zygote of a bundle.
    """

    arguments: list[str]
    loaded: Loaded | None
    note: Note


@dataclass
class Notes:
    """The way from a message's process to the zygote: one note on the bundle that answers.

    Parameters
    ----------
    mouth : socket
        Each note is a packet, with the bundle as a file descriptor.
    known : set of bytes
        SHA-256 of run configs that the loaded bundle, if any, has been warmed up with.
    """

    mouth: socket.socket
    known: set[bytes] = field(default_factory=set[bytes])

    def tell(self, seen: Seen) -> None:
        """Tell of a bundle or a run config that is not known, and close the way."""
        with self.mouth:
            if _digest_of(seen.run_config) in self.known:
                return
            note = {_BUNDLE: seen.bundle, _NAMES: seen.app_names, CONFIG: seen.run_config}
            try:
                with _in_memory(seen.content) as descriptor:
                    socket.send_fds(self.mouth, [json.dumps(note).encode()], [descriptor])
            except OSError as error:
                log.warning("the next message takes as long as this one: %s", error)


def hear(ear: socket.socket) -> Seen | None:
    """Take a note; None if the bundle did not come with it, as where no file can be opened."""
    data, descriptors, *_ = socket.recv_fds(ear, LONGEST, 1)
    if not descriptors:
        return None
    with os.fdopen(descriptors[0], "rb") as file:
        content = file.read()
    note = json.loads(data)
    return Seen(content, note[_BUNDLE], tuple(note[_NAMES]), note[CONFIG])


def is_fork() -> bool:
    """Fork; return True in the fork, which takes signals and draws numbers as a new process."""
    if os.fork():
        return False
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Python's own generator is reseeded by itself.
    for name in ("numpy.random", "torch"):
        if module := sys.modules.get(name):
            module.seed()
    return True


def serve(seen: Seen, requests: socket.socket, notes: Notes) -> Job:
    """Load a bundle and fork for each request; return, in the fork, its job."""
    folder, loaded = None, None
    try:
        place = clientapp.own_folder(clientapp.FOLDERS)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place))
        loaded = _load(seen, folder)
    except BaseException:
        # Of a bundle, too, which may leave by itself: what waits must not be lost with it.
        log.exception("bundle %s could not be loaded ahead", seen.bundle)
    if loaded is None or _has_threads(loaded):
        _leave(requests, folder)
    known = {_digest_of(seen.run_config)}
    # What is there now stays, so that collections in forks need not copy it.
    gc.collect()
    gc.freeze()
    while request := requests.recv(LONGEST):
        asked = json.loads(request)
        if CONFIG in asked:
            _warm_up(loaded, asked[CONFIG])
            if _has_threads(loaded):
                break
            known.add(_digest_of(asked[CONFIG]))
        elif is_fork():
            requests.close()
            return Job(asked[ARGUMENTS], loaded, Notes(notes.mouth, known).tell)
    _leave(requests, folder)


def _load(seen: Seen, folder: Path) -> Loaded | None:
    """Load and warm up a bundle; None, and a log, where forks of this process would not do."""
    # The bundle's folder goes with this process.
    sys.dont_write_bytecode = True
    try:
        fresh = clientapp.fresh_guard(clientapp.known_runner(), folder)
    except clientapp.GuardError as error:
        log.warning("%s", error)
        return None
    with _at_most(_LONGEST_SECONDS):
        loaded = fresh.load(seen.content, seen.app_names)
    if loaded is None or loaded.bundle != seen.bundle:
        return None
    _warm_up(loaded, seen.run_config)
    return loaded


def _has_threads(loaded: Loaded) -> bool:
    if len([*Path("/proc/self/task").iterdir()]) == 1:
        return False
    log.warning("bundle %s starts threads, which a fork would lack", loaded.bundle)
    return True


def _warm_up(loaded: Loaded, run_config: Mapping[str, Any]) -> None:
    warm_up = getattr(loaded.app, _WARM_UP, None)
    try:
        if warm_up is not None:
            with _at_most(_LONGEST_SECONDS):
                warm_up(run_config)
    except (Exception, SystemExit) as error:
        # Each message will say it at length, and answer with a refusal.
        log.warning("the app could not be warmed up: %s", error)


def _leave(requests: socket.socket, folder: Path | None) -> NoReturn:
    """End this process; what it was asked for meanwhile goes the long way."""
    requests.shutdown(socket.SHUT_RD)
    while request := requests.recv(LONGEST):
        if (arguments := json.loads(request).get(ARGUMENTS)) and is_fork():
            os.execvp(arguments[0], arguments)  # noqa: S606 - no shell
    # Forks read the bundle's files. As SIGCHLD is ignored, this returns when all have ended.
    with suppress(ChildProcessError):
        os.wait()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    # Not by `sys.exit`, which waits for threads that a bundle has left.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _digest_of(run_config: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(run_config, sort_keys=True).encode()).digest()


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raise a ``TimeoutError`` in what takes longer: other messages of the bundle wait."""

    def end(*_: object) -> None:
        raise TimeoutError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """Yield the descriptor of a file that is in no folder."""
    # Not every Python for Linux has `os.memfd_create`: those of uv and conda have none.
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield file.fileno()
