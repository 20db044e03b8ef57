"""A node's memory of other attempts, in its own SQLite file.

See ``strategies.secagg.client.memory`` for what it is good for.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from sqlite3 import Connection

from privacy.database import transaction
from privacy.ledger.heads import HeadChain
from privacy.ledger.rows import tables
from strategies.secagg.client.store import ENDED
from strategies.secagg.messages import NO_HEAD

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secagg_peer_heads (identity BLOB PRIMARY KEY, head BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS secagg_views (
    run_id BLOB NOT NULL, nodes BLOB NOT NULL, is_change INTEGER NOT NULL,
    PRIMARY KEY (run_id, nodes)
)
"""


_KEEP_HEAD = "INSERT OR REPLACE INTO secagg_peer_heads VALUES (?, ?)"


class SqliteMemory:
    """Memory in the node's own file.

    Parameters
    ----------
    path : Path
        The file.
    chain : HeadChain or None
        The heads of the node's ledger; None where it has no identity to show them under.
    max_cohort_changes : int or None
        From the node's policy.
    """

    def __init__(
        self, path: Path, chain: HeadChain | None, max_cohort_changes: int | None
    ) -> None:
        self._path = path
        self._chain = chain
        self._max_changes = max_cohort_changes

    def next_head(self) -> bytes:
        """Return the head of this node's ledger for a new advert (32 bytes)."""
        return self._chain.next() if self._chain is not None else NO_HEAD

    def lacks(self, heads: Collection[bytes]) -> bool:
        """Say whether one of these is a head of this node's ledger that the ledger lacks."""
        return self._chain is not None and self._chain.lacks(heads)

    def heads_of(self, identities: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the last heads of those identities (by fingerprint) of which one is known."""
        wanted = set(identities)
        if not wanted:
            return {}
        with transaction(self._path, _SCHEMA) as database:
            rows = database.execute("SELECT identity, head FROM secagg_peer_heads").fetchall()
        return {identity: head for identity, head in rows if identity in wanted}

    def keep_heads(self, heads: Mapping[bytes, bytes]) -> None:
        """Keep these heads, by identity, in place of the last ones."""
        shown = [(identity, head) for identity, head in heads.items() if head != NO_HEAD]
        if not shown:
            return
        with transaction(self._path, _SCHEMA) as database:
            database.executemany(_KEEP_HEAD, shown)

    def allows_view(self, run_id: int, nodes: Collection[int], least: int) -> bool:
        """Say whether a sum over these nodes may be opened in this run."""
        return self._view(run_id, nodes, least, note=False)

    def note_view(self, run_id: int, nodes: Collection[int], least: int) -> bool:
        """Note such a sum, and say whether it may be opened."""
        return self._view(run_id, nodes, least, note=True)

    def _view(self, run_id: int, nodes: Collection[int], least: int, *, note: bool) -> bool:
        if self._max_changes is None:
            return True
        run, chosen = _key(run_id), frozenset(nodes)
        with transaction(self._path, _SCHEMA) as database:
            rows = database.execute(
                "SELECT nodes, is_change FROM secagg_views WHERE run_id = ?", (run,)
            ).fetchall()
            others = [_nodes(known) for known, _ in rows]
            if chosen in others:
                return True
            # Against every other sum and not only the last: one far from both in between would
            # hide that two differ by little.
            is_change = any(len(chosen ^ other) < least for other in others)
            if is_change and sum(counts for _, counts in rows) >= self._max_changes:
                return False
            if note:
                if not rows:
                    _forget_ended(database)
                row = run, b"".join(map(_key, sorted(chosen))), int(is_change)
                database.execute("INSERT INTO secagg_views VALUES (?, ?, ?)", row)
        return True


def _forget_ended(database: Connection) -> None:
    """Delete the views of runs that are over: nothing is opened in them again."""
    if "secagg" in tables(database):
        database.execute(
            "DELETE FROM secagg_views WHERE run_id IN"
            " (SELECT run_id FROM secagg WHERE terms = ?)",
            (ENDED,),
        )


def _key(number: int) -> bytes:
    """Return an id as bytes: Flower's go beyond SQLite's signed integers."""
    return number.to_bytes(8, "big")


def _nodes(encoded: bytes) -> frozenset[int]:
    places = range(0, len(encoded), 8)
    return frozenset(int.from_bytes(encoded[i : i + 8], "big") for i in places)
