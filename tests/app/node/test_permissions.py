"""Files that others may change or read."""

import os
from pathlib import Path

import pytest

from app.node.identity import IdentityError, load_identity, new_key, peers_of, write_peers
from app.node.permissions import objection
from app.node.policy import PolicyError, load_policy

POLICY = "{dataset: a, privacy: [none], min_survivors: 3, min_colluding: 1}"


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "node"
    made.mkdir(mode=0o700)
    write_peers(made / "peers", {"a": new_key(made / "key")})
    (made / "policy").write_text(POLICY)
    for name, mode in (("key", 0o600), ("peers", 0o644), ("policy", 0o644)):
        (made / name).chmod(mode)
    return made


def read_all(folder: Path) -> None:
    load_identity(folder / "key", folder / "peers")
    load_policy(folder / "policy")


def test_a_node_goes_by_files_of_its_own(folder):
    read_all(folder)
    for mode in (0o755, 0o500, 0o1777):
        folder.chmod(mode)
        read_all(folder)


@pytest.mark.parametrize("mode", [0o770, 0o775, 0o702, 0o777])
def test_a_folder_that_others_may_write(folder, mode):
    folder.chmod(mode)
    for read in (peers_of, load_policy, lambda p: load_identity(p, folder / "peers")):
        name = {peers_of: "peers", load_policy: "policy"}.get(read, "key")
        with pytest.raises((IdentityError, PolicyError), match=f"chmod go-w {folder}$"):
            read(folder / name)


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("key", 0o640, "others may read it .mode 640.; chmod 600 .*, and make a new one"),
        ("key", 0o604, "others may read it"),
        ("key", 0o620, "others may write it"),
        ("peers", 0o664, "chmod go-w"),
        ("peers", 0o646, "chmod go-w"),
        ("policy", 0o664, "chmod go-w"),
    ],
)
def test_a_file_that_others_may_change_or_a_key_that_they_may_read(folder, name, mode, words):
    (folder / name).chmod(mode)
    with pytest.raises((IdentityError, PolicyError), match=words) as info:
        read_all(folder)
    assert str(folder / name) in str(info.value)


def test_both_ends_of_a_link_are_looked_at(folder, tmp_path):
    there = tmp_path / "links"
    there.mkdir(mode=0o700)
    link = there / "policy"
    link.symlink_to(folder / "policy")
    assert objection(link) is None
    there.chmod(0o770)
    assert f"chmod go-w {there}" in str(objection(link))
    there.chmod(0o700)
    folder.chmod(0o770)
    assert f"chmod go-w {folder}" in str(objection(link))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user(folder, monkeypatch):
    os.chown(folder / "policy", 4711, 0)
    assert "belongs to another user" in str(objection(folder / "policy"))
    os.chown(folder / "policy", 0, 0)
    os.chown(folder, 4711, 0)
    assert f"{folder}: belongs to another user" in str(objection(folder / "policy"))
    os.chown(folder, 0, 0)
    # A secret that an orchestrator mounts: root's, which the group of the node's user may read.
    (folder / "key").chmod(0o440)
    assert "others may read it (mode 440)" in str(objection(folder / "key", is_secret=True))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert objection(folder / "key", is_secret=True) is None
    (folder / "key").chmod(0o444)
    assert "others may read it" in str(objection(folder / "key", is_secret=True))
    # Root may write anything anyway.
    os.chown(folder, 4712, 0)
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    assert objection(folder / "policy") is None


def test_a_file_that_is_not_there_is_named(folder):
    with pytest.raises(IdentityError, match=r"nowhere: No such file"):
        peers_of(folder / "nowhere")
    with pytest.raises(IdentityError, match=r"nowhere: No such file"):
        load_identity(folder / "nowhere", folder / "peers")
