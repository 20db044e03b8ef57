"""The contract of `Store`; every implementation joins `STORES`."""

import threading
from pathlib import Path

import pytest
from flwr.app import RecordDict

from app.node.protocol_store import ContextStore, SqliteStore
from strategies.secagg.client.store import Change, Record, Store
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
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
    assert store.records(3, [ONE, OTHER_RUN]) == {}
    assert set(store.records(1, [OTHER_RUN])) == {ONE}


def test_of_many_tombstones_only_those_that_matter_are_returned(store):
    keys = [AttemptId(1, number, 0) for number in range(30)]
    models = [bytes([number]) * 32 for number in range(30)]
    for key, model in zip(keys, models, strict=True):
        stage = Stage.CLOSED if key.round % 5 == 4 else Stage.REVEALED
        store.advance([Change(key, Stage.NONE, Record(stage, 9.0, bytes(32), model))])
    # So that terms are known also where no attempt is open.
    assert len(store.records(1)) == 1
    now = AttemptId(1, 40, 0)
    store.advance([Change(now, Stage.NONE, record(Stage.SHARED))])
    assert set(store.records(1)) - set(keys) == {now}
    found = store.records(1, [now, keys[6], keys[9]], models[20])
    assert set(found) >= {now, keys[6], keys[9], keys[20]}
    assert len(found) <= 5
    assert found[keys[6]].stage is Stage.REVEALED
    assert found[keys[9]] == Record(Stage.CLOSED, 9.0, bytes(32), models[9])
    # A model that was trained on, but of which no sum was opened.
    assert keys[14] not in store.records(1, [], models[14])


@pytest.mark.parametrize("final", [Stage.REVEALED, Stage.CLOSED])
def test_a_closed_attempt_is_closed_for_good(store, final):
    store.advance([Change(ONE, Stage.NONE, record(Stage.MASKED))])
    store.advance([Change(ONE, Stage.MASKED, record(final, b""))])
    for expected in (Stage.NONE, Stage.MASKED):
        assert not store.advance([Change(ONE, expected, record(Stage.ADVERTISED))])
    assert store.records(1, [ONE]) == {ONE: record(final, b"")}
    with pytest.raises(ValueError, match=final.name):
        Change(ONE, final, record(Stage.ADVERTISED))
    with pytest.raises(ValueError, match=final.name):
        record(final, b"secret")


def test_expiry_closes_open_attempts_of_every_run_and_keeps_tombstones(store):
    store.advance([Change(ONE, Stage.NONE, record(Stage.SHARED, expires_at=5.0))])
    store.advance([Change(TWO, Stage.NONE, record(Stage.REVEALED, b"", expires_at=5.0))])
    store.advance([Change(OTHER_RUN, Stage.NONE, record(Stage.MASKED, expires_at=7.0))])
    store.expire(4.0)
    assert store.records(1)[ONE].secrets == b"secret"
    store.expire(5.0)
    assert store.records(1, [ONE])[ONE] == record(Stage.CLOSED, b"", 5.0)
    assert store.records(1, [TWO])[TWO].stage is Stage.REVEALED
    assert store.records(2)[OTHER_RUN].secrets == b"secret"
    store.expire(7.0)
    assert store.records(2, [OTHER_RUN])[OTHER_RUN].secrets == b""


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
