"""``tacet keys tls`` and ``tacet keys node``: what Flower's connections take."""

import socket
import ssl
import threading
from pathlib import Path

import pytest
from flwr.cli.supernode.register import try_load_public_key
from flwr.supernode.cli.flower_supernode import (
    _parse_args_run_supernode,
    _try_setup_client_authentication,
)

from app.cli.main import main


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


def test_keys_are_the_owners_alone_and_the_cas_is_not_kept(tls):
    assert modes(tls) == {"superlink.key": 0o600, "superlink.pem": 0o644, "ca.crt": 0o644}


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
