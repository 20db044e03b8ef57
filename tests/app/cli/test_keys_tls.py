"""``tacet keys tls`` and ``tacet keys node``: what Flower's connections take."""

import socket
import ssl
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flwr.cli.supernode.register import try_load_public_key
from flwr.supernode.cli.flower_supernode import (
    _parse_args_run_supernode,
    _try_setup_client_authentication,
)

from app.cli.main import main
from app.federation import certificates
from app.federation.certificates import read_certificate


def tell(capsys, *argv: object) -> list[str]:
    assert main([str(argument) for argument in argv]) == 0
    return capsys.readouterr().out.splitlines()


def complaint(capsys, *argv: object) -> str:
    assert main([str(argument) for argument in argv]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    return told.err


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def clock_at(moment):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    return Clock


@pytest.fixture
def tls(tmp_path, capsys) -> Path:
    folder = tmp_path / "tls"
    tell(capsys, "keys", "tls", folder, "--host", "localhost", "127.0.0.1", "fl.example.org")
    return folder


def shake_hands(folder: Path, host: str, name: str = "superlink") -> str:
    """Return how a client that knows the CA calls the server's certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    client = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            try:
                server.wrap_socket(theirs, server_side=True).close()
            except (ssl.SSLError, OSError):
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, client.wrap_socket(ours, server_hostname=host) as connection:
            subject = connection.getpeercert()["subject"]
    finally:
        thread.join()
    return subject[0][0][1]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "fl.example.org"])
def test_a_client_that_knows_the_ca_believes_the_server(tls, host):
    assert shake_hands(tls, host) == "superlink"


def test_the_server_is_not_believed_under_another_name(tls):
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tls, "other.example.org")


def test_keys_are_the_owners_alone(tls):
    public = {"superlink.pem": 0o644, "ca.crt": 0o644}
    assert modes(tls) == {"superlink.key": 0o600, "ca.key": 0o600, **public}


def test_another_server_has_the_same_ca(tls, capsys):
    before = (tls / "ca.crt").read_bytes()
    tell(capsys, "keys", "tls", tls, "--name", "second", "--host", "h")
    assert (tls / "ca.crt").read_bytes() == before
    assert shake_hands(tls, "h", "second") == "second"
    assert shake_hands(tls, "localhost") == "superlink"


def test_a_renewed_certificate_has_new_dates_and_all_else_as_before(tls, capsys, monkeypatch):
    before = read_certificate(tls / "superlink.pem")
    kept = {name: (tls / name).read_bytes() for name in ("superlink.key", "ca.key", "ca.crt")}
    at = before.not_valid_after_utc - timedelta(days=3)
    monkeypatch.setattr(certificates, "datetime", clock_at(at))
    lines = tell(capsys, "keys", "renew", tls)
    after = read_certificate(tls / "superlink.pem")
    assert after.not_valid_after_utc - before.not_valid_after_utc == timedelta(days=362)
    assert f"{after.not_valid_after_utc:%Y-%m-%d}" in lines[0]
    assert kept == {name: (tls / name).read_bytes() for name in kept}
    monkeypatch.undo()
    # Valid from that day on only.
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        shake_hands(tls, "localhost")
    tell(capsys, "keys", "renew", tls)
    for host in ("localhost", "127.0.0.1", "fl.example.org"):
        assert shake_hands(tls, host) == "superlink"


def test_validity_says_when_a_certificate_has_expired(tls, monkeypatch):
    file = tls / "superlink.pem"
    assert "days left" in certificates.validity(file)
    over = read_certificate(file).not_valid_after_utc + timedelta(days=1)
    monkeypatch.setattr(certificates, "datetime", clock_at(over))
    assert "EXPIRED" in certificates.validity(file)


@pytest.mark.parametrize("missing", ["ca.crt", "ca.key", "superlink.key", "superlink.pem"])
def test_what_is_missing_is_named(tls, missing, capsys):
    (tls / missing).unlink()
    before = {path.name: path.read_bytes() for path in tls.iterdir()}
    assert str(tls / missing) in complaint(capsys, "keys", "renew", tls)
    assert {path.name: path.read_bytes() for path in tls.iterdir()} == before


def test_the_key_of_another_ca_signs_nothing(tls, tmp_path, capsys):
    tell(capsys, "keys", "tls", tmp_path / "other", "--host", "h")
    (tls / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    assert "is not the key of" in complaint(capsys, "keys", "renew", tls)


def test_a_ca_that_is_soon_over_signs_nothing(tls, capsys, monkeypatch):
    end = read_certificate(tls / "ca.crt").not_valid_after_utc
    monkeypatch.setattr(certificates, "datetime", clock_at(end - timedelta(days=100)))
    assert "less than what it would sign" in complaint(capsys, "keys", "renew", tls)


def test_it_says_what_to_do_and_that_it_is_for_trials(tmp_path, capsys):
    lines = tell(capsys, "keys", "tls", tmp_path, "--name", "fl", "--host", "h")
    assert f"--ssl-keyfile {tmp_path}/fl.key" in lines[0]
    assert f"--root-certificates {tmp_path}/ca.crt" in lines[1]
    assert lines[2].startswith("For a trial")
    assert shake_hands(tmp_path, "h", "fl") == "fl"


def test_nothing_is_overwritten(tls, capsys):
    (tls / "superlink.key").unlink()
    before = {path.name: path.read_bytes() for path in tls.iterdir()}
    assert "never overwritten" in complaint(capsys, "keys", "tls", tls, "--host", "h")
    assert {path.name: path.read_bytes() for path in tls.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--host", "1.2.3"], "--host 1.2.3: neither"),
        (["--host", "a..b"], "--host a..b: neither"),
        (["--host", "https://x"], "neither a DNS name"),
        (["--host", "a" * 64], "neither a DNS name"),
        (["--name", "../x", "--host", "h"], "--name ../x"),
    ],
)
def test_a_wrong_option_is_one_line(options, expected, tmp_path, capsys):
    assert expected in complaint(capsys, "keys", "tls", tmp_path / "tls", *options)
    assert not (tmp_path / "tls").exists()


def test_flower_takes_the_nodes_key_pair(tmp_path, capsys):
    path = tmp_path / "keys" / "node"
    lines = tell(capsys, "keys", "node", path)
    assert str(path) in lines[0]
    assert modes(path.parent) == {"node": 0o600, "node.pub": 0o644}
    options = ["--auth-supernode-private-key", str(path)]
    keys = _try_setup_client_authentication(_parse_args_run_supernode().parse_args(options))
    assert keys is not None
    assert keys[1].curve.name == "secp384r1"
    assert try_load_public_key(Path(f"{path}.pub"))
    assert "never overwritten" in complaint(capsys, "keys", "node", path)


@pytest.mark.parametrize(
    ("other", "told"), [("superlink.pem", "is not signed by"), ("superlink.key", "is not of")]
)
def test_a_certificate_that_was_not_made_here_is_not_replaced(
    tls, tmp_path, capsys, other, told
):
    tell(capsys, "keys", "tls", tmp_path / "theirs", "--host", "localhost")
    (tls / other).write_bytes((tmp_path / "theirs" / other).read_bytes())
    before = (tls / "superlink.pem").read_bytes()
    assert told in complaint(capsys, "keys", "renew", tls)
    assert (tls / "superlink.pem").read_bytes() == before
