"""Runs in the SuperLink's container: let its database keep every row that it ever holds.

``keep`` gives each table a copy and triggers that fill it with all that is written from now on,
however short it stays; ``print`` prints the copies, as JSON, a line for each row.
"""

import base64
import json
import sqlite3
import sys
from contextlib import closing

FILE = "/superlink/state.sqlite"


def main(command: str) -> None:
    with closing(sqlite3.connect(FILE, timeout=30)) as connection, connection:
        # Nobody writes between one table's triggers and the next one's.
        connection.execute("BEGIN IMMEDIATE" if command == "keep" else "BEGIN")
        {"keep": keep, "print": show}[command](connection)


def tables(connection: sqlite3.Connection) -> list[str]:
    # All but the bundle, which is the operator's own code, and long.
    query = (
        "SELECT name FROM sqlite_master"
        " WHERE type = 'table' AND name != 'fab' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    )
    return [name for (name,) in connection.execute(query)]


def keep(connection: sqlite3.Connection) -> None:
    for table in tables(connection):
        connection.execute(f'CREATE TABLE "kept_{table}" AS SELECT * FROM "{table}"')
        columns = connection.execute(f'SELECT * FROM "{table}"').description
        values = ", ".join(f'new."{column[0]}"' for column in columns)
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f'CREATE TRIGGER "kept_{table}_{event}" AFTER {event} ON "{table}"'
                f' BEGIN INSERT INTO "kept_{table}" VALUES ({values}); END'
            )


def show(connection: sqlite3.Connection) -> None:
    copies = {name for name in tables(connection) if name.startswith("kept_")}
    # A table that came later would be missing.
    assert {f"kept_{name}" for name in tables(connection) if name not in copies} == copies
    for table in copies:
        rows = connection.execute(f'SELECT DISTINCT * FROM "{table}"')
        names = [column[0] for column in rows.description]
        for row in rows:
            values = dict(zip(names, map(plain, row), strict=True))
            print(json.dumps({"table": table.removeprefix("kept_"), "row": values}))


def plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value


main(sys.argv[1])
