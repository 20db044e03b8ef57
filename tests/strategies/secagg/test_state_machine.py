"""A malicious server drives the nodes as it likes, killing them at any write.

Five nodes on the complete graph, T = t = 4; the last node colludes: the server reads its
store and holds its share of everyone. Rules send any request for any of several attempts to
any node, in any order, with rosters, cohorts, models and survivor sets of the server's
choice, repeat old requests, and end a node's process before or after its write. A process
that ended before the write finds the store rolled back to before the message; one that
ended after it has lost the reply; both start again with nothing but the store.

After every step: no set of fewer than T - c honest inputs can be opened, no two sums over
one model can, no node gave both shares of a node, or masked twice under one attempt's keys.
"""

import contextlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from strategies.secagg.client.masking_step import Opened
from strategies.secagg.client.transitions import FINAL, OPEN, Stage
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import (
    NO_LOG_HEAD,
    Advert,
    AdvertReply,
    AdvertRequest,
    KeyReply,
    KeyRoster,
    MaskedInput,
    Refusal,
    Roster,
    ShareRequest,
    SharesUpload,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from tests.strategies.secagg.spy import Spy
from tests.strategies.secagg.world import PARAMETERS, World, attempt, binding_for, stream

ATTEMPTS = [attempt(number, again) for number in (1, 2, 3, 4) for again in (0, 1)]
MODELS = ["model A", "model B"]
WHO = st.integers(0, 4)
WHEN = st.sampled_from(["never"] * 6 + ["before", "after"])
WHICH = st.sampled_from(ATTEMPTS)
NEXT = st.sampled_from([None, *ATTEMPTS])


class MaliciousServer(RuleBasedStateMachine):
    """The server's rules; `self.world` are the honest nodes' programs."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(PARAMETERS, 5, dimension=4)
        self.ids = self.world.ids
        self.adverts: dict[AttemptId, dict[int, bytes]] = {key: {} for key in ATTEMPTS}
        self.kem_keys: dict[tuple[AttemptId, int], tuple[bytes, bytes]] = {}
        self.shares: dict[AttemptId, dict[int, dict[int, bytes]]] = {k: {} for k in ATTEMPTS}
        self.spies: dict[AttemptId, Spy] = {}
        self.models: dict[tuple[AttemptId, int], str] = {}
        self.rosters: dict[AttemptId, Roster] = {}
        self.old: list[tuple[str, int, bytes]] = []
        self.num_roles = 0

    def call(self, method: str, at: int, data: bytes, when: str, *more):
        """Send a request to a node, perhaps ending its process at its write."""
        node = self.ids[at]
        store, role = self.world.stores[node], self.fresh_role(node)
        # What is overdue goes first, in a write of its own.
        store.expire(self.world.clock.now)
        before = dict(store.table)
        store.kill_before, store.kill_after = when == "before", when == "after"
        reply = None
        with contextlib.suppress(KeyboardInterrupt):
            reply = getattr(role, method)(data, *more)
        store.kill_before = store.kill_after = False
        if when == "before":
            assert store.table == before
        self.old.append((method, at, data))
        return None if reply is None or isinstance(reply, Refusal) else reply

    def fresh_role(self, node: int):
        """Return a new process at a node: it knows the store only, and new randomness."""
        self.num_roles += 1
        return self.world.role(node, random_bytes=stream(self.num_roles))

    def keep_advert(self, at: int, data: bytes) -> None:
        reply = AdvertReply.decode(data)
        key, node = reply.attempt, self.ids[at]
        assert node not in self.adverts[key], "a second advert for one attempt"
        self.adverts[key][node] = reply.advert
        self.kem_keys[key, node] = reply.mask_kem_key, reply.share_kem_key

    def keep_shares(self, upload: SharesUpload, at: int) -> None:
        assert self.ids[at] not in self.shares[upload.attempt], "one advert shared twice"
        self.shares[upload.attempt][self.ids[at]] = dict(upload.rows)

    def roster(self, key: AttemptId, skip: int) -> Roster:
        """Return the roster of an attempt, perhaps without one member."""
        table = self.adverts[key]
        chosen = [n for n in sorted(table) if not (len(table) == 5 and skip == n)]
        full = Roster(key, 4, max(0, len(chosen) - 1), tuple(table[n] for n in chosen))
        if len(chosen) in (4, 5):
            full = Roster(key, 3 if len(chosen) == 4 else 4, len(chosen) - 1, full.adverts)
        return full

    def asked(self, at: int, key: AttemptId, skip: int) -> bytes:
        """Return the request to share under that roster, with the true ML-KEM keys."""
        roster, node = self.roster(key, skip), self.ids[at]
        is_key = isinstance(roster, KeyRoster)
        kem_keys = {}
        for peer in (Advert.decode(advert).node_id for advert in roster.adverts):
            mask_key, share_key = self.kem_keys[key, peer]
            kem_keys[peer] = share_key + mask_key * (node < peer and not is_key)
        rows = tuple((peer, kem_keys[peer]) for peer in kem_keys if peer != node)
        return ShareRequest(key, roster.encode(), rows).encode()

    @rule(at=WHO, key=WHICH, when=WHEN)
    def bootstrap(self, at, key, when):
        reply = self.call("advertise", at, AdvertRequest(key).encode(), when)
        if reply is not None:
            self.keep_advert(at, reply.encode())

    @rule(key=WHICH)
    def bootstrap_all(self, key):
        for at in range(5):
            self.bootstrap(at, key, "never")

    @rule(at=WHO, key=WHICH, skip=st.sampled_from([0, 0, 0, 101, 122, 129]), when=WHEN)
    def share(self, at, key, skip, when):
        reply = self.call("share", at, self.asked(at, key, skip), when)
        if reply is not None:
            self.keep_shares(reply, at)

    @rule(key=WHICH)
    def share_all(self, key):
        for at in range(5):
            self.share(at, key, 0, "never")

    @rule(
        at=WHO,
        key=WHICH,
        following=NEXT,
        model=st.sampled_from(MODELS),
        skip=st.sampled_from([0, 0, 0, 101, 122, 129]),
        when=WHEN,
    )
    def train(self, at, key, following, model, skip, when):
        node = self.ids[at]
        secrets = self.shared_of(key, node)
        sent = self.shares[key]
        cohort = tuple(n for n in sorted(sent) if n != skip)
        if secrets is None:
            hashed, numbers = bytes(32), (4, 4, 1)
        else:
            hashed, numbers = secrets.roster, (secrets.threshold, 4, 1)
        binding = binding_for(model)
        shares = tuple((n, sent[n][node]) for n in cohort if n != node and node in sent[n])
        claimed = binding.hash(hashed, cohort, numbers, NO_LOG_HEAD)
        request = TrainRequest(key, cohort, shares, claimed, NO_LOG_HEAD, following).encode()
        opened = self.call("open_train", at, request, "never", binding)
        if opened is None:
            return
        reply = self.mask(node, opened, when)
        if reply is not None:
            self.saw(key, node, opened, reply, model)

    def shared_of(self, key: AttemptId, node: int):
        """Read a node's shared stage: the harness uses it only to state the true binding."""
        from strategies.secagg.client.store import SharedSecrets

        record = self.world.stores[node].table.get(key)
        if record is None or record.stage is not Stage.SHARED:
            return None
        return SharedSecrets.decode(record.secrets)

    def mask(self, node: int, opened: Opened, when: str) -> MaskedInput | None:
        store, role = self.world.stores[node], self.fresh_role(node)
        store.kill_before, store.kill_after = when == "before", when == "after"
        reply = None
        with contextlib.suppress(KeyboardInterrupt):
            reply = role.mask(
                opened, self.world.inputs[node].copy(), self.world.scalars[node], 24
            )
        store.kill_before = store.kill_after = False
        return reply if isinstance(reply, MaskedInput) else None

    def saw(self, key, node, opened, reply, model):
        members = opened.secrets.members
        spy = self.spies.setdefault(
            key, Spy(members, opened.secrets.threshold, frozenset({self.ids[4]}))
        )
        spy.saw_input(node, opened, reply)
        self.models[key, node] = model
        if reply.next_advert is not None:
            self.keep_advert(self.ids.index(node), reply.next_advert)

    @rule(key=WHICH, following=NEXT, model=st.sampled_from(MODELS))
    def masked_all(self, key, following, model):
        self.bootstrap_all(key)
        self.share_all(key)
        self.train_all(key, following, model)

    @rule(key=WHICH, following=NEXT, model=st.sampled_from(MODELS))
    def train_all(self, key, following, model):
        for at in range(5):
            self.train(at, key, following, model, 0, "never")

    @rule(at=WHO, key=WHICH, dropped=st.sets(WHO, max_size=2), following=NEXT, when=WHEN)
    def unmask(self, at, key, dropped, following, when):
        cohort = sorted(self.shares[key])
        gone = tuple(n for n in cohort if self.ids.index(n) in dropped)
        left = tuple(n for n in cohort if n not in gone)
        rides = self.asked(at, following, 0) if following else None
        request = UnmaskRequest(key, left, gone, (), (), rides).encode()
        self.took(at, key, self.call("unmask", at, request, when))

    def took(self, at: int, key: AttemptId, reply: UnmaskReply | None) -> None:
        if reply is None:
            return
        self.spies[key].saw_shares(self.ids[at], reply)
        if reply.next_shares is not None:
            self.keep_shares(SharesUpload.decode(reply.next_shares), at)

    @rule(key=WHICH, dropped=st.sets(WHO, max_size=3))
    def unmask_all(self, key, dropped):
        """Tell every node the same story."""
        for at in range(5):
            self.unmask(at, key, dropped, None, "never")

    @rule(key=WHICH, following=WHICH, model=st.sampled_from(MODELS))
    def ahead(self, key, following, model):
        """Have two attempts open at once, as the steady state does."""
        self.masked_all(key, following, model)
        self.share_all(following)

    @rule(
        keys=st.permutations(ATTEMPTS),
        model=st.sampled_from(MODELS),
        stories=st.tuples(st.sets(WHO, max_size=1), st.sets(WHO, max_size=1)),
        at_once=st.booleans(),
    )
    def repeat_a_model(self, keys, model, stories, at_once):
        """Ask for two sums over one model, one after the other or both open at once."""
        first, second = keys[:2]
        if at_once:
            self.ahead(first, second, model)
            self.train_all(second, None, model)
        else:
            self.masked_all(first, None, model)
        self.unmask_all(first, stories[0])
        if not at_once:
            self.masked_all(second, None, model)
        self.unmask_all(second, stories[1])

    @rule(
        key=WHICH,
        model=st.sampled_from(MODELS),
        stories=st.tuples(*[st.sets(WHO, max_size=2)] * 5),
    )
    def tell_stories(self, key, model, stories):
        """Tell every node of other survivors."""
        self.masked_all(key, None, model)
        for at, story in enumerate(stories):
            self.unmask(at, key, story, None, "never")

    @rule(key=WHICH, model=st.sampled_from(MODELS), dropped=st.sets(WHO, max_size=3))
    def few_survivors(self, key, model, dropped):
        """Run a whole attempt and claim that up to three nodes dropped out at its end."""
        self.masked_all(key, None, model)
        self.unmask_all(key, dropped)

    @rule(key=WHICH)
    def share_twice(self, key):
        """Ask for a second sharing of the same seeds: t shares of each would be too many."""
        self.bootstrap_all(key)
        self.share_all(key)
        self.share_all(key)

    @rule(data=st.data(), when=WHEN)
    def replay(self, data, when):
        if not self.old:
            return
        method, at, request = data.draw(st.sampled_from(self.old[-30:]))
        if method == "open_train":
            return
        reply = self.call(method, at, request, when)
        # Answered now only if it never was: a second answer fails in what is called here.
        if isinstance(reply, Advert):
            self.keep_advert(reply.attempt, at, reply.encode())
        elif isinstance(reply, SharesUpload):
            self.keep_shares(reply, at)
        elif isinstance(reply, UnmaskReply | KeyReply):
            self.took(at, reply.attempt, reply)

    @rule(seconds=st.sampled_from([1.0, 60.0]))
    def time_passes(self, seconds):
        self.world.clock.now += seconds

    @invariant()
    def no_small_sum_is_open(self):
        opened: dict[str, list[frozenset[int]]] = {}
        for key, spy in self.spies.items():
            for chosen in spy.open_sets():
                assert len(chosen) >= PARAMETERS.min_survivors - PARAMETERS.max_colluding
                for model in {self.models[key, node] for node in chosen}:
                    opened.setdefault(model, []).append(chosen)
        for sums in opened.values():
            assert len(set(sums)) <= 1, "two sums over one model"

    @invariant()
    def ended_attempts_hold_no_secrets(self):
        for store in self.world.stores.values():
            for record in store.table.values():
                assert record.stage in OPEN or not record.secrets
                assert record.stage in FINAL or record.secrets


MaliciousServer.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestMaliciousServer = MaliciousServer.TestCase


def test_the_machine_can_open_an_honest_sum():
    """So that its invariants do not hold for want of success."""
    machine = MaliciousServer()
    machine.bootstrap_all(ATTEMPTS[0])
    machine.share_all(ATTEMPTS[0])
    machine.train_all(ATTEMPTS[0], ATTEMPTS[2], MODELS[0])
    machine.unmask_all(ATTEMPTS[0], set())
    assert machine.spies[ATTEMPTS[0]].open_sets() == [frozenset(machine.ids[:4])]
    assert len(machine.adverts[ATTEMPTS[2]]) == 5
    machine.share_all(ATTEMPTS[2])
    machine.train_all(ATTEMPTS[2], None, MODELS[1])
    machine.unmask_all(ATTEMPTS[2], {1})
    machine.no_small_sum_is_open()
    assert machine.spies[ATTEMPTS[2]].open_sets()
