"""What the tests share."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

# Before anything imports torch: the models are tiny, more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: what runs beside it is done before it."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.fixture
def data_dir() -> Path:
    """Return the directory of the real data sets (heart/, mnist/, ...), or skip."""
    value = os.environ.get("TACET_DATA_DIR")
    if not value:
        pytest.skip("TACET_DATA_DIR is not set: no real data")
    return Path(value)


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
