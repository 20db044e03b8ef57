"""What a message costs a node whose run has many closed attempts, in a process of its own."""

import hashlib
import pickle
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
from flwr.app import RecordDict

from app.node.protocol_store import ContextStore, SqliteStore
from strategies.secagg.client.store import Change, Record, Store
from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from tests import ROOT
from tests.strategies.secagg.world import PARAMETERS, RUN, World, attempt, binding_for

NOW, NEXT = attempt(1000), attempt(1001)


class AnewStore:
    """A store that is made anew for each use, as by a process that answers one message."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., object]:
        def use(*args: object) -> object:
            work = getattr(self._make(), name)
            with counted(self.counts):
                return work(*args)

        return use


@contextmanager
def counted(counts: Counter[str]) -> Iterator[None]:
    """Count calls, records made, and SQLite's steps but for its VACUUM."""

    def step() -> None:
        counts["steps"] += 1

    class Connection(sqlite3.Connection):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self.set_progress_handler(step, 1)

        def execute(self, sql: str, *args) -> sqlite3.Cursor:
            if sql == "VACUUM":
                self.set_progress_handler(None, 1)
            return super().execute(sql, *args)

    def note(frame, event: str, _) -> None:
        counts["calls"] += 1
        counts["records"] += event == "call" and frame.f_code is Record.__init__.__code__

    with patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=Connection)):
        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(None)


def fill(store: Store, first: int, end: int) -> None:
    """Give a run attempts that are over, half of them with a sum opened."""
    terms = hashlib.sha256(PARAMETERS.to_bytes()).digest()
    stages = (Stage.REVEALED, Stage.CLOSED)
    store.advance(
        [
            Change(
                AttemptId(RUN, number, 0),
                Stage.NONE,
                Record(stages[number % 2], 2000.0, terms, number.to_bytes(32, "big")),
            )
            for number in range(first, end)
        ]
    )


def cost_of_a_round(make: Callable[[], Store]) -> Counter[str]:
    """Let a node with this store take part in an attempt from advert to shares of the next."""
    world = World(PARAMETERS)
    node, store = world.ids[0], AnewStore(make)
    cast(dict[int, Store], world.stores)[node] = store
    world.roles[node] = world.role(node)
    server = world.ready(NOW)
    world.train(server, world.ids, binding_for(), NEXT)
    server.close_masked()
    result = world.unmask(server, world.ids)
    world.check(result, world.ids)
    return store.counts


def cost_in_a_file(path: Path, num_closed: int) -> Counter[str]:
    fill(SqliteStore(path), 0, num_closed)
    return cost_of_a_round(lambda: SqliteStore(path))


def cost_in_a_context(num_closed: int) -> Counter[str]:
    kept = [RecordDict()]
    fill(ContextStore(kept[0]), 0, num_closed)

    def make() -> ContextStore:
        # As Flower moves the context to the worker that answers, and back.
        kept[0] = pickle.loads(pickle.dumps(kept[0]))
        return ContextStore(kept[0])

    return cost_of_a_round(make)


def check_flat(few: Counter[str], many: Counter[str]) -> None:
    assert few["records"] > 10
    assert many["records"] == few["records"]
    for what in ("calls", "steps"):
        assert many[what] <= 1.05 * few[what], what


def test_a_message_costs_the_same_after_many_closed_attempts_in_a_file(tmp_path):
    few, many = (cost_in_a_file(tmp_path / f"{n}" / "s.sqlite", n) for n in (10, 300))
    assert few["steps"] > 100
    check_flat(few, many)


def test_a_message_costs_the_same_after_many_closed_attempts_in_a_context():
    check_flat(cost_in_a_context(10), cost_in_a_context(300))


def test_a_context_does_not_grow_with_a_run_and_keeps_its_latest_attempts():
    sizes = []
    for num_closed in (300, 1000):
        state = RecordDict()
        for number in range(0, num_closed, 2):
            fill(ContextStore(state), number, number + 2)
        sizes.append(len(pickle.dumps(state)))
        last = [AttemptId(RUN, num_closed - back, 0) for back in range(1, 65)]
        found = ContextStore(state).records(RUN, last)
        assert found.keys() >= {*last}
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]


ELSEWHERE = """
import pickle, sys
from collections import Counter
from pathlib import Path
from app.node.protocol_store import ContextStore, SqliteStore
from tests.app.node.test_protocol_store_cost import NOW, counted
folder, last = Path(sys.argv[1]), int(sys.argv[2])
state = pickle.loads((folder / "state").read_bytes())
for store in (SqliteStore(folder / "s.sqlite"), ContextStore(state)):
    counts = Counter()
    with counted(counts):
        store.expire(5.0)
        found = store.records(NOW.run_id, [NOW], last.to_bytes(32, "big"))
    print(last in {key.round for key in found}, len(found), counts)
"""


@pytest.mark.slow
def test_another_process_looks_at_no_more_after_many_closed_attempts(tmp_path):
    outputs = []
    for num_closed in (10, 300):
        folder, state = tmp_path / str(num_closed), RecordDict()
        folder.mkdir()
        fill(SqliteStore(folder / "s.sqlite"), 0, num_closed)
        fill(ContextStore(state), 0, num_closed)
        (folder / "state").write_bytes(pickle.dumps(state))
        command = [sys.executable, "-c", ELSEWHERE, str(folder), str(num_closed - 2)]
        outputs.append(subprocess.run(command, cwd=ROOT, stdout=-1, text=True, check=True))
    few, many = (done.stdout for done in outputs)
    assert few.count("True 2 Counter({") == few.count("'records': 2") == 2
    assert few == many
