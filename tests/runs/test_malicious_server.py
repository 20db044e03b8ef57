"""A server that breaks the protocol, against the real ClientApp: what comes back, what is left.

The pure roles have a harness of their own (``tests/strategies/secagg``); this one is about the
handlers around them.
"""

import dataclasses
import hashlib
from collections import Counter

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord

from strategies import aggregation
from strategies.masked.messages import ADVERT, SHARE, UNMASK, wrap
from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import Roster, UnmaskReply, UnmaskRequest
from tests.kits import attacked_nodes
from tests.kits.attacked_nodes import FIRST, IDS, NODE, SECOND, Nodes, told
from workloads import model_arrays


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def test_the_honest_server_is_answered(nodes):
    """So that the refusals below mean something."""
    server = nodes.masked(FIRST)
    for node in IDS:
        server.add_unmask(node, nodes.ask(node, UNMASK, server.unmask_request()))
    assert server.finish().survivors == IDS
    assert not any(nodes.secrets(node) for node in IDS)


def test_both_shares_of_one_node_in_one_request(nodes):
    nodes.masked(FIRST)
    request = UnmaskRequest(FIRST, IDS, IDS[3:], (), (), None)
    for node in IDS:
        assert nodes.refuses(node, UNMASK, wrap(request)) == "secagg_both_shares"
        assert nodes.secrets(node) == set()


def test_different_survivor_sets_give_both_shares_of_nobody(nodes):
    """Half hear that the last one dropped out; nobody answers a second time."""
    nodes.masked(FIRST)
    shares: Counter[tuple[str, int]] = Counter()
    for node, dropouts in zip(IDS[:3], [set(), set(), {IDS[3]}], strict=True):
        reply = UnmaskReply.decode(nodes.ask(node, UNMASK, told(FIRST, dropouts)))
        shares.update(("self", of) for of, _ in reply.self_shares)
        shares.update(("mask", of) for of, _ in reply.mask_shares)
        other = set() if dropouts else {IDS[3]}
        again = nodes.refuses(node, UNMASK, wrap(told(FIRST, other)))
        assert again == "secagg_repeated"
    assert (shares["self", IDS[3]], shares["mask", IDS[3]]) == (2, 1)
    assert nodes.settings.parameters.shape(len(IDS)).threshold == 3
    assert nodes.refuses(IDS[3], UNMASK, wrap(told(FIRST, {IDS[3]}))) == "secagg_left_out"
    assert not any(nodes.secrets(node) for node in IDS)


def test_a_cohort_shrunk_to_two_at_every_stage(nodes):
    server, roster = nodes.advertised(FIRST)
    small = Roster(FIRST, 2, 1, roster.adverts[:2])
    request = dataclasses.replace(server.share_request(NODE), roster=small.encode())
    assert nodes.refuses(NODE, SHARE, wrap(request)) == "secagg_roster_too_small"
    assert nodes.secrets(NODE) == set()
    request = nodes.shared(SECOND).train_request(NODE)
    shrunk = nodes.model(dataclasses.replace(request, cohort=IDS[:2]))
    assert nodes.refuses(NODE, "train", shrunk) == "secagg_cohort_too_small"
    assert nodes.secrets(NODE) == set()
    third = AttemptId(1, 3, 2)
    nodes.masked(third)
    few = wrap(told(third, set(IDS[2:])))
    assert nodes.refuses(NODE, UNMASK, few) == "secagg_survivors_too_few"
    assert nodes.secrets(NODE) == set()


def test_an_old_round_replayed(nodes):
    server, _ = nodes.advertised(FIRST)
    share = wrap(server.share_request(NODE))
    for node in IDS:
        server.add_shares(node, nodes.ask(node, SHARE, server.share_request(node)))
    server.close_shares()
    server.bind_masks(nodes.binding(nodes.arrays))
    train = nodes.model(server.train_request(NODE))
    assert not nodes.send(NODE, "train", train).has_error()
    unmask = wrap(told(FIRST, set()))
    assert not nodes.send(NODE, UNMASK, unmask).has_error()
    nodes.shared(SECOND)
    old = [(ADVERT, wrap(server.advert_request())), (SHARE, share)]
    for kind, content in [*old, ("train", train), ("evaluate", train), (UNMASK, unmask)]:
        assert nodes.refuses(NODE, kind, content) == "secagg_repeated"
        assert nodes.secrets(NODE) == {SECOND}


def test_a_model_again_with_one_node_fewer(nodes):
    server = nodes.masked(FIRST)
    for node in IDS:
        nodes.ask(node, UNMASK, server.unmask_request())
    request = nodes.shared(SECOND).train_request(NODE)
    assert nodes.refuses(NODE, "train", nodes.model(request)) == "secagg_model_repeated"
    assert nodes.secrets(NODE) == set()


@pytest.mark.parametrize("server_round", [2, 10])
def test_a_model_under_the_number_of_another_round(nodes, server_round):
    """The round decides what is charged and released, the attempt what is masked."""
    request = nodes.shared(FIRST).train_request(NODE)
    other = nodes.model(request, config=ConfigRecord({"server-round": server_round}))
    assert nodes.refuses(NODE, "train", other) == "malformed_request"
    assert nodes.secrets(NODE) == set()


def reordered(arrays: ArrayRecord) -> ArrayRecord:
    return ArrayRecord(dict(reversed(list(arrays.items()))))


def as_float64(arrays: ArrayRecord) -> ArrayRecord:
    return ArrayRecord({n: Array(a.numpy().astype(np.float64)) for n, a in arrays.items()})


def with_negative_zeros(arrays: ArrayRecord) -> ArrayRecord:
    found = {n: a.numpy().copy() for n, a in arrays.items()}
    for values in found.values():
        values[values == 0] = -0.0
    return ArrayRecord({n: Array(values) for n, values in found.items()})


@pytest.mark.parametrize("disguise", [reordered, as_float64, with_negative_zeros])
@pytest.mark.parametrize("is_on", [True, False])
def test_the_same_model_in_disguise(nodes, monkeypatch, disguise, is_on):
    """(iv) What a node loads is hashed: no other order or type passes for another model."""
    nodes.arrays = ArrayRecord(
        {n: Array(np.zeros_like(a.numpy())) for n, a in nodes.arrays.items()}
    )
    if not is_on:
        for module in (model_arrays, aggregation, attacked_nodes):
            monkeypatch.setattr(module, "hash_state", hash_of_bytes)
    server = nodes.masked(FIRST)
    for node in IDS:
        nodes.ask(node, UNMASK, server.unmask_request())
    nodes.arrays = disguise(nodes.arrays)
    request = nodes.shared(SECOND).train_request(NODE)
    if is_on:
        assert nodes.refuses(NODE, "train", nodes.model(request)) == "secagg_model_repeated"
    else:
        assert not nodes.send(NODE, "train", nodes.model(request)).has_error()


def hash_of_bytes(state, values, loaded_as=None) -> bytes:
    """Hash a model as it was hashed when this attack was found."""
    digest = hashlib.sha256()
    for name, array in state.arrays.items():
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
