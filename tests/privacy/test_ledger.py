"""The node's ledger: crashes, races, the cap, and files that are not what was written."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import privacy.database
from privacy.budget import covering
from privacy.ledger import Budget, Ledger, LedgerError, OverBudgetError
from privacy.release import Mechanism, Neighbours, Release, Unit

ROOT = Path(__file__).parent.parent.parent
DELTA = 1e-5
RELEASE = Release(
    unit=Unit.EXAMPLE,
    neighbours=Neighbours.ADD_OR_REMOVE,
    mechanism=Mechanism.GAUSSIAN,
    l1_sensitivity=2.0**30,
    l2_sensitivity=2.0**30,
    noise_scale=20 * 2.0**30,
    num_shares=1,
    dimension=64,
)
OTHER = replace(RELEASE, noise_scale=18 * 2.0**30)
METRICS = replace(RELEASE, noise_scale=90 * 2.0**30, dimension=3)
PLAN = [(RELEASE, 10)]
LARGE = Budget(50.0, DELTA)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "node" / "state.sqlite"


@pytest.fixture
def ledger(path) -> Ledger:
    return Ledger(path, "heart")


def charge(ledger, run=1, number=1, attempt=0, release=RELEASE, plan=PLAN, budget=LARGE):
    ledger.charge(run, number, attempt, [release], plan, budget)


def epsilon_of(plan) -> float:
    from privacy.accounting import epsilon

    return epsilon(plan, DELTA)


def num_accepted(ledger, budget, most=60, **kwargs) -> int:
    """Charge round after round until the cap; return how many passed."""
    for number in range(most):
        try:
            charge(ledger, number=number, budget=budget, **kwargs)
        except OverBudgetError:
            return number
    return most


# The cap.


def test_a_run_whose_plan_is_the_cap_is_all_accepted_and_nothing_more(ledger):
    """Equal to what was planned, by the run's own accountant, to the last digit."""
    whole = epsilon_of(PLAN)
    assert num_accepted(ledger, Budget(whole, DELTA)) == 10
    spent = ledger.spent(DELTA)
    assert spent.epsilon == whole
    assert (spent.num_charges, spent.num_runs, spent.dataset) == (10, 1, "heart")
    (run,) = ledger.runs(DELTA)
    assert run.epsilon == run.planned_epsilon == whole
    assert run.accountant == spent.accountant == "PLD"


def test_a_plan_that_takes_all_leaves_nothing_to_another(ledger):
    """To turn from the plan's own accountant to the filter would cost another delta."""
    budget = Budget(epsilon_of(PLAN), DELTA)
    charge(ledger, budget=budget)
    for plan in ([(OTHER, 1)], [(RELEASE, 9)]):
        with pytest.raises(OverBudgetError, match=r"first plan.*raise max_epsilon"):
            charge(ledger, run=2, release=plan[0][0], plan=plan, budget=budget)
    # The same run resumed: another id, the same parameters.
    assert num_accepted(ledger, budget, run=2) == 9
    assert ledger.spent(DELTA).epsilon == budget.epsilon
    # What the owner raises, everyone may use.
    charge(ledger, run=3, release=OTHER, plan=[(OTHER, 1)], budget=Budget(9.0, DELTA))


def test_the_cap_cuts_off_a_plan_that_is_over_it(ledger):
    budget = Budget(epsilon_of([(RELEASE, 4)]), DELTA)
    assert num_accepted(ledger, budget) == 4
    with pytest.raises(OverBudgetError, match=r"epsilon=.* over its max_epsilon=.* raise"):
        charge(ledger, number=4, budget=budget)
    assert ledger.spent(DELTA).epsilon == pytest.approx(budget.epsilon, rel=1e-12)


def test_runs_with_other_parameters_share_the_cap_by_the_filter(ledger):
    from privacy.accounting import epsilon_at, renyi_total

    budget = Budget(1.5, DELTA)
    assert num_accepted(ledger, budget, most=10) == 10
    more = num_accepted(ledger, budget, run=2, release=OTHER, plan=[(OTHER, 500)])
    assert 20 < more < 60
    spent = ledger.spent(DELTA)
    assert spent.accountant.startswith("RDP filter of order ")
    order = int(spent.accountant.split()[-1])
    everything = [(RELEASE, 10), (OTHER, more)]
    assert spent.epsilon == epsilon_at(order, renyi_total(everything, order), DELTA) <= 1.5
    everything[1] = (OTHER, more + 1)
    assert epsilon_at(order, renyi_total(everything, order), DELTA) > 1.5
    # The order is near the best one for a single release.
    assert epsilon_of(everything) > 0.85 * 1.5


