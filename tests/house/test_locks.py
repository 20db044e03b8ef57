"""``deploy/locks`` answers ``pyproject.toml``: all ranges, with hashes for all files."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import lock
from tests import ROOT

STALE = "`make lock`, and commit what it writes"
TEXTS = {file.stem: file.read_text() for file in lock.LOCKS.glob("*.txt")}
LOCKED = {name: lock.entries(text) for name, text in TEXTS.items()}
WANTED = {name: [Requirement(one) for one in ranges] for name, ranges in lock.wanted().items()}


def test_every_list_of_ranges_has_a_lock_file_and_the_other_way_round():
    assert LOCKED.keys() == WANTED.keys(), STALE


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_asked_for_is_locked_within_its_range(name):
    # torch, which has an index of its own, has a file of its own.
    locked = LOCKED["torch"] | LOCKED[name]
    for asked in WANTED[name]:
        entry = locked.get(canonicalize_name(asked.name))
        assert entry is not None, f"{asked} is not locked: {STALE}"
        assert asked.specifier.contains(entry.version), f"{asked}, not {entry.version}: {STALE}"


def test_pyproject_asks_for_what_the_locks_are_made_of():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, locked = pyproject["project"], LOCKED["torch"] | LOCKED["dev"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {str(one) for one in map(Requirement, asked)} <= {str(one) for one in WANTED["dev"]}
    # Nothing is fetched to build with.
    for build in map(Requirement, pyproject["build-system"]["requires"]):
        for entry in (locked[build.name], LOCKED["tools"][build.name]):
            assert build.specifier.contains(entry.version), STALE


@pytest.mark.parametrize("name", LOCKED)
def test_every_entry_has_a_version_and_hashes(name):
    assert LOCKED[name]
    for package, entry in LOCKED[name].items():
        assert entry.hashes, package
    # Nor does a lock say where it was made, or from which index.
    assert not re.search(r"^\s*-|://|@ ", TEXTS[name].replace("    --hash", ""), re.MULTILINE)


def test_one_environment_has_one_version_of_each_package():
    dev = {package: entry.version for package, entry in LOCKED["dev"].items()}
    for name in ("image", "setuptools"):
        for package, entry in LOCKED[name].items():
            assert dev[package] == entry.version, f"{package} in {name}: {STALE}"
    assert "ray" in dev
    assert "ray" not in LOCKED["image"]


def test_torch_is_locked_as_a_cpu_build_and_nothing_asks_for_cuda():
    (entry,) = LOCKED["torch"].values()
    files = lock.cpu_builds(TEXTS["torch"])
    assert entry.version.endswith("+cpu")
    assert entry.hashes == frozenset(files.values())
    assert all(name.startswith(f"torch-{entry.version}-cp311-") for name in files)
    assert any(name.endswith("x86_64.whl") for name in files)
    packages = {package for locked in LOCKED.values() for package in locked}
    assert not [one for one in packages if one.startswith(("nvidia", "cuda", "triton"))]


def test_an_entry_is_read_with_its_marker_and_all_its_hashes():
    text = f"""# head
a.B_c==1.2+cpu ; python_version < "4" \\
    --hash=sha256:{"0" * 64} \\
    --hash=sha256:{"1" * 64}
    # via d
d==3
"""
    assert lock.entries(text) == {
        "a-b-c": lock.Entry("1.2+cpu", frozenset({"0" * 64, "1" * 64})),
        "d": lock.Entry("3", frozenset()),
    }


def test_dockerfiles_and_make_take_every_package_by_its_hash():
    files = [ROOT / "Dockerfile", ROOT / "deploy" / "tensorboard.Dockerfile"]
    locked = (ROOT / "Makefile").read_text().split("ifeq ($(LOCKED),1)")[1].split("\nelse\n")[0]
    text = "\n".join([*(file.read_text() for file in files), locked]).replace("\\\n", " ")
    commands = re.findall(r"pip (?:install|wheel)[^&|;\n]*", text)
    assert len(commands) == 11
    for command in commands:
        assert "--require-hashes" in command or "--no-index --no-deps" in command, command


def test_a_base_image_given_by_digest_is_never_built_here(tmp_path: Path):
    fake = tmp_path / "docker"
    fake.write_text('#!/bin/sh\ncase "$1" in info|compose) exit 0 ;; *) exit 1 ;; esac\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    base = "python@sha256:" + "0" * 64
    done = subprocess.run(
        [ROOT / "deploy" / "engine.sh"],
        env=os.environ | {"PATH": path, "TACET_BASE": base},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{base} cannot be pulled, and no other image has its digest" in done.stderr
