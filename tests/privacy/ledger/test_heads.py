"""The chain of a ledger's heads: what tells that a file was put back."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from privacy.ledger.budget import LedgerError
from privacy.ledger.heads import HEAD_BYTES, HeadChain, verify
from privacy.ledger.ledger import Ledger
from privacy.ledger.rows import reading
from tests.privacy.ledger.ledger_kit import charge

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state.sqlite"


def num_heads(path: Path) -> int:
    with reading(path) as connection:
        return verify(connection, path)


def test_a_head_is_in_the_chain_for_good(path):
    chain = HeadChain(path, KEY)
    heads = [chain.next() for _ in range(5)]
    assert {len(head) for head in heads} == {HEAD_BYTES}
    assert len({half for head in heads for half in (head[:16], head[16:])}) == 10
    assert not chain.lacks(heads)
    assert not HeadChain(path, KEY).lacks(heads[:1])
    assert num_heads(path) == 5


@pytest.mark.parametrize("between", [0, 1, 3])
def test_a_file_that_was_put_back_lacks_what_was_shown_since(path, between):
    chain = HeadChain(path, KEY)
    old = [chain.next(), chain.next()]
    shutil.copy(path, path.with_suffix(".backup"))
    since = chain.next()
    shutil.copy(path.with_suffix(".backup"), path)
    # As many entries as before or more: it is another chain, whatever its length.
    new = [chain.next() for _ in range(between)]
    assert not chain.lacks([*old, *new])
    assert chain.lacks([*old, since])
    path.unlink()
    assert chain.lacks(old[:1])


def test_what_others_made_up_says_nothing(path):
    chain, other = HeadChain(path, KEY), HeadChain(path.with_suffix(".other"), OTHER)
    mine, foreign = chain.next(), other.next()
    made_up = [bytes(32), b"", foreign, foreign[:16] + mine[16:], mine[:16] + foreign[16:]]
    made_up += [bytes([mine[0] ^ 1]) + mine[1:], mine[:-1] + bytes([mine[-1] ^ 1]), mine[:16]]
    assert not chain.lacks(made_up)
    path.unlink()
    assert not chain.lacks(made_up)
    assert chain.lacks([mine])


def test_the_same_charges_and_key_give_other_heads(path):
    """Nobody who guesses the charges can tell by the head whether the guess is right."""
    one, two = HeadChain(path, KEY), HeadChain(path.with_suffix(".two"), KEY)
    assert one.next() != two.next()
    assert two.lacks([one.next()])


def test_entries_follow_the_charges(path):
    chain, ledger = HeadChain(path, KEY), Ledger(path, "heart")
    chain.next()
    charge(ledger)
    chain.next()
    chain.next()
    charge(ledger, number=2)
    assert num_heads(path) == 3
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT num_charges FROM ledger_heads ORDER BY sequence")
        assert [count for (count,) in rows] == [0, 1, 1]


def test_a_file_without_heads_has_none(path):
    charge(Ledger(path, "heart"))
    assert num_heads(path) == 0


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE ledger_charges; DROP TABLE ledger_head; DROP TABLE ledger_texts",
        "UPDATE ledger_head SET digest = zeroblob(32)",
    ],
)
def test_charges_that_are_gone_are_noticed_at_the_next_head(path, change):
    chain = HeadChain(path, KEY)
    charge(Ledger(path, "heart"))
    chain.next()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(change)
    with pytest.raises(LedgerError, match="the ledger is damaged: head 1"):
        chain.next()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM ledger_heads WHERE sequence = 2",
        "DELETE FROM ledger_heads WHERE sequence = 1",
        "UPDATE ledger_heads SET num_charges = 1 WHERE sequence = 1",
        "UPDATE ledger_heads SET num_charges = 9 WHERE sequence = 3",
        "UPDATE ledger_heads SET nonce = zeroblob(32) WHERE sequence = 2",
        "UPDATE ledger_heads SET entry = zeroblob(32) WHERE sequence = 3",
        "UPDATE ledger_heads SET charges = zeroblob(32) WHERE sequence = 2",
        "UPDATE ledger_charges SET time = 0",
        "DELETE FROM ledger_charges; DELETE FROM ledger_head; DELETE FROM ledger_texts",
    ],
)
def test_a_changed_chain_is_noticed(path, change):
    chain, ledger = HeadChain(path, KEY), Ledger(path, "heart")
    chain.next()
    charge(ledger)
    chain.next()
    chain.next()
    assert num_heads(path) == 3
    with closing(sqlite3.connect(path)) as database:
        database.executescript(change)
    with pytest.raises(LedgerError, match="the ledger is damaged: head"):
        num_heads(path)
