"""Which bundles a zygote keeps loaded, each in a process of its own (``loaded.py``)."""

from __future__ import annotations

import json
import os
import socket
from logging import getLogger
from pathlib import Path
from typing import Any

from app.approval.guard import POLICY, require_bundles
from app.approval.loaded import ARGUMENTS, CONFIG, Job, Notes, hear, serve
from app.node.policy import PolicyError

log = getLogger("flwr.tacet.kept")

# Of so many bundles messages come in turn; each holds what its modules take.
_MOST_KEPT = 3
# For a place in the queue of a process, which a message takes out in milliseconds.
_PATIENCE_SECONDS = 5.0


class Kept:
    """The zygote's processes that have a bundle loaded, by the bundle's SHA-256.

    Parameters
    ----------
    ear : socket
        Where notes arrive.
    notes : Notes
        For the forks.
    """

    def __init__(self, ear: socket.socket, notes: Notes) -> None:
        self._ear, self._notes = ear, notes
        # None for one that has ended by itself, so that it is not started again and again.
        self._places: dict[str, socket.socket | None] = {}

    def pass_on(self, bundle: str, arguments: list[str]) -> bool:
        """Hand a request to the process that has its bundle; False if there is none.

        The code of a bundle that the policy lists no more has no part in its refusal.
        """
        if bundle in self._places and not _is_listed(bundle):
            if place := self._places.pop(bundle):
                place.close()
            return False
        return self._send(bundle, {ARGUMENTS: arguments})

    def hear(self, requests: socket.socket) -> Job | None:
        """Take a note, and fork for a bundle that is new; return only that fork's jobs.

        Parameters
        ----------
        requests : socket
            What the fork is to close, too.
        """
        seen = hear(self._ear)
        if seen is None:
            return None
        if seen.bundle in self._places:
            self._send(seen.bundle, {CONFIG: seen.run_config})
            return None
        place, jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            for other in (place, requests):
                other.close()
            self.close()
            return serve(seen, jobs, self._notes)
        jobs.close()
        self._keep(seen.bundle, place)
        return None

    def close(self) -> None:
        """Close, in a fork, what only the zygote needs."""
        self._ear.close()
        for place in self._places.values():
            if place is not None:
                place.close()

    def _keep(self, bundle: str, place: socket.socket) -> None:
        place.settimeout(_PATIENCE_SECONDS)
        self._places[bundle] = place
        while len(self._places) > _MOST_KEPT:
            # Ends when its forks have.
            if oldest := self._places.pop(next(iter(self._places))):
                oldest.close()

    def _send(self, bundle: str, asked: dict[str, Any]) -> bool:
        place = self._places.get(bundle)
        if place is None:
            return False
        # The one that was asked last is the last one to go.
        self._places[bundle] = self._places.pop(bundle)
        try:
            place.send(json.dumps(asked).encode())
        except OSError as error:
            log.warning(
                "bundle %s is not kept loaded (%s): each of its messages takes a second or"
                " two longer",
                bundle,
                error,
            )
            place.close()
            self._places[bundle] = None
            return False
        return True


def _is_listed(bundle: str) -> bool:
    try:
        return bundle in require_bundles(Path(os.environ[POLICY]))
    except (PolicyError, KeyError):
        # The message's own process says what is wrong.
        return False
