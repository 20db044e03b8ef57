"""What a node keeps for its owner: what it answered, what that cost, how good its models were.

It lies in the node's own SQLite file and nothing of it ever leaves the node. What it holds is
worked out anyway for the answer, but without mask and noise: a secret, like the records.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from privacy.database import id_bytes, transaction
from privacy.ledger.budget import Budget
from privacy.ledger.rows import reading, tables

_SCHEMA = """
CREATE TABLE IF NOT EXISTS own_runs (
    sequence INTEGER PRIMARY KEY, run_id BLOB NOT NULL UNIQUE, first_time REAL NOT NULL,
    last_time REAL NOT NULL, about TEXT NOT NULL, num_messages INTEGER NOT NULL,
    seconds REAL NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS own_rounds (
    sequence INTEGER PRIMARY KEY, run_id BLOB NOT NULL, round INTEGER NOT NULL,
    kind TEXT NOT NULL, time REAL NOT NULL, seconds REAL NOT NULL,
    num_attempts INTEGER NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL,
    noted TEXT NOT NULL, UNIQUE (run_id, round, kind)
);
CREATE TABLE IF NOT EXISTS own_refusals (
    sequence INTEGER PRIMARY KEY, run_id BLOB NOT NULL, time REAL NOT NULL,
    kind TEXT NOT NULL, reason TEXT NOT NULL
)
"""
_TABLES = {"own_runs", "own_rounds", "own_refusals"}
#: So much is kept; what is oldest goes first.
KEPT_RUNS, KEPT_ROUNDS, KEPT_REFUSALS = 50, 2000, 200
# A node that waits for its own report is late for a round.
_BUSY_SECONDS = 2.0
_ADD_RUN = """
INSERT INTO own_runs
    (run_id, first_time, last_time, about, num_messages, seconds, bytes_in, bytes_out)
VALUES (?1, ?2, ?2, ?3, 1, ?4, ?5, ?6)
ON CONFLICT (run_id) DO UPDATE SET
    last_time = ?2, about = ?3, num_messages = num_messages + 1, seconds = seconds + ?4,
    bytes_in = bytes_in + ?5, bytes_out = bytes_out + ?6
"""
_ADD_ROUND = """
INSERT INTO own_rounds
    (run_id, round, kind, time, seconds, num_attempts, bytes_in, bytes_out, noted)
VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8)
ON CONFLICT (run_id, round, kind) DO UPDATE SET
    time = ?4, seconds = seconds + ?5, num_attempts = num_attempts + 1,
    bytes_in = bytes_in + ?6, bytes_out = bytes_out + ?7, noted = ?8
"""
_DROP = (
    "DELETE FROM own_rounds WHERE sequence <= (SELECT max(sequence) FROM own_rounds) - ?1",
    "DELETE FROM own_refusals WHERE sequence <= (SELECT max(sequence) FROM own_refusals) - ?1",
    "DELETE FROM own_runs WHERE sequence <= (SELECT max(sequence) FROM own_runs) - ?1",
)
_DROP_ROUNDS = "DELETE FROM own_rounds WHERE run_id NOT IN (SELECT run_id FROM own_runs)"


@dataclass
class Noted:
    """What a node notes for itself while it answers one message.

    Attributes
    ----------
    round : int or None
        The round; None for a message that asks for no contribution.
    num_train, num_test : int or None
        Its records that took part, and those that the model was scored on.
    train_loss : float or None
        Mean loss of its own training.
    metrics : dict
        Of the model that it was given, on its own held-out records.
    epsilon : float or None
        What its ledger holds after this answer.
    max_epsilon, delta : float or None
        The cap.
    contribution : dict
        ``with``, ``without`` and ``alone``, each the metrics of a model on its own held-out
        records, as far as they can be told; or ``not_told``, which says why not.
    given : (records, contribution) or None
        What these are worked out from, in this message only: it is not kept.
    gain : Gain or None
        What may be published, noised, in this message.
    device : str
        Where the model is trained and scored; empty where there is no choice.
    """

    round: int | None = None
    num_train: int | None = None
    num_test: int | None = None
    train_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    epsilon: float | None = None
    max_epsilon: float | None = None
    delta: float | None = None
    contribution: dict[str, Any] = field(default_factory=dict[str, Any])
    given: tuple[Any, Any] | None = None
    gain: Any = None
    device: str = ""

    def note_spent(self, epsilon: float, budget: Budget) -> None:
        """Note what the ledger holds after a charge, and the cap."""
        self.epsilon, self.max_epsilon, self.delta = epsilon, budget.epsilon, budget.delta

    def kept(self) -> dict[str, Any]:
        """Return the values that are kept, for JSON."""
        names = (
            item.name for item in fields(self) if item.name not in ("given", "gain", "device")
        )
        return {name: _finite(getattr(self, name)) for name in names}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A message that was answered, and what that took.

    Attributes
    ----------
    run_id : int
        Flower's id of the run.
    kind : str
        Flower's type of the message.
    seconds : float
        From the message to its reply.
    bytes_in, bytes_out : int
        Of the contents.
    """

    run_id: int
    kind: str
    seconds: float
    bytes_in: int
    bytes_out: int


