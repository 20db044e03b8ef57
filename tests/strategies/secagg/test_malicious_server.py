"""A server that breaks the protocol: every attack is refused by name or learns nothing."""

import dataclasses
from itertools import product

import numpy as np
import pytest

from strategies.secagg.client.store import MaskedSecrets
from strategies.secagg.crypto.keys import KeyPair, commit
from strategies.secagg.messages import NO_LOG_HEAD, Advert, MaskedInput, Roster, UnmaskReply
from strategies.secagg.packing import unpack
from strategies.secagg.server.outcome import AbandonedError
from strategies.secagg.server.role import ServerRole
from tests.strategies.secagg.attacks import split, trained
from tests.strategies.secagg.spy import Spy
from tests.strategies.secagg.world import (
    BITS,
    CLASSICAL,
    PARAMETERS,
    World,
    advert_in,
    attempt,
    binding_for,
    ok,
    refusal_name,
    told,
)


def looks_random(vector: np.ndarray, truth: np.ndarray) -> bool:
    """Two of 40 entries equal by chance with probability below 1e-11."""
    return np.count_nonzero(vector == truth) < 2


def mask_keys(world: World) -> dict[int, bytes]:
    """Return the public mask keys of the last attempt, as the server saw them."""
    return {node: world.adverts[node].mask_key for node in world.ids}


@pytest.fixture
def world(monkeypatch) -> World:
    """Five nodes; adverts are recorded as the server sees them."""
    made = World(CLASSICAL, 5)
    made.adverts = {}
    add = ServerRole.add_advert

    def record(self, sender, data):
        made.adverts[sender] = advert_in(data)
        add(self, sender, data)

    monkeypatch.setattr(ServerRole, "add_advert", record)
    return made


def test_the_spy_opens_what_an_honest_run_opens(world):
    """So that its silence elsewhere means something."""
    server, spy = trained(world)
    server.close_masked()
    assert spy.open_sets() == []
    for node in world.ids:
        spy.saw_shares(node, ok(world.roles[node].unmask(split(world, set()))))
    assert spy.open_sets() == [frozenset(world.ids)]


def test_the_spy_opens_one_input_if_it_is_given_both_seeds(world):
    """What the refusals prevent: the shares are taken out of the nodes' stores here."""
    _, spy = trained(world)
    for holder in world.ids:
        kept = MaskedSecrets.decode(world.stores[holder].table[attempt()].secrets)
        point = world.ids.index(holder) + 1
        for node, pair in kept.held:
            spy.shares["mask"][node][point] = pair[:33]
            spy.shares["self"][node][point] = pair[33:]
    for node in world.ids:
        vector = spy.unmask_one(node, mask_keys(world), BITS)
        np.testing.assert_array_equal(vector, world.inputs[node])


def in_place_of(advert: bytes, number: int) -> tuple[Advert, tuple[bytes, bytes]]:
    """Return an advert with keys of the server's own for another's, and its ML-KEM keys."""
    seeds = bytes([number] * 32), bytes([90 + number] * 32)
    mask_keys, share_keys = (KeyPair(seed, hybrid=True) for seed in seeds)
    forged = dataclasses.replace(
        Advert.decode(advert),
        mask_key=mask_keys.public,
        share_key=share_keys.public,
        commitment=commit(seeds[0]),
    )
    return forged, (mask_keys.kem_public, share_keys.kem_public)


def with_own_keys(world: World, replaced: range) -> dict[int, bytes]:
    """Return each node's request to share, with the server's own keys for some members."""
    server = world.server(attempt())
    roster = world.bootstrap(server)
    adverts = list(roster.adverts)
    for at in replaced:
        forged, kem_keys = in_place_of(adverts[at], at)
        adverts[at], server._kem_keys[forged.node_id] = forged.encode(), kem_keys
    shown = dataclasses.replace(roster, adverts=tuple(adverts))
    return {node: told(server.share_request(node), shown) for node in world.ids}


@pytest.mark.parametrize("with_identities", [False, True])
def test_own_keys_for_a_victim_are_refused_by_all_with_identities(with_identities):
    """Without them by the victim alone: the others would share with the server."""
    world = World(PARAMETERS, 5, with_identities=with_identities)
    asked = with_own_keys(world, range(2, 3))
    replies = {node: world.roles[node].share(asked[node]) for node in world.ids}
    assert refusal_name(replies.pop(world.ids[2])) == "OWN_ADVERT_WRONG"
    if not with_identities:
        assert all(ok(reply).rows for reply in replies.values())
        return
    assert {refusal_name(reply) for reply in replies.values()} == {"BAD_SIGNATURE"}
    assert all(not store.secrets() for store in world.stores.values())


@pytest.mark.parametrize("with_identities", [False, True])
def test_a_victim_surrounded_by_invented_nodes_refuses_with_identities(with_identities):
    world = World(PARAMETERS, 5, with_identities=with_identities)
    node = world.ids[0]
    reply = world.roles[node].share(with_own_keys(world, range(1, 5))[node])
    if with_identities:
        assert refusal_name(reply) == "BAD_SIGNATURE"
    else:
        assert len(ok(reply).rows) == 4


def test_a_victim_declared_dropped_stays_under_its_self_mask(world):
    _, spy = trained(world)
    victim = world.ids[2]
    for node in world.ids:
        reply = world.roles[node].unmask(split(world, {victim}))
        if node == victim:
            assert refusal_name(reply) == "LEFT_OUT"
        else:
            spy.saw_shares(node, reply)
    assert spy.knows("mask", victim)
    assert not spy.knows("self", victim)
    assert spy.open_sets() == [frozenset(world.ids) - {victim}]
    vector = spy.unmask_one(victim, mask_keys(world), BITS)
    assert looks_random(vector, world.inputs[victim])


