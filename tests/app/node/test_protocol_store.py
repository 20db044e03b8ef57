"""The node's file: other processes, crashes, what is left of a secret, and wrong files."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from flwr.app import RecordDict

import privacy.database
from app.node.protocol_store import ContextStore, SqliteStore
from privacy.database import DatabaseError, transaction
from strategies.secagg.client.store import (
    ENDED,
    MAX_LIFETIME_SECONDS,
    RUN_IS_OVER_SECONDS,
    Change,
    Record,
)
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from tests import ROOT

ONE, TWO = AttemptId(1, 1, 0), AttemptId(1, 2, 0)
SECRET = bytes(range(200, 232)) * 3


def record(stage: Stage, secrets: bytes = SECRET, expires_at: float = 10.0) -> Record:
    return Record(stage, expires_at, bytes(32), b"", secrets)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "node" / "state.sqlite"


def start(script: str, *args: object) -> subprocess.Popen:
    command = [sys.executable, "-c", HEAD + script, *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


HEAD = """
import sqlite3, sys
from pathlib import Path
from privacy.database import transaction
from strategies.secagg.client.store import Change, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from tests import ROOT
from app.node.protocol_store import SqliteStore
from tests import ROOT
path = Path(sys.argv[1])
store = SqliteStore(path)
"""


def test_another_process_finds_the_record(path):
    big = AttemptId(2**64 - 1, 2**32 - 1, 2**32 - 1)
    SqliteStore(path).advance([Change(big, Stage.NONE, record(Stage.SHARED))])
    script = """
(key, found), = store.records(2**64 - 1).items()
print(key.run_id, key.round, key.attempt, found.stage.name, found.secrets.hex())
"""
    out, _ = start(script, path).communicate(timeout=60)
    assert out.split() == [*map(str, big), "SHARED", SECRET.hex()]


RACE = """
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    change = Change(AttemptId(1, number, 0), Stage.NONE,
                    Record(Stage.ADVERTISED, 10.0, bytes(32), b"", sys.argv[2].encode()))
    print(int(store.advance([change])))
"""


@pytest.mark.slow
def test_of_two_processes_exactly_one_wins_each_race(path):
    racers = [start(RACE, path, name) for name in ("first", "second")]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    wins = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert [len(column) for column in wins] == [20, 20]
    kept = SqliteStore(path).records(1)
    for number, pair in enumerate(zip(*wins, strict=True)):
        assert sorted(pair) == ["0", "1"]
        winner = b"first" if pair[0] == "1" else b"second"
        assert kept[AttemptId(1, number, 0)].secrets == winner


KILLED = """
with transaction(path, "") as database:
    # So small a cache that the change reaches the file before the commit.
    database.execute("PRAGMA cache_size = 1")
    database.execute("UPDATE secagg SET stage = 3, secrets = zeroblob(200000)")
    database.execute("INSERT INTO secagg SELECT run_id, 9, 0, 3, 0, terms, model, secrets"
                     " FROM secagg")
    print("inside", flush=True)
    sys.stdin.readline()
