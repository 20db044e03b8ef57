"""Keys and requests to share from whoever breaks the protocol: refused, and nothing is kept."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from strategies.secagg.crypto.identity import sign_advert
from strategies.secagg.crypto.keys import KeyPair, Use, bind
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import (
    KEM_KEY_BYTES,
    Advert,
    AdvertReply,
    MaskedInput,
    Refusal,
    Roster,
    ShareRequest,
)
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.server.outcome import BadReplyError
from strategies.secagg.server.role import ServerRole
from strategies.secagg.wire import peek_attempt
from tests.strategies.secagg.world import (
    PARAMETERS,
    RUN,
    World,
    attempt,
    binding_for,
    ok,
    refusal_name,
)

FIRST, SECOND = attempt(1), attempt(2)
# Of the right length; coefficients of an ML-KEM key are below 3329 (FIPS 203, 7.2).
NO_KEY = bytes([255]) * KEM_KEY_BYTES
OTHERS = KeyPair(bytes([7] * 32), hybrid=True).kem_public
FALSE_KEYS = (b"", NO_KEY, bytes(KEM_KEY_BYTES), NO_KEY[1:], OTHERS)


def with_hash_of(advert: Advert, name: str, kem_key: bytes) -> Advert:
    """Put the hash of any bytes beside the X25519 key of an advert."""
    digest = hashlib.sha256(bind(Use.KEM_KEY, kem_key)).digest()
    return replace(advert, **{name: getattr(advert, name)[:32] + digest})


@pytest.mark.parametrize("false", [b"", NO_KEY, NO_KEY[1:]], ids=["none", "form", "length"])
@pytest.mark.parametrize("name", ["mask", "share"])
def test_an_advert_that_hashes_what_is_no_key_is_no_reply(name, false):
    """Its neighbours would all refuse the roster."""
    world = World(PARAMETERS, 5, with_identities=True)
    server, liar = world.server(attempt()), world.ids[0]
    reply = ok(world.roles[liar].advertise(server.advert_request().encode()))
    advert = with_hash_of(Advert.decode(reply.advert), f"{name}_key", false)
    signed = sign_advert(advert, world.identity[liar]).encode()
    hostile = replace(reply, advert=signed, **{f"{name}_kem_key": false})
    with pytest.raises(BadReplyError, match="name or key"):
        server.add_advert(liar, hostile.encode())
    server.add_advert(liar, reply.encode())


def test_a_server_and_a_client_together_have_no_false_key_taken():
    world = World(PARAMETERS, 5, with_identities=True)
    server, liar = world.server(attempt()), world.ids[2]
    roster, adverts = world.bootstrap(server), dict(server._adverts)
    hashed = with_hash_of(adverts[liar], "share_key", NO_KEY)
    adverts[liar] = sign_advert(hashed, world.identity[liar])
    shown = replace(roster, adverts=tuple(adverts[node].encode() for node in world.ids))
    server._kem_keys[liar] = server._kem_keys[liar][0], NO_KEY
    for node in set(world.ids) - {liar}:
        request = replace(server.share_request(node), roster=shown.encode())
        assert refusal_name(world.roles[node].share(request.encode())) == "BAD_KEY"


def steady(with_identities: bool) -> tuple[World, ServerRole, ServerRole]:
    """Return a world whose nodes have masked in an attempt and sent keys for the next one."""
    world = World(PARAMETERS, 5, with_identities=with_identities)
    server, following = world.ready(FIRST), world.server(SECOND)
    sent = world.train(server, world.ids, binding_for(), SECOND)
    for node, data in sent.items():
        following.add_advert(node, MaskedInput.decode(data).next_advert)
    server.close_masked()
    following.close_adverts()
    return world, server, following


RIDING: dict[str, tuple[Callable[[ShareRequest], ShareRequest], str]] = {
    "a false key": (
        lambda r: replace(r, kem_keys=((r.kem_keys[0][0], OTHERS), *r.kem_keys[1:])),
        "BAD_KEY",
    ),
    "a neighbour less": (lambda r: replace(r, kem_keys=r.kem_keys[1:]), "BAD_KEY"),
    "of this attempt": (lambda r: replace(r, attempt=FIRST), "REPEATED"),
    "a roster of this attempt": (
        lambda r: replace(r, roster=replace(Roster.decode(r.roster), attempt=FIRST).encode()),
        "MALFORMED",
    ),
    "no roster": (lambda r: replace(r, roster=r.encode()), "MALFORMED"),
}


@pytest.mark.parametrize("name", RIDING)
def test_a_refused_request_to_share_reveals_nothing_of_the_round_that_it_rides_with(name):
    world, server, following = steady(with_identities=True)
    node, (edit, reason) = world.ids[0], RIDING[name]
    riding = server.unmask_request(edit(following.share_request(node)))
    assert refusal_name(world.roles[node].unmask(riding.encode())) == reason
    left = world.stores[node].secrets()
    assert left == ([SECOND] if riding.next_request[4:20] == FIRST.to_bytes() else [])
    again = server.unmask_request(following.share_request(node)).encode()
    assert refusal_name(world.roles[node].unmask(again)) == "ATTEMPT_CLOSED"


def broken(data: bytes, dice: random.Random) -> bytes:
    """Change bytes, cut some out, put some in or repeat some."""
    first, last = sorted(dice.randrange(len(data) + 1) for _ in range(2))
    lengths = [bytes(4), b"\xff" * 4, b"\0\0\x04\xa0", dice.randbytes(4)]
    return dice.choice(
        [
            data[:first] + data[last:],
            data[:last] + data[first:],
            data[:first] + dice.choice(lengths) + data[first + 4 :],
            data[:first] + dice.randbytes(9) + data[first:],
        ]
    )


def edited(request: ShareRequest, dice: random.Random, ids: Sequence[int]) -> bytes:
    """Return the bytes of a request whose keys, roster or attempt are others."""
    rows = dict(request.kem_keys)
    one, two = (dice.choice([*rows]) for _ in range(2))
    false = dice.choice(FALSE_KEYS)
    swapped = {**rows, one: rows[two], two: rows[one]}
    stranger = dice.choice([0, 2**64 - 1, *ids])
    others: list[dict[int, bytes]] = [
        {**rows, one: false + rows[one][KEM_KEY_BYTES:]},
        {**rows, one: rows[one][:KEM_KEY_BYTES] + false},
        {**rows, one: broken(rows[one], dice)[: 2 * KEM_KEY_BYTES]},
        swapped,
        {node: rows[node] for node in rows if node != one},
        {**rows, stranger: false},
    ]
    keyed = replace(request, kem_keys=tuple(sorted(dice.choice(others).items())))
    roster = replace(request, roster=broken(request.roster, dice))
    key = AttemptId(dice.choice([RUN, 1]), dice.randrange(4), 0)
    chosen = dice.choice([keyed, keyed, roster, replace(request, attempt=key)]).encode()
    return broken(chosen, dice) if dice.random() < 0.3 else chosen


@pytest.mark.parametrize("rides", [False, True])
def test_no_changed_request_to_share_is_taken_or_leaves_secrets(rides):
    """Whatever it is, the refusal has a reason of its own, and closes what it names alone."""
    dice = random.Random(20261128)
    world, server, following = steady(with_identities=True)
    before = {node: dict(world.stores[node].table) for node in world.ids}
    seen: set[str] = set()
    for _ in range(400):
        node = dice.choice(world.ids)
        good = following.share_request(node)
        data = edited(good, dice, world.ids)
        if data == good.encode():
            continue
        role, store = world.roles[node], world.stores[node]
        whole = replace(server.unmask_request(), next_request=data).encode()
        reply = role.unmask(whole) if rides else role.share(data)
        assert isinstance(reply, Refusal)
        seen.add(refusal_name(reply))
        named = {peek_attempt(data)} | ({FIRST} if rides else set())
        for key, record in store.table.items():
            assert key in before[node]
            expected = record.closed() if key in named else before[node][key]
            assert record == expected
        store.table = dict(before[node])
    assert RefusalReason.INTERNAL.name not in seen
    assert seen >= {"BAD_KEY", "MALFORMED", "UNKNOWN_ATTEMPT"}
    # Nothing of it has spoiled a node.
    for node in world.ids:
        last = server.unmask_request(following.share_request(node)).encode()
        reply = server.add_unmask(node, ok(world.roles[node].unmask(last)).encode())
        following.add_shares(node, reply.next_shares)
    world.check(server.finish(), world.ids)
    assert following.close_shares() == tuple(world.ids)


@pytest.mark.parametrize("with_identities", [False, True])
def test_what_a_server_takes_of_a_hostile_client_its_honest_neighbours_take(with_identities):
    """Or one client could end every attempt."""
    dice = random.Random(20261129)
    world = World(PARAMETERS, 5, with_identities=with_identities)
    server, liar = world.server(attempt()), world.ids[2]
    request = server.advert_request().encode()
    replies = {node: ok(world.roles[node].advertise(request)) for node in world.ids}
    before = {node: dict(world.stores[node].table) for node in world.ids}
    num_taken = 0
    for _ in range(300):
        server = world.server(attempt())
        for node in set(world.ids) - {liar}:
            server.add_advert(node, replies[node].encode())
        hostile = lying(replies[liar], replies[world.ids[0]], dice)
        if with_identities:
            signed = sign_advert(Advert.decode(hostile.advert), world.identity[liar])
            hostile = replace(hostile, advert=signed.encode())
        kept = dict(server._adverts), dict(server._kem_keys), set(server._keys)
        try:
            server.add_advert(liar, hostile.encode())
        except BadReplyError:
            assert (server._adverts, server._kem_keys, server._keys) == kept
            continue
        num_taken += 1
        server.close_adverts()
        for node in set(world.ids) - {liar}:
            asked = server.share_request(node).encode()
            server.add_shares(node, ok(world.roles[node].share(asked)).encode())
            world.stores[node].table = dict(before[node])
    assert num_taken > 10


def lying(own: AdvertReply, other: AdvertReply, dice: random.Random) -> AdvertReply:
    """Return a reply with keys that are false, swapped or another's, and hashes of some."""
    advert, others = Advert.decode(own.advert), Advert.decode(other.advert)
    kem_keys = [own.mask_kem_key, own.share_kem_key, *FALSE_KEYS]
    kem_keys += [other.mask_kem_key, other.share_kem_key]
    mask, share = dice.choice(kem_keys), dice.choice(kem_keys)
    name = dice.choice(["mask_key", "share_key"])
    if dice.random() < 0.7:
        advert = with_hash_of(advert, "mask_key", mask)
    if dice.random() < 0.7:
        advert = with_hash_of(advert, "share_key", share)
    if dice.random() < 0.2:
        keys = [getattr(others, name), advert.mask_key, bytes(64), advert.share_key[:32], b""]
        advert = replace(advert, **{name: dice.choice(keys)})
    return AdvertReply(own.attempt, advert.encode(), mask, share)