def test_repeated_attempts_are_charged_and_held_against_the_cap(ledger):
    charge(ledger, attempt=None)
    charge(ledger, attempt=None)
    charge(ledger, attempt=7)
    charge(ledger, attempt=None)
    (run,) = ledger.runs(DELTA)
    assert (run.num_rounds, run.num_charges) == (1, 4)
    assert run.epsilon == epsilon_of([(RELEASE, 4)])


def test_without_a_cap_it_is_written_down_only(ledger):
    for number in range(30):
        charge(ledger, number=number, budget=None)
    charge(ledger, run=2, release=OTHER, plan=[(OTHER, 1)], budget=None)
    assert ledger.spent(DELTA).epsilon > epsilon_of([(RELEASE, 30)]) / 1.0001
    with pytest.raises(OverBudgetError):
        charge(ledger, run=3, budget=Budget(1.0, DELTA))


def test_the_slow_accountant_runs_once(ledger, monkeypatch):
    import privacy.accounting

    asked, real = [], privacy.accounting.epsilon
    monkeypatch.setattr(
        privacy.accounting, "epsilon", lambda *args: asked.append(args) or real(*args)
    )
    budget = Budget(epsilon_of(PLAN) * 1.001, DELTA)
    asked.clear()
    assert num_accepted(ledger, budget) == 10
    # The whole plan, and the plan and one more that the last charge asked for.
    assert len(asked) == 2


SCHEDULES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
TRIO = (RELEASE, OTHER, METRICS)


@given(plan=SCHEDULES, first=st.tuples(*[st.integers(0, 60)] * 3), data=st.data())
def test_what_is_charged_lies_in_one_sequence_that_only_the_plan_fixes(plan, first, data):
    planned = dict(zip(TRIO, plan, strict=True))

    def cover(counts):
        found = dict(covering(dict(zip(TRIO, counts, strict=True)), planned))
        return [found.get(release, 0) for release in TRIO]

    second = data.draw(st.tuples(*(st.integers(count, 70) for count in first)))
    one, two = cover(first), cover(second)
    assert all(a >= b for a, b in zip(one, first, strict=True))
    # Nested, and each its own cover: a sequence, whatever was charged on the way.
    assert all(a <= b for a, b in zip(one, two, strict=True))
    assert cover(one) == one
    if all(a <= b for a, b in zip(first, plan, strict=True)):
        assert all(a <= b for a, b in zip(one, plan, strict=True))


@given(count=st.integers(0, 60), planned=st.integers(1, 40))
def test_with_one_kind_of_release_that_is_just_what_was_charged(count, planned):
    assert dict(covering({RELEASE: count}, {RELEASE: planned})).get(RELEASE, 0) == count


CHARGES = st.lists(
    st.tuples(
        *(st.integers(1, 2), st.integers(1, 2), st.sampled_from([None, 0, 1])),
        *(st.sampled_from(TRIO), st.integers(2, 3)),
        st.sampled_from([Budget(0.4, DELTA), LARGE]),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(asked=CHARGES)
def test_it_never_goes_down_and_a_refusal_writes_nothing(tmp_path_factory, asked):
    path = tmp_path_factory.mktemp("ledger") / "state.sqlite"
    ledger, before, made = Ledger(path, "heart"), 0.0, 0
    for run, number, attempt, release, times, budget in asked:
        try:
            plan = [(r, times) for r in TRIO]
            charge(ledger, run, number, attempt, release, plan, budget)
            made += 1
        except LedgerError:
            pass
        if not made:
            continue
        spent = ledger.spent(DELTA)
        assert spent.num_charges == made
        assert spent.epsilon >= before
        before = spent.epsilon


# Refusals.


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


def test_a_clock_that_went_back_is_refused(path):
    now = [1e9]
    ledger = Ledger(path, "heart", clock=lambda: now[0])
    charge(ledger)
    now[0] -= 30
    charge(ledger, number=2)
    for wrong in (1e9 - 61, float("nan"), float("inf"), -1.0):
        now[0] = wrong
        with pytest.raises(LedgerError, match="clock"):
            charge(ledger, number=3)
    assert ledger.spent(DELTA).last_time == 1e9
    assert ledger.spent(DELTA).num_charges == 2


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


# Several at once.

RACER = """
import sys
from pathlib import Path
import privacy.accounting
from privacy.ledger import Budget, Ledger, OverBudgetError
from tests.privacy.test_ledger import DELTA, PLAN, RELEASE
run, cap = int(sys.argv[2]), float(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
made = 0
for number in range(12):
    try:
        Ledger(Path(sys.argv[1]), "heart").charge(
            run, number, 0, [RELEASE], PLAN, Budget(cap, DELTA))
        made += 1
    except OverBudgetError:
        pass
print(made)
"""


def test_two_runs_at_once_cannot_both_spend_the_last_of_it(path):
    cap = repr(epsilon_of(PLAN))
    pipe = subprocess.PIPE
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), str(run), cap],
            **{"cwd": ROOT, "stdin": pipe, "stdout": pipe, "text": True},
        )
        for run in (1, 2)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    made = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(made) == 10
    assert Ledger(path, "heart").spent(DELTA).num_charges == 10


