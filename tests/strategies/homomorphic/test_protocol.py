"""Dealt keys and the ciphertexts under them: what is opened, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from strategies.homomorphic.public import public_key
from strategies.homomorphic.scheme import draw_key
from strategies.secagg.client.store import AdvertisedSecrets, MaskedSecrets, SharedSecrets
from strategies.secagg.client.transitions import Stage
from strategies.secagg.crypto import packed as packed_shares
from strategies.secagg.crypto.packed import PRIME
from strategies.secagg.messages import (
    EncryptedInput,
    KeyReply,
    KeyRoster,
    Roster,
    SharesUpload,
    UnmaskRequest,
)
from strategies.secagg.server import masked_sum
from strategies.secagg.server.outcome import (
    AbandonedError,
    BadReplyError,
    MismatchError,
    Phase,
)
from tests.strategies.homomorphic.oracle import PRIMES, packed, unpacked
from tests.strategies.homomorphic.world import EncryptedWorld
from tests.strategies.secagg.world import (
    LARGER,
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
    refusal_name,
    stream,
    told,
)


@pytest.fixture
def world():
    return EncryptedWorld(PARAMETERS)


@pytest.mark.parametrize("num_gone", [0, 1])
@pytest.mark.parametrize("with_identities", [False, True])
def test_the_sum_over_the_survivors_is_opened(num_gone, with_identities):
    world = EncryptedWorld(PARAMETERS, with_identities=with_identities)
    server = world.ready(attempt())
    alive = world.ids[num_gone:]
    world.prepare(server)
    world.send(server, alive)
    server.close_masked()
    hashes = dict(server._payload_hashes)
    total = world.unmask(server, alive)
    world.check(server, total, alive)
    assert server.ciphertexts.count == len(alive)
    assert total.misfits == ()
    if with_identities:
        assert [one.payload_hash for one in total.signed.inputs] == [hashes[n] for n in alive]


@pytest.mark.parametrize("num_nodes", [3, 4, 7, 12])
def test_any_t_answers_open_the_sum_whoever_is_missing(num_nodes):
    """From nobody to n - t: before the input, and after it."""
    parameters = replace(PARAMETERS, min_survivors=2 * num_nodes // 3 + 1)
    shape = parameters.key_shape(num_nodes)
    for num_gone in range(num_nodes - shape.threshold + 1):
        for num_silent in {0, num_nodes - shape.threshold - num_gone}:
            world = EncryptedWorld(parameters, num_nodes, seed=num_gone)
            server = world.ready(attempt())
            world.prepare(server)
            alive = world.ids[num_gone:]
            world.send(server, alive)
            server.close_masked()
            total = world.unmask(server, alive[num_silent:])
            world.check(server, total, alive)


def test_fewer_than_t_answers_open_nothing(world):
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids)
    server.close_masked()
    with pytest.raises(AbandonedError, match="3 shares of the sum of keys where 4 open it"):
        world.unmask(server, world.ids[:3])


def test_who_sits_out_for_a_dispute_is_in_neither_sum(world):
    """The survivors are known after the complaints: the ciphertexts are chosen then, too."""
    world = EncryptedWorld(LARGER, 7)
    server = world.ready(attempt())
    world.prepare(server)
    accused, accuser = world.ids[0], world.ids[3]
    row = server._rows._dealt[accused][accuser]
    server._rows._dealt[accused][accuser] = row[:30] + bytes([row[30] ^ 1]) + row[31:]
    world.send(server, world.ids)
    survivors = server.close_masked()
    assert not {accused, accuser} & set(survivors)
    world.check(server, world.unmask(server, survivors), survivors)


def test_a_row_without_its_form_is_its_dealers_lie():
    world = EncryptedWorld(LARGER, 7)
    server = world.ready(attempt())
    world.prepare(server)
    liar, receiver = world.ids[0], world.ids[3]
    server._rows._dealt[liar][receiver] = server._rows._dealt[liar][receiver][:-1]
    world.send(server, world.ids)
    survivors = server.close_masked()
    assert set(world.ids) - set(survivors) == {liar}
    assert set(world.disputes.liars) == {liar}


def test_two_encryptions_do_not_agree_on_a_plan(world):
    """A node that was told another scheme refuses, before it trains."""
    server = world.ready(attempt())
    world.prepare(server)
    request = server.train_request(world.ids[0]).encode()
    other = world.roles[world.ids[0]].open_train(request, lambda n, _: world.bound(n + 1))
    assert refusal_name(other) == "PLAN_MISMATCH"


def damaged(world, text: bytes, what: str) -> bytes:
    if what == "bit":
        return bytes([text[0] ^ 1]) + text[1:]
    if what == "short":
        return text[:-1]
    rows = unpacked(text[:-189], 7 * 8)
    rows[0] = PRIMES[0]
    return packed(rows) + text[-189:]


@pytest.mark.parametrize("what", ["bit", "short", "residue", "another's", "signature"])
def test_what_its_sender_has_not_signed_is_no_input(world, what):
    server = world.ready(attempt())
    world.prepare(server)
    node, peer = world.ids[:2]
    good = world.encrypted(world.open(server, node), node)
    if what == "another's":
        changes = {"ciphertext": world.encrypted(world.open(server, peer), peer).ciphertext}
    elif what == "signature":
        changes = {"signature": bytes(64)}
    else:
        changes = {"ciphertext": damaged(world, bytes(good.ciphertext), what)}
    with pytest.raises(BadReplyError, match="signature"):
        server.add_masked(node, replace(good, **changes).encode())
    server.add_masked(node, good.encode())
    with pytest.raises(BadReplyError, match="repeated"):
        server.add_masked(node, good.encode())


@pytest.mark.parametrize("what", ["short", "residue"])
def test_what_is_no_ciphertext_is_no_input_though_signed(what):
    """Refused as it comes, when its sender can still be left out of the sum."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    world.prepare(server)
    node = world.ids[0]
    opened = world.open(server, node)
    text = damaged(world, world.encrypt(opened, node), what)
    reply = world.roles[node].encrypted(opened, text)
    with pytest.raises(BadReplyError, match="no ciphertext"):
        server.add_masked(node, reply.encode())
    rest = world.ids[1:]
    world.send(server, rest)
    server.close_masked()
    world.check(server, world.unmask(server, rest), rest)


