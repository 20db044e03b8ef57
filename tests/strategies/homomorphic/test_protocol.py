"""Keys through the masked sum, ciphertexts beside them: what is opened, and what is refused."""

import numpy as np
import pytest

from strategies.homomorphic.parameters import KEY_BITS
from strategies.homomorphic.public import public_key
from strategies.secagg.messages import EncryptedInput, MaskedInput
from strategies.secagg.server.outcome import BadReplyError, MismatchError, Phase
from tests.strategies.homomorphic.oracle import PRIMES, packed, unpacked
from tests.strategies.homomorphic.world import EncryptedWorld
from tests.strategies.secagg.world import LARGER, PARAMETERS, attempt, refusal_name


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
    total = world.unmask(server, alive)
    np.testing.assert_array_equal(world.decrypted(server, total), world.sum_over(alive))
    np.testing.assert_array_equal(total.scalars, world.expected(alive)[1])
    assert len(total.ciphertexts) == len(alive)
    if with_identities:
        assert [one.payload_hash for one in total.signed.inputs] == [
            server._payload_hashes[node] for node in alive
        ]


def test_who_sits_out_for_a_dispute_is_in_neither_sum(world):
    """The survivors are known after the complaints: the ciphertexts are chosen then, too."""
    world = EncryptedWorld(LARGER, 7)
    server = world.ready(attempt())
    world.prepare(server)
    accused, accuser = world.ids[0], world.ids[3]
    rows = server._rows._inbox[accuser]
    rows[accused] = rows[accused][:30] + bytes([rows[accused][30] ^ 1]) + rows[accused][31:]
    world.send(server, world.ids)
    survivors = server.close_masked()
    assert not {accused, accuser} & set(survivors)
    total = world.unmask(server, survivors)
    np.testing.assert_array_equal(world.decrypted(server, total), world.sum_over(survivors))


def test_two_encryptions_do_not_agree_on_a_plan(world):
    """A node that was told another scheme cancels with nobody: it refuses, before it trains."""
    server = world.ready(attempt())
    world.prepare(server)
    request = server.train_request(world.ids[0]).encode()
    other = world.roles[world.ids[0]].open_train(request, lambda n: world.bound(n + 1))
    assert refusal_name(other) == "PLAN_MISMATCH"


def damaged(world, text: bytes, what: str) -> bytes:
    if what == "bit":
        return bytes([text[0] ^ 1]) + text[1:]
    if what == "short":
        return text[:-1]
    rows = unpacked(text, 7 * 8)
    rows[0] = PRIMES[0]
    return packed(rows)


@pytest.mark.parametrize("what", ["bit", "short", "residue", "key", "another's", "signature"])
def test_what_its_sender_has_not_signed_is_no_input(world, what):
    server = world.ready(attempt())
    world.prepare(server)
    node, peer = world.ids[:2]
    good = world.masked(world.open(server, node), node)
    changes = {"ciphertext": bytes(good.ciphertext)}
    if what == "key":
        changes = {"update": bytes([good.update[0] ^ 1]) + bytes(good.update[1:])}
    elif what == "another's":
        changes = {"ciphertext": world.masked(world.open(server, peer), peer).ciphertext}
    elif what == "signature":
        changes = {"signature": bytes(64)}
    else:
        changes = {"ciphertext": damaged(world, bytes(good.ciphertext), what)}
    with pytest.raises(BadReplyError, match="signature"):
        server.add_masked(node, EncryptedInput(**{**vars(good), **changes}).encode())
    server.add_masked(node, good.encode())


