"""The states of exact runs that this node has found to be right, in its own SQLite file."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from privacy.database import transaction
from workloads.values import State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS exact_states (
    sequence INTEGER PRIMARY KEY, dataset TEXT NOT NULL, hash BLOB NOT NULL,
    arrays BLOB NOT NULL, header TEXT NOT NULL, UNIQUE (dataset, hash)
)
"""
# An attempt at a round may fail, and some runs go on beside each other.
_KEPT = 8
_DROP = """
DELETE FROM exact_states WHERE dataset = ?1 AND sequence NOT IN (
    SELECT sequence FROM exact_states WHERE dataset = ?1 ORDER BY sequence DESC LIMIT ?2
)
"""


class ExactStates:
    """The last states of a data set's exact runs.

    Parameters
    ----------
    path : Path
        The node's own file.
    dataset : str
        From the node's policy.
    """

    def __init__(self, path: Path, dataset: str) -> None:
        self._path = path
        self._dataset = dataset

    def get(self, asked: bytes) -> State | None:
        """Return the state with this hash; None if it is not among the last."""
        with transaction(self._path, _SCHEMA) as database:
            row = database.execute(
                "SELECT arrays, header FROM exact_states WHERE dataset = ? AND hash = ?",
                (self._dataset, asked),
            ).fetchone()
        if row is None:
            return None
        with np.load(BytesIO(row[0]), allow_pickle=False) as arrays:
            return State(dict(arrays), json.loads(row[1]))

    def add(self, asked: bytes, state: State) -> None:
        """Keep a state under its hash, and as many of the others as are kept."""
        stream = BytesIO()
        np.savez(stream, **cast(Any, state.arrays))
        row = self._dataset, asked, stream.getvalue(), json.dumps(dict(state.header))
        with transaction(self._path, _SCHEMA) as database:
            database.execute(
                "INSERT OR REPLACE INTO exact_states (dataset, hash, arrays, header)"
                " VALUES (?, ?, ?, ?)",
                row,
            )
            database.execute(_DROP, (self._dataset, _KEPT))
