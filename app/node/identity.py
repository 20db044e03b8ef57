"""A node's identity on disk: its own Ed25519 key, and the file of the peers it knows.

An organisation makes its key pair itself and hands over the public part alone. The peers file
is a list of public parts with a name for each; all compare the fingerprints by phone.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from app.node.permissions import objection
from strategies.secagg.crypto.identity import Identity, Peers, fingerprint, pin
from tasks.records import DataError


class IdentityError(DataError):
    """A key or peers file that cannot be used. The message names the file and the mend."""


def new_key(path: Path) -> bytes:
    """Make a key pair: the private part in ``path``, the public one beside it as ``.pub``.

    Returns
    -------
    bytes
        The 32-byte public key.

    Raises
    ------
    IdentityError
        If the file is there already: a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if public_path(path).exists():
        raise IdentityError(f"{public_path(path)}: {_THERE}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(path, private, 0o600)
        _write_new(public_path(path), public, 0o644)
    except FileExistsError as error:
        raise IdentityError(f"{error.filename}: {_THERE}") from None
    except OSError as error:
        raise IdentityError(f"{error.filename}: {error.strerror}") from None
    return key.public_key().public_bytes_raw()


_PUBLIC, _PRIVATE = b"-----BEGIN PUBLIC", b"-----BEGIN PRIVATE"
_THERE = "is there already, and a key is never overwritten; choose another path"


def _write_new(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def public_path(path: Path) -> Path:
    """Return where the public part of a key lies."""
    return path.with_name(path.name + ".pub")


def read_public(path: Path) -> bytes:
    """Return the 32-byte public key of a ``.pub`` file."""
    if _has(path, _PRIVATE):
        raise IdentityError(f"{path}: is a private key; give the public one, {path.name}.pub")
    key = _load(path, load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise IdentityError(
            f"{path}: not an Ed25519 public key; make one with `tacet keys new`"
        )
    return key.public_bytes_raw()


def write_peers(path: Path, named: dict[str, bytes]) -> None:
    """Write a peers file: names and public keys, as hexadecimal digits.

    Raises
    ------
    IdentityError
        If two names have one key, or the file cannot be written.
    """
    _require_different(named, "")
    entries = [{"name": name, "key": key.hex()} for name, key in sorted(named.items())]
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
        if path.exists():
            shutil.copymode(path, partial)
        # As a whole: half a file would have lost keys that were compared by phone.
        partial.replace(path)
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None


def add_peers(path: Path, given: dict[str, bytes]) -> dict[str, bytes]:
    """Add organisations to a peers file, which is made if it is not there.

    Returns
    -------
    dict
        All that are in it now.

    Raises
    ------
    IdentityError
        If a name is there with another key: what was pinned is never replaced. Nothing is
        written then.
    """
    known = read_peers(path) if path.exists() else {}
    for name, key in given.items():
        if known.get(name, key) != key:
            raise IdentityError(
                f"{path}: {name} is in it with another key ("
                f"{readable_fingerprint(known[name])}), and a pinned key is never replaced; if"
                f" it has a new one, compare it by phone, then `tacet keys remove {path}"
                f" {name}` first"
            )
    named = known | given
    write_peers(path, named)
    return named


def remove_peers(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Take organisations out of a peers file; return those that are left.

    Raises
    ------
    IdentityError
        If one of them is not in it. Nothing is written then.
    """
    known = read_peers(path)
    for name in names:
        if name not in known:
            raise IdentityError(f"{path}: {name} is none of {', '.join(sorted(known))}")
    rest = {name: key for name, key in known.items() if name not in names}
    write_peers(path, rest)
    return rest


def read_peers(path: Path) -> dict[str, bytes]:
    """Return the public keys of a peers file by name.

    Raises
    ------
    IdentityError
        If it is not such a file, or names someone or a key twice.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        named = {str(entry["name"]): bytes.fromhex(entry["key"]) for entry in entries}
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        raise IdentityError(
            f"{path}: not a peers file; make one with `tacet keys merge`"
        ) from None
    if len(named) < len(entries) or any(len(key) != 32 for key in named.values()):
        raise IdentityError(
            f"{path}: a name twice, or a key that is not 32 bytes; make it anew with"
            " `tacet keys merge`"
        )
    _require_different(named, f"{path}: ")
    return named


def _require_different(named: dict[str, bytes], where: str) -> None:
    """Refuse one key under two names: a roster with it twice would be refused anyway."""
    owners: dict[bytes, str] = {}
    for name, key in sorted(named.items()):
        if key in owners:
            raise IdentityError(
                f"{where}{owners[key]} and {name} have the same key; each organisation makes"
                " its own with `tacet keys new`"
            )
        owners[key] = name


def peers_of(path: Path) -> Peers:
    """Return the pinned peers of a file, by fingerprint.

    Raises
    ------
    IdentityError
        If it is not such a file, or others may change it.
    """
    return pin(list(own_peers(path).values()))


def own_peers(path: Path) -> dict[str, bytes]:
    """Return the public keys of a file by name, which nobody else may change.

    Raises
    ------
    IdentityError
        If it is not such a file, or others may change it.
    """
    _require_own(path)
    return read_peers(path)


def names_of(path: Path | None) -> dict[bytes, str]:
    """Return the names of the peers of a file, by fingerprint; none if there is no file.

    Raises
    ------
    IdentityError
        If it is not such a file.
    """
    named = read_peers(path) if path is not None else {}
    return {fingerprint(key): name for name, key in named.items()}


def _require_own(path: Path, *, is_secret: bool = False) -> None:
    """Refuse a file that others may change, or read where it is secret."""
    try:
        found = objection(path, is_secret=is_secret)
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    if found:
        raise IdentityError(found)


def load_identity(identity_key: Path | None, peers_file: Path | None) -> Identity:
    """Return this node's identity.

    Parameters
    ----------
    identity_key : Path or None
        The node's private key.
    peers_file : Path or None
        The public keys that it knows, its own among them.

    Raises
    ------
    IdentityError
        If the node's own configuration does not name its key and its peers, or a file is wrong.
    """
    if identity_key is None or peers_file is None:
        raise IdentityError(
            "aggregation.identities=true, but this node's --node-config lacks identity-key or"
            " peers-file"
        )
    key = load_key(identity_key)
    try:
        return Identity(key.private_bytes_raw(), peers_of(peers_file))
    except ValueError as error:
        raise IdentityError(
            f"{peers_file}: {error}; make it anew with `tacet keys merge`"
        ) from None


def load_key(path: Path) -> Ed25519PrivateKey:
    """Return a private key that ``new_key`` has made.

    Raises
    ------
    IdentityError
        If it is none, or others may read it.
    """
    if _has(path, _PUBLIC):
        raise IdentityError(
            f"{path}: is a public key; give the private one (`tacet keys new` makes both)"
        )
    _require_own(path, is_secret=True)
    key = _load(path, lambda data: load_pem_private_key(data, password=None))
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(
            f"{path}: not an Ed25519 private key; make one with `tacet keys new`"
        )
    return key


def readable_fingerprint(public_key: bytes) -> str:
    """Return a fingerprint in groups of four, to be read out by phone."""
    digits = fingerprint(public_key).hex()
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def peer_lines(named: dict[str, bytes]) -> list[str]:
    """Return a line for each organisation."""
    width = max(map(len, named), default=0)
    return [f"{n:<{width}}  {readable_fingerprint(key)}" for n, key in sorted(named.items())]


def _has(path: Path, begin: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(begin)) == begin
    except OSError:
        # Whoever reads all of it says why that fails.
        return False


def _load(path: Path, parse: Any) -> Any:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The parser's own words are about ASN.1, and a private key's text stays out of logs.
        raise IdentityError(
            f"{path}: not an unencrypted key in PEM form; make one with `tacet keys new`"
        ) from None