@pytest.mark.parametrize("what", ["short", "residue"])
def test_what_is_no_ciphertext_is_no_input_though_signed(what):
    """Refused as it comes, when its sender can still be left out of the sum."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    world.prepare(server)
    node = world.ids[0]
    opened = world.open(server, node)
    key, text = world.encrypt(opened, node)
    text = damaged(world, text, what)
    reply = world.roles[node].mask(opened, key, world.scalars[node], KEY_BITS, text)
    with pytest.raises(BadReplyError, match="no ciphertext"):
        server.add_masked(node, reply.encode())
    rest = world.ids[1:]
    world.send(server, rest)
    server.close_masked()
    total = world.unmask(server, rest)
    np.testing.assert_array_equal(world.decrypted(server, total), world.sum_over(rest))


def test_a_masked_input_alone_is_no_encrypted_one_nor_the_reverse(world):
    server = world.ready(attempt())
    world.prepare(server)
    node = world.ids[0]
    good = world.masked(world.open(server, node), node)
    parts = {name: value for name, value in vars(good).items() if name != "ciphertext"}
    with pytest.raises(BadReplyError, match="message type 6 where 13"):
        server.add_masked(node, MaskedInput(**parts).encode())
    plain = world.ready(attempt(2))
    plain.bind_masks(world.bound(5))
    with pytest.raises(BadReplyError, match="message type 13 where 6"):
        plain.add_masked(node, good.encode())


def test_a_key_that_is_not_the_ciphertexts_is_found_out(world):
    """One entry off by one: the sum of the errors is none of honest participants."""
    server = world.ready(attempt())
    world.prepare(server)
    liar = world.ids[2]
    world.send(server, [node for node in world.ids if node != liar])
    opened = world.open(server, liar)
    key, text = world.encrypt(opened, liar)
    key[17] += 1
    reply = world.roles[liar].mask(opened, key, world.scalars[liar], KEY_BITS, text)
    server.add_masked(liar, reply.encode())
    server.close_masked()
    total = world.unmask(server, world.ids)
    with pytest.raises(MismatchError, match="a participant broke the sum"):
        world.decrypted(server, total)


def test_another_attempts_ciphertext_is_found_out(world):
    """Encrypted for an attempt before, under its key: the public polynomials differ."""
    first = world.ready(attempt(1))
    world.prepare(first)
    liar = world.ids[1]
    old_key, old_text = world.encrypt(world.open(first, liar), liar)
    server = world.ready(attempt(2))
    world.prepare(server)
    world.send(server, [node for node in world.ids if node != liar])
    opened = world.open(server, liar)
    reply = world.roles[liar].mask(opened, old_key, world.scalars[liar], KEY_BITS, old_text)
    server.add_masked(liar, reply.encode())
    server.close_masked()
    with pytest.raises(MismatchError):
        world.decrypted(server, world.unmask(server, world.ids))


def test_no_two_attempts_share_public_polynomials(world):
    servers = [world.ready(attempt(number, again)) for number in (1, 2) for again in (0, 1)]
    for server in servers:
        world.prepare(server)
    assert len({public_key(server.plan) for server in servers}) == 4


def test_every_attempt_has_a_key_of_its_own_and_none_is_kept(world, caplog):
    """Retries and kills at the write, too: nothing of a key is in store, reply or log."""
    node = world.ids[0]
    for again in range(6):
        server = world.ready(attempt(1, again))
        world.prepare(server)
        opened = world.open(server, node)
        store = world.stores[node]
        if again % 3 == 1:
            store.kill_before = True
        elif again % 3 == 2:
            store.kill_after = True
        reply = None
        try:
            reply = world.masked(opened, node)
        except KeyboardInterrupt:
            store.kill_before = store.kill_after = False
            # The message is lost with the process. The same request again has another key, or
            # none: the stage moved on.
            key, text = world.encrypt(opened, node)
            late = world.roles[node].mask(opened, key, world.scalars[node], KEY_BITS, text)
            if again % 3 == 2:
                assert refusal_name(late) == "REPEATED"
            else:
                reply = late
        kept = b"".join(record.secrets for record in store.table.values())
        for key in world.keys[node]:
            assert key[:32] not in kept
            assert reply is None or key[:32] not in reply.encode()
    keys = world.keys[node]
    assert len(keys) == len(set(keys)) == 10
    assert len({key[:64] for key in keys}) == 10
    for key in keys:
        assert key[:8].hex() not in caplog.text


def test_the_phase_goes_through_confirm_where_somebody_is_missing(world):
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids[1:])
    server.close_masked()
    assert server.phase is Phase.CONFIRM
