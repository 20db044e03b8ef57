"""Whole attempts and rounds with an honest server: exact sums, dropouts, expiry, trips."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strategies.secagg.client.transitions import Stage
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import MaskedInput
from strategies.secagg.server.outcome import AbandonedError, Phase
from strategies.secagg.server.role import ServerRole
from tests.strategies.secagg.world import (
    LARGER,
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
    refusal_name,
)

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)


@st.composite
def survivor_sets(draw):
    """Nested sets: who shared, who sent an input, who answered the unmask trip."""
    n = draw(st.integers(4, 9))
    t = 2 * n // 3 + 1
    sets, pool = [], list(range(n))
    for _ in range(3):
        size = draw(st.integers(t, len(pool)))
        pool = sorted(draw(st.permutations(pool))[:size])
        sets.append(pool)
    return n, t, sets


@pytest.mark.slow
@SLOW
@given(survivor_sets(), st.sampled_from([8, 16, 20, 24, 32, 40]), st.integers(0, 1000))
def test_sum_is_exact_over_every_survivor_set(case, bits, seed):
    n, t, (shared, masked, answered) = case
    parameters = ProtocolParameters(min_survivors=t, max_colluding=1, threshold=t)
    world = World(parameters, n, seed=seed, bits=bits, dimension=13)
    pick = [[world.ids[i] for i in group] for group in (shared, masked, answered)]
    server = world.server(attempt())
    world.share(server, world.bootstrap(server), pick[0])
    world.train(server, pick[1], binding_for())
    assert server.close_masked() == tuple(pick[1])
    result = world.unmask(server, pick[2])
    world.check(result, pick[1])
    assert set(result.dropouts) == set(pick[0]) - set(pick[1])


def test_dropouts_before_keys_are_not_in_the_roster():
    world = World(PARAMETERS, 6)
    server = world.ready(attempt(), world.ids[:4])
    world.train(server, world.ids[:4], binding_for())
    server.close_masked()
    world.check(world.unmask(server, world.ids[:4]), world.ids[:4])


@pytest.mark.parametrize("with_identities", [False, True])
@pytest.mark.parametrize("num_gone", [0, 1])
def test_the_confirm_trip_takes_place_where_somebody_drops_out(with_identities, num_gone):
    world = World(PARAMETERS, 5, with_identities=with_identities)
    server, alive = world.ready(attempt()), world.ids[num_gone:]
    world.train(server, alive, binding_for())
    server.close_masked()
    confirms = with_identities and num_gone > 0
    assert server.phase is (Phase.CONFIRM if confirms else Phase.UNMASK)
    world.check(world.unmask(server, alive), alive)


def test_ring_graph_gives_the_exact_sum_with_dropouts():
    parameters = ProtocolParameters(min_survivors=26, max_colluding=1, is_sparse=True)
    world = World(parameters, 34, with_identities=True, dimension=8)
    assert not parameters.shape(34).is_complete
    server = world.ready(attempt())
    alive = [node for i, node in enumerate(world.ids) if i not in (2, 9)]
    world.train(server, alive, binding_for())
    server.close_masked()
    result = world.unmask(server, alive)
    world.check(result, alive)


@pytest.mark.parametrize("stage", ["adverts", "shares", "inputs", "unmask"])
def test_below_the_threshold_the_attempt_is_abandoned(stage):
    world = World(PARAMETERS, 5)
    few, server = world.ids[:3], world.server(attempt())
    if stage == "adverts":
        with pytest.raises(AbandonedError, match="3 adverts where at least 4"):
            world.bootstrap(server, few)
    elif stage == "shares":
        roster = world.bootstrap(server)
        with pytest.raises(AbandonedError, match="3 shares"):
            world.share(server, roster, few)
    else:
        server = world.ready(attempt())
        world.train(server, few if stage == "inputs" else world.ids, binding_for())
        if stage == "inputs":
            with pytest.raises(AbandonedError, match="3 masked inputs"):
                server.close_masked()
        else:
            server.close_masked()
            with pytest.raises(AbandonedError, match="3 shares of node"):
                world.unmask(server, few)
    assert server.phase is Phase.ABANDONED
    with pytest.raises(RuntimeError, match="ABANDONED"):
        server.finish()
    # The next attempt starts afresh: it destroys what the abandoned one left at the nodes.
    again = world.ready(attempt(again=1))
    left = {key for store in world.stores.values() for key in store.secrets()}
    assert left == {attempt(again=1)}
    world.train(
        again, world.ids, binding_for(model="retried" if stage == "unmask" else "model 1")
    )
    again.close_masked()
    world.check(world.unmask(again, world.ids), world.ids)


def steady_round(world: World, server: ServerRole, number: int, cohort, joining=()):
    """Run one round in two trips while the next one's keys ride along; return both results."""
    binding = binding_for(model=f"model {number}")
    following = world.server(attempt(number + 1))
    sent = world.train(server, server.cohort, binding, following.attempt)
    for node, data in sent.items():
        if node in cohort:
            following.add_advert(node, MaskedInput.decode(data).next_advert)
    request = following.advert_request().encode()
    for node in joining:
        following.add_advert(node, ok(world.roles[node].advertise(request)).encode())
    following.close_adverts()
    server.close_masked()
    for node in server.survivors:
        rides = following.share_request(node) if node in cohort else None
        request = server.unmask_request(rides).encode()
        reply = server.add_unmask(node, ok(world.roles[node].unmask(request)).encode())
        if rides:
            following.add_shares(node, reply.next_shares)
    for node in joining:
        shares = ok(world.roles[node].share(following.share_request(node).encode()))
        following.add_shares(node, shares.encode())
    following.close_shares()
    return server.finish(), following


