"""The ledger between processes and threads: races for the last of it, and kills anywhere."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from privacy.ledger.ledger import Budget, Ledger
from tests import ROOT
from tests.privacy.ledger.ledger_kit import DELTA, PLAN, charge, epsilon_of, num_accepted

RACER = """
import sys
from pathlib import Path
import privacy.accounting.epsilon
from privacy.ledger.ledger import Budget, Ledger, OverBudgetError
from tests.privacy.ledger.ledger_kit import DELTA, PLAN, RELEASE
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


@pytest.mark.slow
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
import privacy.accounting.epsilon
from privacy.ledger.ledger import Ledger
from privacy.ledger.rows import read, reading
from tests.privacy.ledger.ledger_kit import charge
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


@pytest.mark.slow
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
from privacy.ledger.ledger import Ledger
from tests.privacy.ledger.ledger_kit import charge
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
        "import sys, privacy.ledger.ledger;"
        "print({'numpy', 'scipy', 'dp_accounting'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout == "set()\n"
