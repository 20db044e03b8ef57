"""A look at the SuperLink's certificate before a SuperNode starts.

Flower tells of an expired certificate, or one of another CA, as of a network that is down.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from app.approval.bundle import BundleError

_SECONDS = 5.0
_EXPIRED, _NOT_YET_VALID = 10, 9
_UNKNOWN_CA = (18, 19, 20, 21)


def check_certificate(arguments: Sequence[str]) -> None:
    """Refuse a certificate that the SuperNode would not believe, and say why.

    A SuperLink that is not reached is none of this: Flower waits for it.

    Parameters
    ----------
    arguments : sequence of str
        Those of ``flower-supernode``.

    Raises
    ------
    BundleError
        Naming the address, the reason and the mend.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--superlink", default="")
    parser.add_argument("--root-certificates", type=Path)
    given, _ = parser.parse_known_args(list(arguments))
    host, _, port = given.superlink.rpartition(":")
    if given.root_certificates is None or not host or not port.isdigit():
        return
    try:
        context = ssl.create_default_context(cafile=str(given.root_certificates))
    except (OSError, ssl.SSLError) as error:
        raise BundleError(
            f"--root-certificates {given.root_certificates}: {error.strerror or error}; give"
            " the ca.crt that the coordinator has handed out"
        ) from None
    host = host.strip("[]")
    with contextlib.suppress(OSError):
        try:
            with (
                socket.create_connection((host, int(port)), _SECONDS) as connection,
                context.wrap_socket(connection, server_hostname=host),
            ):
                return
        except ssl.SSLCertVerificationError as error:
            raise BundleError(
                f"--superlink {given.superlink}: {_reason(error, given.root_certificates)}"
            ) from None


def _reason(error: ssl.SSLCertVerificationError, roots: Path) -> str:
    if error.verify_code == _EXPIRED:
        return (
            "its certificate, or its CA's, has expired; the coordinator dates it anew (`tacet"
            " keys renew`, or your organisation's CA)"
        )
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet: compare the clocks of both machines"
    if error.verify_code in _UNKNOWN_CA:
        return f"its certificate is of a CA that {roots} does not hold; take the ca.crt of now"
    return f"its certificate is not believed: {error.verify_message}"