def test_threads_share_the_cap_too(path):
    budget, made = Budget(epsilon_of(PLAN), DELTA), []
    charge(Ledger(path, "heart"), budget=budget)

    def race(run: int) -> None:
        made.append(num_accepted(Ledger(path, "heart"), budget, run=run))

    threads = [threading.Thread(target=race, args=(run,)) for run in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(made) == 9


# A child for each point at which a process can die: before each statement, or, far finer, every
# few steps of SQLite's machine, some of which are inside COMMIT and VACUUM. For each, whether
# the contribution left, and how many charges a node that starts again finds.
MORTAL = """
import os, signal, sqlite3, sys
from pathlib import Path
import privacy.accounting
from privacy.ledger import Ledger
from privacy.ledger_rows import read, reading
from tests.privacy.test_ledger import charge
path, steps = Path(sys.argv[1]), int(sys.argv[2])
whole, connect, left = path.read_bytes(), sqlite3.connect, 0

def count(*_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

class Mortal(sqlite3.Connection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if steps:
            self.set_progress_handler(count, steps)
    def execute(self, *args):
        if not steps:
            count()
        return super().execute(*args)

sqlite3.connect = lambda *args, **kwargs: connect(*args, **kwargs, factory=Mortal)
for number in range(1, 2000):
    copy = path.with_name(f"copy-{number}") / "state.sqlite"
    copy.parent.mkdir()
    copy.write_bytes(whole)
    child = os.fork()
    if not child:
        left = number
        charge(Ledger(copy, "heart"))
        os.close(os.open(copy.with_name("left"), os.O_CREAT | os.O_WRONLY))
        os._exit(0)
    os.waitpid(child, 0)
    charge(Ledger(copy, "heart"), number=99)
    with reading(copy) as connection:
        charged = (1, 1, 0) in {c.key for c in read(connection, copy)}
    print(int(charged), int(copy.with_name("left").exists()))
    if copy.with_name("left").exists():
        break
"""


@pytest.mark.parametrize(("steps", "least"), [(0, 18), (9, 20)])
def test_nothing_leaves_without_its_charge_wherever_the_node_dies(path, ledger, steps, least):
    charge(ledger, number=0)
    command = [sys.executable, "-c", MORTAL, str(path), str(steps)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert len(found) > least
    # First neither; then, from COMMIT on, charged for nothing; at last all is well.
    assert found == sorted(found)
    assert set(found) == {"0 0", "1 0", "1 1"}
    assert found[-1] == "1 1"


def test_a_killed_process_loses_no_charge_that_it_was_told_of(path):
    script = """
import sys
from pathlib import Path
from tests.privacy.test_ledger import Ledger, charge
for number in range(10**6):
    charge(Ledger(Path(sys.argv[1]), "heart"), number=number, budget=None)
    print(number, flush=True)
"""
    victim = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    told = [victim.stdout.readline() for _ in range(15)]
    os.kill(victim.pid, signal.SIGKILL)
    told += victim.communicate(timeout=60)[0].splitlines()
    ledger = Ledger(path, "heart")
    charge(ledger, number=10**6, budget=None)
    (run,) = ledger.runs(DELTA)
    assert run.num_charges in (len(told) + 1, len(told) + 2)


def test_a_process_that_only_refuses_starts_fast():
    script = (
        "import sys, privacy.ledger;"
        "print({'numpy', 'scipy', 'dp_accounting'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout == "set()\n"
