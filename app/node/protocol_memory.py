"""A node's memory of other attempts, in its own SQLite file.

See ``strategies.secagg.client.memory`` for what it is good for.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from app.node.views import Views
from privacy.database import id_bytes, transaction
from privacy.ledger.heads import HeadChain
from privacy.ledger.rows import reading, tables
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import KEPT_HEADS, NO_HEAD

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secagg_peer_heads (
    kept INTEGER PRIMARY KEY, identity BLOB NOT NULL, run_id BLOB NOT NULL,
    round INTEGER NOT NULL, attempt INTEGER NOT NULL, head BLOB NOT NULL,
    UNIQUE (identity, run_id)
)
"""
# An attempt that was begun earlier and is opened later has an older head.
_KEEP_HEAD = """
INSERT INTO secagg_peer_heads (kept, identity, run_id, round, attempt, head)
VALUES ((SELECT coalesce(max(kept), 0) + 1 FROM secagg_peer_heads), ?, ?, ?, ?, ?)
ON CONFLICT (identity, run_id) DO UPDATE SET
    kept = excluded.kept, round = excluded.round, attempt = excluded.attempt,
    head = excluded.head
WHERE (excluded.round, excluded.attempt) > (round, attempt)
"""
_DROP_HEADS = """
DELETE FROM secagg_peer_heads WHERE identity = ? AND kept NOT IN (
    SELECT kept FROM secagg_peer_heads WHERE identity = ? ORDER BY kept DESC LIMIT ?
)
"""

_LOG_SCHEMA = """
CREATE TABLE IF NOT EXISTS log_heads (
    kept INTEGER PRIMARY KEY, run_id BLOB NOT NULL, head BLOB NOT NULL,
    UNIQUE (run_id, head)
)
"""
_DROP_LOG_HEADS = """
DELETE FROM log_heads WHERE kept <= (SELECT max(kept) FROM log_heads) - ?
"""
# Some 100 bytes each, and all of the file is written anew in each transaction.
_KEPT_LOG_HEADS = 2_000


class SqliteMemory:
    """Memory in the node's own file.

    Parameters
    ----------
    path : Path
        The file.
    chain : HeadChain or None
        The heads of the node's ledger; None where it has no identity to show them under.
    views : Views
        What the node remembers of the members of sums.
    """

    def __init__(self, path: Path, chain: HeadChain | None, views: Views) -> None:
        self._path = path
        self._chain = chain
        self._views = views

    def next_head(self) -> bytes:
        """Return the head of this node's ledger for a new advert (32 bytes)."""
        return self._chain.next() if self._chain is not None else NO_HEAD

    def lacks(self, heads: Collection[bytes]) -> bool:
        """Say whether one of these is a head of this node's ledger that the ledger lacks."""
        return self._chain is not None and self._chain.lacks(heads)

    def heads_of(self, identities: Collection[bytes]) -> Mapping[bytes, tuple[bytes, ...]]:
        """Return the last heads of those identities (by fingerprint) of which any is known."""
        wanted, found = set(identities), dict[bytes, tuple[bytes, ...]]()
        if not wanted:
            return found
        with transaction(self._path, _SCHEMA) as database:
            rows = database.execute("SELECT identity, head FROM secagg_peer_heads").fetchall()
        for identity, head in rows:
            if identity in wanted:
                found[identity] = (*found.get(identity, ()), head)
        return found

    def keep_heads(self, attempt: AttemptId, heads: Mapping[bytes, bytes]) -> None:
        """Keep these heads, by identity, in place of those of earlier attempts of the run."""
        when = id_bytes(attempt.run_id), attempt.round, attempt.attempt
        rows = [(one, *when, head) for one, head in heads.items() if head != NO_HEAD]
        if not rows:
            return
        with transaction(self._path, _SCHEMA) as database:
            database.executemany(_KEEP_HEAD, rows)
            database.executemany(_DROP_HEADS, [(one, one, KEPT_HEADS) for one, *_ in rows])

    def keep_log_head(self, run_id: int, head: bytes) -> None:
        """Keep the head of a run's log (40 bytes) that this node has signed."""
        with transaction(self._path, _LOG_SCHEMA) as database:
            database.execute(
                "INSERT OR IGNORE INTO log_heads (run_id, head) VALUES (?, ?)",
                (id_bytes(run_id), head),
            )
            database.execute(_DROP_LOG_HEADS, (_KEPT_LOG_HEADS,))

    def allows_view(self, run_id: int, members: Collection[bytes], least: int) -> bool:
        """Say whether a sum over these members may be opened in this run."""
        return self._views.allows(run_id, frozenset(members), least, note=False)

    def note_view(self, run_id: int, members: Collection[bytes], least: int) -> bool:
        """Note such a sum, and say whether it may be opened."""
        return self._views.allows(run_id, frozenset(members), least, note=True)


def signed_log_heads(path: Path, run_id: int) -> list[bytes]:
    """Return the heads of a run's log (40 bytes each) that this node has signed.

    Raises
    ------
    LedgerError
        If there is no such file, or it is no node's. Nothing is written.
    """
    with reading(path) as database:
        if "log_heads" not in tables(database):
            return []
        rows = database.execute(
            "SELECT head FROM log_heads WHERE run_id = ? ORDER BY kept", (id_bytes(run_id),)
        ).fetchall()
    return [head for (head,) in rows]
