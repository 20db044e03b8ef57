"""What a node remembers in its file beside its records."""

from pathlib import Path

import pytest

from app.node.protocol_memory import SqliteMemory
from app.node.protocol_store import SqliteStore
from app.node.views import RunViews
from privacy.ledger.heads import HeadChain
from strategies.secagg.client.memory import names
from strategies.secagg.client.store import RUN_IS_OVER_SECONDS, Change, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import KEPT_HEADS, NO_HEAD

RUN = 2**64 - 1
ALL = range(10, 20)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state.sqlite"


def of(run: int, number: int = 1, again: int = 0) -> AttemptId:
    return AttemptId(run, number, again)


def memory_of(path: Path, most: int | None, chain: HeadChain | None = None) -> SqliteMemory:
    return SqliteMemory(path, chain, RunViews(path, most))


ONE, TWO, THREE = (bytes([i]) * 32 for i in (1, 2, 3))


def test_the_last_head_of_each_peer_is_kept(path):
    memory = memory_of(path, None)
    assert memory.heads_of({ONE, TWO}) == {}
    memory.keep_heads(of(RUN), {ONE: TWO, TWO: THREE})
    memory.keep_heads(of(RUN, 2), {ONE: THREE, THREE: NO_HEAD})
    again = memory_of(path, None)
    assert again.heads_of([ONE, THREE]) == {ONE: (THREE,)}
    assert again.heads_of([TWO]) == {TWO: (THREE,)}
    assert again.heads_of([]) == {}


def test_an_attempt_that_is_opened_late_brings_no_older_head_back(path):
    memory = memory_of(path, None)
    for attempt, head in ((of(1, 2), TWO), (of(1, 1, 9), ONE), (of(2), THREE), (of(1, 2), ONE)):
        memory.keep_heads(attempt, {ONE: head})
    assert set(memory.heads_of([ONE])[ONE]) == {TWO, THREE}


def test_of_each_peer_the_heads_of_the_last_runs_are_kept(path):
    memory = memory_of(path, None)
    memory.keep_heads(of(99), {TWO: ONE})
    for run in range(1, 7):
        memory.keep_heads(of(run), {ONE: bytes([run]) * 32})
    memory.keep_heads(of(3, 2), {ONE: bytes([33]) * 32})
    found = memory.heads_of([ONE])[ONE]
    assert len(found) == KEPT_HEADS == 4
    assert set(found) == {bytes([i]) * 32 for i in (33, 4, 5, 6)}
    assert memory.heads_of([TWO])[TWO] == (ONE,)


def test_heads_are_the_chains(path):
    memory = memory_of(path, None, HeadChain(path, bytes(32)))
    shown = memory.next_head()
    assert not memory.lacks([shown])
    path.unlink()
    assert memory.lacks([shown])
    without = memory_of(path, None)
    assert without.next_head() == NO_HEAD
    assert not without.lacks([shown])


def members(nodes) -> list[bytes]:
    return names(nodes, {})


def note(memory: SqliteMemory, nodes, run: int = RUN) -> bool:
    """Note a view of which 3 nodes must differ, and check that it was asked alike."""
    allowed = memory.allows_view(run, members(nodes), 3)
    assert memory.note_view(run, members(nodes), 3) is allowed
    return allowed


def test_so_many_changes_and_no_more(path):
    memory = memory_of(path, 2)
    assert note(memory, ALL)
    assert note(memory, [*ALL][1:])
    # The same as the last time, whatever the order of its nodes.
    assert note(memory, [*reversed(ALL)][:-1])
    assert note(memory, [*ALL][2:])
    assert not note(memory, [*ALL][:-1])
    assert not memory_of(path, 2).allows_view(RUN, members([*ALL][:-2]), 3)
    # By three nodes from each: as many as any sum has.
    assert note(memory, [*ALL][:-3])
    # Another run, and another owner.
    assert note(memory, [*ALL][:-1], run=1)
    assert note(memory_of(path, 3), [*ALL][:-1])


def test_back_and_forth_are_changes_too(path):
    """Each pair of rounds would show one node nearly alone."""
    memory = memory_of(path, 3)
    told = [note(memory, [*ALL][number % 2 :]) for number in range(6)]
    assert told == [True, True, True, True, False, True]


def test_a_far_view_in_between_hides_no_change(path):
    memory = memory_of(path, 0)
    assert note(memory, ALL)
    assert note(memory, [*ALL][:5])
    assert not note(memory, [*ALL][1:])


def test_asking_notes_nothing(path):
    memory = memory_of(path, 0)
    assert memory.allows_view(RUN, members(ALL), 3)
    assert memory.note_view(RUN, members([*ALL][1:]), 3)
    assert not memory.allows_view(RUN, members(ALL), 3)


def test_without_a_limit_nothing_is_kept(path):
    memory = memory_of(path, None)
    for gone in range(5):
        assert note(memory, [*ALL][gone:])
    assert not path.exists()


def test_views_of_a_run_that_is_over_are_forgotten(path):
    memory, store = memory_of(path, 0), SqliteStore(path)
    key = AttemptId(RUN, 1, 0)
    store.advance([Change(key, Stage.NONE, Record(Stage.CLOSED, 5.0, bytes(32)))])
    assert note(memory, ALL)
    store.compact(6.0 + RUN_IS_OVER_SECONDS)
    assert note(memory, ALL, run=1)
    # Nothing is opened in it again: the store refuses it.
    assert note(memory, [*ALL][1:])


def test_names_are_identities_where_there_are_some():
    signers = {7: ONE + TWO}
    assert names([7, 8], signers) == [ONE, (8).to_bytes(32, "big")]
