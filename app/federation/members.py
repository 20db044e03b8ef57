"""The coordinator's folder of a federation: ``federation.yaml``, keys, certificates, peers.

``tls/`` the SuperLink's certificate and its CA, ``flower/`` Flower's own configuration
(``FLWR_HOME``), ``members/NAME/`` the public keys of an organisation, ``peers`` the peers file.
The folder holds no secret of a node: what it says protects the run, and nobody's records.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from app.federation.certificates import make_tls
from app.federation.superlink import SuperLink, SuperLinkError
from app.node.identity import add_peers, read_peers, read_public, remove_peers

CONNECTION = "federation"
_FILE = "federation.yaml"


class FederationError(ValueError):
    """A federation's folder that cannot be used, or a member that is not. One line."""


@dataclass(frozen=True)
class Member:
    """An organisation of the federation.

    Attributes
    ----------
    node_id : str
        Flower's id of its SuperNode; empty until the SuperLink has taken its key.
    since : str
        The day on which it was added, as ``2026-11-27``.
    """

    node_id: str = ""
    since: str = ""


class Federation:
    """A federation's folder.

    Parameters
    ----------
    folder : Path
        As ``create`` made it.

    Raises
    ------
    FederationError
        If there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / _FILE
        try:
            values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
            self.address = str(values["address"])
            members = dict(values["members"] or {})
            self.members = {str(n): Member(**dict(m)) for n, m in members.items()}
        except FileNotFoundError:
            raise FederationError(
                f"{file}: there is none; make it with `tacet federation init {folder} --host"
                " NAME`"
            ) from None
        except OSError as error:
            raise FederationError(f"{file}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError):
            raise FederationError(
                f"{file}: not as `tacet federation` writes it; put it back"
            ) from None

    @classmethod
    def create(cls, folder: Path, hosts: Sequence[str], port: int) -> list[str]:
        """Make the folder, with certificates for the SuperLink, and return what to do next.

        Raises
        ------
        FederationError, IdentityError
            If one is there already, or a host is none.
        """
        if (folder / _FILE).exists():
            raise FederationError(f"{folder / _FILE}: is there already; choose another folder")
        # Who starts it is on the same machine, behind the proxy that the world sees.
        own = ["127.0.0.1", "localhost"]
        tls = make_tls(
            folder / "tls", "superlink", [*hosts, *(h for h in own if h not in hosts)]
        )
        (folder / "flower").mkdir(exist_ok=True)
        (folder / "flower" / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "127.0.0.1:{port}"\n'
            f'root-certificates = "{(folder / "tls" / "ca.crt").absolute()}"\n',
            encoding="utf-8",
        )
        _write(folder, f"{hosts[0]}:{port}", {})
        database = folder / "superlink.db"
        return [
            f"export FLWR_HOME={(folder / 'flower').absolute()}",
            f"{tls[0].removeprefix('server: ')} --enable-supernode-auth --database {database}"
            f" --host 127.0.0.1 --port {port}",
            tls[1],
            tls[2],
            f"then: tacet federation add {folder} NAME --identity FILE.pub --flower-key"
            " FILE.pub",
        ]

    @property
    def superlink(self) -> SuperLink:
        """Return the connection to the SuperLink."""
        return SuperLink(self.folder / "flower", CONNECTION)

    @property
    def peers_file(self) -> Path:
        """Return the peers file."""
        return self.folder / "peers"

    def add(self, name: str, identity: Path, flower_key: Path) -> list[str]:
        """Take an organisation in: pin its identity, register its SuperNode.

        Where the SuperLink is not reached the rest is kept, and the same command goes on.

        Raises
        ------
        FederationError, IdentityError
            If the name is none, or has another key.
        """
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", name):
            raise FederationError(
                f"{name}: a name is letters, digits, '.', '-' and '_', 40 at most"
            )
        flower_text, kept = _read(flower_key), self.folder / "members" / name
        if (kept / "flower-key.pub").exists() and _read(kept / "flower-key.pub") != flower_text:
            raise FederationError(
                f"{name} is in it with another Flower key; `tacet federation remove"
                f" {self.folder} {name}` first"
            )
        add_peers(self.peers_file, {name: read_public(identity)})
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "flower-key.pub").write_text(flower_text, encoding="utf-8")
        before = self.members.get(name, Member(since=f"{datetime.now(UTC):%Y-%m-%d}"))
        self._note(name, before)
        lines = [f"{name}: pinned in {self.peers_file}; hand that file to every node"]
        if before.node_id:
            return [*lines, f"{name}: registered already, as node {before.node_id}"]
        try:
            node_id = self.superlink.register(kept / "flower-key.pub")
        except SuperLinkError as error:
            again = (
                "if the SuperLink is down, start it and give the same command again; if it has"
                " the key already, `flwr supernode list` names the node, and `flwr supernode"
                " unregister` lets it go"
            )
            raise FederationError(f"{lines[0]}, but not registered: {error}; {again}") from None
        self._note(name, Member(node_id, before.since))
        return [*lines, f"{name}: registered as node {node_id}"]

    def remove(self, name: str) -> list[str]:
        """Let an organisation go: its SuperNode connects no more, its identity is unpinned.

        Raises
        ------
        FederationError
            If it is none of the members, or the SuperLink was not reached.
        """
        member = self.members.get(name)
        if member is None:
            known = ", ".join(sorted(self.members)) or "nobody yet"
            raise FederationError(f"{name}: none of the members: {known}")
        if member.node_id:
            self._unregister(name, member.node_id)
        if name in read_peers(self.peers_file):
            remove_peers(self.peers_file, [name])
        shutil.rmtree(self.folder / "members" / name, ignore_errors=True)
        rest = {n: m for n, m in self.members.items() if n != name}
        self.members = rest
        _write(self.folder, self.address, rest)
        return [
            f"{name}: let go; hand {self.peers_file} to every node that stays",
            "what it gave to earlier runs stays in their models",
        ]

    def _unregister(self, name: str, node_id: str) -> None:
        try:
            self.superlink.unregister(node_id)
        except SuperLinkError as error:
            # It may be gone: a command that was cut off after this is given again.
            if self._is_known(node_id):
                raise FederationError(
                    f"{name}: not unregistered: {error}; start the SuperLink and give the same"
                    " command again"
                ) from None

    def _is_known(self, node_id: str) -> bool:
        """Return whether the SuperLink has a node, or cannot say."""
        try:
            nodes = self.superlink.nodes()
        except SuperLinkError:
            return True
        known = (node for node in nodes if node["status"] != "unregistered")
        return node_id in {str(node["node-id"]) for node in known}

    def _note(self, name: str, member: Member) -> None:
        self.members = self.members | {name: member}
        _write(self.folder, self.address, self.members)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FederationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FederationError(f"{path}: no public key of `tacet keys node`") from None


def _write(folder: Path, address: str, members: dict[str, Member]) -> None:
    values = {
        "address": address,
        "members": {name: asdict(member) for name, member in sorted(members.items())},
    }
    partial = folder / f"{_FILE}.partial"
    try:
        partial.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        partial.replace(folder / _FILE)
    except OSError as error:
        raise FederationError(f"{error.filename}: {error.strerror}") from None
