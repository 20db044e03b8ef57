"""Clients that break the protocol, with an honest server: they are left out, or it stops."""

import dataclasses

import pytest

from strategies.secagg.messages import Advert, AdvertReply, MaskedInput, UnmaskReply
from strategies.secagg.server.outcome import AbandonedError, BadReplyError
from tests.strategies.secagg.world import (
    LARGER,
    PARAMETERS,
    World,
    advert_in,
    attempt,
    binding_for,
    ok,
)


@pytest.mark.parametrize("trip", ["shares", "masked input", "view", "unmask reply"])
def test_what_its_sender_has_not_signed_is_no_reply_and_names_nobody(trip):
    """Another node has answered in its name."""
    world = World(PARAMETERS, 5, with_identities=True)
    server, victim = world.server(attempt()), world.ids[0]
    roster = world.bootstrap(server)
    forged = bytes(64)

    def refused(add, message):
        with pytest.raises(BadReplyError, match=f"{trip} from {victim}: signature"):
            add(victim, dataclasses.replace(message, signature=forged).encode())

    for node in world.ids:
        upload = ok(world.roles[node].share(world.told(node, roster)))
        if node == victim and trip == "shares":
            return refused(server.add_shares, upload)
        server.add_shares(node, upload.encode())
    server.close_shares()
    server.bind_masks(binding_for())
    for node in world.ids[:4]:
        message = world.masked(world.opened(server, node, binding_for()), node)
        if node == victim and trip == "masked input":
            return refused(server.add_masked, message)
        server.add_masked(node, message.encode())
    server.close_masked()
    request = server.confirm_request().encode()
    for node in world.ids[:4]:
        view = ok(world.roles[node].confirm(request))
        if node == victim and trip == "view":
            return refused(server.add_view, view)
        server.add_view(node, view.encode())
    server.close_views()
    refused(server.add_unmask, ok(world.roles[victim].unmask(server.unmask_request().encode())))
    assert world.disputes.liars == {}
    return None


def changed(reply: AdvertReply, **fields) -> bytes:
    """Return a reply with another advert, whose ML-KEM keys stay."""
    advert = dataclasses.replace(Advert.decode(reply.advert), **fields)
    return dataclasses.replace(reply, advert=advert.encode()).encode()


def test_server_treats_bad_replies_as_dropouts():
    world = World(LARGER, 6)
    server = world.server(attempt())
    request = server.advert_request().encode()
    replies = {node: ok(world.roles[node].advertise(request)) for node in world.ids}
    a, b = world.ids[:2]
    own, other = (Advert.decode(replies[node].advert) for node in (b, a))
    server.add_advert(a, replies[a].encode())
    kem_keys = replies[b].mask_kem_key, replies[b].share_kem_key
    bad = [
        (b, b"junk"),
        (a, replies[a].encode()),
        (b, replies[world.ids[2]].encode()),
        (b, changed(replies[b], mask_key=other.mask_key)),
        (b, changed(replies[b], mask_key=own.share_key)),
        (b, changed(replies[b], mask_key=bytes(32))),
        (b, changed(replies[b], attempt=attempt(5))),
        (b, dataclasses.replace(replies[b], attempt=attempt(5)).encode()),
        (b, AdvertReply(attempt(), replies[b].advert, *kem_keys[::-1]).encode()),
        (b, AdvertReply(attempt(), replies[b].advert, kem_keys[0], b"").encode()),
        (b, AdvertReply(attempt(), replies[b].advert, b"", kem_keys[1]).encode()),
        (b, changed(replies[b], share_key=own.share_key[:32] + own.mask_key[32:])),
    ]
    for sender, data in bad:
        with pytest.raises(BadReplyError):
            server.add_advert(sender, data)
    for node in world.ids[1:]:
        server.add_advert(node, replies[node].encode())
    server.close_adverts()
    requests = {node: server.share_request(node).encode() for node in world.ids}
    uploads = {node: ok(world.roles[node].share(requests[node])) for node in world.ids}
    server.add_shares(a, uploads[a].encode())
    for sender, upload in (
        (a, uploads[a]),
        (b, uploads[a]),
        (999, uploads[b]),
        (b, dataclasses.replace(uploads[b], rows=uploads[b].rows[1:])),
    ):
        with pytest.raises(BadReplyError):
            server.add_shares(sender, upload.encode())
    for node in world.ids[1:]:
        server.add_shares(node, uploads[node].encode())
    server.close_shares()
    sent = world.train(server, world.ids[:5], binding_for())
    good = MaskedInput.decode(sent[a])
    late = world.ids[5]
    for sender, message in (
        (a, good),
        (999, good),
        (late, dataclasses.replace(good, num_parameters=3)),
        (late, dataclasses.replace(good, modulus_bits=16)),
        (late, dataclasses.replace(good, scalars=good.scalars + bytes(8))),
        (late, dataclasses.replace(good, update=bytes(5))),
    ):
        with pytest.raises(BadReplyError):
            server.add_masked(sender, message.encode())
    server.close_masked()
    for sender in (late, 999):
        with pytest.raises(BadReplyError):
            server.add_unmask(sender, UnmaskReply(attempt(), (), (), None, b"").encode())
    world.check(world.unmask(server, world.ids[:5]), world.ids[:5])


def test_server_leaves_out_adverts_that_honest_nodes_would_refuse():
    world = World(PARAMETERS, 5, with_identities=True)
    server = world.server(attempt())
    a, b = world.ids[:2]
    request = server.advert_request().encode()
    reply = ok(world.roles[a].advertise(request))
    for wrong in ({"signature": b""}, {"identity": bytes(32)}, {"bundle": bytes(32)}):
        with pytest.raises(BadReplyError, match="identity or signature"):
            server.add_advert(a, changed(reply, **wrong))
    server.add_advert(a, reply.encode())
    other = ok(world.roles[b].advertise(request))
    assert advert_in(other.encode()).identity != advert_in(reply.encode()).identity


def test_a_view_of_no_survivor_and_too_few_views():
    world = World(PARAMETERS, 5, with_identities=True)
    server = world.ready(attempt())
    world.train(server, world.ids[:4], binding_for())
    server.close_masked()
    reply = ok(world.roles[world.ids[0]].confirm(server.confirm_request().encode()))
    with pytest.raises(BadReplyError, match="no survivor"):
        server.add_view(999, reply.encode())
    server.add_view(world.ids[0], reply.encode())
    with pytest.raises(AbandonedError, match="1 signed their view where 4"):
        server.close_views()


def test_a_client_that_breaks_the_scalars_is_noticed():
    world = World(PARAMETERS, 5)
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    for i, node in enumerate(world.ids):
        message = world.masked(world.opened(server, node, binding_for()), node)
        if i == 0:
            message = dataclasses.replace(message, scalars=bytes(len(message.scalars)))
        server.add_masked(node, message.encode())
    server.close_masked()
    with pytest.raises(AbandonedError, match="contribution is not possible"):
        world.unmask(server, world.ids)
