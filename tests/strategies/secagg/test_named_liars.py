"""Clients that lie about shares, with an honest server: it says who, and goes on without."""

import dataclasses

import pytest

from strategies.secagg.binding import roster_hash
from strategies.secagg.client import sharing
from strategies.secagg.crypto import shamir
from strategies.secagg.crypto.hybrid import seal_pair_secret
from strategies.secagg.crypto.identity import Identity, reply_to_sign, shares_to_sign
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import SEALED_BYTES, ShareRow, UnmaskReply
from strategies.secagg.server.outcome import AbandonedError, BadReplyError
from strategies.secagg.server.role import ServerRole
from tests.strategies.secagg.world import (
    LARGER,
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
    stream,
)


@pytest.mark.parametrize("with_identities", [False, True])
@pytest.mark.parametrize(("num_liars", "fine"), [(1, True), (2, False)])
def test_a_false_share_names_who_gave_it(with_identities, num_liars, fine):
    world = World(PARAMETERS, 5, with_identities=with_identities)
    server = world.ready(attempt())
    world.train(server, world.ids, binding_for())
    server.close_masked()
    request = server.unmask_request().encode()
    liars = world.ids[:num_liars]
    for node in world.ids:
        reply = ok(world.roles[node].unmask(request))
        if node in liars:
            false = tuple((other, bytes(33)) for other, _ in reply.self_shares)
            reply = signed_again(world, node, dataclasses.replace(reply, self_shares=false))
            with pytest.raises(BadReplyError, match="never dealt"):
                server.add_unmask(node, reply.encode())
        else:
            server.add_unmask(node, reply.encode())
    assert set(world.disputes.liars) == set(liars)
    if fine:
        world.check(server.finish(), world.ids)
    else:
        with pytest.raises(AbandonedError, match="3 shares of node"):
            server.finish()


def signed(identity: Identity | None, message: bytes) -> bytes:
    return identity.sign(message) if identity else b""


def signed_again(world: World, node: int, reply: UnmaskReply) -> UnmaskReply:
    """Sign an altered reply: its sender lies, and nobody on the way."""
    identity = world.identity.get(node)
    kept = world.bindings[node]
    return dataclasses.replace(reply, signature=signed(identity, reply_to_sign(kept, reply)))


def spoiled(world: World, bad: int, rows) -> ServerRole:
    """Run an attempt up to its masked inputs; ``rows`` changes what ``bad`` deals."""
    server = world.server(attempt())
    roster = world.bootstrap(server)
    for node in world.ids:
        upload = ok(world.roles[node].share(world.told(node, roster)))
        if node == bad:
            upload = dataclasses.replace(
                upload, rows=tuple((to, rows(to, row)) for to, row in upload.rows)
            )
            text = shares_to_sign(roster_hash(roster), upload)
            signature = signed(world.identity.get(node), text)
            upload = dataclasses.replace(upload, signature=signature)
        server.add_shares(node, upload.encode())
    server.close_shares()
    world.train(server, world.ids, binding_for())
    return server


def false_row(data: bytes) -> bytes:
    """Return a row in its form that does not decrypt."""
    return dataclasses.replace(ShareRow.decode(data), sealed=bytes(SEALED_BYTES)).encode()


@pytest.mark.parametrize("with_identities", [False, True])
@pytest.mark.parametrize("place", [0, 2, 5])
def test_who_deals_false_shares_to_all_is_left_out_alone(with_identities, place):
    """Whatever its id: nobody masked with it, so that nothing of it is needed."""
    world = World(LARGER, 6, with_identities=with_identities)
    bad = world.ids[place]
    server = spoiled(world, bad, lambda _, row: false_row(row))
    honest = [node for node in world.ids if node != bad]
    assert server.close_masked() == tuple(honest)
    assert set(world.disputes.liars) == {bad}
    world.check(world.unmask(server, honest), honest)
    # It does not come into another attempt of the run.
    again = world.server(attempt(2))
    with pytest.raises(BadReplyError, match=f"advert from {bad}"):
        world.bootstrap(again)


TEN = ProtocolParameters(min_survivors=7, max_colluding=1)


