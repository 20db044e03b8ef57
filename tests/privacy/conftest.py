"""Fixtures of the tests of the ledger: one that holds nothing yet."""

from pathlib import Path

import pytest

from privacy.ledger.ledger import Ledger


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "node" / "state.sqlite"


@pytest.fixture
def ledger(path) -> Ledger:
    return Ledger(path, "heart")