def test_different_survivors_to_different_nodes_open_no_small_sum():
    """Every way to tell five nodes of all or all but one, with a colluder: 5^4 stories."""
    ids = tuple(range(5))
    smallest = 9
    for story in product(range(-1, 5), repeat=4):
        if any(left_out == node for node, left_out in enumerate(story)):
            continue
        known = {
            kind: [
                1 + sum((story[holder] != node) == (kind == "self") for holder in range(4))
                for node in ids
            ]
            for kind in ("self", "mask")
        }
        assert not any(known["self"][n] >= 4 and known["mask"][n] >= 4 for n in ids[:4])
        open_nodes = [n for n in ids[:4] if known["self"][n] >= 4]
        closed = [n for n in ids[:4] if known["mask"][n] < 4 and known["self"][n] < 4]
        if open_nodes and not closed:
            smallest = min(smallest, len(open_nodes))
    assert smallest == PARAMETERS.min_survivors - PARAMETERS.max_colluding


def test_different_survivors_learn_at_most_the_honest_sum(world):
    """The same in the real protocol: two stories, and the spy finds no set below T - c."""
    _, spy = trained(world)
    colluder = world.ids[4]
    spy.colluders = frozenset({colluder})
    for i, node in enumerate(world.ids[:4]):
        told = {world.ids[3]} if i < 2 else {world.ids[1]} if i != 3 else set()
        reply = world.roles[node].unmask(split(world, told - {node}))
        spy.saw_shares(node, ok(reply))
    assert all(len(chosen) >= 3 for chosen in spy.open_sets())
    for node in world.ids[:4]:
        assert looks_random(spy.unmask_one(node, mask_keys(world), BITS), world.inputs[node])


@pytest.mark.parametrize(
    ("changed", "log_head"),
    [
        (binding_for("crafted"), NO_LOG_HEAD),
        (binding_for(config="no noise"), NO_LOG_HEAD),
        (binding_for(noise=3.0), NO_LOG_HEAD),
        (binding_for(), bytes([1]) * 40),
    ],
)
def test_another_model_configuration_or_log_for_one_victim_gives_a_random_vector(
    world, changed, log_head
):
    """Told honestly, the victim refuses; lied to consistently, its masks do not cancel."""
    server = world.ready(attempt())
    victim, numbers = world.ids[1], (4, 4, 1)
    spy = Spy(tuple(world.ids), 4)
    server.bind_masks(binding_for())
    for node in world.ids:
        binding, request = binding_for(), server.train_request(node)
        if node == victim:
            binding = changed
            roster = ok(world.roles[node].open_train(request.encode(), binding_for()))
            lied = binding.hash(roster.secrets.roster, request.cohort, numbers, log_head)
            request = dataclasses.replace(request, binding=lied, log_head=log_head)
        opened = ok(world.roles[node].open_train(request.encode(), binding))
        message = world.masked(opened, node)
        spy.saw_input(node, opened, message)
        server.add_masked(node, message.encode())
    server.close_masked()
    request = server.unmask_request().encode()
    for node in world.ids:
        reply = ok(world.roles[node].unmask(request))
        spy.saw_shares(node, reply)
        server.add_unmask(node, reply.encode())
    assert spy.open_sets() == []
    for node in world.ids:
        assert looks_random(spy.unmask_one(node, mask_keys(world), BITS), world.inputs[node])
    with pytest.raises(AbandonedError, match="contribution is not possible"):
        server.finish()


def test_another_log_under_the_same_binding_is_refused(world):
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    request = dataclasses.replace(server.train_request(world.ids[0]), log_head=bytes([1]) * 40)
    reply = world.roles[world.ids[0]].open_train(request.encode(), binding_for())
    assert refusal_name(reply) == "PLAN_MISMATCH"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_cohort_shrunk_under_the_floor_is_refused_at_every_stage(world, size):
    roster = world.bootstrap(world.server(attempt(1)))
    small = Roster(attempt(1), size, size - 1, roster.adverts[:size])
    node = world.ids[0]
    assert refusal_name(world.roles[node].share(world.told(node, small))) == "ROSTER_TOO_SMALL"
    server = world.ready(attempt(2))
    server.bind_masks(binding_for())
    request = server.train_request(node)
    shrunk = dataclasses.replace(request, cohort=request.cohort[:size])
    reply = world.roles[node].open_train(shrunk.encode(), binding_for())
    assert refusal_name(reply) == "COHORT_TOO_SMALL"
    server = world.ready(attempt(3))
    world.train(server, world.ids, binding_for("model 3"))
    reply = world.roles[node].unmask(split(world, set(world.ids[size:]), attempt(3)))
    assert refusal_name(reply) == "SURVIVORS_TOO_FEW"


def test_masked_input_alone_is_random_and_differs_between_attempts(world):
    for node in world.ids:
        world.inputs[node][:] = 7
    seen = []
    for number in (1, 2):
        server = world.ready(attempt(number))
        sent = world.train(server, world.ids, binding_for(f"model {number}"))
        seen.append(unpack(MaskedInput.decode(sent[world.ids[0]]).update, BITS, 40))
    assert looks_random(seen[0], world.inputs[world.ids[0]])
    assert looks_random(seen[0], seen[1])


def test_replies_hold_one_share_of_each_node(world):
    server, _ = trained(world)
    server.close_masked()
    reply = ok(world.roles[world.ids[0]].unmask(split(world, {world.ids[3]})))
    assert isinstance(reply, UnmaskReply)
    assert [n for n, _ in reply.self_shares] == [n for n in world.ids if n != world.ids[3]]
    assert [n for n, _ in reply.mask_shares] == [world.ids[3]]