def test_a_ciphertext_that_cannot_be_kept_ends_the_attempt_and_says_where(world, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    server = world.ready(attempt())
    world.prepare(server)
    good = world.encrypted(world.open(server, world.ids[0]), world.ids[0]).encode()
    monkeypatch.setattr(masked_sum.Kept, "add", full)
    with pytest.raises(AbandonedError, match="No space left on device; TMPDIR names"):
        server.add_masked(world.ids[0], good)
    assert server.phase is Phase.ABANDONED


def test_until_a_server_knows_what_is_a_ciphertext_nothing_is(world):
    server = world.ready(attempt())
    server.bind_masks(world.bound(5))
    node = world.ids[0]
    with pytest.raises(BadReplyError, match="no ciphertext"):
        server.add_masked(node, world.encrypted(world.open(server, node), node).encode())


def test_a_masked_input_is_no_encrypted_one_nor_the_reverse(world):
    server = world.ready(attempt())
    world.prepare(server)
    node = world.ids[0]
    good = world.encrypted(world.open(server, node), node)
    masks = World(PARAMETERS, with_identities=True)
    plain = masks.ready(attempt())
    plain.bind_masks(binding_for())
    masked = masks.masked(masks.opened(plain, node, binding_for()), node)
    with pytest.raises(BadReplyError, match="message type 6 where 13"):
        server.add_masked(node, masked.encode())
    with pytest.raises(BadReplyError, match="message type 13 where 6"):
        plain.add_masked(node, good.encode())


def test_nothing_is_masked_where_a_key_was_dealt_and_nothing_encrypted_where_not(world):
    """The seeds of masks are zeros then: whoever masked by them would send its input."""
    server = world.ready(attempt())
    world.prepare(server)
    node = world.ids[0]
    opened = world.open(server, node)
    assert opened.secrets.self_seed == opened.secrets.mask_seed == bytes(32)
    update, scalars = world.inputs[node].copy(), world.scalars[node]
    masked = world.roles[node].mask(opened, update, scalars, 16)
    assert refusal_name(masked) == "BAD_INPUT"
    np.testing.assert_array_equal(update, world.inputs[node])
    masks = World(PARAMETERS)
    plain = masks.ready(attempt())
    plain.bind_masks(binding_for())
    without = masks.opened(plain, node, binding_for())
    assert without.key is None
    assert refusal_name(masks.roles[node].encrypted(without, b"text")) == "BAD_INPUT"


def roster_of_keys(world) -> KeyRoster:
    return world.bootstrap(world.server(attempt()))


@pytest.mark.parametrize("change", [-1, 1, 5])
def test_a_node_deals_with_as_many_entries_a_polynomial_as_it_says_itself(world, change):
    """More would let fewer shares than may be known say something of a key."""
    roster = roster_of_keys(world)
    assert roster.num_packed == 2
    changed = replace(roster, num_packed=roster.num_packed + change)
    assert refusal_name(world.roles[world.ids[0]].share(world.told(world.ids[0], changed))) == (
        "BAD_THRESHOLD"
    )


def test_a_node_without_keys_answers_no_roster_of_keys():
    """Under aggregation=secagg; and one with keys answers either, as small updates need."""
    masks = World(PARAMETERS)
    roster = masks.bootstrap(masks.server(attempt()))
    keyed = KeyRoster(**vars(roster), num_packed=2)
    node = masks.ids[0]
    assert refusal_name(masks.roles[node].share(masks.told(node, keyed))) == "MALFORMED"
    world = EncryptedWorld(PARAMETERS)
    roster = roster_of_keys(world)
    parts = {name: value for name, value in vars(roster).items() if name != "num_packed"}
    request = world.requests[node]
    # With masks, its rows bring the secrets of pairs.
    kem_keys = tuple((p, key + world.kem_keys[p][0]) for p, key in request.kem_keys)
    request = replace(request, kem_keys=kem_keys)
    upload = ok(world.roles[node].share(told(request, Roster(**parts))))
    record = world.stores[world.ids[0]].table[attempt()]
    assert SharedSecrets.decode(record.secrets).key == b""
    assert upload.own_hashes != bytes(64)


def test_seeds_and_keys_of_the_same_adverts_are_of_two_rosters(world):
    from strategies.secagg.binding import roster_hash

    keyed = roster_of_keys(world)
    parts = {name: value for name, value in vars(keyed).items() if name != "num_packed"}
    hashes = {
        roster_hash(one) for one in (keyed, replace(keyed, num_packed=3), Roster(**parts))
    }
    assert len(hashes) == 3


def test_a_key_that_is_not_the_ciphertexts_is_found_out(world):
    """One entry off by one: the sum of the errors is none of honest participants."""
    server = world.ready(attempt())
    scheme = world.prepare(server)
    liar = world.ids[2]
    world.send(server, [node for node in world.ids if node != liar])
    opened = world.open(server, liar)
    key = opened.key.copy()
    key[17] += 1
    text = scheme.encrypt(key, (world.inputs[liar], world.scalars[liar]), opened.binding)
    server.add_masked(liar, world.roles[liar].encrypted(opened, bytes(text)).encode())
    server.close_masked()
    total = world.unmask(server, world.ids)
    with pytest.raises(MismatchError, match="a participant broke the sum"):
        world.decrypted(server, total)


def test_another_attempts_ciphertext_is_found_out(world):
    """Encrypted for an attempt before, under its key: the public polynomials differ."""
    liar = world.ids[1]
    first = world.ready(attempt(1))
    world.prepare(first)
    old = world.encrypt(world.open(first, liar), liar)
    server = world.ready(attempt(2))
    world.prepare(server)
    world.send(server, [node for node in world.ids if node != liar])
    opened = world.open(server, liar)
    server.add_masked(liar, world.roles[liar].encrypted(opened, old).encode())
    server.close_masked()
    with pytest.raises(MismatchError):
        world.decrypted(server, world.unmask(server, world.ids))


def test_no_two_attempts_share_public_polynomials(world):
    servers = [world.ready(attempt(number, again)) for number in (1, 2) for again in (0, 1)]
    for server in servers:
        world.prepare(server)
    assert len({public_key(server.plan) for server in servers}) == 4


def test_every_attempt_has_a_key_of_its_own_and_it_goes_as_it_is_used(world, caplog):
    """Kills at the write, too: no key serves twice, and none is in a reply or the log.

    It is in the node's file from the shares to the input, as other secrets are.
    """
    node, sent = world.ids[0], []
    for again in range(6):
        server = world.ready(attempt(1, again))
        world.prepare(server)
        opened, store = world.open(server, node), world.stores[node]
        (key,) = world.keys[node][again:]
        holding = [r for r in store.table.values() if key in r.secrets]
        assert [record.stage for record in holding] == [Stage.SHARED]
        store.kill_before, store.kill_after = again % 3 == 1, again % 3 == 2
        reply = None
        try:
            reply = world.encrypted(opened, node)
        except KeyboardInterrupt:
            killed_after, store.kill_before, store.kill_after = store.kill_after, False, False
            # The message is lost with the process. The same request again is answered only if
            # the stage has not moved, and then nothing has left before.
            late = world.roles[node].encrypted(opened, world.encrypt(opened, node))
            if killed_after:
                assert refusal_name(late) == "REPEATED"
            else:
                reply = late
        if reply is not None:
            sent.append(key)
            assert key[:32] not in reply.encode()
            again_sent = world.roles[node].encrypted(opened, world.encrypt(opened, node))
            assert refusal_name(again_sent) == "REPEATED"
        assert not any(key[:32] in record.secrets for record in store.table.values())
    keys = world.keys[node]
    assert len(keys) == len({key[:64] for key in keys}) == 6
    assert len(set(sent)) == len(sent) == 4
    for key in keys:
        assert key[:8].hex() not in caplog.text


def test_what_a_node_keeps_after_its_input_is_shares_of_others_and_one_of_its_own(world):
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids)
    node = world.ids[0]
    kept = MaskedSecrets.decode(world.stores[node].table[attempt()].secrets)
    assert kept.num_packed == 2
    assert {len(share) for _, share in kept.held} == {server.packing.share_bytes}
    assert [peer for peer, _ in kept.held] == world.ids
    server.close_masked()
    world.unmask(server, world.ids)
    assert not any(store.secrets() for store in world.stores.values())


