"""Identity keys and peers files on disk."""

import stat
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from app.node.identity import (
    IdentityError,
    load_identity,
    new_key,
    peers_of,
    public_path,
    read_peers,
    read_public,
    readable_fingerprint,
    write_peers,
)
from strategies.secagg.crypto.identity import fingerprint


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_key_is_the_owners_alone(tmp_path):
    path = tmp_path / "keys" / "a.key"
    public = new_key(path)
    assert read_public(public_path(path)) == public
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert len(public) == 32
    assert new_key(tmp_path / "b.key") != public


@pytest.mark.parametrize("name", ["a.key", "a.key.pub"])
def test_a_key_is_never_overwritten(tmp_path, name):
    (tmp_path / name).write_text("older")
    with pytest.raises(IdentityError, match="never overwritten") as info:
        new_key(tmp_path / "a.key")
    assert str(tmp_path / name) in str(info.value)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "older"


def test_peers_are_read_as_they_were_written(tmp_path):
    named = {"klinik ö": bytes(range(32)), "1e3": bytes(32), "b": bytes([255] * 32)}
    write_peers(tmp_path / "peers.yaml", named)
    assert read_peers(tmp_path / "peers.yaml") == named
    assert peers_of(tmp_path / "peers.yaml") == {fingerprint(k): k for k in named.values()}


def test_two_names_with_one_key_are_refused_both_ways(tmp_path):
    path = tmp_path / "peers.yaml"
    with pytest.raises(IdentityError, match="a and b have the same key"):
        write_peers(path, {"a": bytes(32), "b": bytes(32)})
    assert not path.exists()
    path.write_text(yaml.safe_dump([{"name": n, "key": "00" * 32} for n in "ab"]))
    with pytest.raises(IdentityError, match="a and b have the same key") as info:
        read_peers(path)
    assert str(path) in str(info.value)


ENTRY = {"name": "a", "key": "00" * 32}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: b",
        "- 1",
        "- {name: a}",
        "[",
        "\udcff",
        yaml.safe_dump([{**ENTRY, "key": "zz" * 32}]),
        yaml.safe_dump([{**ENTRY, "key": "00" * 31}]),
        yaml.safe_dump([ENTRY, {**ENTRY, "key": "01" * 32}]),
    ],
)
def test_a_wrong_peers_file_names_itself_and_the_mend(tmp_path, text):
    path = tmp_path / "peers.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(IdentityError, match="tacet keys merge") as info:
        read_peers(path)
    assert str(path) in str(info.value)


def node_with(tmp_path: Path) -> tuple[Path, Path]:
    """Return a node's key file and its peers file, which lists the key."""
    public = new_key(tmp_path / "a.key")
    write_peers(tmp_path / "peers.yaml", {"a": public})
    return tmp_path / "a.key", tmp_path / "peers.yaml"


def test_an_identity_signs_as_its_public_key(tmp_path):
    identity = load_identity(*node_with(tmp_path))
    assert identity.public == read_public(tmp_path / "a.key.pub")
    digits = readable_fingerprint(identity.public).replace(" ", "")
    assert bytes.fromhex(digits) == identity.fingerprint


def other_kind() -> x25519.X25519PrivateKey:
    return x25519.X25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda p: p.unlink(), "No such file"),
        (lambda p: p.write_text("nothing"), "tacet keys new"),
        (lambda p: p.write_bytes(public_path(p).read_bytes()), "tacet keys new"),
        (
            lambda p: p.write_bytes(
                other_kind().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            ),
            "not an Ed25519 private key",
        ),
    ],
)
def test_a_wrong_private_key_names_its_file(tmp_path, spoil, expected):
    identity_key, peers_file = node_with(tmp_path)
    spoil(identity_key)
    with pytest.raises(IdentityError, match=expected) as info:
        load_identity(identity_key, peers_file)
    assert str(identity_key) in str(info.value)


def test_a_public_key_of_another_kind_is_refused(tmp_path):
    pem = (
        other_kind().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "x.pub").write_bytes(pem)
    with pytest.raises(IdentityError, match=r"x\.pub: not an Ed25519 public key"):
        read_public(tmp_path / "x.pub")


def test_a_node_needs_its_own_key_in_its_peers_file(tmp_path):
    identity_key, peers_file = node_with(tmp_path)
    with pytest.raises(IdentityError, match="lacks identity-key or peers-file"):
        load_identity(identity_key, None)
    write_peers(peers_file, {"b": bytes(32)})
    with pytest.raises(IdentityError, match=r"own identity key.*tacet keys merge"):
        load_identity(identity_key, peers_file)
