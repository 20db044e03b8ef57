"""The contract of `Store`; every implementation joins `STORES`."""

import threading
from pathlib import Path

import pytest
from flwr.app import RecordDict

from app.node.protocol_store import ContextStore, SqliteStore
from strategies.secagg.client.store import Change, Record, Store
from strategies.secagg.client.transitions import Stage
from strategies.secagg.wire import AttemptId
from tests.strategies.secagg.world import MemoryStore

STORES = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "node" / "state.sqlite"),
    "context": lambda _: ContextStore(RecordDict()),
}
ONE, TWO, OTHER_RUN = AttemptId(1, 1, 0), AttemptId(1, 2, 0), AttemptId(2, 1, 0)


def record(stage: Stage, secrets: bytes = b"secret", expires_at: float = 10.0) -> Record:
    return Record(stage, expires_at, bytes(32), b"", secrets)


@pytest.fixture(params=sorted(STORES))
def store(request, tmp_path: Path) -> Store:
    return STORES[request.param](tmp_path)


def test_a_new_attempt_is_made_once(store):
    change = Change(ONE, Stage.NONE, record(Stage.ADVERTISED))
    assert store.advance([change])
    assert not store.advance([change])
    assert store.records(1) == {ONE: record(Stage.ADVERTISED)}


def test_a_stage_moves_only_from_the_one_expected(store):
    store.advance([Change(ONE, Stage.NONE, record(Stage.ADVERTISED))])
    assert not store.advance([Change(ONE, Stage.SHARED, record(Stage.MASKED))])
    assert store.records(1)[ONE].stage is Stage.ADVERTISED
    assert store.advance([Change(ONE, Stage.ADVERTISED, record(Stage.SHARED, b"other"))])
    assert store.records(1)[ONE].secrets == b"other"


@pytest.mark.parametrize("wrong_first", [True, False])
def test_all_changes_or_none(store, wrong_first):
    store.advance([Change(ONE, Stage.NONE, record(Stage.SHARED))])
    good = Change(ONE, Stage.SHARED, record(Stage.MASKED))
    wrong = Change(TWO, Stage.ADVERTISED, record(Stage.SHARED))
    assert not store.advance([wrong, good] if wrong_first else [good, wrong])
    assert store.records(1) == {ONE: record(Stage.SHARED)}
    right = Change(TWO, Stage.NONE, record(Stage.ADVERTISED))
    assert store.advance([good, right])
    assert {key: r.stage for key, r in store.records(1).items()} == {
        ONE: Stage.MASKED,
        TWO: Stage.ADVERTISED,
    }


def test_runs_are_apart(store):
    store.advance([Change(ONE, Stage.NONE, record(Stage.ADVERTISED))])
    store.advance([Change(OTHER_RUN, Stage.NONE, record(Stage.ADVERTISED))])
    assert set(store.records(1)) == {ONE}
    assert set(store.records(2)) == {OTHER_RUN}
    assert store.records(3) == {}


def test_expiry_closes_open_attempts_of_every_run_and_keeps_tombstones(store):
    store.advance([Change(ONE, Stage.NONE, record(Stage.SHARED, expires_at=5.0))])
    store.advance([Change(TWO, Stage.NONE, record(Stage.REVEALED, b"", expires_at=5.0))])
    store.advance([Change(OTHER_RUN, Stage.NONE, record(Stage.MASKED, expires_at=7.0))])
    store.expire(4.0)
    assert store.records(1)[ONE].secrets == b"secret"
    store.expire(5.0)
    assert store.records(1)[ONE] == record(Stage.CLOSED, b"", 5.0)
    assert store.records(1)[TWO].stage is Stage.REVEALED
    assert store.records(2)[OTHER_RUN].secrets == b"secret"
    store.expire(7.0)
    assert store.records(2)[OTHER_RUN].secrets == b""


def test_one_of_many_threads_wins(store):
    wins: list[int] = []
    barrier = threading.Barrier(8)

    def race(number: int) -> None:
        barrier.wait()
        if store.advance([Change(ONE, Stage.NONE, record(Stage.ADVERTISED, bytes([number])))]):
            wins.append(number)

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.records(1)[ONE].secrets == bytes(wins)
