"""What a node asks of a row of shares before it masks with its dealer, part by part."""

import dataclasses
import os
from collections import Counter
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strategies.secagg.client.store import SharedSecrets
from strategies.secagg.crypto import hybrid, keys, prg
from strategies.secagg.crypto.hybrid import hash_part, seal_pair_secret
from strategies.secagg.crypto.keys import KeyPair, encapsulate, hash_pair, seal, share_key
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import (
    FIELD_BYTES,
    HEAD_BYTES,
    KEPT_HEADS,
    Advert,
    ShareRow,
    TrainRequest,
)
from strategies.secagg.server.role import ServerRole
from tests.strategies.secagg.world import LARGER, World, attempt, binding_for, ok, refused


def asked(world: World, place: int = 0) -> tuple[TrainRequest, int]:
    """Return the honest request for a node, the first one if not told."""
    return bound(world).train_request(world.ids[place]), world.ids[place]


def bound(world: World) -> ServerRole:
    """Return a server that is about to ask for masked inputs."""
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    return server


def with_first_row(request: TrainRequest, row: ShareRow) -> TrainRequest:
    return dataclasses.replace(
        request, rows=((request.rows[0][0], row.encode()), *request.rows[1:])
    )


def rejected(world: World, node: int, request: TrainRequest) -> tuple[int, ...]:
    opened = ok(world.roles[node].open_train(request.encode(), binding_for()))
    return opened.rejected


@pytest.mark.parametrize("is_hybrid", [False, True])
@pytest.mark.parametrize("place", [0, -1])
def test_a_row_that_another_has_made_is_rejected(place, is_hybrid):
    """A row has no signature: what X25519 gives for two share keys says who dealt it.

    The server makes a row of its own in a member's name, sound in all that it can know; with
    the member's share seed the same row is taken.
    """
    parameters = dataclasses.replace(LARGER, is_hybrid=is_hybrid)
    world = World(parameters, 6, with_identities=True)
    server, node = bound(world), world.ids[place]
    request = server.train_request(node)
    assert rejected(world, node, request) == ()
    victim = request.rows[0][0]
    kept = SharedSecrets.decode(world.stores[victim].table[attempt()].secrets)
    receiver, kem_keys = server._members.adverts[node], world.kem_keys[node]
    for seed, taken in ((bytes(32), False), (kept.share_seed, True)):
        share_keys = KeyPair(seed, hybrid=is_hybrid)
        row = forged(victim, receiver, kem_keys, kept.roster, share_keys)
        found = rejected(world, node, with_first_row(request, row))
        assert found == (() if taken else (victim,))


def forged(
    dealer: int,
    receiver: Advert,
    kem_keys: tuple[bytes, bytes],
    roster: bytes,
    share_keys: KeyPair,
) -> ShareRow:
    """Return a row in a dealer's name, of shares and a pair's secret that the maker chose."""
    ends = dealer, receiver.node_id
    part = seal_pair_secret(bytes(32), kem_keys[0], roster, ends, os.urandom)
    part = part if dealer < receiver.node_id else b""
    fresh, kem_text = encapsulate(kem_keys[1])
    key = share_key(share_keys.agree(receiver.share_key) + fresh, roster, *ends)
    text = bytes(2 * FIELD_BYTES + KEPT_HEADS * HEAD_BYTES)
    sealed = seal(key, roster, ends, text, bytes(12), hash_part(part))
    hashes = hash_pair(text[: 2 * FIELD_BYTES], roster, *ends)
    return ShareRow(sealed, hashes[:32], hashes[32:], kem_text, part)


@pytest.mark.parametrize("part", ["sealed", "mask_hash", "self_hash", "kem_text", "pair_part"])
def test_a_row_is_rejected_if_any_part_is_another(part):
    """Of the hashes too: else the receiver would be called the liar at the end."""
    world = World(LARGER, 6, with_identities=True)
    # The last node gets the pair's secret from everybody.
    request, node = asked(world, -1)
    (dealer, data), (_, other) = request.rows[:2]
    wrong = {part: getattr(ShareRow.decode(other), part)}
    row = dataclasses.replace(ShareRow.decode(data), **wrong)
    assert rejected(world, node, with_first_row(request, row)) == (dealer,)


def test_a_node_masks_with_the_floor_of_survivors_and_not_with_the_threshold():
    """T = 6 and t = 5 of seven: with five the server could open a sum of five."""
    world = World(ProtocolParameters(min_survivors=6, max_colluding=1), 7)
    request, node = asked(world)
    assert world.parameters.shape(7).threshold == 5
    enough = dataclasses.replace(request, rows=request.rows[1:])
    assert rejected(world, node, enough) == (request.rows[0][0],)
    few = dataclasses.replace(request, rows=request.rows[2:])
    reply = world.roles[node].open_train(few.encode(), binding_for())
    refused(world, node, reply, "SHARES_TOO_FEW")


@pytest.mark.parametrize("is_hybrid", [False, True])
def test_rows_of_other_pairs_attempts_and_rosters_are_rejected(is_hybrid):
    parameters = dataclasses.replace(LARGER, is_hybrid=is_hybrid)
    world = World(parameters, 6, with_identities=True)
    before, elsewhere = bound(world), bound(World(parameters, 6, with_identities=True, seed=3))
    server = world.ready(attempt(2))
    server.bind_masks(binding_for("model 2"))
    inbox = {node: dict(server.train_request(node).rows) for node in world.ids}
    node, dealer, third = world.ids[2], world.ids[4], world.ids[5]
    others = [inbox[dealer][node], inbox[node][third], inbox[third][dealer]]
    others += [dict(one.train_request(node).rows)[dealer] for one in (before, elsewhere)]
    for other in others:
        rows = inbox[node] | {dealer: other}
        request = dataclasses.replace(
            server.train_request(node), rows=tuple(sorted(rows.items()))
        )
        opened = ok(world.roles[node].open_train(request.encode(), binding_for("model 2")))
        assert opened.rejected == (dealer,)


class Sealing:
    """AES-GCM that notes the keys that it encrypts under."""

    keys: ClassVar[list[bytes]] = []

    def __init__(self, key: bytes) -> None:
        self._key, self._real = key, AESGCM(key)

    def encrypt(self, *arguments):
        self.keys.append(self._key)
        return self._real.encrypt(*arguments)

    def decrypt(self, *arguments):
        return self._real.decrypt(*arguments)


@pytest.mark.parametrize("is_hybrid", [False, True])
def test_no_key_is_used_twice(monkeypatch, is_hybrid):
    """A mask key is on the inputs of its nodes in one attempt; a sealing key seals once."""
    masked, honest = list[bytes](), prg._block_cipher
    monkeypatch.setattr(prg, "_block_cipher", lambda key: (masked.append(key), honest(key))[1])
    monkeypatch.setattr(Sealing, "keys", [])
    for module in (hybrid, keys):
        monkeypatch.setattr(module, "AESGCM", Sealing)
    world = World(dataclasses.replace(LARGER, is_hybrid=is_hybrid), 6, with_identities=True)
    for number in (1, 2, 3):
        server = world.ready(attempt(number))
        world.train(server, world.ids, binding_for(f"model {number}"))
    assert sorted(Counter(masked).values()) == [1] * 18 + [2] * 45
    assert len(Sealing.keys) == len(set(Sealing.keys)) == 3 * (30 + 15 * is_hybrid)
    assert not {key[:16] for key in Sealing.keys} & set(masked)