def test_false_shares_for_some_leave_out_their_dealer_and_the_sum_is_exact():
    world = World(TEN, 10)
    bad, victims = world.ids[2], world.ids[3:5]
    server = spoiled(world, bad, lambda to, row: false_row(row) if to in victims else row)
    honest = [node for node in world.ids if node != bad]
    assert server.close_masked() == tuple(honest)
    world.check(world.unmask(server, honest), honest)


@pytest.mark.parametrize("place", [0, 9])
def test_one_false_share_names_a_pair_and_both_sit_out(place):
    world = World(TEN, 10)
    bad, victim = world.ids[place], world.ids[5]
    server = spoiled(world, bad, lambda to, row: false_row(row) if to == victim else row)
    others = [node for node in world.ids if node not in (bad, victim)]
    assert server.close_masked() == tuple(others)
    assert server.sat_out == tuple(sorted((bad, victim)))
    assert world.disputes.liars == {}
    world.check(world.unmask(server, others), others)


def shorter_kem_text(row: bytes) -> bytes:
    return dataclasses.replace(ShareRow.decode(row), kem_text=bytes(7)).encode()


def other_part(row: bytes) -> bytes:
    return dataclasses.replace(ShareRow.decode(row), pair_part=bytes(9)).encode()


@pytest.mark.parametrize("is_hybrid", [False, True])
@pytest.mark.parametrize("place", [0, 9])
@pytest.mark.parametrize("spoil", [lambda row: row[:-1], shorter_kem_text, other_part])
def test_a_row_without_its_form_names_its_dealer_alone(spoil, place, is_hybrid):
    """The upload is signed as a whole, so that the row in it is the dealer's own."""
    parameters = dataclasses.replace(TEN, is_hybrid=is_hybrid)
    world = World(parameters, 10, with_identities=True)
    bad, victim = world.ids[place], world.ids[5]
    server = spoiled(world, bad, lambda to, row: spoil(row) if to == victim else row)
    honest = [node for node in world.ids if node != bad]
    assert server.close_masked() == tuple(honest)
    assert set(world.disputes.liars) == {bad}
    world.check(world.unmask(server, honest), honest)


@pytest.mark.parametrize(
    ("spoil", "is_hybrid"),
    [
        (lambda row: row + b"x", False),
        (other_part, False),
        (lambda row: row + b"x", True),
        (lambda row: row[:-1], True),
        (lambda row: b"", True),
        (other_part, True),
    ],
)
def test_a_false_row_for_a_node_that_drops_out_names_its_dealer(spoil, is_hybrid):
    """Nobody opens that row; the server needs its part for the masks of the two."""
    world = World(dataclasses.replace(PARAMETERS, is_hybrid=is_hybrid), 5)
    bad, gone = world.ids[0], world.ids[4]
    server = world.server(attempt())
    roster = world.bootstrap(server)
    for node in world.ids:
        upload = ok(world.roles[node].share(world.told(node, roster)))
        if node == bad:
            rows = {to: spoil(row) if to == gone else row for to, row in upload.rows}
            upload = dataclasses.replace(upload, rows=tuple(rows.items()))
        server.add_shares(node, upload.encode())
    server.close_shares()
    alive = world.ids[:4]
    world.train(server, alive, binding_for())
    server.close_masked()
    with pytest.raises(AbandonedError, match=f"node {bad} dealt"):
        world.unmask(server, alive)
    assert set(world.disputes.liars) == {bad}


def test_those_who_masked_with_a_liar_that_too_few_hold_shares_of_sit_out():
    """Two of ten hold shares of it, t is 7: its masks on their inputs could not be removed."""
    world = World(TEN, 10)
    bad, met = world.ids[0], world.ids[1:3]
    server = spoiled(world, bad, lambda to, row: row if to in met else false_row(row))
    others = [node for node in world.ids if node != bad and node not in met]
    assert server.close_masked() == tuple(others)
    assert set(world.disputes.liars) == {bad}
    world.check(world.unmask(server, others), others)


def test_a_liar_that_complains_of_everyone_is_left_out_alone():
    world = World(LARGER, 6)
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    bad = world.ids[5]
    honest = world.ids[:5]
    for node in world.ids:
        request = server.train_request(node)
        message = world.masked(world.opened(server, node, binding_for()), node)
        if node == bad:
            assert request.rows
            message = dataclasses.replace(message, rejected=tuple(honest))
        server.add_masked(node, message.encode())
    assert server.close_masked() == tuple(honest)
    assert set(world.disputes.liars) == {bad}
    world.check(world.unmask(server, honest), honest)


