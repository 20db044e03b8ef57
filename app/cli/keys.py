"""``tacet keys``: identity keys, the peers file, and what Flower's connections need."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.node.identity import (
    IdentityError,
    new_key,
    peer_lines,
    public_path,
    read_peers,
    read_public,
    readable_fingerprint,
    write_peers,
)

_PEM = b"-----BEGIN"
_TRIAL_DAYS = 365
_PRIVATE, _PUBLIC = 0o600, 0o644


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
    merge = keys.add_parser("merge", help="make the peers file out of public keys")
    merge.add_argument("--out", type=Path, required=True, metavar="PEERS")
    merge.add_argument("entries", nargs="+", metavar="NAME=FILE.pub")
    merge.set_defaults(run=_merge)
    node = keys.add_parser("node", help="make a key pair for Flower's SuperNode authentication")
    node.add_argument("path", type=Path, metavar="PATH")
    node.set_defaults(run=_node)
    tls = keys.add_parser("tls", help="make a server certificate and its CA, for a trial")
    tls.add_argument("folder", type=Path, metavar="DIR")
    tls.add_argument("--name", default="superlink", help="of the files; default: superlink")
    tls.add_argument(
        "--host",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME",
        help="DNS names and IP addresses",
    )
    tls.set_defaults(run=_tls)


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


def _node(arguments: argparse.Namespace) -> list[str]:
    path: Path = arguments.path
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    _write_new({path: (private, _PRIVATE), public_path(path): (public, _PUBLIC)})
    return [
        f"private key: {path} (flower-supernode --auth-supernode-private-key)",
        f"public key:  {public_path(path)} (hand this over: flwr supernode register)",
    ]


def _tls(arguments: argparse.Namespace) -> list[str]:
    folder, name = arguments.folder, arguments.name
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name):
        raise IdentityError(f"--name {name}: must be letters, digits, - and _, 40 at most")
    names = [_host(host) for host in arguments.host]
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate(f"{name} trial CA", ca_key, None)
    certificate = _certificate(name, key, (ca, ca_key), names)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {
        folder / f"{name}.key": (private, _PRIVATE),
        folder / f"{name}.pem": (certificate.public_bytes(Encoding.PEM), _PUBLIC),
        folder / "ca.crt": (ca.public_bytes(Encoding.PEM), _PUBLIC),
    }
    _write_new(files)
    own_key, own, roots = files
    return [
        f"server: flower-superlink --ssl-ca-certfile {roots} --ssl-certfile {own}"
        f" --ssl-keyfile {own_key}",
        f"nodes:  flower-supernode --root-certificates {roots} (hand this file over)",
        f"For a trial: valid for {_TRIAL_DAYS} days, and the CA's key is thrown away, so nobody"
        " can sign with it again. In production take a certificate of your organisation's CA.",
    ]


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        label = "(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
        # The last label of a name is not a number: what was meant is an address.
        if not re.fullmatch(rf"(?=.{{1,253}}$)({label}\.)*(?!\d+$){label}", text):
            raise IdentityError(
                f"--host {text}: neither a DNS name nor an IP address; give e.g. fl.example.org"
            ) from None
        return x509.DNSName(text)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    hosts: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    """Return a certificate: a server's, or a CA's if no issuer is given."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    identifier = x509.SubjectKeyIdentifier.from_public_key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks differ.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_TRIAL_DAYS))
        .add_extension(x509.BasicConstraints(issuer is None, None if issuer else 0), True)
        .add_extension(_usage(is_ca=issuer is None), True)
        .add_extension(identifier(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False
        )
    )
    if issuer:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(usage, False)
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts or []), False)
    return builder.sign(signing, SHA256())


def _usage(is_ca: bool) -> x509.KeyUsage:
    never = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never += ("encipher_only", "decipher_only")
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        **dict.fromkeys(never, False),
    )


def _write_new(files: dict[Path, tuple[bytes, int]]) -> None:
    """Write files with their modes, or none if one of them exists."""
    for path in files:
        if path.exists():
            raise IdentityError(
                f"{path}: is there already, and a key is never overwritten; choose another path"
            )
    try:
        for path, (data, mode) in files.items():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
    except OSError as error:
        raise IdentityError(f"{error.filename}: {error.strerror}") from None
