"""No strategy of a server opens a sum under the floor; with a rule off, one does.

What the search finds is acted out against the real roles: a rule that the search needs and the
code lacks, or the other way round, shows itself.
"""

from collections.abc import Callable

import pytest

import strategies.secagg.client.checks as checks
import strategies.secagg.client.masking_step as masking_step
import strategies.secagg.client.role as role
from strategies.secagg.client.transitions import TRANSITIONS, Event, Stage
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import (
    ConfirmRequest,
    Refusal,
    RefusalReason,
    Roster,
    SharesUpload,
    TrainRequest,
    UnmaskRequest,
)
from tests.strategies.secagg.one_view_search import Rule, Strategy, least_open, legal
from tests.strategies.secagg.spy import Spy
from tests.strategies.secagg.world import World, attempt, binding_for, ok


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
@pytest.mark.parametrize("h", [8, 9])
def test_nothing_opens_for_the_least_legal_numbers(h):
    s = h // 2 + 1
    assert least_open(h, s, s, seconds=2000) is None


#: A hole for each rule that is off: honest nodes, honest threshold, honest floor, and whether
#: it is a sum of which few gave shares, or one under the floor.
HOLES = {
    Rule.INSIDE: (3, 2, 2, False),
    Rule.MASKED: (3, 2, 2, False),
    Rule.FLOOR: (3, 2, 3, False),
    Rule.HELD: (3, 2, 2, False),
    Rule.SIGNED: (5, 3, 3, False),
    Rule.CONFIRMED: (5, 3, 3, False),
    Rule.SHOWN: (3, 2, 2, True),
    Rule.WHOLE: (3, 2, 2, True),
}


@pytest.mark.parametrize("rule", list(Rule))
def test_each_rule_off_has_a_hole_and_the_real_roles_have_it_too(rule, monkeypatch):
    *numbers, few_givers = HOLES[rule]
    strategy = least_open(*numbers, [rule], few_givers=few_givers)
    assert strategy is not None
    chosen = frozenset(World(parameters(*numbers[1:]), numbers[0]).ids[: strategy.opened])
    # With the rule on, somebody refuses, and the set stays closed.
    assert chosen not in play(strategy, *numbers).open_sets()
    with monkeypatch.context() as patched:
        SWITCH_OFF[rule](patched)
        assert chosen in play(strategy, *numbers).open_sets()


def parameters(s: int, f: int) -> ProtocolParameters:
    return ProtocolParameters(min_survivors=f, max_colluding=0, threshold=s)


def without(*switched_off: str) -> Callable:
    """Return what switches off every check whose reason or detail begins so."""
    honest = checks.require

    def loose(holds, reason, detail=""):
        if not detail.startswith(switched_off) and not reason.name.startswith(switched_off):
            honest(holds, reason, detail)

    def switch(patched):
        for module in (checks, masking_step, role):
            patched.setattr(module, "require", loose)

    return switch


def only_masked_inputs(patched) -> None:
    """Take q masked inputs under a plan as the proof of any U3 in it."""

    def check(request, secrets, stage, identity):
        assert stage is Stage.MASKED
        checks.require(
            len(list(checks._inputs(request, secrets))) >= secrets.quorum,
            RefusalReason.VIEW_NOT_SIGNED,
        )

    patched.setattr(checks, "check_one_view", check)


def nothing_where_whole(patched) -> None:
    honest = checks.check_one_view

    def check(request, secrets, stage, identity):
        if stage is Stage.MASKED and request.survivors == secrets.cohort:
            return
        honest(request, secrets, stage, identity)

    patched.setattr(checks, "check_one_view", check)


def rejecting_inputs_count(patched) -> None:
    def check(request, secrets, stage, identity):
        if stage is Stage.MASKED:
            assert request.survivors == secrets.cohort
            assert len(request.inputs) >= secrets.quorum
        else:
            honest(request, secrets, stage, identity)

    honest = checks.check_one_view
    patched.setattr(checks, "check_one_view", check)


SWITCH_OFF: dict[Rule, Callable] = {
    Rule.INSIDE: without("LEFT_OUT", "signed by"),
    Rule.MASKED: without("SURVIVOR_NOT_MASKED", "1 neighbours"),
    Rule.FLOOR: without("SURVIVORS_TOO_FEW"),
    Rule.HELD: without("SHARES_TOO_FEW"),
    Rule.SIGNED: lambda patched: patched.setattr(checks, "check_one_view", lambda *_: None),
    Rule.CONFIRMED: only_masked_inputs,
    Rule.SHOWN: nothing_where_whole,
    Rule.WHOLE: rejecting_inputs_count,
}


def play(strategy: Strategy, h: int, s: int, f: int) -> Spy:
    """Tell real nodes what a strategy tells them; refusals are borne."""
    world = World(parameters(s, f), h, with_identities=True, dimension=4)
    server, spy = world.server(attempt()), Spy(tuple(world.ids), s)
    roster = world.bootstrap(server)
    uploads = [
        SharesUpload.decode(ok(world.roles[n].share(roster.encode())).encode())
        for n in world.ids
    ]
    rows = {node: dict(upload.rows) for node, upload in zip(world.ids, uploads, strict=True)}
    told = Tale(world, roster, rows, spy, strategy)
    for i in strategy.told:
        told.train(i)
    for i, w in strategy.signs.items():
        told.confirm(i, w)
    for i, w in strategy.gives.items():
        told.unmask(i, w)
    return spy


class Tale:
    """A server that acts out a strategy."""

    def __init__(self, world: World, roster: Roster, rows, spy: Spy, strategy: Strategy):
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
        request = TrainRequest(attempt(), u2, rows, hashed, None)
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
        # Inputs that reject somebody are shown last: nodes take as many as they are shown.
        inputs = sorted(
            (n, m.payload_hash() + m.signature)
            for n, m in self.spy.inputs.items()
            if mine is not None
            and self.spy.opened[n].binding == mine.binding
            and (not m.rejected or self._shows_all)
        )
        views = tuple(sorted(self.views.get(w, {}).items()))
        gone = tuple(n for n in u2 if n not in u3)
        request = UnmaskRequest(attempt(), u3, gone, tuple(inputs), views, None)
        reply = self.world.roles[node].unmask(request.encode())
        if not isinstance(reply, Refusal):
            self.spy.saw_shares(node, reply)

    @property
    def _shows_all(self) -> bool:
        return checks.check_one_view.__name__ != "check_one_view"


def bound(world: World, roster: Roster, u2, binding) -> bytes:
    from strategies.secagg.binding import roster_hash

    p = world.parameters
    numbers = roster.threshold, p.survivors(len(world.ids)), p.max_colluding
    return binding.hash(roster_hash(roster), u2, numbers)


def test_the_rules_are_those_of_the_state_machine():
    """A node signs at most one view and gives at most once: the search assumes it."""
    confirms = [after for (_, event), after in TRANSITIONS.items() if event is Event.CONFIRM]
    gives = [after for (_, event), after in TRANSITIONS.items() if event is Event.UNMASK]
    assert confirms == [Stage.CONFIRMED]
    assert set(gives) == {Stage.REVEALED}
