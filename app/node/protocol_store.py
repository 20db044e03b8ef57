"""The two places where a node's protocol records live, behind one interface.

A real node keeps them in its SQLite file: synced, with replaced secrets overwritten, and safe
against a crash or a rolled-back context. A simulated node has no file of its own and may be
moved between Ray's workers, so there, and only there, they live in Flower's context.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from flwr.app import ConfigRecord, RecordDict

from privacy.database import transaction
from strategies.secagg.client.store import Change, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.wire import HASH, U8, U64, AttemptId, Field, Wire, blob

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secagg (
    run_id BLOB NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL,
    stage INTEGER NOT NULL, expires_at REAL NOT NULL, terms BLOB NOT NULL,
    model BLOB NOT NULL, secrets BLOB NOT NULL,
    PRIMARY KEY (run_id, round, attempt)
)
"""
_COLUMNS = "round, attempt, stage, expires_at, terms, model, secrets"
_STATE = "secagg"
# Several stores may stand on one context, so the lock is not the store's own.
_CONTEXT_LOCK = threading.Lock()


class SqliteStore:
    """Records in the node's own file.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def records(self, run_id: int) -> Mapping[AttemptId, Record]:
        """Return every record of a run, tombstones included."""
        with transaction(self._path, _SCHEMA) as database:
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM secagg WHERE run_id = ?",  # noqa: S608 - constant
                (_run_key(run_id),),
            ).fetchall()
        return {
            AttemptId(run_id, row[0], row[1]): Record(Stage(row[2]), *row[3:]) for row in rows
        }

    def advance(self, changes: Sequence[Change]) -> bool:
        """Make all changes, or none and return False where one stage is not as expected."""
        with transaction(self._path, _SCHEMA) as database:
            for change in changes:
                run, number, attempt = change.attempt
                row = database.execute(
                    "SELECT stage FROM secagg WHERE run_id = ? AND round = ? AND attempt = ?",
                    (_run_key(run), number, attempt),
                ).fetchone()
                if (Stage(row[0]) if row else Stage.NONE) is not change.expected:
                    return False
            database.executemany(
                "INSERT OR REPLACE INTO secagg VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (_run_key(c.attempt.run_id), *c.attempt[1:], *_row(c.record))
                    for c in changes
                ],
            )
        return True

    def expire(self, now: float) -> None:
        """Replace every record that holds secrets and is over by its tombstone."""
        with transaction(self._path, _SCHEMA) as database:
            rows = database.execute(
                f"SELECT run_id, {_COLUMNS} FROM secagg"  # noqa: S608 - constant
                " WHERE expires_at <= ? AND length(secrets) > 0",
                (now,),
            ).fetchall()
            database.executemany(
                "INSERT OR REPLACE INTO secagg VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(*row[:3], *_row(Record(Stage(row[3]), *row[4:]).closed())) for row in rows],
            )


class ContextStore:
    """Records in Flower's context: simulation only, where nobody is to be kept out.

    Parameters
    ----------
    state : RecordDict
        ``Context.state``.
    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    def records(self, run_id: int) -> Mapping[AttemptId, Record]:
        """Return every record of a run, tombstones included."""
        with _CONTEXT_LOCK:
            return dict(self._index().runs.get(run_id, {}))

    def advance(self, changes: Sequence[Change]) -> bool:
        """Make all changes, or none and return False where one stage is not as expected."""
        with _CONTEXT_LOCK:
            index = self._index()
            for change in changes:
                record = index.runs.get(change.attempt.run_id, {}).get(change.attempt)
                if (record.stage if record else Stage.NONE) is not change.expected:
                    return False
            for change in changes:
                index.put(change.attempt, change.record)
        return True

    def expire(self, now: float) -> None:
        """Replace every record that holds secrets and is over by its tombstone."""
        with _CONTEXT_LOCK:
            index = self._index()
            for key, record in list(index.held.items()):
                if record.expires_at <= now:
                    index.put(key, record.closed())

    def _index(self) -> "_Index":
        kept = self._state.config_records.setdefault(_STATE, ConfigRecord())
        index = _INDEXES.get(id(kept))
        if index is None or index.kept is not kept or index.size != len(kept):
            index = _INDEXES[id(kept)] = _Index(kept)
            while len(_INDEXES) > _MOST_INDEXES:
                _INDEXES.pop(next(iter(_INDEXES)))
        return index


class _Index:
    """The records of one context, decoded once: a run of many rounds stays as fast as it began.

    Attributes
    ----------
    kept : ConfigRecord
        Where they lie, each under its attempt. Nobody else writes there.
    runs : dict
        Run id to attempt to record.
    held : dict
        Those that hold secrets.
    """

    def __init__(self, kept: ConfigRecord) -> None:
        self.kept = kept
        self.runs: dict[int, dict[AttemptId, Record]] = {}
        self.held: dict[AttemptId, Record] = {}
        for value in kept.values():
            if isinstance(value, bytes):
                row = _Row.decode(value)
                found = Record(
                    Stage(row.stage), row.expires_ms / 1000, row.terms, row.model, row.secrets
                )
                self._note(AttemptId(row.run_id, row.round, row.attempt), found)

    @property
    def size(self) -> int:
        """Return how many records there are."""
        return sum(map(len, self.runs.values()))

    def put(self, key: AttemptId, record: Record) -> None:
        """Write one record into the context."""
        row = _Row(
            run_id=key.run_id,
            round=key.round,
            attempt=key.attempt,
            stage=int(record.stage),
            expires_ms=int(record.expires_at * 1000),
            terms=record.terms,
            model=record.model,
            secrets=record.secrets,
        )
        # In place: to make the whole record anew would look at every attempt of the run.
        self.kept["/".join(map(str, key))] = row.encode()
        self._note(key, record)

    def _note(self, key: AttemptId, record: Record) -> None:
        self.runs.setdefault(key.run_id, {})[key] = record
        if record.secrets:
            self.held[key] = record
        else:
            self.held.pop(key, None)


_INDEXES: dict[int, _Index] = {}
# As many simulated nodes as one process has; what is dropped is decoded again.
_MOST_INDEXES = 4096


_LOCAL = "never leaves the node"


@dataclass(frozen=True)
class _Row(Wire):
    """A record as bytes, for Flower's context."""

    TYPE: ClassVar[int] = 80
    run_id: Annotated[int, Field(U64, _LOCAL)]
    round: Annotated[int, Field(U64, _LOCAL)]
    attempt: Annotated[int, Field(U64, _LOCAL)]
    stage: Annotated[int, Field(U8, _LOCAL)]
    expires_ms: Annotated[int, Field(U64, _LOCAL)]
    terms: Annotated[bytes, Field(HASH, _LOCAL)]
    model: Annotated[bytes, Field(blob(32), _LOCAL)]
    secrets: Annotated[bytes, Field(blob(), _LOCAL)]


def _run_key(run_id: int) -> bytes:
    """Return a run id as bytes: Flower's go beyond SQLite's signed integers."""
    return run_id.to_bytes(8, "big")


def _row(record: Record) -> tuple[object, ...]:
    stage = int(record.stage)
    return stage, record.expires_at, record.terms, record.model, record.secrets
