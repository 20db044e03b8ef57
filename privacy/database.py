"""The SQLite file in which a node keeps what must survive its processes."""

import os
import sqlite3
import stat
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_BUSY_SECONDS = 30.0
# Closing any handle of a file ends the locks that this process holds on it (POSIX). So the
# file is only ever opened here to make it, before another thread can have it in a transaction.
_MAKING = threading.Lock()


class DatabaseError(RuntimeError):
    """A node's file that cannot be used. The message names it and the mend."""


@contextmanager
def transaction(
    path: Path, schema: str, busy_seconds: float | None = None
) -> Generator[sqlite3.Connection]:
    """Open the file, run one exclusive transaction, and close.

    Committed and synced when the block ends, rolled back if it raises. Only the owner may read
    the file, and what was replaced or deleted is nowhere in it: ``secure_delete`` overwrites it
    where it stood, and ``VACUUM`` the copies that SQLite leaves when it moves rows between
    pages. Blocks that the file system has taken back (of the rollback journal) are not
    overwritten; that is what disk encryption is for.

    Parameters
    ----------
    path : Path
        Made with its folder if it is not there.
    schema : str
        ``CREATE ... IF NOT EXISTS`` statements.
    busy_seconds : float, optional
        How long to wait while another process holds the file; 30 s unless given.

    Raises
    ------
    DatabaseError
        If the file is locked for too long, damaged, or cannot be made.
    """
    try:
        _make(path)
        wait = _BUSY_SECONDS if busy_seconds is None else busy_seconds
        connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"{path}: {_text(error)}; {_MEND}") from None
    try:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = EXTRA")
        # VACUUM builds its copy here, not in a file of its own.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, schema.split(";")):
            connection.execute(statement)
        yield connection
        connection.execute("COMMIT")
        if connection.total_changes:
            connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        mend = _LOCKED_MEND if "locked" in str(error) else _MEND
        raise DatabaseError(f"{path}: {error}; {mend}") from None
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: {error}; {_MEND}") from None
    finally:
        # Closing rolls back what was not committed.
        connection.close()


_MEND = "give the node a state-path where it may write and nothing else lies"
_LOCKED_MEND = "end the other process that holds it, or give each node its own state-path"


def _make(path: Path) -> None:
    """Make the file readable by its owner only, and create it if it is missing."""
    with _MAKING:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        elif not path.is_file():
            raise OSError("not a file")
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)


def _text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def id_bytes(number: int) -> bytes:
    """Return an id as bytes: Flower's go beyond SQLite's signed integers."""
    return number.to_bytes(8, "big")
