"""The SuperLink as ``flwr supernode`` speaks to it: register, unregister, list."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SECONDS = 60.0


class SuperLinkError(RuntimeError):
    """A SuperLink that was not reached, or did not do what it was asked. One line."""


class SuperLink:
    """One connection of Flower's configuration.

    Parameters
    ----------
    flower_home : Path
        ``FLWR_HOME``: the folder of ``config.toml``.
    connection : str
        The connection's name in it.
    """

    def __init__(self, flower_home: Path, connection: str) -> None:
        self._home, self._connection = flower_home, connection

    def register(self, public_key: Path) -> str:
        """Let the SuperNode with this key in; return its node id.

        Raises
        ------
        SuperLinkError
            If it was not reached, or has the key already.
        """
        return str(self._flwr("supernode", "register", str(public_key))["node-id"])

    def unregister(self, node_id: str) -> None:
        """Let a SuperNode in no more.

        Raises
        ------
        SuperLinkError
            If it was not reached, or knows no such node.
        """
        self._flwr("supernode", "unregister", node_id)

    def nodes(self) -> list[Mapping[str, Any]]:
        """Return Flower's description of each SuperNode.

        Raises
        ------
        SuperLinkError
            If it was not reached.
        """
        return list(self._flwr("supernode", "list")["nodes"])

    def _flwr(self, *words: str) -> dict[str, Any]:
        command = [flwr_command(), *words, self._connection, "--format", "json"]
        environment = os.environ | {
            "FLWR_HOME": str(self._home),
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
        }
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SuperLinkError(f"no answer within {_SECONDS:.0f} s") from None
        try:
            answer = dict(json.loads(done.stdout))
        except ValueError:
            told = " ".join((done.stderr or done.stdout).split())
            raise SuperLinkError(told[-300:] or f"exit status {done.returncode}") from None
        if not answer.get("success"):
            told = str(answer.get("error-message") or answer)
            raise SuperLinkError(" ".join(told.split())[:300])
        return answer


def flwr_command() -> str:
    """Return the ``flwr`` of this Python's own environment."""
    beside = Path(sys.executable).parent / "flwr"
    return str(beside) if beside.exists() else shutil.which("flwr") or "flwr"
