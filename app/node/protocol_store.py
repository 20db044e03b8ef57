"""The two places where a node's protocol records live, behind one interface.

A real node keeps them in its SQLite file: synced, with replaced secrets overwritten, and safe
against a crash or a rolled-back context. A simulated node has no file of its own and may be
moved between Ray's workers, so there, and only there, they live in Flower's context.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar, cast

from flwr.app import ConfigRecord, RecordDict

from privacy.database import id_bytes, transaction
from strategies.secagg.client.store import (
    ENDED,
    MAX_AHEAD_SECONDS,
    RUN_IS_OVER_SECONDS,
    Change,
    Record,
    is_over,
)
from strategies.secagg.client.transitions import OPEN, Stage
from strategies.secagg.fields import HASH, U8, U64, AttemptId, blob
from strategies.secagg.wire import Field, Wire

# An index serves a query that has its condition word for word.
_IS_OPEN = f"stage IN ({', '.join(str(int(stage)) for stage in sorted(OPEN))})"
_IS_REVEALED = f"stage = {int(Stage.REVEALED)}"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS secagg (
    run_id BLOB NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL,
    stage INTEGER NOT NULL, expires_at REAL NOT NULL, terms BLOB NOT NULL,
    model BLOB NOT NULL, secrets BLOB NOT NULL,
    PRIMARY KEY (run_id, round, attempt)
);
CREATE INDEX IF NOT EXISTS secagg_open ON secagg (run_id) WHERE {_IS_OPEN};
CREATE INDEX IF NOT EXISTS secagg_revealed ON secagg (run_id, model) WHERE {_IS_REVEALED}
"""
_SELECT = "SELECT round, attempt, stage, expires_at, terms, model, secrets FROM secagg"
_MODEL = 5  # its column there
_OPEN_ONES = f"{_SELECT} INDEXED BY secagg_open WHERE run_id = ? AND {_IS_OPEN}"
_NAMED_ONE = f"{_SELECT} WHERE run_id = ? AND round = ? AND attempt = ?"
_REVEALED_ONE = (
    f"{_SELECT} INDEXED BY secagg_revealed"
    f" WHERE run_id = ? AND model = ? AND {_IS_REVEALED} LIMIT 1"
)
_ANY_ONE = f"{_SELECT} WHERE run_id = ? LIMIT 1"
_EXPIRE = (
    f"UPDATE secagg INDEXED BY secagg_open SET stage = {int(Stage.CLOSED)},"  # noqa: S608
    f" secrets = x'' WHERE {_IS_OPEN} AND (expires_at <= ? OR expires_at > ?)"
)
_OVER = "SELECT run_id FROM secagg WHERE terms != ? GROUP BY run_id HAVING max(expires_at) <= ?"
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

    def records(
        self, run_id: int, attempts: Collection[AttemptId] = (), model: bytes = b""
    ) -> Mapping[AttemptId, Record]:
        """Return what a message may depend on, see `Store.records`."""
        run = id_bytes(run_id)
        queries: list[tuple[str, tuple[object, ...]]]
        queries = [(_ANY_ONE, (run,)), (_OPEN_ONES, (run,))]
        named = [(_NAMED_ONE, (run, *a[1:])) for a in attempts if a.run_id == run_id]
        with transaction(self._path, _SCHEMA) as database:
            asked = [row for query in named for row in database.execute(*query)]
            models = {model, *(row[_MODEL] for row in asked)} - {b""}
            queries += [(_REVEALED_ONE, (run, one)) for one in models]
            rows = asked + [row for query in queries for row in database.execute(*query)]
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
                    (id_bytes(run), number, attempt),
                ).fetchone()
                if (Stage(row[0]) if row else Stage.NONE) is not change.expected:
                    return False
            database.executemany(
                "INSERT OR REPLACE INTO secagg VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (id_bytes(c.attempt.run_id), *c.attempt[1:], *_row(c.record))
                    for c in changes
                ],
            )
        return True

    def expire(self, now: float) -> None:
        """Replace every open record that is over by its tombstone."""
        with transaction(self._path, _SCHEMA) as database:
            database.execute(_EXPIRE, (now, now + MAX_AHEAD_SECONDS))

    def compact(self, now: float) -> None:
        """Replace the records of each run that is over by a single one."""
        with transaction(self._path, _SCHEMA) as database:
            over = database.execute(_OVER, (ENDED, now - RUN_IS_OVER_SECONDS)).fetchall()
            database.executemany("DELETE FROM secagg WHERE run_id = ?", over)
            last = _row(Record(Stage.CLOSED, 0.0, ENDED))
            database.executemany(
                "INSERT INTO secagg VALUES (?, 0, 0, ?, ?, ?, ?, ?)",
                [(run, *last) for (run,) in over],
            )


