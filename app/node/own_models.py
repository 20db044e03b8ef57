"""The models that a node keeps from round to round: what its part is worth, and its own part.

They lie in a file of its own beside the node's file, so that models do not make the ledger's
file large. It holds the node's last update without a mask: a secret, like the records. A
simulated node without a file has them in Flower's context, see ``ContextModels``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from flwr.app import ConfigRecord, RecordDict

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
_SELECT = "SELECT round, told, arrays FROM own_models WHERE"
_PUT = """
INSERT OR REPLACE INTO own_models (run_id, name, round, told, arrays) VALUES (?, ?, ?, ?, ?)
"""
#: What is kept of so many runs, those that were answered last, where no more is said.
_KEPT = 3
_DROP = """
DELETE FROM own_models WHERE name = ? AND sequence NOT IN (
    SELECT sequence FROM own_models WHERE name = ? ORDER BY sequence DESC LIMIT ?
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
        query = f"{_SELECT} run_id = ? AND name = ?"
        return next(self._found(query, (self._run, name)), None)

    def of_all_runs(self, name: str) -> list[KeptModel]:
        """Return the models of this name, that of the run which was answered last first.

        Raises
        ------
        DatabaseError
            If the file cannot be used.
        """
        return list(self._found(f"{_SELECT} name = ? ORDER BY sequence DESC", (name,)))

    def put(self, models: Mapping[str, KeptModel], kept: int = _KEPT) -> None:
        """Replace models of this run, and drop those of the oldest runs.

        Parameters
        ----------
        models : mapping of KeptModel
            By name.
        kept : int
            Of so many runs those of the same name stay.

        Raises
        ------
        DatabaseError
            If the file cannot be used.
        """
        with transaction(self._path, _SCHEMA, _BUSY_SECONDS) as database:
            for name, model in models.items():
                told, arrays = _encoded(model)
                database.execute(_PUT, (self._run, name, model.round, told, arrays))
                database.execute(_DROP, (name, name, kept))

    def _found(self, query: str, values: tuple[object, ...]) -> Iterator[KeptModel]:
        if not self._path.exists():
            return
        with transaction(self._path, _SCHEMA, _BUSY_SECONDS) as database:
            rows = database.execute(query, values).fetchall()
        for row in rows:
            yield _decoded(*row)


class ContextModels:
    """The models that a simulated node keeps of one run, with it and no longer.

    Parameters
    ----------
    state : RecordDict
        ``Context.state``.
    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    def get(self, name: str) -> KeptModel | None:
        """Return a model; None if it is not there."""
        row = self._state.config_records.get(_PREFIX + name)
        if row is None:
            return None
        number, told, arrays = row["round"], row["told"], row["arrays"]
        return _decoded(cast(int, number), cast(str, told), cast(bytes, arrays))

    def of_all_runs(self, name: str) -> list[KeptModel]:
        """Return what ``get`` does: there is one run."""
        found = self.get(name)
        return [] if found is None else [found]

    def put(self, models: Mapping[str, KeptModel], kept: int = _KEPT) -> None:
        """Replace models."""
        for name, model in models.items():
            told, arrays = _encoded(model)
            row = {"round": model.round, "told": told, "arrays": arrays}
            self._state[_PREFIX + name] = ConfigRecord(row)


_PREFIX = "own_models/"


def _encoded(model: KeptModel) -> tuple[str, bytes]:
    stream = BytesIO()
    np.savez(stream, **cast(Any, model.arrays))
    return json.dumps(dict(model.told)), stream.getvalue()


def _decoded(number: int, told: str, content: bytes) -> KeptModel:
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        return KeptModel(round=number, told=json.loads(told), arrays=dict(arrays))