class OwnReport:
    """The tables of a node's own report.

    Parameters
    ----------
    path : Path
        The node's own file.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def note_answer(self, answer: Answer, about: Mapping[str, Any], noted: Noted) -> None:
        """Add an answer to its run, and to its round if it has one.

        Raises
        ------
        DatabaseError
            If the file cannot be used within two seconds.
        """
        now, run = self._clock(), id_bytes(answer.run_id)
        cost = answer.seconds, answer.bytes_in, answer.bytes_out
        with transaction(self._path, _SCHEMA, _BUSY_SECONDS) as database:
            database.execute(_ADD_RUN, (run, now, json.dumps(dict(about)), *cost))
            if noted.round is not None:
                told = json.dumps(noted.kept())
                row = run, noted.round, answer.kind, now, *cost, told
                database.execute(_ADD_ROUND, row)
            _drop(database)

    def note_refusal(self, run_id: int, kind: str, reason: str) -> None:
        """Add a refusal; of a run that was never answered nothing else is kept.

        Raises
        ------
        DatabaseError
            If the file cannot be used within two seconds.
        """
        with transaction(self._path, _SCHEMA, _BUSY_SECONDS) as database:
            database.execute(
                "INSERT INTO own_refusals (run_id, time, kind, reason) VALUES (?, ?, ?, ?)",
                (id_bytes(run_id), self._clock(), kind, reason),
            )
            _drop(database)


@dataclass(frozen=True)
class OwnRun:
    """A run as the node has seen it: columns of ``own_runs``, and its rounds in order.

    Each round has ``round``, ``kind``, ``time``, ``seconds``, ``num_attempts``, ``bytes_in``,
    ``bytes_out`` and the fields of ``Noted``.
    """

    run_id: int
    first_time: float
    last_time: float
    about: dict[str, Any]
    num_messages: int
    seconds: float
    bytes_in: int
    bytes_out: int
    rounds: list[dict[str, Any]]


@dataclass(frozen=True)
class Kept:
    """All that a node has kept: runs, the oldest first, and refusals, the oldest first.

    A refusal has ``run_id``, ``time``, ``kind`` and ``reason``.
    """

    runs: list[OwnRun]
    refusals: list[dict[str, Any]]


def read_own(path: Path) -> Kept:
    """Read a node's own report from its file, which is not changed.

    Raises
    ------
    LedgerError
        If the file is not there, or is not a node's.
    """
    with reading(path) as database:
        if not tables(database) >= _TABLES:
            return Kept([], [])
        runs = [_run(database, row) for row in database.execute(_SELECT_RUNS).fetchall()]
        refusals = [
            {"run_id": int.from_bytes(row[0], "big"), "time": row[1], "kind": row[2]}
            | {"reason": row[3]}
            for row in database.execute(
                "SELECT run_id, time, kind, reason FROM own_refusals ORDER BY sequence"
            ).fetchall()
        ]
    return Kept(runs, refusals)


_SELECT_RUNS = (
    "SELECT run_id, first_time, last_time, about, num_messages, seconds, bytes_in, bytes_out"
    " FROM own_runs ORDER BY sequence"
)
_ROUND_COLUMNS = ("round", "kind", "time", "seconds", "num_attempts", "bytes_in", "bytes_out")


def _run(database: Connection, row: tuple[Any, ...]) -> OwnRun:
    run, first, last, about, num_messages, seconds, bytes_in, bytes_out = row
    rounds = database.execute(
        f"SELECT {', '.join(_ROUND_COLUMNS)}, noted FROM own_rounds"  # noqa: S608 - constants
        " WHERE run_id = ? ORDER BY round, sequence",
        (run,),
    ).fetchall()
    told = [
        {**Noted().kept(), **json.loads(noted), **dict(zip(_ROUND_COLUMNS, own, strict=True))}
        for *own, noted in rounds
    ]
    return OwnRun(
        run_id=int.from_bytes(run, "big"),
        first_time=first,
        last_time=last,
        about=json.loads(about),
        num_messages=num_messages,
        seconds=seconds,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        rounds=told,
    )


def _drop(database: Connection) -> None:
    """Delete what is too old to be kept."""
    kept = KEPT_ROUNDS, KEPT_REFUSALS, KEPT_RUNS
    for statement, number in zip(_DROP, kept, strict=True):
        database.execute(statement, (number,))
    database.execute(_DROP_ROUNDS)


def _finite(value: Any) -> Any:
    """Return a value for JSON: a number that is not finite is none."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
