"""Three attacks on one ciphertext: by mixing, by what else is known, by two sums of keys."""

import os
from copy import deepcopy
from itertools import combinations

import numpy as np
import pytest

from strategies.homomorphic import packing, ring
from strategies.homomorphic.packing import Places
from strategies.homomorphic.parameters import SIGMA
from strategies.homomorphic.public import public_key, public_polynomial
from strategies.homomorphic.sampler import Keystream, sample
from strategies.homomorphic.scheme import MismatchError, Scheme, draw_key
from strategies.secagg.client.store import AdvertisedSecrets, MaskedSecrets
from strategies.secagg.crypto import packed
from strategies.secagg.messages import EncryptedInput, Refusal, UnmaskRequest
from strategies.secagg.server.key_role import KeyRole
from tests.strategies.homomorphic.world import DIMENSION, EncryptedWorld, added
from tests.strategies.secagg.world import LARGER, PARAMETERS, attempt, ok, refusal_name


def forced(scheme: Scheme, key: np.ndarray, total: np.ndarray, plan: bytes) -> np.ndarray:
    """Return what a key opens of a sum of residues, with no check of what comes out."""
    prepared = ring.prepare(key.astype(np.int64))
    products = ring.product(public_polynomial(public_key(plan), 0), prepared)
    opened = packing.collect(total % PRIMES, products, Places.of(scheme.slots))
    return opened[0][:DIMENSION] if opened else np.zeros(0, np.uint16)


def numbers_of(text: bytes) -> np.ndarray:
    """Return the residues of the numbers, the scalars' aside."""
    return packing.residues_of(text[:-189], 8).astype(np.uint64)


PRIMES = np.array([[f.prime] for f in ring.fields()], np.uint64)


def test_a_mixing_of_other_sets_or_weights_opens_nothing():
    """Every subset of the ciphertexts but the survivors', and one twice: all are garbage."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    scheme = world.prepare(server)
    *present, gone = world.ids
    sent = world.send(server, present)
    # One input is lost: its ciphertext is here all the same.
    sent[gone] = world.encrypted(world.open(server, gone), gone).encode()
    texts = {node: bytes(EncryptedInput.decode(data).ciphertext) for node, data in sent.items()}
    survivors = server.close_masked()
    key = world.unmask(server, survivors).key_sum
    right, _ = added(scheme, [texts[node] for node in survivors]).opened(key, server.plan)
    np.testing.assert_array_equal(right, world.sum_over(survivors))
    sets = [c for size in range(1, 6) for c in combinations(world.ids, size)]
    mixed = [list(c) for c in sets if c != survivors]
    mixed += [[*survivors, node] for node in world.ids]
    assert len(mixed) == 30 + 5
    hits = 0
    for nodes in mixed:
        with pytest.raises(MismatchError):
            added(scheme, [texts[node] for node in nodes]).opened(key, server.plan)
        total = np.sum([numbers_of(texts[n]) for n in nodes], axis=0)
        found = forced(scheme, key, total, server.plan)
        hits += int((found == world.sum_over(nodes)[: len(found)]).sum())
    # Of 2,100 numbers of 16 bits about 0.03 agree by chance.
    assert hits <= 2


def test_no_seed_that_is_kept_or_sent_gives_a_key():
    """Two worlds whose seeds and adverts are the same: no key is in both.

    So that no key is made of anything that the protocol has beside it.
    """
    worlds = [EncryptedWorld(PARAMETERS, with_identities=True) for _ in range(2)]
    rosters, stored, keys = [], [], []
    for world in worlds:
        server = world.server(attempt())
        rosters.append(world.bootstrap(server))
        record = world.stores[world.ids[0]].table[attempt()]
        stored.append(AdvertisedSecrets.decode(record.secrets))
        for node in world.ids:
            # From here on the operating system's bits, as outside of tests.
            world.roles[node] = world.role(node, random_bytes=os.urandom)
            ok(world.roles[node].share(world.told(node, rosters[-1])))
        keys.append({key for found in world.keys.values() for key in found})
    assert rosters[0] == rosters[1]
    assert stored[0] == stored[1]
    assert len(keys[0]) == len(keys[1]) == len(worlds[0].ids)
    assert not keys[0] & keys[1]


def test_the_seeds_of_an_attempt_open_no_ciphertext():
    """By the ways in which a key might have been made of a seed of the protocol."""
    world = EncryptedWorld(PARAMETERS)
    server = world.server(attempt())
    roster = world.bootstrap(server)
    node = world.ids[0]
    seeds = AdvertisedSecrets.decode(world.stores[node].table[attempt()].secrets)
    world.share(server, roster, world.ids)
    scheme = world.prepare(server)
    sent = world.send(server, world.ids)
    text = EncryptedInput.decode(sent[node]).ciphertext
    for seed in (seeds.self_seed, seeds.mask_seed, seeds.share_seed, server.plan):
        for part in (seed[:16], seed[-16:]):
            key = sample(8192, Keystream(part)).astype(np.int64)
            with pytest.raises(MismatchError):
                added(scheme, [text]).opened(key, server.plan)


def shares_of(world: EncryptedWorld, server: KeyRole, dealer: int) -> dict[int, bytes]:
    """Return what every member holds of one dealer's key, as the members know it."""
    found = {}
    for node in world.ids:
        kept = MaskedSecrets.decode(world.stores[node].table[attempt()].secrets)
        found[server._members.point[node]] = dict(kept.held)[dealer]
    return found


