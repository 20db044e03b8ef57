"""Clients that break the protocol, with an honest server: they are left out, or it stops."""

import dataclasses

import pytest

from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import MaskedInput, UnmaskReply
from strategies.secagg.server.outcome import AbandonedError, BadReplyError
from tests.strategies.secagg.world import LARGER, PARAMETERS, World, attempt, binding_for, ok


def test_a_liar_is_passed_over_and_a_crowd_of_liars_ends_the_attempt():
    for num_liars, fine in ((1, True), (2, False)):
        world = World(PARAMETERS, 5)
        server = world.ready(attempt())
        world.train(server, world.ids, binding_for())
        server.close_masked()
        request = server.unmask_request().encode()
        for i, node in enumerate(world.ids):
            reply = ok(world.roles[node].unmask(request))
            if i < num_liars:
                false = tuple((other, bytes(33)) for other, _ in reply.self_shares)
                reply = dataclasses.replace(reply, self_shares=false)
            server.add_unmask(node, reply.encode())
        if fine:
            world.check(server.finish(), world.ids)
        else:
            with pytest.raises(AbandonedError, match="do not give its seed"):
                server.finish()


def test_a_malicious_client_that_spoils_its_shares_is_left_out():
    world = World(LARGER, 6)
    server = world.server(attempt())
    roster, bad = world.bootstrap(server), world.ids[2]
    for node in world.ids:
        upload = ok(world.roles[node].share(roster.encode()))
        if node == bad:
            upload = dataclasses.replace(
                upload, shares=tuple((to, bytes(94)) for to, _ in upload.shares)
            )
        server.add_shares(node, upload.encode())
    server.close_shares()
    world.train(server, world.ids, binding_for())
    honest = [node for node in world.ids if node != bad]
    assert server.close_masked() == tuple(honest)
    # Nobody holds shares of its mask seed, so the sum cannot be opened around its masks.
    with pytest.raises(AbandonedError, match=f"of node {bad}"):
        world.unmask(server, honest)


def test_one_false_share_leaves_out_its_sender_and_the_sum_is_exact():
    world = World(ProtocolParameters(min_survivors=7, max_colluding=1), 10)
    server = world.server(attempt())
    roster, bad = world.bootstrap(server), world.ids[2]
    victims = world.ids[3:5]
    for node in world.ids:
        upload = ok(world.roles[node].share(roster.encode()))
        if node == bad:
            shares = tuple((to, bytes(94) if to in victims else s) for to, s in upload.shares)
            upload = dataclasses.replace(upload, shares=shares)
        server.add_shares(node, upload.encode())
    server.close_shares()
    world.train(server, world.ids, binding_for())
    honest = [node for node in world.ids if node != bad]
    assert server.close_masked() == tuple(honest)
    world.check(world.unmask(server, honest), honest)


def test_server_treats_bad_replies_as_dropouts():
    world = World(LARGER, 6)
    server = world.server(attempt())
    request = server.advert_request().encode()
    adverts = {node: ok(world.roles[node].advertise(request)) for node in world.ids}
    a, b = world.ids[:2]
    server.add_advert(a, adverts[a].encode())
    bad = [
        (b, b"junk"),
        (a, adverts[a].encode()),
        (b, adverts[world.ids[2]].encode()),
        (b, dataclasses.replace(adverts[b], mask_key=adverts[a].mask_key).encode()),
        (b, dataclasses.replace(adverts[b], mask_key=adverts[b].share_key).encode()),
        (b, dataclasses.replace(adverts[b], mask_key=bytes(32)).encode()),
        (b, dataclasses.replace(adverts[b], attempt=attempt(5)).encode()),
    ]
    for sender, data in bad:
        with pytest.raises(BadReplyError):
            server.add_advert(sender, data)
    for node in world.ids[1:]:
        server.add_advert(node, adverts[node].encode())
    roster = server.close_adverts()
    uploads = {node: ok(world.roles[node].share(roster.encode())) for node in world.ids}
    server.add_shares(a, uploads[a].encode())
    for sender, upload in (
        (a, uploads[a]),
        (b, uploads[a]),
        (999, uploads[b]),
        (b, dataclasses.replace(uploads[b], shares=uploads[b].shares[1:])),
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
            server.add_unmask(sender, UnmaskReply(attempt(), (), (), None).encode())
    world.check(world.unmask(server, world.ids[:5]), world.ids[:5])


def test_server_leaves_out_adverts_that_honest_nodes_would_refuse():
    world = World(PARAMETERS, 5, with_identities=True)
    server = world.server(attempt())
    a, b = world.ids[:2]
    request = server.advert_request().encode()
    advert = ok(world.roles[a].advertise(request))
    for wrong in (
        dataclasses.replace(advert, signature=b""),
        dataclasses.replace(advert, identity=bytes(32)),
        dataclasses.replace(advert, bundle=bytes(32)),
    ):
        with pytest.raises(BadReplyError, match="identity or signature"):
            server.add_advert(a, wrong.encode())
    server.add_advert(a, advert.encode())
    assert ok(world.roles[b].advertise(request)).identity != advert.identity


def test_false_confirmations_are_not_passed_on():
    world = World(PARAMETERS, 5, with_identities=True, consistency_check=True)
    server = world.ready(attempt())
    world.train(server, world.ids, binding_for())
    server.close_masked()
    request = server.consistency_request().encode()
    reply = ok(world.roles[world.ids[0]].confirm(request))
    with pytest.raises(BadReplyError, match="signature"):
        server.add_confirmation(world.ids[1], reply.encode())
    with pytest.raises(BadReplyError, match="no survivor"):
        server.add_confirmation(999, reply.encode())
    server.add_confirmation(world.ids[0], reply.encode())
    with pytest.raises(AbandonedError, match="1 confirmations"):
        server.close_confirmations()


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
    with pytest.raises(AbandonedError, match="did not cancel"):
        world.unmask(server, world.ids)