def test_no_seed_is_shared_where_a_key_is(world):
    """Neither sealed in a row nor kept: there is nothing that opens a mask."""
    roster = roster_of_keys(world)
    node = world.ids[0]
    before = AdvertisedSecrets.decode(world.stores[node].table[attempt()].secrets)
    upload = ok(world.roles[node].share(world.told(node, roster)))
    after = world.stores[node].table[attempt()].secrets
    for seed in (before.mask_seed, before.self_seed):
        assert seed not in after
    assert before.share_seed in after
    assert SharesUpload.decode(upload.encode()).own_hashes == bytes(64)


def answers(world, server) -> dict[int, KeyReply]:
    """Run an attempt up to the replies, with nobody missing."""
    world.prepare(server)
    world.send(server, world.ids)
    server.close_masked()
    request = server.unmask_request().encode()
    return {node: ok(world.roles[node].unmask(request)) for node in world.ids}


def add_false(world, server, replies, liars) -> None:
    """Add the replies, of which some are of a false share under its sender's own signature."""
    from strategies.secagg.crypto.identity import reply_to_sign

    for node, reply in replies.items():
        if node in liars:
            words = np.frombuffer(reply.share, "<u4").copy()
            words[liars[node]] ^= 1
            false = replace(reply, share=words.tobytes(), signature=b"")
            signature = world.identity[node].sign(reply_to_sign(server.plan, false))
            reply = replace(false, signature=signature)
        server.add_unmask(node, reply.encode())