def test_what_colluders_and_server_hold_opens_no_ciphertext():
    """Any t - l shares of a key: another, drawn at random, goes with them just as well."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    world.prepare(server)
    victim = world.ids[0]
    world.send(server, world.ids)
    shares, packing = shares_of(world, server, victim), server.packing
    (key,) = (np.frombuffer(one, np.int8) for one in world.keys[victim])
    hidden = packing.threshold - packing.num_packed
    assert hidden == 2
    nodes = (*range(-1, -packing.num_packed - 1, -1),)
    for known in combinations(sorted(shares), hidden):
        # Any other key goes with these shares: a polynomial through both is of degree below t.
        other = np.frombuffer(draw_key().tobytes(), np.int8).astype(np.int64)
        table = np.mod(other, packed.PRIME).astype(np.uint64).reshape(-1, len(nodes)).T
        held = np.stack([np.frombuffer(shares[i], "<u4") for i in known]).astype(np.uint64)
        rest = tuple(i for i in sorted(shares) if i not in known)
        matrix = packed.interpolation((*nodes, *known), rest)
        made = packed.multiply(matrix, np.concatenate([table, held]))
        whole = {i: row.astype("<u4").tobytes() for i, row in zip(rest, made, strict=True)}
        whole |= {i: shares[i] for i in known}
        found = packed.open_vector(whole, packing, os.urandom)
        np.testing.assert_array_equal(found.values, other)
    opened = packed.open_vector(shares, packing, os.urandom)
    np.testing.assert_array_equal(opened.values, key)


def test_two_sums_of_keys_are_not_opened_by_two_views():
    """Their difference would be a key: a node that gave shares for one set gives none more."""
    world = EncryptedWorld(LARGER, 6)
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids)
    server.close_masked()
    world.unmask(server, world.ids)
    # Every node has opened the sum over all. Now the same with one node fewer.
    for node in world.ids[:-1]:
        request = UnmaskRequest(attempt(), tuple(world.ids[:-1]), (), (), (), None)
        assert isinstance(world.roles[node].unmask(request.encode()), Refusal)


def test_a_view_is_signed_for_one_set_of_ciphertexts():
    world = EncryptedWorld(LARGER, 6)
    server = world.ready(attempt())
    world.prepare(server)
    world.send(server, world.ids[:-1])
    server.close_masked()
    other = server.confirm_request()
    world.confirm(server)
    smaller = type(other)(attempt(), other.survivors[:-1]).encode()
    for node in other.survivors[:-1]:
        assert refusal_name(world.roles[node].confirm(smaller)) in (
            "REPEATED",
            "ATTEMPT_CLOSED",
        )


def test_a_node_that_is_put_back_counts_among_colluders():
    """Its key serves twice then: the difference of both ciphertexts is that of its inputs.

    This is what the documents say of it. Nothing but its own input is in danger.
    """
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    scheme = world.prepare(server)
    node = world.ids[0]
    before = deepcopy(world.stores[node].table)
    first = world.encrypted(world.open(server, node), node)
    world.stores[node].table = before
    second = world.encrypted(world.open(server, node), node)
    assert len(world.keys[node]) == 1
    difference = numbers_of(first.ciphertext) + PRIMES - numbers_of(second.ciphertext)
    found = forced(scheme, np.zeros(8192, np.int64), difference, server.plan)
    assert not found.any()
    # Neither opens by itself.
    with pytest.raises(MismatchError):
        added(scheme, [first.ciphertext]).opened(np.zeros(8192, np.int64), server.plan)


def test_a_node_that_is_put_back_before_it_dealt_has_another_key():
    world = EncryptedWorld(PARAMETERS)
    server = world.server(attempt())
    roster, node = world.bootstrap(server), world.ids[0]
    before = deepcopy(world.stores[node].table)
    ok(world.roles[node].share(world.told(node, roster)))
    world.stores[node].table = before
    ok(world.roles[node].share(world.told(node, roster)))
    assert len(set(world.keys[node])) == 2


def test_what_is_opened_of_keys_is_wide_enough():
    """The hint theorem takes the deviation of one key for granted, whatever the others are."""
    keys = [draw_key() for _ in range(6)]
    total = np.sum(keys, axis=0, dtype=np.int64)
    assert abs(total.var() / (6 * SIGMA**2) - 1) < 6 * (2 / len(total)) ** 0.5
    # A ternary key is known wherever the sum of two is at its end; of these none ever is.
    assert abs(keys[0].astype(float).var() / SIGMA**2 - 1) < 6 * (2 / len(total)) ** 0.5
