"""The import contracts in pyproject.toml: they hold, and what breaks one is named."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app.approval import bundle
from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
PACKAGES = PROJECT["importlinter"]["root_packages"]

#: A new data set or workload needs no line in a contract; every other new file does.
OPEN = {"tasks", "workloads"}
FOLDERS = sorted(
    file.parent.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for file in (ROOT / package).rglob("__init__.py")
)

#: What is added to a copy of the tree, and how the report names it.
BREAKS = [
    *(
        (f"{folder}/newfile.py", "", f"- {folder.replace('/', '.')}.newfile")
        for folder in FOLDERS
        if folder not in OPEN
    ),
    # An aggregation is a package, and needs a line too.
    ("strategies/newpackage/__init__.py", "", "- strategies.newpackage"),
    ("app/round/contribute.py", "import hydra", "app.round.contribute -> hydra"),
    ("app/node/policy.py", "import omegaconf", "app.node.policy -> omegaconf"),
    ("tasks/models.py", "import flwr", "tasks.models -> flwr"),
    ("privacy/database.py", "import torch", "privacy.database -> torch"),
    ("strategies/secagg/wire.py", "import scipy", "strategies.secagg.wire -> scipy"),
    # torch is two steps away here.
    ("strategies/refusals.py", "import workloads.model", "workloads.model -> torch"),
    ("app/config/rules.py", "import app.server", "app.config.rules -> app.server"),
    ("tasks/base.py", "import strategies.refusals", "tasks.base -> strategies.refusals"),
    ("tasks/mnist.py", "import tasks.registry", "No cycles are allowed in tasks"),
]


def lint(tree, breaks):
    """Run lint-imports in a copy of the packages to which lines are added."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tree / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tree)
    for file, line, _ in breaks:
        (tree / file).parent.mkdir(exist_ok=True)
        with (tree / file).open("a") as source:
            source.write(f"\n{line}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def test_all_contracts_are_kept(tmp_path):
    result = lint(tmp_path, [])
    assert result.returncode == 0, result.stdout
    assert " 0 broken" in result.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    result = lint(tmp_path_factory.mktemp("broken"), BREAKS)
    assert result.returncode == 1
    return " ".join(result.stdout.split())


@pytest.mark.parametrize(("file", "line", "named"), BREAKS)
def test_what_breaks_a_contract_is_named(report, file, line, named):
    assert named in report


def test_every_folder_has_a_contract():
    contracts = PROJECT["importlinter"]["contracts"]
    layers = {one["containers"][0]: one for one in contracts if "containers" in one}
    assert {*layers} == {folder.replace("/", ".") for folder in FOLDERS}
    assert {name for name, one in layers.items() if not one.get("exhaustive")} == OPEN


def test_a_package_is_named_wherever_packages_are():
    """A package that a list lacks is not shipped, not checked, or not the bundle's own."""
    app = PROJECT["flwr"]["app"]
    shipped = [p.removesuffix("/**/*.py") for p in app["fab-include"] if p.endswith("/**/*.py")]
    layers = PROJECT["importlinter"]["contracts"][0]["layers"]
    wheel = {*PROJECT["hatch"]["build"]["targets"]["wheel"]["packages"]} - {"conf"}
    assert layers == PACKAGES
    assert {*PACKAGES} == {*shipped} == wheel == {*bundle.PACKAGES}
    assert {*PACKAGES} <= {*PROJECT["pyright"]["include"]}
