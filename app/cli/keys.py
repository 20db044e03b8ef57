"""``tacet keys``: identity keys, the peers file, and what Flower's connections need."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from app.federation.certificates import make_tls, renew
from app.federation.new_files import PRIVATE, PUBLIC, write_new
from app.node.identity import (
    IdentityError,
    add_peers,
    new_key,
    peer_lines,
    public_path,
    read_peers,
    read_public,
    readable_fingerprint,
    remove_peers,
)

_PEM = b"-----BEGIN"


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    keys = commands.add_parser(
        "keys", help="keys, certificates, the peers file"
    ).add_subparsers(required=True, metavar="COMMAND")
    new = keys.add_parser("new", help="make a key pair; hand over only PATH.pub")
    new.add_argument("path", type=Path, metavar="PATH")
    new.set_defaults(run=_new)
    show = keys.add_parser("fingerprint", help="print fingerprints, to compare by phone")
    show.add_argument("file", type=Path, metavar="FILE.pub|PEERS")
    show.set_defaults(run=_fingerprint)
    merge = keys.add_parser("merge", help="add public keys to the peers file")
    merge.add_argument(
        "--out", type=Path, required=True, metavar="PEERS", help="made if it is not there"
    )
    merge.add_argument("entries", nargs="+", metavar="NAME=FILE.pub")
    merge.set_defaults(run=_merge)
    remove = keys.add_parser("remove", help="take organisations out of the peers file")
    remove.add_argument("peers", type=Path, metavar="PEERS")
    remove.add_argument("names", nargs="+", metavar="NAME")
    remove.set_defaults(run=_remove)
    node = keys.add_parser("node", help="make a key pair for Flower's SuperNode authentication")
    node.add_argument("path", type=Path, metavar="PATH")
    node.set_defaults(run=_node)
    tls = keys.add_parser("tls", help="make a server certificate, and its CA, for a trial")
    _add_folder(tls)
    tls.add_argument(
        "--host",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME",
        help="DNS names and IP addresses",
    )
    tls.set_defaults(run=lambda a: make_tls(a.folder, a.name, a.host))
    again = keys.add_parser("renew", help="date a server certificate of `keys tls` anew")
    _add_folder(again)
    again.set_defaults(run=lambda a: renew(a.folder, a.name))


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--name", default="superlink", help="of the files; default: superlink")


def _new(arguments: argparse.Namespace) -> list[str]:
    path: Path = arguments.path
    public = new_key(path)
    return [
        f"private key: {path} (stays on this machine)",
        f"public key:  {public_path(path)} (hand this over)",
        f"fingerprint: {readable_fingerprint(public)}",
    ]


def _fingerprint(arguments: argparse.Namespace) -> list[str]:
    file: Path = arguments.file
    if _is_pem(file):
        return [readable_fingerprint(read_public(file))]
    return peer_lines(read_peers(file))


def _is_pem(file: Path) -> bool:
    try:
        return file.read_bytes().lstrip().startswith(_PEM)
    except OSError as error:
        raise IdentityError(f"{file}: {error.strerror}") from None


def _merge(arguments: argparse.Namespace) -> list[str]:
    given: dict[str, bytes] = {}
    for entry in arguments.entries:
        name, equals, file = entry.partition("=")
        if not (name and equals and file):
            raise IdentityError(f"{entry}: must be NAME=FILE.pub, e.g. clinic-a=clinic-a.pub")
        if name in given:
            raise IdentityError(f"{entry}: the name {name} is given twice; each needs its own")
        given[name] = read_public(Path(file))
    named = add_peers(arguments.out, given)
    return [*peer_lines(named), f"wrote {arguments.out}; compare each fingerprint by phone"]


def _remove(arguments: argparse.Namespace) -> list[str]:
    rest = remove_peers(arguments.peers, arguments.names)
    return [*peer_lines(rest), f"wrote {arguments.peers}, without {', '.join(arguments.names)}"]


def _node(arguments: argparse.Namespace) -> list[str]:
    path: Path = arguments.path
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    write_new({path: (private, PRIVATE), public_path(path): (public, PUBLIC)})
    return [
        f"private key: {path} (flower-supernode --auth-supernode-private-key)",
        f"public key:  {public_path(path)} (hand this over: flwr supernode register)",
    ]
