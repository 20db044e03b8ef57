"""The Flower App Bundle: what is in it, and that it works where nothing else is."""

import os
import subprocess
import sys
import zipfile
from io import BytesIO

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab

from app.approval.bundle import PACKAGES
from tests import ROOT

CHECK = """
import sys
from pathlib import Path
from app.approval.bundle import PACKAGES
here = Path.cwd()
import app.server, app.client, strategies.plain.client, strategies.masked.client
import workloads.model_update
from app.config.load import CONF_DIR, ConfigError, load_config, options
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from tests import ROOT
assert isinstance(app.server.app, ServerApp) and isinstance(app.client.app, ClientApp)
for module in list(sys.modules.values()):
    name, file = module.__name__, getattr(module, "__file__", None)
    if name.split(".")[0] in PACKAGES and file:
        assert here in Path(file).parents, file
assert CONF_DIR == here / "conf"
for group in ("task", "algorithm", "aggregation", "privacy", "tracking"):
    for option in options(group):
        try:
            load_config({group: option})
        except ConfigError as error:
            # Bare csv and series have no columns, images no classes, privacy no defaults.
            lacking = {"csv": "task.label", "series": "task.time"}
            lacking |= {"ratings": "task.items", "images": "task.classes"}
            bare = option in lacking and lacking[option] in str(error)
            assert bare or (group == "privacy" and "no default" in str(error)), error
        print(group, option)
"""


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return build_fab_from_disk(ROOT)


def test_the_bundle_holds_the_app_and_nothing_else(bundle):
    names = zipfile.ZipFile(BytesIO(bundle)).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {
        *PACKAGES,
        "conf",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        ".info",
    }
    assert all(name.endswith(".yaml") for name in names if name.startswith("conf/"))


def test_the_bundle_is_the_same_every_time(bundle):
    assert build_fab_from_disk(ROOT) == bundle


@pytest.mark.slow
def test_the_bundle_works_where_it_is_installed(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    installed = install_from_fab(bundle, skip_prompt=True)
    result = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=installed,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    composed = result.stdout.split("\n")
    for group in ("task", "algorithm", "aggregation", "privacy", "tracking"):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"{group} {path.stem}" in composed