"""


def test_a_process_killed_inside_a_transaction_leaves_the_old_record(path):
    store = SqliteStore(path)
    store.advance([Change(ONE, Stage.NONE, record(Stage.SHARED))])
    victim = start(KILLED, path)
    assert victim.stdout.readline() == "inside\n"
    assert path.with_name(path.name + "-journal").stat().st_size > 0
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    assert store.records(1) == {ONE: record(Stage.SHARED)}


OLDER = """
CREATE TABLE secagg (
    run_id BLOB NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL,
    stage INTEGER NOT NULL, expires_at REAL NOT NULL, terms BLOB NOT NULL,
    model BLOB NOT NULL, secrets BLOB NOT NULL,
    PRIMARY KEY (run_id, round, attempt)
)
"""


def test_a_file_of_an_older_version_goes_on(path):
    """One from before there were indexes: what is closed stays so, what is secret goes."""
    terms, model, run = bytes(32), b"m" * 32, (1).to_bytes(8, "big")
    with transaction(path, OLDER) as database:
        rows = [
            (run, 1, 0, int(Stage.REVEALED), 5.0, terms, model, b""),
            (run, 2, 0, int(Stage.MASKED), 5.0, terms, b"", SECRET),
        ]
        database.executemany("INSERT INTO secagg VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    store = SqliteStore(path)
    revealed = Record(Stage.REVEALED, 5.0, terms, model)
    masked = Record(Stage.MASKED, 5.0, terms, b"", SECRET)
    assert store.records(1, [], model) == {ONE: revealed, TWO: masked}
    assert not store.advance([Change(ONE, Stage.NONE, record(Stage.ADVERTISED))])
    store.expire(5.0)
    assert store.records(1, [TWO])[TWO] == masked.closed()
    assert SECRET[:16] not in everything(path)


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


def test_no_secret_outlives_its_attempt_in_the_file(path):
    store, other = SqliteStore(path), b"another secret, that stays" * 9
    store.advance([Change(ONE, Stage.NONE, record(Stage.SHARED))])
    store.advance([Change(TWO, Stage.NONE, record(Stage.SHARED, other, 99.0))])
    assert SECRET in everything(path)
    store.advance([Change(ONE, Stage.SHARED, record(Stage.SHARED).closed())])
    assert SECRET[:32] not in everything(path)
    assert other in everything(path)
    store.expire(99.0)
    assert other[:16] not in everything(path)
    assert store.records(1, [TWO])[TWO].stage is Stage.CLOSED


@pytest.mark.parametrize("make", [SqliteStore, lambda _: ContextStore(RecordDict())])
def test_a_record_that_a_wrong_clock_has_dated_too_far_ahead_is_over(path, make):
    store = make(path)
    for number, expires in ((1, 1000.0), (2, 1001.0 + MAX_LIFETIME_SECONDS), (3, 4e9)):
        key = AttemptId(1, number, 0)
        store.advance([Change(key, Stage.NONE, record(Stage.SHARED, expires_at=expires))])
    store.expire(1000.0)
    kept = [key.round for key, one in store.records(1).items() if one.secrets]
    assert kept == [2]


def rows(path: Path) -> list[tuple]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT run_id, stage, terms FROM secagg").fetchall()


@pytest.mark.slow
def test_the_records_of_a_run_that_is_over_become_one(path):
    store = SqliteStore(path)
    for run, last in ((1, 100.0), (2, 200.0)):
        for number in range(50):
            gone = record(Stage.REVEALED, b"", expires_at=last - number)
            store.advance([Change(AttemptId(run, number, 0), Stage.NONE, gone)])
    before = path.stat().st_size
    store.compact(99.0 + RUN_IS_OVER_SECONDS)
    assert len(rows(path)) == 100
    for _ in range(2):
        store.compact(100.0 + RUN_IS_OVER_SECONDS)
        found = rows(path)
        assert len(found) == 51
        assert (bytes([0] * 7 + [1]), int(Stage.CLOSED), ENDED) in found
    assert path.stat().st_size < before
    # Whatever is asked of it, this is what comes back, and nothing of another run.
    for attempts in ([], [AttemptId(1, 7, 0)]):
        (one,) = store.records(1, attempts, bytes(32)).values()
        assert one.terms == ENDED
    assert all(one.terms != ENDED for one in store.records(2).values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [13, 27])
def test_no_copy_of_a_secret_is_left_when_rows_move_between_pages(path, seed):
    """SQLite copies rows when it balances pages; ``secure_delete`` alone fails both seeds."""
    rng, store = random.Random(seed), SqliteStore(path)
    live: dict[AttemptId, bytes] = {}
    dead: list[bytes] = []
    for _ in range(30):
        keys = {AttemptId(1, rng.randint(1, 20), 0) for _ in range(3)}
        changes = []
        for key in sorted(keys):
            secret = rng.randbytes(rng.choice([500, 700, 900]))
            expected = Stage.SHARED if key in live else Stage.NONE
            changes.append(Change(key, expected, record(Stage.SHARED, secret)))
            dead.append(live.get(key, b""))
            live[key] = secret
        assert store.advance(changes)
        raw = everything(path)
        left = [s for s in dead for i in range(0, len(s) - 15, 16) if s[i : i + 16] in raw]
        assert not left
        dead = dead[-60:]
    assert all(secret in raw for secret in live.values())


def test_each_write_is_synced_and_what_it_replaces_overwritten(path):
    """Without this a power cut takes back a charge, or a stage, of what has left already."""
    with transaction(path, "") as database:
        for setting, value in (("synchronous", 3), ("secure_delete", 1), ("temp_store", 2)):
            assert database.execute(f"PRAGMA {setting}").fetchone() == (value,)


def test_only_the_owner_may_read_the_file(path):
    old = os.umask(0)
    try:
        SqliteStore(path).advance([Change(ONE, Stage.NONE, record(Stage.SHARED))])
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    SqliteStore(path).records(1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_locked_file_is_an_error_that_names_it(path, monkeypatch):
    store = SqliteStore(path)
    store.records(1)
    monkeypatch.setattr(privacy.database, "_BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match=r"locked.*own state-path") as info:
        store.records(1)
    holder.close()
    assert str(path) in str(info.value)
    assert store.records(1) == {}


def corrupt(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 300)


def damaged(path: Path) -> None:
    SqliteStore(path).advance([Change(ONE, Stage.NONE, record(Stage.SHARED))])
    raw = bytearray(path.read_bytes())
    raw[100:] = bytes([7]) * (len(raw) - 100)
    path.write_bytes(raw)


def folder_is_a_file(path: Path) -> None:
    path.parent.write_text("")


@pytest.mark.parametrize(
    "spoil", [corrupt, damaged, folder_is_a_file, lambda path: path.mkdir(parents=True)]
)
def test_a_wrong_file_is_an_error_that_names_it(path, spoil):
    spoil(path)
    for use in (lambda s: s.records(1), lambda s: s.expire(0.0)):
        with pytest.raises(DatabaseError, match="state-path") as info:
            use(SqliteStore(path))
        assert str(path) in str(info.value)


PROBE = """
database = sqlite3.connect(path, timeout=0, isolation_level=None)
try:
    database.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_another_thread_does_not_take_the_lock_away(path, monkeypatch):
    """Closing any handle of a file ends this process's locks on it (POSIX)."""
    monkeypatch.setattr(privacy.database, "_BUSY_SECONDS", 0.05)
    failed: list[Exception] = []

    def intrude() -> None:
        try:
            SqliteStore(path).records(1)
        except DatabaseError as error:
            failed.append(error)

    with transaction(path, ""):
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        assert len(failed) == 1
        out, _ = start(PROBE, path).communicate(timeout=60)
    assert out == "database is locked\n"


def test_of_many_stores_on_one_context_one_wins():
    """A context is shared by the threads of a simulation in one process."""
    state, barrier, wins = RecordDict(), threading.Barrier(8), []

    def race(number: int) -> None:
        barrier.wait()
        change = Change(ONE, Stage.NONE, record(Stage.ADVERTISED, bytes([number])))
        if ContextStore(state).advance([change]):
            wins.append(number)

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ContextStore(state).records(1)[ONE].secrets == bytes(wins)
    assert len(wins) == 1
