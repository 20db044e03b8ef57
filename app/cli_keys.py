"""``tacet keys``: identity keys and the peers file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from app.identity import (
    IdentityError,
    new_key,
    public_path,
    read_peers,
    read_public,
    readable_fingerprint,
    write_peers,
)

_PEM = b"-----BEGIN"


def add(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    keys = commands.add_parser("keys", help="identity keys and the peers file").add_subparsers(
        required=True, metavar="COMMAND"
    )
    new = keys.add_parser("new", help="make a key pair; hand over only PATH.pub")
    new.add_argument("path", type=Path, metavar="PATH")
    new.set_defaults(run=_new)
    show = keys.add_parser("fingerprint", help="print fingerprints, to compare by phone")
    show.add_argument("file", type=Path, metavar="FILE.pub|PEERS")
    show.set_defaults(run=_fingerprint)
    merge = keys.add_parser("merge", help="make the peers file out of public keys")
    merge.add_argument("--out", type=Path, required=True, metavar="PEERS")
    merge.add_argument("entries", nargs="+", metavar="NAME=FILE.pub")
    merge.set_defaults(run=_merge)


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
    named: dict[str, bytes] = {}
    for entry in arguments.entries:
        name, equals, file = entry.partition("=")
        if not (name and equals and file):
            raise IdentityError(f"{entry}: must be NAME=FILE.pub, e.g. clinic-a=clinic-a.pub")
        if name in named:
            raise IdentityError(f"{entry}: the name {name} is given twice; each needs its own")
        named[name] = read_public(Path(file))
    write_peers(arguments.out, named)
    return [*peer_lines(named), f"wrote {arguments.out}; compare each fingerprint by phone"]


def peer_lines(named: dict[str, bytes]) -> list[str]:
    """Return a line for each organisation."""
    width = max(map(len, named), default=0)
    return [f"{n:<{width}}  {readable_fingerprint(key)}" for n, key in sorted(named.items())]
