"""The SuperLink's certificate and the CA that signs it, for a trial: made and renewed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.federation.new_files import PRIVATE, PUBLIC, write_new
from app.node.identity import IdentityError

_SERVER_DAYS, _CA_DAYS = 365, 3650
_CA, _CA_KEY = "ca.crt", "ca.key"

_Key = ec.EllipticCurvePrivateKey


def make_tls(folder: Path, name: str, hosts: Sequence[str]) -> list[str]:
    """Make a server's key and certificate, signed by the folder's CA, which is made if need be.

    Parameters
    ----------
    folder : Path
        Holds ``ca.crt`` and ``ca.key``, or nothing yet.
    name : str
        Of the files, and in the certificate.
    hosts : sequence of str
        DNS names and IP addresses by which nodes reach the server.

    Returns
    -------
    list of str
        What to do with the files, in lines.

    Raises
    ------
    IdentityError
        Naming the file or the value; nothing is overwritten.
    """
    _require_name(name)
    names = [_host(host) for host in hosts]
    key = ec.generate_private_key(ec.SECP256R1())
    files: dict[Path, tuple[bytes, int]] = {}
    if (folder / _CA).exists() or (folder / _CA_KEY).exists():
        ca, ca_key = _load_ca(folder)
    else:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate("tacet trial CA", ca_key, None)
        files[folder / _CA_KEY] = _private(ca_key), PRIVATE
        files[folder / _CA] = ca.public_bytes(Encoding.PEM), PUBLIC
    certificate = _certificate(name, key, (ca, ca_key), names)
    own_key, own, roots = _paths(folder, name)
    files |= {
        own_key: (_private(key), PRIVATE),
        own: (certificate.public_bytes(Encoding.PEM), PUBLIC),
    }
    write_new(files)
    return [
        f"server: flower-superlink --ssl-ca-certfile {roots} --ssl-certfile {own}"
        f" --ssl-keyfile {own_key}",
        f"nodes:  flower-supernode --root-certificates {roots} (hand this file over)",
        f"For a trial: valid until {_day(certificate)}, then `tacet keys renew {folder}`; who"
        f" has {folder / _CA_KEY} can pose as the server. In production take a certificate of"
        " your organisation's CA.",
    ]


def renew(folder: Path, name: str) -> list[str]:
    """Replace a server's certificate by one of the same key, names and CA, from today on.

    Returns
    -------
    list of str
        What has changed, in lines.

    Raises
    ------
    IdentityError
        Naming the file; the old certificate is still there then.
    """
    _require_name(name)
    own_key, own, _ = _paths(folder, name)
    old, key, issuer = read_certificate(own), _load_key(own_key), _load_ca(folder)
    _require_made_here(own, old, key, issuer[0])
    hosts = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    new = _certificate(name, key, issuer, list(hosts))
    partial = own.with_name(own.name + ".partial")
    try:
        partial.write_bytes(new.public_bytes(Encoding.PEM))
        partial.chmod(PUBLIC)
        partial.replace(own)
    except OSError as error:
        raise IdentityError(f"{own}: {error.strerror}") from None
    return [
        f"{own}: was valid until {_day(old)}, is until {_day(new)}; same key, names and CA",
        "start the SuperLink again to take it; nodes change nothing",
    ]


def _require_made_here(
    file: Path, old: x509.Certificate, key: _Key, ca: x509.Certificate
) -> None:
    """Refuse a certificate of another CA, or of another key, in whose place nothing belongs."""
    try:
        old.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        raise IdentityError(
            f"{file}: is not signed by {file.with_name(_CA)}; who made it renews it"
        ) from None
    if old.public_key() != key.public_key():
        raise IdentityError(
            f"{file}: is not of the key {file.with_suffix('.key')}; put that key back"
        )


def read_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of a PEM file.

    Raises
    ------
    IdentityError
        If there is none.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise IdentityError(f"{path}: not a certificate in PEM") from None


def validity(path: Path) -> str:
    """Return until when a certificate is valid, in words, for a person who asks today.

    Raises
    ------
    IdentityError
        As of ``read_certificate``.
    """
    certificate = read_certificate(path)
    left = (certificate.not_valid_after_utc - datetime.now(UTC)).days
    when = f"{left} days left" if left >= 0 else "EXPIRED"
    return f"until {_day(certificate)} ({when})"


def _day(certificate: x509.Certificate) -> str:
    return certificate.not_valid_after_utc.strftime("%Y-%m-%d")


def _paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    return folder / f"{name}.key", folder / f"{name}.pem", folder / _CA


def _require_name(name: str) -> None:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name) or name == "ca":
        raise IdentityError(
            f"--name {name}: must be letters, digits, - and _, 40 at most, and not ca"
        )


def _load_key(path: Path) -> _Key:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, _Key):
        raise IdentityError(f"{path}: not a key of `tacet keys tls`")
    return key


def _load_ca(folder: Path) -> tuple[x509.Certificate, _Key]:
    """Return the folder's CA and its key.

    Raises
    ------
    IdentityError
        If one is missing, they do not belong together, or it is soon over.
    """
    anew = "make all anew in another folder with `tacet keys tls`, and hand out its ca.crt"
    ca_file, key_file = folder / _CA, folder / _CA_KEY
    for file in (ca_file, key_file):
        if not file.exists():
            raise IdentityError(f"{file}: is missing, and nothing can be signed; {anew}")
    ca, key = read_certificate(ca_file), _load_key(key_file)
    if ca.public_key() != key.public_key():
        raise IdentityError(f"{key_file}: is not the key of {ca_file}; {anew}")
    if ca.not_valid_after_utc < datetime.now(UTC) + timedelta(days=_SERVER_DAYS):
        raise IdentityError(
            f"{ca_file}: valid until {_day(ca)}, less than what it would sign; {anew}"
        )
    return ca, key


def _private(key: _Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


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
    key: _Key,
    issuer: tuple[x509.Certificate, _Key] | None,
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
        .not_valid_after(now + timedelta(days=_SERVER_DAYS if issuer else _CA_DAYS))
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
