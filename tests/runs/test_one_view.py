"""Attacks of a malicious server on one attempt, through the real ClientApps.

Nodes as in a deployment: SQLite, policy, pinned identities. With the rules on, each attack is
refused for an enumerated reason and opens nothing; with one rule switched off, the same attack
reads what it did when it was found.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from strategies.secagg import graph
from strategies.secagg.binding import adverts_hash
from strategies.secagg.client import checks
from strategies.secagg.graph import ProtocolParameters
from tests.kits.attacked_federation import Attempt, Federation, Numbers, RefusedError
from tests.strategies.secagg.one_view_rules import HOLES, SWITCH_OFF
from tests.strategies.secagg.one_view_search import Rule, least_open

Story = Mapping[int, Sequence[int]]


def without_one_view(monkeypatch) -> None:
    monkeypatch.setattr(checks, "check_one_view", lambda *_: None)


def tell_survivors(attempt: Attempt, story: Story) -> dict[int, str]:
    """Ask each node for shares for the survivors of its own story; return the refusals."""
    refusals: dict[int, str] = {}
    for node, survivors in story.items():
        try:
            attempt.unmask(node, survivors)
        except RefusedError as refused:
            refusals[node] = str(refused)
    return refusals


def surround(always: Sequence[int], peers: Sequence[int], rest: Sequence[int], floor: int):
    """Return a survivor set of T for each of peers and rest, with as few peers as can be."""
    story: Story = {}
    for node in [*peers, *rest]:
        order = dict.fromkeys([*always, node, *rest, *peers])
        story[node] = list(order)[:floor]
    return story


@pytest.mark.slow
@pytest.mark.parametrize("rule", [True, False])
@pytest.mark.parametrize(
    ("n", "floor", "colluding"), [(5, 3, 0), (6, 4, 1), (8, 5, 1), (20, 11, 1)]
)
def test_a_small_cohort_for_one_victim(tmp_path, monkeypatch, n, floor, colluding, rule):
    """(i) The victim masks with T - 1 peers, and everybody hears of other survivors."""
    if not rule:
        without_one_view(monkeypatch)
    world = Federation(tmp_path, monkeypatch, Numbers(n, floor, floor, colluding))
    attempt, victim = Attempt(world), world.ids[0]
    helpers = world.ids[n - colluding :]
    peers = world.ids[1 : floor - colluding]
    rest = world.ids[floor - colluding : n - colluding]
    for node in helpers:
        attempt.collude(node)
    attempt.train(victim, sorted([victim, *peers, *helpers]))
    for node in [*peers, *rest]:
        attempt.train(node, world.ids)
    refusals = tell_survivors(attempt, surround([victim, *helpers], peers, rest, floor))
    if rule:
        assert refusals == dict.fromkeys([*peers, *rest], "secagg_view_not_signed")
    assert attempt.opened([victim]) is not rule


def split_views(honest: Sequence[int], helper: int, floor: int, num_open: int) -> Story:
    """Return a survivor set of T for each node: the first ones always, the others in turn."""
    closed, gone = honest[num_open:], Counter[int]()
    num_out = len(honest) + 1 - floor
    story: Story = {}
    for node in honest:
        others = sorted((n for n in closed if n != node), key=lambda n: gone[n])
        out = others[:num_out]
        gone.update(out)
        story[node] = [n for n in (*honest, helper) if n not in out]
    return story


@pytest.mark.slow
@pytest.mark.parametrize("rule", [True, False])
@pytest.mark.parametrize(("n", "num_open"), [(7, 3), (10, 5), (20, 11)])
def test_split_survivor_views(tmp_path, monkeypatch, n, num_open, rule):
    """(ii) Fewer than T - c inputs, with the default t and T and one colluder."""
    if not rule:
        without_one_view(monkeypatch)
    t = graph.default_threshold(n)
    assert num_open < t - 1
    world = Federation(tmp_path, monkeypatch, Numbers(n, t, t))
    attempt, helper, honest = Attempt(world), world.ids[-1], world.ids[:-1]
    attempt.collude(helper)
    for node in honest:
        attempt.train(node, world.ids)
    story = split_views(honest, helper, t, num_open)
    refusals = tell_survivors(attempt, story)
    if rule:
        assert refusals == dict.fromkeys(honest, "secagg_view_not_signed")
    assert attempt.opened(honest[:num_open]) is not rule
    assert (frozenset(honest[:num_open]) in attempt.spy.open_sets()) is not rule


@pytest.mark.slow
@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("rule", [Rule.HELD, Rule.MASKED, Rule.INSIDE])
def test_withheld_ciphertexts(tmp_path, monkeypatch, rule, is_on):
    """One view for all, and still one input: the server delivers some of the rows only."""
    n, t, floor, _ = HOLES[rule]
    strategy = least_open(n, t, floor, [rule])
    world = Federation(tmp_path, monkeypatch, Numbers(n, floor, t, 0))
    if not is_on:
        SWITCH_OFF[rule](monkeypatch)
    attempt, refusals = Attempt(world), set()

    def ids(places) -> list[int]:
        return [world.ids[i] for i in sorted(places)]

    def tell(act, *told) -> None:
        try:
            act(*told)
        except RefusedError as refused:
            refusals.add(str(refused))

    for i, plan in strategy.told.items():
        tell(attempt.train, world.ids[i], ids(strategy.cohorts[plan]), ids(strategy.met[i]))
    for i, w in strategy.signs.items():
        tell(attempt.confirm, world.ids[i], ids(strategy.survivors[w]))
    for i, w in strategy.gives.items():
        if world.ids[i] in attempt.cohorts:
            tell(attempt.unmask, world.ids[i], ids(strategy.survivors[w]))
    expected = {
        Rule.HELD: "secagg_shares_too_few",
        Rule.MASKED: "secagg_survivor_not_masked",
        Rule.INSIDE: "secagg_left_out",
    }
    assert (expected[rule] in refusals) is is_on
    chosen = world.ids[: strategy.opened]
    assert (set(chosen) <= set(attempt.cohorts) and attempt.opened(chosen)) is not is_on


def ring_of_20(world: Federation, attempt: Attempt) -> list[int]:
    """Return the nodes as they stand on the ring, the colluder second, behind its victim."""
    seed = adverts_hash(attempt.roster.adverts)
    order = [world.ids[member] for member in graph._ring(20, seed)[0]]
    at = order.index(world.ids[-1]) - 1
    return [order[(at + k) % 20] for k in range(20)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("allowed", "quorum_of_roster", "reason"),
    [
        (False, True, "policy_refused"),
        (True, True, "secagg_view_not_signed"),
        (True, False, None),
    ],
)
def test_a_sparse_graph(tmp_path, monkeypatch, allowed, quorum_of_roster, reason):
    """(iii) The neighbours of a victim hear three views, each signed by t nodes.

    n 20, k 6, t 5, T 11, c 1. The victim stands before the colluder on the ring; the server may
    draw that again until it does. Where q is counted over the roster, no view finds signers.
    """
    monkeypatch.setattr(graph, "COMPLETE_UP_TO", 10)
    monkeypatch.setattr(graph, "choose_num_neighbors", lambda *_: 6)
    if not quorum_of_roster:
        monkeypatch.setattr(ProtocolParameters, "quorum", lambda self, shape: shape.threshold)
    numbers = Numbers(20, 11, 5, more="aggregation.graph=sparse")
    world = Federation(tmp_path, monkeypatch, numbers, allow_sparse_graph=allowed)
    if not allowed:
        with pytest.raises(RefusedError, match=reason):
            Attempt(world)
        return
    attempt = Attempt(world)
    ring = ring_of_20(world, attempt)
    victim, helper = ring[0], ring[1]
    attempt.collude(helper)
    attempt.train(victim, world.ids, [ring[p] for p in (1, 2, 3, -3)])
    for node in ring[2:]:
        attempt.train(node, world.ids)
    # Positions on the ring: who hears that which peers of the victim dropped out.
    views = {
        (2, 3): (4, 5, 6, 7, 8),
        (3,): (2, 9, 10, -9, -8),
        (2, -3): (3, -1, -2, -4, -5, -6),
    }
    refusals = set()
    for gone, told in views.items():
        survivors = [node for node in world.ids if node not in {ring[p] for p in gone}]
        for act in (attempt.confirm, attempt.unmask):
            for place in told:
                try:
                    act(ring[place], survivors)
                except RefusedError as refused:
                    refusals.add(str(refused))
    assert refusals == ({reason} if reason else set())
    assert attempt.opened([victim]) is (reason is None)
