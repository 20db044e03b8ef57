"""Cache of calibrated noise in the node's file, as every message is a fresh process."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from privacy.accounting.epsilon import VERSION
from privacy.database import transaction
from privacy.plan.terms import PrivacyTerms

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calibrations (
    terms BLOB PRIMARY KEY, noise_multiplier REAL NOT NULL
)
"""
# What the answer depends on besides the terms.
_LIBRARIES = ("dp-accounting", "numpy", "scipy")


class Calibrations:
    """Noise multipliers that were found before, by the terms they are for.

    Public numbers, but trusted: whoever can write the node's file can lower its noise.

    Parameters
    ----------
    path : Path
        The node's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, terms: PrivacyTerms) -> float | None:
        """Return the noise multiplier of these terms, or None if it was not kept."""
        with transaction(self._path, _SCHEMA) as database:
            row = database.execute(
                "SELECT noise_multiplier FROM calibrations WHERE terms = ?", (_key(terms),)
            ).fetchone()
        return float(row[0]) if row else None

    def put(self, terms: PrivacyTerms, noise_multiplier: float) -> None:
        """Keep a noise multiplier."""
        with transaction(self._path, _SCHEMA) as database:
            database.execute(
                "INSERT OR REPLACE INTO calibrations VALUES (?, ?)",
                (_key(terms), noise_multiplier),
            )


def _key(terms: PrivacyTerms) -> bytes:
    libraries = {name: version(name) for name in _LIBRARIES}
    text = json.dumps([asdict(terms), libraries, VERSION], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()
