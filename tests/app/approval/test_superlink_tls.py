"""What a SuperNode is told of a SuperLink's certificate, over real handshakes."""

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest

from app.approval.bundle import BundleError
from app.approval.superlink_tls import check_certificate
from app.federation import certificates
from app.federation.certificates import make_tls


@contextlib.contextmanager
def serving(folder):
    """Shake hands with whoever connects, with the folder's certificate; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "superlink.pem", folder / "superlink.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with contextlib.suppress(OSError), connection:
                        context.wrap_socket(connection, server_side=True).close()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def at(moment, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    monkeypatch.setattr(certificates, "datetime", Clock)


def options(port, roots, host="127.0.0.1"):
    return [
        "--insecure-not",
        "--superlink",
        f"{host}:{port}",
        "--root-certificates",
        str(roots),
    ]


@pytest.fixture
def tls(tmp_path):
    make_tls(tmp_path / "tls", "superlink", ["127.0.0.1"])
    return tmp_path / "tls"


def test_a_good_certificate_says_nothing(tls):
    with serving(tls) as port:
        check_certificate(options(port, tls / "ca.crt"))


@pytest.mark.parametrize(
    ("days", "expected"), [(-400, "has expired.*keys renew"), (2, "compare the clocks")]
)
def test_the_dates_are_told(tmp_path, monkeypatch, days, expected):
    at(datetime.now(UTC) + timedelta(days=days), monkeypatch)
    make_tls(tmp_path / "tls", "superlink", ["127.0.0.1"])
    with (
        serving(tmp_path / "tls") as port,
        pytest.raises(BundleError, match=expected) as found,
    ):
        check_certificate(options(port, tmp_path / "tls" / "ca.crt"))
    assert f"127.0.0.1:{port}" in str(found.value)


def test_another_ca_is_told(tls, tmp_path):
    make_tls(tmp_path / "other", "superlink", ["127.0.0.1"])
    with serving(tls) as port, pytest.raises(BundleError, match="of a CA that"):
        check_certificate(options(port, tmp_path / "other" / "ca.crt"))


def test_another_name_is_told(tls):
    with serving(tls) as port, pytest.raises(BundleError, match=r"not believed.*localhost"):
        check_certificate(options(port, tls / "ca.crt", "localhost"))


def test_roots_that_are_none_are_told(tls, tmp_path):
    for file in (tmp_path / "none.crt", tls / "superlink.key"):
        with pytest.raises(BundleError, match="--root-certificates"):
            check_certificate(options(9, file))


def test_a_superlink_that_is_not_there_is_none_of_this(tls):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        check_certificate(options(probe.getsockname()[1], tls / "ca.crt"))


NOTHING = [[], ["--insecure"], ["--superlink", "x", "--root-certificates", "y"]]


@pytest.mark.parametrize("given", NOTHING)
def test_without_an_address_or_roots_nothing_is_looked_at(given):
    check_certificate(given)
