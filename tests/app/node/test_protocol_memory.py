"""What a node remembers in its file beside its records."""

from pathlib import Path

import pytest

from app.node.protocol_memory import SqliteMemory
from app.node.protocol_store import SqliteStore
from privacy.ledger.heads import HeadChain
from strategies.secagg.client.store import RUN_IS_OVER_SECONDS, Change, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.messages import NO_HEAD
from strategies.secagg.wire import AttemptId

RUN = 2**64 - 1
ALL = range(10, 20)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state.sqlite"


def test_the_last_head_of_each_peer_is_kept(path):
    memory = SqliteMemory(path, None, None)
    one, two, three = (bytes([i]) * 32 for i in (1, 2, 3))
    assert memory.heads_of({one, two}) == {}
    memory.keep_heads({one: two, two: three})
    memory.keep_heads({one: three, three: NO_HEAD})
    assert SqliteMemory(path, None, None).heads_of([one, three]) == {one: three}
    assert memory.heads_of([]) == {}


def test_heads_are_the_chains(path):
    memory = SqliteMemory(path, HeadChain(path, bytes(32)), None)
    shown = memory.next_head()
    assert not memory.lacks([shown])
    path.unlink()
    assert memory.lacks([shown])
    without = SqliteMemory(path, None, None)
    assert without.next_head() == NO_HEAD
    assert not without.lacks([shown])


def note(memory: SqliteMemory, nodes, run: int = RUN) -> bool:
    """Note a view of which 3 nodes must differ, and check that it was asked alike."""
    allowed = memory.allows_view(run, tuple(nodes), 3)
    assert memory.note_view(run, tuple(nodes), 3) is allowed
    return allowed


def test_so_many_changes_and_no_more(path):
    memory = SqliteMemory(path, None, 2)
    assert note(memory, ALL)
    assert note(memory, [*ALL][1:])
    assert note(memory, [*ALL][2:])
    assert not note(memory, [*ALL][:-1])
    assert not SqliteMemory(path, None, 2).allows_view(RUN, [*ALL][:-2], 3)
    # The same once more shows nothing new, whatever the order of its nodes.
    assert note(memory, [*reversed(ALL)])
    assert note(memory, [*ALL][2:])
    # By three nodes, which is as many as any sum may show.
    assert note(memory, [*ALL][:-3])
    # Another run, and another owner.
    assert note(memory, [*ALL][:-1], run=1)
    assert note(SqliteMemory(path, None, 3), [*ALL][:-1])


def test_a_far_view_in_between_hides_no_change(path):
    memory = SqliteMemory(path, None, 0)
    assert note(memory, ALL)
    assert note(memory, [*ALL][:5])
    assert not note(memory, [*ALL][1:])


def test_asking_notes_nothing(path):
    memory = SqliteMemory(path, None, 0)
    assert memory.allows_view(RUN, ALL, 3)
    assert memory.note_view(RUN, [*ALL][1:], 3)
    assert not memory.allows_view(RUN, ALL, 3)


def test_without_a_limit_nothing_is_kept(path):
    memory = SqliteMemory(path, None, None)
    for gone in range(5):
        assert note(memory, [*ALL][gone:])
    assert not path.exists()


def test_views_of_a_run_that_is_over_are_forgotten(path):
    memory, store = SqliteMemory(path, None, 0), SqliteStore(path)
    key = AttemptId(RUN, 1, 0)
    store.advance([Change(key, Stage.NONE, Record(Stage.CLOSED, 5.0, bytes(32)))])
    assert note(memory, ALL)
    store.compact(6.0 + RUN_IS_OVER_SECONDS)
    assert note(memory, ALL, run=1)
    # Nothing is opened in it again: the store refuses it.
    assert note(memory, [*ALL][1:])
