"""What the plan and the documents say of a round's bytes is what is sent."""

from dataclasses import replace

import pytest

from strategies.homomorphic.parameters import DEGREE
from strategies.secagg.messages import EncryptedInput, MaskedInput
from strategies.secagg.sizes import keyed_round, steady_round
from tests.strategies.homomorphic.world import EncryptedWorld
from tests.strategies.secagg.world import (
    BITS,
    CLASSICAL,
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
)


def masked_inputs(world: World, server, following) -> dict[int, bytes]:
    return world.train(server, world.ids, binding_for(), following.attempt)


def encrypted_inputs(world: EncryptedWorld, server, following) -> dict[int, bytes]:
    world.prepare(server)
    opened = {node: world.open(server, node, following.attempt) for node in world.ids}
    return {node: world.encrypted(one, node).encode() for node, one in opened.items()}


def sent(world: World) -> tuple[int, int, int, int]:
    """Return the bytes of the middle client's messages in a steady round: train, unmask."""
    server, following = world.ready(attempt(1)), world.server(attempt(2))
    node = world.ids[len(world.ids) // 2]
    is_key = isinstance(world, EncryptedWorld)
    inputs = (encrypted_inputs if is_key else masked_inputs)(world, server, following)
    train = len(server.train_request(node, following.attempt).encode())
    rest = 0
    for sender, data in inputs.items():
        message = (EncryptedInput if is_key else MaskedInput).decode(data)
        if is_key:
            server.add_masked(sender, data)
            rest = len(message.ciphertext)
        following.add_advert(sender, message.next_advert)
    server.close_masked()
    following.close_adverts()
    unmask = server.unmask_request(following.share_request(node)).encode()
    reply = ok(world.roles[node].unmask(unmask)).encode()
    return train, len(inputs[node]) - rest, len(unmask), len(reply)


def said(messages) -> tuple[int, ...]:
    return tuple(len(message.encode()) for message in messages)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("parameters", [PARAMETERS, CLASSICAL], ids=["hybrid", "classical"])
@pytest.mark.parametrize("num_members", [5, 6])
def test_a_steady_round_has_the_bytes_that_are_said(num_members, parameters, signed):
    parameters = replace(parameters, min_survivors=None)
    world = World(parameters, num_members, with_identities=signed)
    # One more scalar travels behind the others.
    expected = steady_round(
        num_members,
        parameters,
        signed=signed,
        num_parameters=world.dimension,
        modulus_bits=BITS,
        num_scalars=4,
    )
    assert sent(world) == said(expected)


@pytest.mark.parametrize("signed", [False, True])
def test_a_round_of_dealt_keys_has_the_bytes_that_are_said(signed):
    world = EncryptedWorld(PARAMETERS, 5, with_identities=signed)
    expected = keyed_round(5, PARAMETERS, signed=signed, key_length=DEGREE)
    assert sent(world) == said(expected)


def test_neighbours_on_a_sparse_graph_are_all_that_is_paid_for():
    """Of a node at any place in the roster, and so on average."""
    parameters = replace(PARAMETERS, min_survivors=None, is_sparse=True)
    world = World(parameters, 40, dimension=1)
    server = world.server(attempt())
    world.bootstrap(server)
    requests = [len(server.share_request(node).encode()) for node in world.ids]
    _, _, unmask, _ = steady_round(40, parameters, signed=False)
    assert sum(requests) / len(requests) == len(unmask.next_request)
