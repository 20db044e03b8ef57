"""The chain of a ledger's heads, by which a node's file that was put back is noticed.

Whoever restores a node's file from a backup, or begins a second one, makes the ledger forget
what was spent. The file itself cannot tell. So each time the node shows itself to others it
adds an entry here and shows its *head*: 32 bytes that it alone can have made and can tell from
any others. The others keep some, and show them when they meet again: a head of its own that is
not in its chain proves that the file is not the one that the node had.

An entry is a hash over the entry before it, the ledger's charges so far and 32 random bytes; a
head is a MAC of the entry under the node's key, so that nobody who sees heads can guess charges
or tell whether two heads are of one ledger.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path

from privacy.database import transaction
from privacy.ledger.rows import chain_digests, damaged, head, tables

HEAD_BYTES = 32
_HALF = HEAD_BYTES // 2
_NONCE_BYTES = 32
_START = bytes(32)
SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger_heads (
    sequence INTEGER PRIMARY KEY, num_charges INTEGER NOT NULL, charges BLOB NOT NULL,
    nonce BLOB NOT NULL, entry BLOB NOT NULL, head BLOB NOT NULL UNIQUE
)
"""


class HeadChain:
    """The heads that a node has shown of its ledger.

    Parameters
    ----------
    path : Path
        The node's own file, which holds the ledger too.
    key : bytes
        32 secret bytes, the same for as long as the data set and the node's identity are.
    random_bytes : callable
        Replaced in tests.
    """

    def __init__(
        self, path: Path, key: bytes, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._path = path
        self._key = key
        self._random_bytes = random_bytes

    def next(self) -> bytes:
        """Add an entry, sync, and return its head (32 bytes).

        Raises
        ------
        DatabaseError
            If the file cannot be used.
        LedgerError
            If it lacks charges that were there at the last head.
        """
        with transaction(self._path, SCHEMA) as connection:
            charges = head(connection)
            sequence, before = 1, _START
            last = connection.execute(
                "SELECT sequence, entry, num_charges, charges FROM ledger_heads"
                " ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            if last:
                sequence, before = last[0] + 1, last[1]
                if charges[0] < last[2] or (charges[0] == last[2] and charges[1] != last[3]):
                    raise damaged(self._path, f"head {last[0]} is not of the charges before it")
            nonce = self._random_bytes(_NONCE_BYTES)
            entry = _entry(before, *charges, nonce)
            shown = self._head(entry)
            connection.execute(
                "INSERT INTO ledger_heads VALUES (?, ?, ?, ?, ?, ?)",
                (sequence, *charges, nonce, entry, shown),
            )
        return shown

    def lacks(self, heads: Collection[bytes]) -> bool:
        """Say whether one of these heads was made with this key and is not in the chain.

        What others made up is not of this key, and says nothing.
        """
        own = {one for one in heads if self._is_own(one)}
        if not own:
            return False
        with transaction(self._path, SCHEMA) as connection:
            return any(
                connection.execute(
                    "SELECT 1 FROM ledger_heads WHERE head = ?", (one,)
                ).fetchone()
                is None
                for one in own
            )

    def _head(self, entry: bytes) -> bytes:
        name = self._mac(b"entry", entry)
        return name + self._mac(b"own", name)

    def _is_own(self, shown: bytes) -> bool:
        name = shown[:_HALF]
        return hmac.compare_digest(shown[_HALF:], self._mac(b"own", name))

    def _mac(self, use: bytes, message: bytes) -> bytes:
        return hmac.digest(self._key, use + b"\0" + message, "sha256")[:_HALF]


def verify(connection: sqlite3.Connection, path: Path) -> int:
    """Check the chain of heads against the ledger's charges; return how many there are.

    Raises
    ------
    LedgerError
        If the entries are not those that were written.
    """
    if "ledger_heads" not in tables(connection):
        return 0
    rows: list[tuple[int, int, bytes, bytes, bytes]] = connection.execute(
        "SELECT sequence, num_charges, charges, nonce, entry FROM ledger_heads"
        " ORDER BY sequence"
    ).fetchall()
    charges, before, most = chain_digests(connection), _START, 0
    for place, (sequence, num_charges, digest, nonce, entry) in enumerate(rows, start=1):
        good = (
            sequence == place
            and most <= num_charges < len(charges)
            and charges[num_charges] == digest
            and _entry(before, num_charges, digest, nonce) == entry
        )
        if not good:
            raise damaged(path, f"head {place} is not of the charges before it")
        before, most = entry, num_charges
    return len(rows)


def _entry(before: bytes, num_charges: int, charges: bytes, nonce: bytes) -> bytes:
    """Return the hash of an entry, over the one before it and the charges so far."""
    return sha256(before + num_charges.to_bytes(8, "big") + charges + nonce).digest()
