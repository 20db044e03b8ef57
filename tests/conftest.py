"""What the tests share."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# Before anything imports torch: the models are tiny, more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from app.config import load as loading


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: what runs beside it is done before it."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture
def own_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of conf/ that the app reads instead, to put YAMLs in."""
    copy = tmp_path / "conf"
    shutil.copytree(loading.CONF_DIR, copy)
    monkeypatch.setattr(loading, "CONF_DIR", copy)
    return copy


@pytest.fixture
def data_dir() -> Path:
    """Return the directory of the real data sets (heart/, mnist/, ...), or skip."""
    value = os.environ.get("TACET_DATA_DIR")
    if not value:
        pytest.skip("TACET_DATA_DIR is not set: no real data")
    return Path(value)


@pytest.fixture(autouse=True)
def _flowers_logger_is_left_as_it_was() -> Iterator[None]:
    """Take off the handlers that a test gave it; pytest has one for all tests."""
    handlers = logging.getLogger("flwr").handlers
    before = handlers.copy()
    yield
    handlers[:] = before


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """Collect what a node logs; Flower's logger may not propagate to pytest's."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("flwr.tacet")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)
