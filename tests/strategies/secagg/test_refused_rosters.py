"""Refusals of the first two trips of protocol.md section 5: adverts, rosters, first contact."""

import dataclasses

import pytest

from strategies.secagg.crypto.identity import sign_advert
from strategies.secagg.crypto.keys import KeyPair
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import Advert, AdvertRequest, Roster, UnmaskRequest
from tests.strategies.secagg.world import (
    CLASSICAL,
    PARAMETERS,
    World,
    attempt,
    ok,
    refusal_name,
    refused,
)


def advertised(with_identities: bool = False) -> tuple[World, Roster, int]:
    world = World(PARAMETERS, 5, with_identities=with_identities)
    return world, world.bootstrap(world.server(attempt())), world.ids[0]


def swap(roster: Roster, at: int, advert: Advert | None) -> Roster:
    adverts = list(roster.adverts)
    adverts[at : at + 1] = [advert.encode()] if advert else []
    return dataclasses.replace(roster, adverts=tuple(adverts))


def change(roster: Roster, at: int, **fields) -> Roster:
    return swap(roster, at, dataclasses.replace(Advert.decode(roster.adverts[at]), **fields))


def beside_hash(roster: Roster, name: str, key: bytes) -> Roster:
    """Put another X25519 key beside the hash of the ML-KEM key, which stays true."""
    return change(
        roster, 2, **{name: key + getattr(Advert.decode(roster.adverts[2]), name)[32:]}
    )


PUBLIC = KeyPair(bytes([7] * 32), hybrid=True).public


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda r: change(r, 0, mask_key=PUBLIC), "OWN_ADVERT_WRONG"),
        (lambda r: change(r, 0, commitment=PUBLIC[:32]), "OWN_ADVERT_WRONG"),
        (
            lambda r: change(r, 2, mask_key=Advert.decode(r.adverts[1]).mask_key),
            "DUPLICATE_KEY",
        ),
        (
            lambda r: change(r, 2, share_key=Advert.decode(r.adverts[2]).mask_key),
            "DUPLICATE_KEY",
        ),
        (
            lambda r: change(r, 2, commitment=Advert.decode(r.adverts[0]).commitment),
            "DUPLICATE_KEY",
        ),
        (lambda r: beside_hash(r, "mask_key", bytes(32)), "BAD_KEY"),
        (lambda r: beside_hash(r, "share_key", b"\1" + bytes(31)), "BAD_KEY"),
        (lambda r: change(r, 2, mask_key=PUBLIC[:32]), "BAD_KEY"),
        (lambda r: change(r, 2, mask_key=PUBLIC), "BAD_KEY"),
        (lambda r: change(r, 2, share_key=PUBLIC), "BAD_KEY"),
        (lambda r: change(r, 2, attempt=attempt(9)), "WRONG_ADVERT"),
        (lambda r: change(r, 2, node_id=101), "WRONG_ADVERT"),
        (lambda r: change(r, 1, node_id=101), "WRONG_ADVERT"),
        (lambda r: dataclasses.replace(r, adverts=r.adverts[::-1]), "WRONG_ADVERT"),
        (lambda r: swap(swap(r, 4, None), 3, None), "ROSTER_TOO_SMALL"),
        (lambda r: dataclasses.replace(r, threshold=3), "BAD_THRESHOLD"),
        (lambda r: dataclasses.replace(r, num_neighbors=2), "BAD_THRESHOLD"),
        (
            lambda r: dataclasses.replace(r, adverts=(*r.adverts, r.adverts[-1])),
            "BAD_THRESHOLD",
        ),
        (lambda r: change(r, 2, bundle=bytes(32)), "BUNDLE_NOT_APPROVED"),
        (lambda r: dataclasses.replace(r, adverts=(*r.adverts[:4], b"junk")), "MALFORMED"),
        (lambda r: dataclasses.replace(r, attempt=attempt(9)), "UNKNOWN_ATTEMPT"),
        (lambda r: dataclasses.replace(r, attempt=AttemptId(1, 1, 0)), "UNKNOWN_ATTEMPT"),
    ],
)
def test_rosters(edit, reason):
    world, roster, node = advertised()
    wrong = edit(roster)
    closed = (attempt(),) if wrong.attempt == attempt() else ()
    refused(world, node, world.roles[node].share(world.told(node, wrong)), reason, closed)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda r: change(r, 2, signature=b""), "BAD_SIGNATURE"),
        (lambda r: change(r, 2, signature=bytes(64)), "BAD_SIGNATURE"),
        (lambda r: change(r, 2, mask_key=PUBLIC), "BAD_SIGNATURE"),
        (
            lambda r: change(r, 2, node_id=Advert.decode(r.adverts[2]).node_id + 1),
            "BAD_SIGNATURE",
        ),
        (lambda r: change(r, 2, identity=bytes(32)), "UNKNOWN_IDENTITY"),
    ],
)
def test_rosters_with_identities(edit, reason):
    world, roster, node = advertised(with_identities=True)
    refused(world, node, world.roles[node].share(world.told(node, edit(roster))), reason)


OTHERS = KeyPair(bytes([7] * 32), hybrid=True).kem_public
SIZE = len(OTHERS)


