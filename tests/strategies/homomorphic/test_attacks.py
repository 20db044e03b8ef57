"""Three attacks on one ciphertext: by mixing, by an opened seed, by two sums of keys."""

from copy import deepcopy
from itertools import combinations

import numpy as np
import pytest

from strategies.homomorphic import packing, ring
from strategies.homomorphic.packing import Places
from strategies.homomorphic.parameters import SIGMA
from strategies.homomorphic.public import public_key, public_polynomial
from strategies.homomorphic.sampler import Keystream, sample
from strategies.homomorphic.scheme import MismatchError, Scheme
from strategies.secagg.client.store import SharedSecrets
from strategies.secagg.messages import EncryptedInput, Refusal, UnmaskRequest
from tests.strategies.homomorphic.world import DIMENSION, EncryptedWorld
from tests.strategies.secagg.world import LARGER, PARAMETERS, attempt, refusal_name


def forced(scheme: Scheme, key: np.ndarray, total: np.ndarray, plan: bytes) -> np.ndarray:
    """Return what a key opens of a sum of residues, with no check of what comes out."""
    prepared = ring.prepare(key.view(np.int16).astype(np.int64))
    products = ring.product(public_polynomial(public_key(plan), 0), prepared)
    opened = packing.collect(total % PRIMES, products, Places.of(scheme.slots))
    return opened[0][:DIMENSION] if opened else np.zeros(0, np.uint16)


PRIMES = np.array([[f.prime] for f in ring.fields()], np.uint64)


def test_a_mixing_of_other_sets_or_weights_opens_nothing():
    """Every subset of the ciphertexts but the survivors', and one twice: all are garbage."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    scheme = world.prepare(server)
    *present, gone = world.ids
    sent = world.send(server, present)
    # One masked input is lost: its ciphertext is here all the same.
    sent[gone] = world.masked(world.open(server, gone), gone).encode()
    texts = {node: EncryptedInput.decode(data).ciphertext for node, data in sent.items()}
    survivors = server.close_masked()
    key = world.unmask(server, survivors).update
    right = scheme.decrypt(key, [texts[node] for node in survivors], server.plan)
    np.testing.assert_array_equal(right, world.sum_over(survivors))
    sets = [c for size in range(1, 6) for c in combinations(world.ids, size)]
    mixed = [list(c) for c in sets if c != survivors]
    mixed += [[*survivors, node] for node in world.ids]
    assert len(mixed) == 30 + 5
    hits = 0
    for nodes in mixed:
        with pytest.raises(MismatchError):
            scheme.decrypt(key, [texts[node] for node in nodes], server.plan)
        total = sum(packing.residues_of(texts[n], 8).astype(np.uint64) for n in nodes)
        found = forced(scheme, key, total, server.plan)
        hits += int((found == world.sum_over(nodes)[: len(found)]).sum())
    # Of 2,100 numbers of 16 bits about 0.03 agree by chance.
    assert hits <= 2


def test_no_seed_that_is_opened_gives_a_key():
    """Two worlds whose seeds, stores and plans are the same: no key is in both.

    Whatever a server opens, or a node has stored, is the same in both.
    """
    worlds = [EncryptedWorld(PARAMETERS, with_identities=True) for _ in range(2)]
    plans, stored, keys = [], [], []
    for world in worlds:
        server = world.ready(attempt())
        world.prepare(server)
        record = world.stores[world.ids[0]].table[attempt()]
        stored.append(SharedSecrets.decode(record.secrets).self_seed)
        world.send(server, world.ids)
        plans.append(server.plan)
        keys.append({key for found in world.keys.values() for key in found})
    assert stored[0] == stored[1]
    assert plans[0] == plans[1]
    assert len(keys[0]) == len(keys[1]) == len(worlds[0].ids)
    assert not keys[0] & keys[1]


def test_the_seeds_of_an_attempt_open_no_ciphertext():
    """By the ways in which a key might have been made of a seed that is shared."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    scheme = world.prepare(server)
    node = world.ids[0]
    record = world.stores[node].table[attempt()]
    secrets = SharedSecrets.decode(record.secrets)
    sent = world.send(server, world.ids)
    text = EncryptedInput.decode(sent[node]).ciphertext
    for seed in (secrets.self_seed, secrets.mask_seed, server.plan, record.secrets[-16:]):
        for part in (seed[:16], seed[-16:]):
            key = sample(8192, Keystream(part)).astype(np.int16).view(np.uint16)
            with pytest.raises(MismatchError):
                scheme.decrypt(key, [text], server.plan)


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


def test_a_node_that_is_put_back_has_another_key():
    """And so its two ciphertexts tell no more than two of any nodes."""
    world = EncryptedWorld(PARAMETERS)
    server = world.ready(attempt())
    scheme = world.prepare(server)
    node = world.ids[0]
    before = deepcopy(world.stores[node].table)
    first = world.masked(world.open(server, node), node)
    world.stores[node].table = before
    second = world.masked(world.open(server, node), node)
    one, two = (np.frombuffer(key, np.int16).astype(int) for key in world.keys[node])
    assert (one != two).mean() > 0.9
    # Neither alone, nor the difference of both, opens with what either is masked by.
    difference = packing.residues_of(first.ciphertext, 8).astype(np.uint64) + (
        PRIMES - packing.residues_of(second.ciphertext, 8)
    )
    found = forced(scheme, (one * 0).astype(np.int16).view(np.uint16), difference, server.plan)
    assert (found != 0).any()


def test_what_is_opened_of_keys_is_wide_enough():
    """The hint theorem takes the deviation of one key for granted, whatever the others are."""
    scheme = Scheme(EncryptedWorld(PARAMETERS).scheme().slots)
    values = np.zeros(DIMENSION, np.uint16)
    keys = [scheme.encrypt(values, bytes(32))[0].view(np.int16) for _ in range(6)]
    total = np.sum(keys, axis=0, dtype=np.int64)
    assert abs(total.var() / (6 * SIGMA**2) - 1) < 6 * (2 / len(total)) ** 0.5
    # A ternary key is known wherever the sum of two is at its end; of these none ever is.
    assert abs(keys[0].astype(float).var() / SIGMA**2 - 1) < 6 * (2 / len(total)) ** 0.5
