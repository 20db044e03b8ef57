"""A server that says old things again or mixes attempts: refused, and nothing is revealed."""

import dataclasses

import pytest

from strategies.secagg.client.transitions import Stage
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import (
    AdvertRequest,
    MaskedInput,
    Roster,
    ShareRequest,
    TrainRequest,
    UnmaskRequest,
)
from tests.strategies.secagg.attacks import split, trained
from tests.strategies.secagg.world import (
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
    refusal_name,
)


@pytest.fixture
def world() -> World:
    """Five nodes."""
    return World(PARAMETERS, 5)


def test_old_messages_are_refused_when_replayed(world):
    server = world.server(attempt(1))
    node = world.ids[0]
    requests = {"advert": server.advert_request().encode()}
    roster = world.bootstrap(server)
    requests["share"] = world.told(node, roster)
    world.share(server, roster, world.ids)
    world.train(server, world.ids, binding_for())
    server.close_masked()
    requests["unmask"] = server.unmask_request().encode()
    world.unmask(server, world.ids)
    role, later = world.roles[node], world.ready(attempt(2))
    assert refusal_name(role.advertise(requests["advert"])) == "REPEATED"
    assert refusal_name(role.share(requests["share"])) == "REPEATED"
    assert refusal_name(role.unmask(requests["unmask"])) == "REPEATED"
    assert world.stores[node].table[attempt(2)].stage is Stage.SHARED
    world.train(later, world.ids, binding_for("model 2"))
    later.close_masked()
    world.check(world.unmask(later, world.ids), world.ids)


def share_request(key: AttemptId) -> bytes:
    return ShareRequest(key, Roster(key, 4, 4, ()).encode(), ()).encode()


def retarget(request: TrainRequest, shares) -> bytes:
    return dataclasses.replace(request, rows=tuple(shares)).encode()


def test_share_messages_of_another_attempt_do_not_open(world):
    first = world.ready(attempt(1))
    first.bind_masks(binding_for())
    node = world.ids[0]
    old = first.train_request(node).rows
    second = world.ready(attempt(2))
    second.bind_masks(binding_for())
    reply = world.roles[node].open_train(
        retarget(second.train_request(node), old), binding_for()
    )
    assert refusal_name(reply) == "SHARES_TOO_FEW"


def test_swapped_ciphertexts_do_not_open(world):
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    node, other = world.ids[:2]
    mine, theirs = server.train_request(node), server.train_request(other)
    senders = [sender for sender, _ in mine.rows]
    rotated = [s for _, s in mine.rows[1:]] + [mine.rows[0][1]]
    swapped = retarget(mine, zip(senders, rotated, strict=True))
    assert (
        refusal_name(world.roles[node].open_train(swapped, binding_for())) == "SHARES_TOO_FEW"
    )
    for_me = dict(mine.rows)
    crossed = [(n, dict(mine.rows)[n]) for n in dict(theirs.rows) if n in for_me]
    crossed.insert(0, (node, bytes(94)))
    reply = world.roles[other].open_train(retarget(theirs, crossed), binding_for())
    assert refusal_name(reply) == "SHARES_TOO_FEW"


def test_a_model_repeated_with_one_node_fewer_is_refused(world):
    server, _ = trained(world)
    server.close_masked()
    world.check(world.unmask(server, world.ids), world.ids)
    again = world.ready(attempt(2), world.ids[1:])
    again.bind_masks(binding_for())
    for node in world.ids[1:]:
        reply = world.roles[node].open_train(again.train_request(node).encode(), binding_for())
        assert refusal_name(reply) == "MODEL_REPEATED"


def test_a_retry_of_an_attempt_that_revealed_nothing_closes_that_attempt(world):
    """So one node never helps to open two sums over one model."""
    server, _ = trained(world)
    again = world.ready(attempt(again=1), world.ids[1:])
    world.train(again, world.ids[1:], binding_for())
    again.close_masked()
    world.check(world.unmask(again, world.ids[1:]), world.ids[1:])
    server.close_masked()
    for node in world.ids[1:]:
        reply = world.roles[node].unmask(split(world, set()))
        assert refusal_name(reply) == "ATTEMPT_CLOSED"


def test_a_model_repeated_while_the_first_attempt_is_open(world):
    """Steady-state keys allow two attempts at once: masking the second closes the first."""
    server = world.ready(attempt(1))
    following = world.server(attempt(2))
    sent = world.train(server, world.ids, binding_for(), attempt(2))
    for node, data in sent.items():
        following.add_advert(node, MaskedInput.decode(data).next_advert)
    roster = following.close_adverts()
    world.share(following, roster, world.ids)
    world.train(following, world.ids, binding_for())
    for node in world.ids:
        stages = {key.round: r.stage for key, r in world.stores[node].table.items()}
        assert stages == {1: Stage.CLOSED, 2: Stage.MASKED}


def test_mixing_bootstrap_and_steady_state(world):
    server = world.ready(attempt(1))
    world.train(server, world.ids, binding_for(), attempt(2))
    a, b, c = world.ids[:3]
    # The next advert has ridden along: a bootstrap for the same attempt is a second one.
    reply = world.roles[a].advertise(AdvertRequest(attempt(2)).encode())
    assert refusal_name(reply) == "REPEATED"
    assert world.stores[a].secrets() == [attempt(1)]
    # A bootstrap for another attempt destroys both open ones.
    ok(world.roles[b].advertise(AdvertRequest(attempt(3)).encode()))
    assert world.stores[b].secrets() == [attempt(3)]
    assert refusal_name(world.roles[b].unmask(split(world, set()))) == "ATTEMPT_CLOSED"
    # An unmask request whose roster is for an attempt without an advert closes this one.
    wrong = share_request(attempt(8))
    request = UnmaskRequest(attempt(1), tuple(world.ids), (), (), (), wrong).encode()
    assert refusal_name(world.roles[c].unmask(request)) == "UNKNOWN_ATTEMPT"
    assert attempt(1) not in world.stores[c].secrets()


def test_a_refused_next_roster_reveals_nothing_of_this_round(world):
    server = world.ready(attempt(1))
    world.train(server, world.ids, binding_for(), attempt(2))
    wrong = share_request(attempt(2))
    node = world.ids[0]
    request = UnmaskRequest(attempt(1), tuple(world.ids), (), (), (), wrong).encode()
    assert refusal_name(world.roles[node].unmask(request)) == "ROSTER_TOO_SMALL"
    assert world.stores[node].secrets() == []