@pytest.mark.parametrize("with_identities", [False, True])
@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda keys: OTHERS + keys[SIZE:], id="another share key"),
        pytest.param(lambda keys: keys[:SIZE] + OTHERS, id="another mask key"),
        pytest.param(lambda keys: keys[SIZE:] + keys[:SIZE], id="swapped"),
        pytest.param(lambda keys: keys[:SIZE], id="no mask key"),
        pytest.param(lambda keys: b"", id="none"),
        pytest.param(lambda keys: keys[:-1], id="cut off"),
        pytest.param(lambda keys: keys[:SIZE] + bytes([255]) * SIZE, id="not a key"),
    ],
)
def test_other_ml_kem_keys_than_those_of_the_adverts_are_refused(edit, with_identities):
    """A server that shows one node keys of its own would read what that seals."""
    world, _, node = advertised(with_identities)
    request = world.requests[node]
    (peer, keys), *rest = request.kem_keys
    wrong = dataclasses.replace(request, kem_keys=((peer, edit(keys)), *rest))
    refused(world, node, world.roles[node].share(wrong.encode()), "BAD_KEY")


@pytest.mark.parametrize(
    ("at", "edit"),
    [
        pytest.param(0, lambda rows: rows[1:], id="one less"),
        pytest.param(0, lambda rows: (), id="none"),
        pytest.param(0, lambda rows: (*rows, (999, rows[0][1])), id="a stranger's"),
        pytest.param(0, lambda rows: (*rows[:-1], (999, rows[-1][1])), id="a stranger for one"),
        pytest.param(
            1, lambda rows: ((rows[0][0], rows[0][1] + OTHERS), *rows[1:]), id="unused"
        ),
    ],
)
def test_ml_kem_keys_of_all_neighbours_and_nobody_else(at, edit):
    world = World(PARAMETERS, 5)
    world.bootstrap(world.server(attempt()))
    node = world.ids[at]
    request = world.requests[node]
    wrong = dataclasses.replace(request, kem_keys=edit(request.kem_keys))
    refused(world, node, world.roles[node].share(wrong.encode()), "BAD_KEY")


def test_keys_beside_a_classical_roster_are_refused():
    world = World(CLASSICAL, 5)
    world.bootstrap(world.server(attempt()))
    node = world.ids[0]
    request = world.requests[node]
    assert {keys for _, keys in request.kem_keys} == {b""}
    rows = ((request.kem_keys[0][0], OTHERS), *request.kem_keys[1:])
    wrong = dataclasses.replace(request, kem_keys=rows)
    refused(world, node, world.roles[node].share(wrong.encode()), "BAD_KEY")


def test_a_roster_of_another_attempt_than_its_request_is_refused():
    world, roster, node = advertised()
    inner = dataclasses.replace(roster, attempt=attempt(9)).encode()
    wrong = dataclasses.replace(world.requests[node], roster=inner)
    refused(world, node, world.roles[node].share(wrong.encode()), "MALFORMED")


def test_each_node_of_a_sparse_graph_is_shown_the_keys_of_its_neighbours_alone():
    parameters = dataclasses.replace(PARAMETERS, min_survivors=None, is_sparse=True)
    world = World(parameters, 60)
    server = world.server(attempt())
    world.bootstrap(server)
    for node in world.ids:
        request = world.requests[node]
        shown = {peer for peer, _ in request.kem_keys}
        assert shown == server._members.near[node] - {node}
        assert len(shown) < 59
        assert all(len(keys) == SIZE * (1 + (node < peer)) for peer, keys in request.kem_keys)
    ok(world.roles[world.ids[7]].share(world.requests[world.ids[7]].encode()))


def test_one_organisation_twice_in_a_roster_is_refused():
    world, roster, node = advertised(with_identities=True)
    twin = dataclasses.replace(Advert.decode(roster.adverts[2]), signature=b"")
    again = sign_advert(twin, world.identity[world.ids[1]])
    refused(
        world,
        node,
        world.roles[node].share(world.told(node, swap(roster, 2, again))),
        "DUPLICATE_KEY",
    )


def test_an_attempt_is_entered_once_even_after_it_was_closed():
    world, _, node = advertised()
    request = AdvertRequest(attempt()).encode()
    refused(world, node, world.roles[node].advertise(request), "REPEATED")
    refused(world, node, world.roles[node].advertise(request), "REPEATED")


def test_stage_out_of_order():
    world, _, node = advertised()
    ids = tuple(world.ids)
    early = UnmaskRequest(attempt(), ids, (), (), (), None).encode()
    refused(world, node, world.roles[node].unmask(early), "WRONG_STAGE")


def test_parameters_are_fixed_at_the_first_contact():
    world, roster, node = advertised()
    for parameters in (
        ProtocolParameters(min_survivors=5, max_colluding=1),
        ProtocolParameters(min_survivors=4, max_colluding=0),
        ProtocolParameters(min_survivors=4, max_colluding=1, threshold=4),
        ProtocolParameters(min_survivors=4, max_colluding=1, is_hybrid=False),
    ):
        reply = world.role(node, parameters).share(world.told(node, roster))
        refused(world, node, reply, "TERMS_CHANGED")


def test_malformed_bytes_close_the_attempt_that_they_name():
    world, roster, node = advertised()
    reply = world.roles[node].share(world.told(node, roster)[:-1])
    refused(world, node, reply, "MALFORMED")
    assert reply.attempt == attempt()
    world, roster, node = advertised()
    reply = world.roles[node].share(b"")
    assert refusal_name(reply) == "MALFORMED"
    assert reply.attempt == AttemptId(0, 0, 0)


def test_a_message_of_another_run_touches_nothing():
    world, _, node = advertised()
    foreign = AttemptId(123, 1, 0)
    reply = world.roles[node].advertise(AdvertRequest(foreign).encode())
    refused(world, node, reply, "UNKNOWN_ATTEMPT", closed=())
    assert world.stores[node].secrets() == [attempt()]