class ContextStore:
    """Records in Flower's context: simulation only, where nobody is to be kept out.

    A run has two of Flower's records. One has the few open attempts, which every message looks
    at. The other has the tombstones, which are only looked up: each under its attempt, and
    where it is REVEALED also under its model. Only the latest of these are kept, as Flower
    moves the whole context with each message: a simulated server repeats nothing from long ago.
    Nothing is kept elsewhere: each message may be answered by another process.

    Parameters
    ----------
    state : RecordDict
        ``Context.state``.
    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    def records(
        self, run_id: int, attempts: Collection[AttemptId] = (), model: bytes = b""
    ) -> Mapping[AttemptId, Record]:
        """Return what a message may depend on, see `Store.records`."""
        names = [*map(_name, attempts)]
        with _CONTEXT_LOCK:
            open_ones, closed = self._table(run_id, _OPEN), self._table(run_id, _CLOSED)
            rows = [*islice(closed.values(), 1), *open_ones.values()]
            rows += [closed[name] for name in names if name in closed]
            found = dict(map(_decoded, rows))
            models = {model, *(found[a].model for a in attempts if a in found)}
            rows = [closed[one.hex()] for one in models if one.hex() in closed]
        return found | dict(map(_decoded, rows))

    def advance(self, changes: Sequence[Change]) -> bool:
        """Make all changes, or none and return False where one stage is not as expected."""
        with _CONTEXT_LOCK:
            for change in changes:
                if self._stage(change.attempt) is not change.expected:
                    return False
            for change in changes:
                self._put(change.attempt, change.record)
        return True

    def expire(self, now: float) -> None:
        """Replace every open record that is over by its tombstone."""
        with _CONTEXT_LOCK:
            tables = [table for name, table in self._state.items() if name.endswith(_OPEN)]
            rows = [row for table in tables for row in table.values()]
            for attempt, record in map(_decoded, rows):
                if is_over(record.expires_at, now):
                    self._put(attempt, record.closed())

    def compact(self, now: float) -> None:
        """Keep all: the context ends with its run."""

    def _stage(self, attempt: AttemptId) -> Stage:
        for kind in (_OPEN, _CLOSED):
            row = self._table(attempt.run_id, kind).get(_name(attempt))
            if row is not None:
                return _decoded(row)[1].stage
        return Stage.NONE

    def _put(self, attempt: AttemptId, record: Record) -> None:
        name, row = _name(attempt), _encoded(attempt, record)
        open_ones, closed = (self._table(attempt.run_id, kind) for kind in (_OPEN, _CLOSED))
        if record.stage in OPEN:
            open_ones[name] = row
            return
        open_ones.pop(name, None)
        closed[name] = row
        if record.stage is Stage.REVEALED and record.model:
            closed[record.model.hex()] = row
        for old in [*islice(closed, max(0, len(closed) - _MOST_CLOSED))]:
            del closed[old]

    def _table(self, run_id: int, kind: str) -> ConfigRecord:
        # Changed where it is: to make the whole record anew would look at every attempt.
        return cast(ConfigRecord, self._state.setdefault(f"{run_id}{kind}", ConfigRecord()))


_OPEN, _CLOSED = "/secagg/open", "/secagg/closed"
# Rows, two where a sum was opened.
_MOST_CLOSED = 128
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


def _row(record: Record) -> tuple[object, ...]:
    stage = int(record.stage)
    return stage, record.expires_at, record.terms, record.model, record.secrets


def _name(attempt: AttemptId) -> str:
    return "/".join(map(str, attempt))


def _encoded(attempt: AttemptId, record: Record) -> bytes:
    return _Row(
        run_id=attempt.run_id,
        round=attempt.round,
        attempt=attempt.attempt,
        stage=int(record.stage),
        expires_ms=int(record.expires_at * 1000),
        terms=record.terms,
        model=record.model,
        secrets=record.secrets,
    ).encode()


def _decoded(row: object) -> tuple[AttemptId, Record]:
    row = _Row.decode(cast(bytes, row))
    return AttemptId(row.run_id, row.round, row.attempt), Record(
        Stage(row.stage), row.expires_ms / 1000, row.terms, row.model, row.secrets
    )
