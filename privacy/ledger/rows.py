"""The ledger's rows in the node's SQLite file: only added, and checked when read.

Each charge is chained to those before it by a hash, and the head of the chain is kept beside
them, so a row that was changed or taken out by accident is noticed. This is no seal against the
owner of the file: who can write it can make it anew. That the whole file is gone or was put
back to an older copy is noticed by those with whom the node works: ``privacy.ledger.heads``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import accumulate
from math import isfinite
from pathlib import Path
from typing import Any

from privacy.database import id_bytes
from privacy.ledger.budget import Budget, LedgerError, totals
from privacy.ledger.charge import Charge
from privacy.plan.release import Release, Schedule

SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger_charges (
    sequence INTEGER PRIMARY KEY, run_id BLOB NOT NULL, round INTEGER NOT NULL,
    attempt INTEGER NOT NULL, time REAL NOT NULL, dataset TEXT NOT NULL,
    releases BLOB NOT NULL, planned BLOB NOT NULL,
    max_epsilon REAL, delta REAL, filter_order INTEGER,
    UNIQUE (run_id, round, attempt)
);
CREATE TABLE IF NOT EXISTS ledger_texts (digest BLOB PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ledger_head (
    one INTEGER PRIMARY KEY CHECK (one = 1), num_charges INTEGER NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS ledger_epsilons (
    schedule BLOB NOT NULL, delta REAL NOT NULL, epsilon REAL NOT NULL,
    PRIMARY KEY (schedule, delta)
)
"""
_TABLES = {"ledger_charges", "ledger_texts", "ledger_head", "ledger_epsilons"}
_COLUMNS = (
    "run_id, round, attempt, time, dataset, releases, planned, max_epsilon, delta, filter_order"
)
_BUSY_SECONDS = 30.0
_START = bytes(32)


