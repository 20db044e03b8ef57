"""The one SQLite file in which a node keeps what must survive its processes."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_BUSY_SECONDS = 30.0


class DatabaseError(RuntimeError):
    """The node's file cannot be used. The message names it."""


@contextmanager
def transaction(path: Path, schema: str) -> Generator[sqlite3.Connection]:
    """Open the file, run one transaction that no other process can interleave, and close.

    Committed and synced when the block ends, rolled back if it raises. Deleted content is
    overwritten (``secure_delete``), and only the owner may read the file.

    Parameters
    ----------
    path : Path
        Made with its folder if it is not there.
    schema : str
        ``CREATE TABLE IF NOT EXISTS`` statements.

    Raises
    ------
    DatabaseError
        If the file is locked for too long, damaged, or cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"{path}: {error}") from None
    try:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, schema.split(";")):
            connection.execute(statement)
        yield connection
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise DatabaseError(f"{path}: {error}") from None
    finally:
        # Closing rolls back what was not committed.
        connection.close()
