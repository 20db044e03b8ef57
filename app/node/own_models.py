"""What a node keeps from round to round to tell, on itself, what its part is worth.

It lies in a file of its own beside the node's file, so that models do not make the ledger's
file large. It holds the node's last update without a mask: a secret, like the records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from privacy.database import id_bytes, transaction
from workloads.values import Arrays

#: What is added to the name of the node's file.
SUFFIX = ".contribution"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS own_models (
    sequence INTEGER PRIMARY KEY, run_id BLOB NOT NULL, name TEXT NOT NULL,
    round INTEGER NOT NULL, told TEXT NOT NULL, arrays BLOB NOT NULL, UNIQUE (run_id, name)
)
"""
_PUT = """
INSERT OR REPLACE INTO own_models (run_id, name, round, told, arrays) VALUES (?, ?, ?, ?, ?)
"""
#: Of each run two are kept, and of so many runs that were answered last.
_KEPT = 6
_DROP = """
DELETE FROM own_models WHERE sequence NOT IN (
    SELECT sequence FROM own_models ORDER BY sequence DESC LIMIT ?
)
"""
# As for the node's own report.
_BUSY_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """A model that a node keeps.

    Attributes
    ----------
    round : int
        The round in which it was made.
    arrays : dict of ndarray
        By name.
    told : dict
        JSON values that go with it.
    """

    round: int
    arrays: Arrays
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])


class OwnModels:
    """The models that a node keeps of its last runs.

    Parameters
    ----------
    path : Path
        Their file.
    run_id : int
        Flower's id of the run.
    """

    def __init__(self, path: Path, run_id: int) -> None:
        self._path = path
        self._run = id_bytes(run_id)

    def get(self, name: str) -> KeptModel | None:
        """Return a model of this run; None if it is not there.

        Raises
        ------
        DatabaseError
            If the file cannot be used.
        """
        if not self._path.exists():
            return None
        with transaction(self._path, _SCHEMA, _BUSY_SECONDS) as database:
            row = database.execute(
                "SELECT round, told, arrays FROM own_models WHERE run_id = ? AND name = ?",
                (self._run, name),
            ).fetchone()
        if row is None:
            return None
        with np.load(BytesIO(row[2]), allow_pickle=False) as arrays:
            return KeptModel(round=row[0], told=json.loads(row[1]), arrays=dict(arrays))

    def put(self, models: Mapping[str, KeptModel]) -> None:
        """Replace models of this run, and drop those of the oldest runs.

        Raises
        ------
        DatabaseError
            If the file cannot be used.
        """
        with transaction(self._path, _SCHEMA, _BUSY_SECONDS) as database:
            for name, model in models.items():
                stream = BytesIO()
                np.savez(stream, **cast(Any, model.arrays))
                told = json.dumps(dict(model.told))
                row = self._run, name, model.round, told, stream.getvalue()
                database.execute(_PUT, row)
            database.execute(_DROP, (_KEPT,))