@contextmanager
def reading(path: Path) -> Generator[sqlite3.Connection]:
    """Open the file read-only: create, change and lock nothing.

    Raises
    ------
    LedgerError
        If it is not there or not such a file.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: no such file; name the state-path of a node")
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            # One view for all that is read: the node may charge meanwhile.
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        # An interrupted write is undone by who opens the file to write.
        unfinished = isinstance(error, sqlite3.OperationalError)
        killed = "if its node was killed while it wrote, start the node once"
        mend = killed if unfinished else "name the state-path of a node, or put back its file"
        raise LedgerError(f"{path}: {error}; {mend}") from None


def read(connection: sqlite3.Connection, path: Path) -> list[Charge]:
    """Return all charges in the order in which they were made.

    Raises
    ------
    LedgerError
        If the rows are not those that were written. Nothing is mended.
    """
    there = _TABLES & tables(connection)
    if not there:
        return []
    if there != _TABLES:
        raise damaged(path, f"table {min(_TABLES - there)} is missing")
    rows = connection.execute(
        f"SELECT sequence, {_COLUMNS} FROM ledger_charges ORDER BY sequence"  # noqa: S608
    ).fetchall()
    heads = connection.execute("SELECT num_charges, digest FROM ledger_head").fetchall()
    texts: dict[Any, Any] = dict(
        connection.execute("SELECT digest, text FROM ledger_texts").fetchall()
    )
    if not (rows or heads or texts):
        return []
    chain = _chain(_START, (row[1:] for row in rows))
    if [row[0] for row in rows] != [*range(1, len(rows) + 1)] or heads != [(len(rows), chain)]:
        raise damaged(path, f"the {len(rows)} charges in it are not those that were made")
    try:
        schedules = {digest: _schedule(digest, text) for digest, text in texts.items()}
        charges = [_charge(row[1:], schedules) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError, LedgerError) as error:
        raise damaged(path, f"a charge cannot be read ({type(error).__name__})") from None
    return charges


def append(connection: sqlite3.Connection, past: Sequence[Charge], charge: Charge) -> None:
    """Write one charge after those that were read in the same transaction."""
    digests: list[bytes] = []
    for schedule in (charge.releases, charge.planned):
        text = _text(schedule)
        digests.append(sha256(text.encode()).digest())
        connection.execute(
            "INSERT OR IGNORE INTO ledger_texts VALUES (?, ?)", (digests[-1], text)
        )
    cap = charge.budget
    # As they will be read: SQLite makes floats of integers in these columns.
    limits = (float(cap.epsilon), float(cap.delta)) if cap else (None, None)
    row = (
        id_bytes(charge.run_id),
        charge.round,
        charge.attempt,
        float(charge.time),
        charge.dataset,
        *digests,
        *limits,
        charge.order,
    )
    head = connection.execute("SELECT digest FROM ledger_head").fetchone()
    connection.execute(
        f"INSERT INTO ledger_charges (sequence, {_COLUMNS})"  # noqa: S608 - constant
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (len(past) + 1, *row),
    )
    connection.execute(
        "INSERT OR REPLACE INTO ledger_head VALUES (1, ?, ?)",
        (len(past) + 1, _chain(head[0] if head else _START, [row])),
    )


def remembered_epsilon(
    connection: sqlite3.Connection, schedule: Schedule, delta: float
) -> float:
    """Return epsilon by the accountant of fixed parameters, computed once for each node's file.

    A distribution of privacy losses takes up to a second, and every message of Flower's is
    answered by a new process.
    """
    found = known_epsilon(connection, schedule, delta)
    if isfinite(found):
        connection.execute(
            "INSERT OR REPLACE INTO ledger_epsilons VALUES (?, ?, ?)",
            (_epsilon_key(schedule), delta, found),
        )
    return found


def known_epsilon(connection: sqlite3.Connection, schedule: Schedule, delta: float) -> float:
    """Return what ``remembered_epsilon`` does, of a file that is only read."""
    from privacy.accounting.epsilon import epsilon

    row = connection.execute(
        "SELECT epsilon FROM ledger_epsilons WHERE schedule = ? AND delta = ?",
        (_epsilon_key(schedule), delta),
    ).fetchone()
    if row and isinstance(row[0], float) and 0 <= row[0] < float("inf"):
        return row[0]
    return float(epsilon(schedule, delta))


def _epsilon_key(schedule: Schedule) -> bytes:
    from privacy.accounting.epsilon import VERSION

    return sha256(f"{VERSION} {_text(schedule)}".encode()).digest()


def _text(schedule: Schedule) -> str:
    """Return a schedule as JSON, the same for any order of its releases."""
    entries = [[release.to_dict(), times] for release, times in totals([schedule]).items()]
    texts = sorted(json.dumps(e, sort_keys=True, allow_nan=False) for e in entries)
    return f"[{', '.join(texts)}]"


def _schedule(digest: bytes, text: str) -> Schedule:
    if sha256(text.encode()).digest() != digest:
        raise ValueError("not the text that was written")
    schedule = [(Release.from_dict(values), int(times)) for values, times in json.loads(text)]
    if not schedule or any(times < 1 for _, times in schedule):
        raise ValueError("counts must be at least 1")
    return tuple(schedule)


def _charge(row: tuple[Any, ...], schedules: dict[bytes, Schedule]) -> Charge:
    run_id, number, attempt, time, dataset, releases, planned, *cap, order = row
    return Charge(
        run_id=int.from_bytes(run_id, "big"),
        round=number,
        attempt=attempt,
        time=time,
        dataset=dataset,
        releases=schedules[releases],
        planned=schedules[planned],
        budget=None if cap == [None, None] else Budget(*cap),
        order=order,
    )


def _chain(digest: bytes, rows: Iterable[tuple[object, ...]]) -> bytes:
    """Return the digest of these rows and all before them. ``repr`` keeps types apart."""
    for row in rows:
        digest = sha256(digest + repr(row).encode()).digest()
    return digest


def tables(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the tables."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in names}


def head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """Return how many charges there are, and the digest of all of them (32 bytes)."""
    if "ledger_head" not in tables(connection):
        return 0, _START
    row = connection.execute("SELECT num_charges, digest FROM ledger_head").fetchone()
    return row or (0, _START)


def chain_digests(connection: sqlite3.Connection) -> list[bytes]:
    """Return the digest before the first charge, and after each one."""
    if "ledger_charges" not in tables(connection):
        return [_START]
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM ledger_charges ORDER BY sequence"  # noqa: S608 - constant
    )
    return [*accumulate(rows, lambda digest, row: _chain(digest, [row]), initial=_START)]


def damaged(path: Path, what: str) -> LedgerError:
    """Return the error of a file that is not as it was written."""
    return LedgerError(
        f"{path}: the ledger is damaged: {what}; it is not repaired, for what was spent is no"
        " longer known: put back an intact file, or take other data and a new state-path"
    )