@pytest.mark.parametrize("places", [(0,), (2047,), (7, 7), (3, 9)])
def test_false_answers_are_noticed_and_found_where_enough_others_are_true(places):
    """9 nodes, t = 7: of nine answers one can be found; two show, and open nothing."""
    world = EncryptedWorld(replace(PARAMETERS, min_survivors=7), 9)
    server = world.ready(attempt())
    replies = answers(world, server)
    liars = dict(zip(world.ids[2:], places, strict=False))
    add_false(world, server, replies, liars)
    if len(places) > 1:
        with pytest.raises(AbandonedError, match="lies about the sum of keys"):
            server.finish_keys()
        return
    total = server.finish_keys()
    assert total.misfits == (world.ids[2],)
    world.check(server, total, world.ids)
    # Which of two lies, it or a dealer, nobody can tell: nobody is called a liar.
    assert not world.disputes.liars


def test_one_more_answer_than_needed_shows_a_false_one():
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    replies = answers(world, server)
    add_false(world, server, replies, {world.ids[4]: 11})
    with pytest.raises(AbandonedError, match="lies about the sum of keys"):
        server.finish_keys()


def test_a_false_answer_among_t_is_seen_in_the_sum():
    """There is nothing to hold it against but that the sum of keys is not small."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    replies = answers(world, server)
    del replies[world.ids[0]]
    add_false(world, server, replies, {world.ids[4]: 11})
    with pytest.raises(MismatchError, match="do not match"):
        world.decrypted(server, server.finish_keys())


def deals_falsely(monkeypatch, liar_key: bytes, change) -> None:
    """Have one node deal something else than shares of its key."""
    honest = packed_shares.deal

    def deal(values, packing, random_bytes):
        shares = honest(values, packing, random_bytes)
        return change(shares) if values.tobytes() == liar_key else shares

    monkeypatch.setattr(packed_shares, "deal", deal)


@pytest.mark.parametrize("what", ["length", "element"])
def test_a_dealer_of_what_is_no_share_is_left_out(monkeypatch, what):
    """Each receiver says so: a wrong form is its lie, and so are too many disputes."""
    world = EncryptedWorld(LARGER, 7)
    server = world.server(attempt())
    roster = world.bootstrap(server)
    liar = world.ids[3]
    changes = {
        "length": lambda shares: shares[:, :-1],
        "element": lambda shares: np.full_like(shares, PRIME),
    }
    key = draw_key(stream(7))
    world.roles[liar]._draw_key = lambda _: key.copy()
    deals_falsely(monkeypatch, key.tobytes(), changes[what])
    world.share(server, roster, world.ids)
    world.prepare(server)
    honest = [node for node in world.ids if node != liar]
    sent = world.send(server, world.ids)
    assert all(EncryptedInput.decode(sent[node]).rejected == (liar,) for node in honest)
    assert list(server.close_masked()) == honest
    assert set(world.disputes.liars) == {liar}
    world.check(server, world.unmask(server, honest), honest)


def test_a_dealer_that_deals_one_false_share_makes_its_holder_a_misfit_and_no_liar(monkeypatch):
    """The holder cannot see it, and its honest answer fits no others: it is not blamed."""
    world = EncryptedWorld(replace(PARAMETERS, min_survivors=7), 9)
    server = world.server(attempt())
    roster = world.bootstrap(server)
    liar, holder = world.ids[3], world.ids[5]

    def one_false(shares):
        shares[world.ids.index(holder), 17] ^= 1
        return shares

    key = draw_key(stream(7))
    world.roles[liar]._draw_key = lambda _: key.copy()
    world.keys[liar] = [key.tobytes()]
    deals_falsely(monkeypatch, key.tobytes(), one_false)
    world.share(server, roster, world.ids)
    world.prepare(server)
    world.send(server, world.ids)
    server.close_masked()
    total = world.unmask(server, world.ids)
    assert total.misfits == (holder,)
    assert not world.disputes.liars
    world.check(server, total, world.ids)


@pytest.mark.parametrize("what", ["length", "element", "signature", "stranger", "repeated"])
def test_what_is_no_answer_is_none(what):
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    replies = answers(world, server)
    node = world.ids[0]
    reply, sender = replies[node], node
    if what == "stranger":
        sender = 5
    elif what == "repeated":
        server.add_unmask(node, reply.encode())
    elif what == "signature":
        reply = replace(reply, share=bytes(len(reply.share)))
    else:
        from strategies.secagg.crypto.identity import reply_to_sign

        share = reply.share[:-4] + (b"" if what == "length" else b"\xff\xff\xff\x7f")
        false = replace(reply, share=share, signature=b"")
        signature = world.identity[node].sign(reply_to_sign(server.plan, false))
        reply = replace(false, signature=signature)
    with pytest.raises(BadReplyError):
        server.add_unmask(sender, reply.encode())
    assert set(world.disputes.liars) == ({node} if what in ("length", "element") else set())


def test_a_share_answers_one_set_of_survivors_once(world):
    server = world.ready(attempt())
    replies = answers(world, server)
    node = world.ids[0]
    request = UnmaskRequest(attempt(), tuple(world.ids), (), (), (), None).encode()
    assert refusal_name(world.roles[node].unmask(request)) == "REPEATED"
    assert len(replies[node].share) == server.packing.share_bytes


def test_the_phase_goes_through_confirm_where_somebody_is_missing(world):
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids[1:])
    server.close_masked()
    assert server.phase is Phase.CONFIRM
    assert server.unmask_request is not None
    world.confirm(server)
    # Nothing of a dropout is asked for.
    assert server.unmask_request().dropouts == ()


def test_the_keys_of_the_next_attempt_ride_along(world):
    """In the steady state: adverts with the inputs, shares of new keys with the answers."""
    server = world.ready(attempt(1))
    world.prepare(server)
    following = world.server(attempt(2))
    for node in world.ids:
        reply = world.encrypted(world.open(server, node, attempt(2)), node)
        server.add_masked(node, reply.encode())
        following.add_advert(node, reply.next_advert)
    server.close_masked()
    following.close_adverts()
    for node in world.ids:
        request = server.unmask_request(following.share_request(node)).encode()
        reply = ok(world.roles[node].unmask(request))
        server.add_unmask(node, reply.encode())
        following.add_shares(node, reply.next_shares)
    world.check(server, server.finish_keys(), world.ids)
    following.close_shares()
    world.model = "model 2"
    world.prepare(following)
    world.send(following, world.ids)
    following.close_masked()
    world.check(following, world.unmask(following, world.ids), world.ids)
    for keys in world.keys.values():
        assert len(set(keys)) == 2


def test_an_encrypted_input_is_read_back(world):
    server = world.ready(attempt())
    world.prepare(server)
    good = world.encrypted(world.open(server, world.ids[0]), world.ids[0])
    read = EncryptedInput.decode(good.encode())
    assert read == replace(good, ciphertext=read.ciphertext)
    assert bytes(read.ciphertext) == good.ciphertext
