"""What the ledger refuses: wrong use, and files that are not what was written."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import privacy.database
from privacy.ledger.ledger import Ledger, LedgerError
from privacy.plan.release import Neighbours, Release
from privacy.unit import Unit
from tests.privacy.ledger.ledger_kit import DELTA, LARGE, PLAN, RELEASE, charge

# Wrong use.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attempt": 0}, "run 1, round 1, attempt 0: charged before"),
        ({"release": replace(RELEASE, unit=Unit.CLIENT)}, "different privacy units"),
        ({"run": -1}, "run id"),
        ({"run": 2**64}, "run id"),
        ({"number": -1}, "round -1"),
        ({"attempt": 2**63}, "attempt 9223372036854775808"),
        ({"plan": []}, "names its data set, releases and plan"),
    ],
)
def test_refusals(ledger, change, words):
    charge(ledger)
    with pytest.raises(LedgerError, match=words):
        charge(ledger, **{"attempt": 1, **change})
    assert ledger.spent(DELTA).num_charges == 1


def client(neighbours: Neighbours) -> Release:
    return replace(RELEASE, unit=Unit.CLIENT, neighbours=neighbours)


def test_one_unit_and_one_neighbouring_relation(tmp_path):
    zero, any_other = client(Neighbours.ZERO_OUT), client(Neighbours.REPLACE)
    for kept, asked in ((RELEASE, zero), (zero, RELEASE), (zero, any_other)):
        ledger = Ledger(tmp_path / f"{kept.unit}-{asked.neighbours[:4]}", "heart")
        charge(ledger, release=kept, plan=[(kept, 1)])
        with pytest.raises(LedgerError, match="holds charges for the unit"):
            charge(ledger, run=2, release=asked, plan=[(asked, 1)])
        assert ledger.spent(DELTA).num_charges == 1


def test_a_contribution_without_releases_is_no_charge(ledger, path):
    with pytest.raises(LedgerError, match="releases"):
        ledger.charge(1, 1, 0, [], PLAN, LARGE)


def test_another_data_set_is_refused(ledger, path):
    charge(ledger)
    other = Ledger(path, "lungs")
    for use in (lambda: charge(other, number=2), lambda: other.spent(DELTA)):
        with pytest.raises(LedgerError, match=r"dataset='heart', not of 'lungs'.*state-path"):
            use()
    assert ledger.spent(DELTA).num_charges == 1


def test_a_charge_from_the_future_does_not_block_later_ones(path):
    now = [4e9]
    ledger = Ledger(path, "heart", clock=lambda: now[0])
    charge(ledger)
    now[0] = 1e9
    charge(ledger, number=2)
    for wrong in (float("nan"), float("inf")):
        now[0] = wrong
        with pytest.raises(LedgerError, match="clock"):
            charge(ledger, number=3)
    # The time is told, and the order is that in which they were made.
    assert ledger.spent(DELTA).last_time == 1e9
    assert ledger.spent(DELTA).num_charges == 2
    now[0] = 1e9
    with pytest.raises(LedgerError, match="charged before"):
        charge(ledger)


def test_what_the_accountant_cannot_bound_is_refused(ledger):
    wrong = replace(client(Neighbours.REPLACE), sampling_rate=0.5)
    with pytest.raises(LedgerError, match="sampling_rate"):
        charge(ledger, release=wrong, plan=[(wrong, 1)])


def test_looking_makes_nothing(path, ledger):
    for look in (ledger.spent, ledger.runs):
        with pytest.raises(LedgerError, match="no such file"):
            look(DELTA)
    assert not path.parent.exists()


def test_looking_is_possible_while_the_node_writes(path, ledger):
    charge(ledger)
    before = path.read_bytes(), path.stat().st_mtime_ns
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE ledger_charges SET time = 0")
    assert ledger.spent(DELTA).num_charges == ledger.runs(DELTA)[0].num_charges == 1
    writer.close()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


# Damage.


def tell(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger_charges WHERE sequence = 2",
        "DELETE FROM ledger_charges WHERE sequence = 3",
        "DELETE FROM ledger_charges",
        "DELETE FROM ledger_head",
        "DELETE FROM ledger_texts",
        "UPDATE ledger_charges SET round = 8 WHERE sequence = 1",
        "UPDATE ledger_charges SET run_id = 'x' WHERE sequence = 1",
        "UPDATE ledger_charges SET time = 'noon'",
        "UPDATE ledger_charges SET filter_order = 3",
        "UPDATE ledger_charges SET max_epsilon = 1e9",
        "UPDATE ledger_charges SET releases = zeroblob(32)",
        "UPDATE ledger_charges SET sequence = sequence + 1 WHERE sequence = 3",
        "UPDATE ledger_texts SET text = replace(text, '2147483', '9147483')",
        "UPDATE ledger_texts SET text = '{'",
        "UPDATE ledger_texts SET text = NULL",
        "UPDATE ledger_head SET num_charges = 2",
        "DROP TABLE ledger_charges",
        "DROP TABLE ledger_texts",
        "DROP TABLE ledger_head",
        "DROP TABLE ledger_epsilons",
    ],
)
def test_rows_that_are_not_those_that_were_written_are_refused(path, ledger, statement):
    for number in range(3):
        charge(ledger, number=number)
    try:
        tell(path, statement)
    except sqlite3.IntegrityError:
        return
    before = path.read_bytes()
    for use in (lambda: charge(ledger, number=9), lambda: ledger.spent(DELTA)):
        with pytest.raises(
            LedgerError, match=r"the ledger is damaged: .* not repaired"
        ) as info:
            use()
        assert str(path) in str(info.value)
        assert "\n" not in str(info.value)
    assert path.read_bytes() == before


def test_no_truncation_gives_budget_back(path, ledger):
    for number in range(20):
        charge(ledger, number=number)
    whole = path.read_bytes()
    lengths = {15, 99, 100, 101, len(whole) - 1, *range(512, len(whole), 512)}
    refused = 0
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        try:
            charge(ledger, number=99)
        except LedgerError:
            refused += 1
            assert path.read_bytes() == whole[:length]
            with pytest.raises(LedgerError, match=str(path)):
                ledger.spent(DELTA)
        else:
            # The end of the last page may hold nothing.
            assert ledger.spent(DELTA).num_charges == 21
    assert refused > 0.8 * len(lengths)


def test_an_interrupted_write_is_undone_by_the_node_and_not_by_looking(path, ledger):
    for number in range(20):
        charge(ledger, number=number)
    writer = sqlite3.connect(path, isolation_level=None)
    # So small a cache that the change reaches the file before the commit.
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE ledger_charges SET planned = zeroblob(20000)")
    crashed = shutil.copytree(path.parent, path.parent.with_name("crashed")) / path.name
    writer.close()
    after, before = Ledger(crashed, "heart"), crashed.read_bytes()
    assert before != path.read_bytes()
    with pytest.raises(LedgerError, match="start the node once"):
        after.spent(DELTA)
    assert crashed.read_bytes() == before
    charge(after, number=20)
    assert after.spent(DELTA).num_charges == 21


def test_a_locked_file_is_refused(path, ledger, monkeypatch):
    charge(ledger)
    monkeypatch.setattr(privacy.database, "_BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"locked.*own state-path"):
        charge(ledger, number=2)
    holder.close()
    charge(ledger, number=2)
