"""What a node's own file is good for: a ledger put back, a cohort that changes a little.

Real ClientApps with SQLite, policy and pinned identities.
"""

import time
from collections.abc import Collection

import pytest

from app.node.protocol_store import SqliteStore
from privacy.ledger.heads import HeadChain
from strategies.masked.messages import protocol_reason, refusal_of
from strategies.refusals import is_permanent
from strategies.secagg.client.store import RUN_IS_OVER_SECONDS
from strategies.secagg.reasons import RefusalReason
from tests.kits.attacked_federation import Attempt, Federation, Numbers, RefusedError


class Rounds:
    """A server that opens one sum after the other, each over another model."""

    def __init__(self, world: Federation) -> None:
        self.world = world
        self.number = 0

    def begin(self) -> Attempt:
        self.number += 1
        for values in self.world.state.arrays.values():
            values += 1
        return Attempt(self.world, self.number)

    def open(self, cohort: Collection[int], gone: Collection[int] = ()) -> Attempt:
        """Open the sum over a cohort of which some drop out after they have masked."""
        attempt = self.begin()
        for node in cohort:
            attempt.train(node, cohort)
        left = [node for node in cohort if node not in gone]
        for ask in (attempt.confirm, attempt.unmask) if gone else (attempt.unmask,):
            for node in left:
                ask(node, left)
        return attempt


@pytest.mark.slow
@pytest.mark.parametrize("rule", [True, False])
def test_a_ledger_that_was_put_back_is_noticed(tmp_path, monkeypatch, rule):
    world = Federation(tmp_path, monkeypatch, Numbers(4, 3, 3, 0))
    rounds, victim = Rounds(world), world.ids[1]
    rounds.open(world.ids)
    file = world.nodes[victim].state
    older = file.read_bytes()
    rounds.open(world.ids)
    newest = file.read_bytes()
    file.write_bytes(older)
    if not rule:
        monkeypatch.setattr(HeadChain, "lacks", lambda *_: False)
        rounds.open(world.ids)
        return
    # Again and again: what the others know is replaced only by an attempt that was opened.
    for _ in range(2):
        attempt = rounds.begin()
        for node in world.ids:
            if node == victim:
                with pytest.raises(RefusedError, match=r"^secagg_ledger_rolled_back$"):
                    attempt.train(node, world.ids)
            else:
                attempt.train(node, world.ids)
    file.write_bytes(newest)
    rounds.open(world.ids)


def test_a_second_file_for_the_same_data_is_noticed(tmp_path, monkeypatch):
    world = Federation(tmp_path, monkeypatch, Numbers(4, 3, 3, 0))
    rounds, victim = Rounds(world), world.ids[3]
    rounds.open(world.ids)
    world.nodes[victim].state.unlink()
    attempt = rounds.begin()
    with pytest.raises(RefusedError, match=r"^secagg_ledger_rolled_back$"):
        attempt.train(victim, world.ids)


@pytest.mark.slow
def test_the_server_sees_no_head_twice(tmp_path, monkeypatch):
    world = Federation(tmp_path, monkeypatch, Numbers(4, 3, 3, 0))
    rounds = Rounds(world)
    heads = [a.head for _ in range(3) for a in rounds.open(world.ids).adverts.values()]
    assert len(set(heads)) == len(heads) == 12
    assert len({part for head in heads for part in (head[:16], head[16:])}) == 24


@pytest.mark.slow
@pytest.mark.parametrize("most", [None, 0, 1])
def test_a_cohort_that_changes_by_a_few_nodes(tmp_path, monkeypatch, most):
    policy = {} if most is None else {"max_cohort_changes": most}
    world = Federation(tmp_path, monkeypatch, Numbers(6, 4, 4), **policy)
    rounds, ids = Rounds(world), world.ids
    # Of four that make a sum, three may differ from another.
    smaller = [ids[:-1], ids[:-2]]
    rounds.open(ids)
    for number, cohort in enumerate(smaller):
        if most is None or number < most:
            rounds.open(cohort)
            continue
        attempt = rounds.begin()
        with pytest.raises(RefusedError, match=r"^secagg_cohort_changed$"):
            attempt.train(cohort[0], cohort)
        # Before it is paid for, but where somebody drops out nobody knows of it before.
        last = smaller[number - 1] if number else ids
        with pytest.raises(RefusedError, match=r"^secagg_cohort_changed$"):
            rounds.open(last, gone=[last[1]])
    # The same participants as the last time show nothing new.
    rounds.open(smaller[-1] if most is None else smaller[0] if most else ids)


def test_a_run_that_is_over_gets_no_answer(tmp_path, monkeypatch):
    world = Federation(tmp_path, monkeypatch, Numbers(4, 3, 3, 0))
    rounds = Rounds(world)
    rounds.open(world.ids)
    for node in world.nodes.values():
        SqliteStore(node.state).compact(time.time() + RUN_IS_OVER_SECONDS + 1e5)
    with pytest.raises(RefusedError, match=r"^secagg_run_over$"):
        rounds.begin()


def test_who_refuses_for_good_is_not_asked_again():
    final = {RefusalReason.RUN_OVER, RefusalReason.LEDGER_ROLLED_BACK}
    for reason in RefusalReason:
        told = protocol_reason(refusal_of(reason))
        assert told == f"secagg_{reason.name.lower()}"
        assert is_permanent(told) == (reason in final)
