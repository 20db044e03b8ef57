"""Runs in the SuperLink's container: print every value that its database ever holds, as JSON.

A line for each row of each table when it is first seen, or seen changed. It reads until the
folder that is named on the command line has a summary of a run that ended.
"""

import base64
import json
import sqlite3
import sys
import time
from pathlib import Path

FILE = Path("/superlink/state.sqlite")
DATABASE = f"file:{FILE}?mode=ro"
ENDED = ("completed", "failed", "stopped early")


def main(runs: Path, seconds: float) -> None:
    while not FILE.exists() or not FILE.stat().st_size:
        time.sleep(0.2)
    connection = sqlite3.connect(DATABASE, uri=True, timeout=30)
    seen: set[int] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # Once more after the end: what is left behind counts too.
        ended = has_ended(runs)
        look(connection, seen)
        if ended:
            return
        time.sleep(0.2)


def has_ended(runs: Path) -> bool:
    return any(
        json.loads(file.read_text())["status"] in ENDED for file in runs.glob("*/summary.json")
    )


def look(connection: sqlite3.Connection, seen: set[int]) -> None:
    # All but the bundle, which is the operator's own code, and long.
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'fab'"
    tables = connection.execute(query).fetchall()
    for (table,) in tables:
        try:
            rows = connection.execute(f'SELECT * FROM "{table}"')
        except sqlite3.OperationalError as error:
            # The SuperLink that starts still rearranges its tables.
            if "no such table" not in str(error):
                raise
            continue
        names = [column[0] for column in rows.description]
        for row in rows.fetchall():
            if (key := hash((table, row))) not in seen:
                seen.add(key)
                values = dict(zip(names, map(plain, row), strict=True))
                print(json.dumps({"table": table, "row": values}), flush=True)


def plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value


main(Path(sys.argv[1]), float(sys.argv[2]))