def test_steady_state_takes_two_trips_and_nodes_join_and_leave():
    world = World(LARGER, 7)
    server = world.ready(attempt(1), world.ids[:5])
    first, server = steady_round(world, server, 1, world.ids[:5])
    world.check(first, world.ids[:5])
    second, server = steady_round(world, server, 2, world.ids[1:5], joining=world.ids[5:])
    world.check(second, world.ids[:5])
    third, server = steady_round(world, server, 3, world.ids[1:])
    world.check(third, world.ids[1:])
    for node in world.ids[1:]:
        stages = {key.round: record.stage for key, record in world.stores[node].table.items()}
        assert stages[3] is Stage.REVEALED
        assert stages[4] is Stage.SHARED
        assert world.stores[node].secrets() == [attempt(4)]


def test_a_node_that_lost_its_state_is_left_out_and_comes_back_by_bootstrap():
    world = World(LARGER, 6)
    server = world.ready(attempt(1))
    lost = world.ids[0]
    world.stores[lost].table.clear()
    server.bind_masks(binding_for())
    reply = world.roles[lost].open_train(server.train_request(lost).encode(), binding_for())
    assert refusal_name(reply) == "UNKNOWN_ATTEMPT"
    world.train(server, world.ids[1:], binding_for())
    server.close_masked()
    world.check(world.unmask(server, world.ids[1:]), world.ids[1:])
    again = world.ready(attempt(2))
    world.train(again, world.ids, binding_for("model 2"))
    again.close_masked()
    world.check(world.unmask(again, world.ids), world.ids)


def test_secrets_expire_when_any_handler_starts():
    world = World(PARAMETERS, 5)
    server = world.ready(attempt())
    node = world.ids[0]
    assert world.stores[node].secrets()
    world.clock.now += 101.0
    server.bind_masks(binding_for())
    reply = world.roles[node].open_train(server.train_request(node).encode(), binding_for())
    assert refusal_name(reply) == "ATTEMPT_CLOSED"
    other = world.ids[1]
    ok(world.roles[other].advertise(world.server(attempt(9)).advert_request().encode()))
    assert world.stores[other].secrets() == [attempt(9)]


def test_expiry_between_opening_and_masking_stops_the_input():
    world = World(PARAMETERS, 5)
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    node = world.ids[0]
    opened = world.opened(server, node, binding_for())
    world.clock.now += 101.0
    reply = world.roles[node].mask(opened, world.inputs[node], world.scalars[node], world.bits)
    assert refusal_name(reply) == "ATTEMPT_CLOSED"


def test_secrets_of_a_stage_do_not_outlive_it():
    """After masking no own seed is left; after the unmask trip nothing is."""
    world = World(PARAMETERS, 5)
    server, node = world.ready(attempt()), world.ids[0]
    from strategies.secagg.client.store import SharedSecrets

    kept = SharedSecrets.decode(world.stores[node].table[attempt()].secrets)
    world.train(server, world.ids, binding_for())
    server.close_masked()
    masked = world.stores[node].table[attempt()].secrets
    assert masked
    assert kept.mask_seed not in masked
    assert kept.self_seed not in masked
    world.unmask(server, world.ids)
    assert world.stores[node].secrets() == []


def test_one_flipped_bit_of_one_mask_key_is_noticed(monkeypatch):
    from strategies.secagg.crypto import masking

    honest = masking.pair_mask_keys
    flipped = []

    def flip_one(binding):
        def key_of(*told):
            key = honest(binding)(*told)
            if not flipped:
                flipped.append(True)
                key = bytes([key[0] ^ 1]) + key[1:]
            return key

        return key_of

    world = World(PARAMETERS, 5)
    server = world.ready(attempt())
    monkeypatch.setattr(masking, "pair_mask_keys", flip_one)
    world.train(server, world.ids, binding_for())
    server.close_masked()
    assert flipped
    with pytest.raises(AbandonedError, match="masks do not cancel"):
        world.unmask(server, world.ids)