def test_complaints_about_others_than_peers_are_no_reply():
    world = World(PARAMETERS, 5)
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    node = world.ids[0]
    message = world.masked(world.opened(server, node, binding_for()), node)
    for rejected in ((node,), (999,)):
        wrong = dataclasses.replace(message, rejected=rejected)
        with pytest.raises(BadReplyError, match="rejects others"):
            server.add_masked(node, wrong.encode())


@pytest.mark.parametrize("drops_out", [False, True])
def test_shares_that_do_not_give_the_seed_name_their_dealer(monkeypatch, drops_out):
    """They decrypt and match their hashes: only their sum shows it, in the unmask trip.

    Of a survivor the self-mask seed is rebuilt, of a dropout the mask seed.
    """
    world = World(PARAMETERS, 5)
    bad, honest_split = world.ids[1], shamir.split

    def of_another_seed(seed, threshold, points, random_bytes):
        return honest_split(bytes(32), threshold, points, random_bytes)

    server = world.server(attempt())
    roster = world.bootstrap(server)
    for node in world.ids:
        with monkeypatch.context() as patched:
            if node == bad:
                patched.setattr(shamir, "split", of_another_seed)
            upload = ok(world.roles[node].share(world.told(node, roster)))
        server.add_shares(node, upload.encode())
    server.close_shares()
    alive = [node for node in world.ids if not (drops_out and node == bad)]
    world.train(server, alive, binding_for())
    assert server.close_masked() == tuple(alive)
    with pytest.raises(AbandonedError, match=f"node {bad} dealt"):
        world.unmask(server, alive)
    assert set(world.disputes.liars) == {bad}


@pytest.mark.parametrize("with_identities", [False, True])
def test_a_server_that_swaps_the_secret_of_a_pair_only_makes_a_dispute(with_identities):
    """It seals a secret of its own for the higher node; the sealed shares notice."""
    world = World(LARGER, 6, with_identities=with_identities)
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    lower, higher = world.ids[:2]
    key = world.kem_keys[higher][0]
    forged = seal_pair_secret(
        bytes(32), key, server._members.roster, (lower, higher), stream(3)
    )
    for node in world.ids:
        request = server.train_request(node)
        if node == higher:
            rows = dict(request.rows)
            row = dataclasses.replace(ShareRow.decode(rows[lower]), pair_part=forged)
            rows[lower] = row.encode()
            request = dataclasses.replace(request, rows=tuple(sorted(rows.items())))
        opened = ok(world.roles[node].open_train(request.encode(), binding_for()))
        assert opened.rejected == ((lower,) if node == higher else ())
        world.bindings[node] = opened.binding


@pytest.mark.parametrize("place", [0, 1])
def test_a_false_secret_of_a_pair_names_the_node_that_sent_it(monkeypatch, place):
    """Seen once one of both drops out: the liar itself, or one that never looked at it."""
    world = World(PARAMETERS, 5)
    bad, gone = world.ids[0], world.ids[place]
    server = world.server(attempt())
    roster = world.bootstrap(server)
    honest = sharing.seal_pair_secret

    def false(mask_seed, to, roster, ends, random_bytes):
        if bad == gone:
            return honest(bytes(32), to, roster, ends, random_bytes)
        return (
            bytes(1180)
            if ends[1] == gone
            else honest(mask_seed, to, roster, ends, random_bytes)
        )

    for node in world.ids:
        with monkeypatch.context() as patched:
            if node == bad:
                patched.setattr(sharing, "seal_pair_secret", false)
            upload = ok(world.roles[node].share(world.told(node, roster)))
        server.add_shares(node, upload.encode())
    server.close_shares()
    alive = [node for node in world.ids if node != gone]
    world.train(server, alive, binding_for())
    assert server.close_masked() == tuple(alive)
    with pytest.raises(AbandonedError, match=f"node {bad} dealt"):
        world.unmask(server, alive)
    assert set(world.disputes.liars) == {bad}
