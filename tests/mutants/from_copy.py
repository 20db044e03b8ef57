"""A pytest plugin: stop unless our packages come from the copy, which alone is mutated.

The environment has an editable install of the checkout, whose code would pass every test.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

import pytest

COPY = "TACET_MUTANTS_COPY"
PACKAGES = ("app", "privacy", "strategies", "tasks", "tests", "workloads")


def pytest_configure() -> None:
    copy = Path(os.environ[COPY]).resolve()
    for name in PACKAGES:
        file = import_module(name).__file__
        if file is None or not Path(file).resolve().is_relative_to(copy):
            raise pytest.UsageError(f"{name} is imported from {file}, not from {copy}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look again: a module of a package may come from elsewhere than the package."""
    copy = Path(os.environ[COPY]).resolve()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        ours = name.split(".")[0] in PACKAGES and file
        if ours and not Path(file).resolve().is_relative_to(copy):
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            sys.stdout.write(f"{name} was imported from {file}\n")
