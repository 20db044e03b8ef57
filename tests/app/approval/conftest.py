"""Bundles as Flower builds them, and a node's policy that lists the first."""

import shutil
from pathlib import Path

import pytest
from flwr.app import Message, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.supercore.task_identity import TaskIdentity

from app.approval import guard
from app.approval.bundle import digest
from app.node.running_code import RUNNING
from tests import ROOT
from tests.app.approval.guard_kit import write_policy


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkout") / "tacet"
    for name in ("app", "tasks", "workloads", "privacy", "strategies", "conf"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, path / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, path)
    return path


@pytest.fixture(scope="module")
def bundle(checkout) -> bytes:
    return build_fab_from_disk(checkout)


@pytest.fixture(scope="module")
def altered(checkout, tmp_path_factory) -> bytes:
    """Return the bundle with one byte of one file changed."""
    path = tmp_path_factory.mktemp("altered") / "tacet"
    shutil.copytree(checkout, path)
    file = path / "strategies" / "masked" / "client.py"
    before = file.read_bytes()
    after = before.replace(b"then mask: a refusal", b"then mask; a refusal")
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    file.write_bytes(after)
    return build_fab_from_disk(path)


@pytest.fixture
def policy(tmp_path, bundle, monkeypatch) -> Path:
    path = write_policy(tmp_path / "policy.yaml", digest(bundle))
    monkeypatch.setenv(guard.POLICY, str(path))
    monkeypatch.delenv(RUNNING, raising=False)
    return path


@pytest.fixture
def asked(monkeypatch) -> Message:
    """Return a message, in a process that can answer it."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    # Of whoever runs this test.
    monkeypatch.setenv(RUNNING, "")
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
    message.metadata.__dict__["_message_id"] = "1"
    return message
