"""No strategy of a server opens a sum under the floor; with a rule off, one does.

What the search finds is acted out against the real roles: a rule that the search needs and the
code lacks, or the other way round, shows itself.
"""

import pytest

from strategies.secagg.client.transitions import TRANSITIONS, Event, Stage
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import (
    NO_LOG_HEAD,
    ConfirmRequest,
    Refusal,
    Roster,
    SharesUpload,
    TrainRequest,
    UnmaskRequest,
)
from tests.strategies.secagg.one_view_rules import HOLES, REJECTING_INPUTS_COUNT, SWITCH_OFF
from tests.strategies.secagg.one_view_search import Rule, Strategy, least_open, legal
from tests.strategies.secagg.spy import Spy
from tests.strategies.secagg.world import World, attempt, binding_for, ok


@pytest.mark.slow
@pytest.mark.parametrize("few_givers", [False, True])
@pytest.mark.parametrize("h", [2, 3, 4, 5])
def test_nothing_opens_for_few_honest_nodes(h, few_givers):
    for s, f in legal(h):
        assert least_open(h, s, f, few_givers=few_givers) is None, (h, s, f)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("few_givers", [False, True])
@pytest.mark.parametrize("h", [6, 7])
def test_nothing_opens_for_more(h, few_givers):
    for s, f in legal(h):
        assert least_open(h, s, f, seconds=600, few_givers=few_givers) is None, (h, s, f)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("few_givers", [False, True])
@pytest.mark.parametrize("h", [8, 9])
def test_nothing_opens_for_the_least_legal_numbers(h, few_givers):
    s = h // 2 + 1
    assert least_open(h, s, s, seconds=2000, few_givers=few_givers) is None


@pytest.mark.parametrize("rule", list(Rule))
def test_each_rule_off_has_a_hole_and_the_real_roles_have_it_too(rule, monkeypatch):
    *numbers, few_givers = HOLES[rule]
    strategy = least_open(*numbers, [rule], few_givers=few_givers)
    assert strategy is not None
    chosen = frozenset(World(parameters(*numbers[1:]), numbers[0]).ids[: strategy.opened])
    # With the rule on, somebody refuses, and the set stays closed.
    assert chosen not in play(strategy, *numbers, rejecting=False).open_sets()
    with monkeypatch.context() as patched:
        SWITCH_OFF[rule](patched)
        rejecting = rule in REJECTING_INPUTS_COUNT
        assert chosen in play(strategy, *numbers, rejecting=rejecting).open_sets()


def parameters(s: int, f: int) -> ProtocolParameters:
    return ProtocolParameters(min_survivors=f, max_colluding=0, threshold=s)


def play(strategy: Strategy, h: int, s: int, f: int, *, rejecting: bool) -> Spy:
    """Tell real nodes what a strategy tells them; refusals are borne.

    With ``rejecting`` inputs that reject somebody are shown as proofs too.
    """
    world = World(parameters(s, f), h, with_identities=True, dimension=4)
    server, spy = world.server(attempt()), Spy(tuple(world.ids), s)
    roster = world.bootstrap(server)
    uploads = [
        SharesUpload.decode(ok(world.roles[n].share(world.told(n, roster))).encode())
        for n in world.ids
    ]
    rows = {node: dict(upload.rows) for node, upload in zip(world.ids, uploads, strict=True)}
    told = Tale(world, roster, rows, spy, strategy, rejecting)
    for i in strategy.told:
        told.train(i)
    for i, w in strategy.signs.items():
        told.confirm(i, w)
    for i, w in strategy.gives.items():
        told.unmask(i, w)
    return spy


class Tale:
    """A server that acts out a strategy."""

    def __init__(
        self, world: World, roster: Roster, rows, spy: Spy, strategy: Strategy, rejecting: bool
    ) -> None:
        self.rejecting = rejecting
        self.world, self.roster, self.rows = world, roster, rows
        self.spy, self.strategy = spy, strategy
        self.views: dict[int, dict[int, bytes]] = {}

    def _ids(self, places) -> tuple[int, ...]:
        return tuple(self.world.ids[i] for i in sorted(places))

    def train(self, i: int) -> None:
        world, strategy, node = self.world, self.strategy, self.world.ids[i]
        u2 = self._ids(strategy.cohorts[strategy.told[i]])
        met = self._ids(strategy.met[i] - {i})
        rows = tuple((peer, self.rows[peer][node]) for peer in met)
        binding = binding_for()
        hashed = bound(world, self.roster, u2, binding)
        request = TrainRequest(attempt(), u2, rows, hashed, NO_LOG_HEAD, None)
        opened = world.roles[node].open_train(request.encode(), binding)
        if not isinstance(opened, Refusal):
            self.spy.saw_input(node, opened, world.masked(opened, node))

    def confirm(self, i: int, w: int) -> None:
        node, u3 = self.world.ids[i], self._ids(self.strategy.survivors.get(w, ()))
        reply = self.world.roles[node].confirm(ConfirmRequest(attempt(), u3).encode())
        if not isinstance(reply, Refusal):
            self.views.setdefault(w, {})[node] = reply.signature

    def unmask(self, i: int, w: int) -> None:
        strategy, node = self.strategy, self.world.ids[i]
        u3 = self._ids(strategy.survivors.get(w, ()))
        u2 = self._ids(strategy.cohorts[strategy.views[w].plan])
        mine = self.spy.opened.get(node)
        inputs = sorted(
            (n, m.payload_hash() + m.signature)
            for n, m in self.spy.inputs.items()
            if mine is not None
            and self.spy.opened[n].binding == mine.binding
            and (not m.rejected or self.rejecting)
        )
        views = tuple(sorted(self.views.get(w, {}).items()))
        gone = tuple(n for n in u2 if n not in u3)
        request = UnmaskRequest(attempt(), u3, gone, tuple(inputs), views, None)
        reply = self.world.roles[node].unmask(request.encode())
        if not isinstance(reply, Refusal):
            self.spy.saw_shares(node, reply)


def bound(world: World, roster: Roster, u2, binding) -> bytes:
    from strategies.secagg.binding import roster_hash

    p = world.parameters
    numbers = roster.threshold, p.survivors(len(world.ids)), p.max_colluding
    return binding.hash(roster_hash(roster), u2, numbers, NO_LOG_HEAD)


def test_the_rules_are_those_of_the_state_machine():
    """A node signs at most one view and gives at most once: the search assumes it."""
    confirms = [after for (_, event), after in TRANSITIONS.items() if event is Event.CONFIRM]
    gives = [after for (_, event), after in TRANSITIONS.items() if event is Event.UNMASK]
    assert confirms == [Stage.CONFIRMED]
    assert set(gives) == {Stage.REVEALED}
