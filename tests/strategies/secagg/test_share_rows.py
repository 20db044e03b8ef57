"""What a node asks of a row of shares before it masks with its dealer, part by part."""

import dataclasses

import pytest

from strategies.secagg.crypto.identity import row_to_sign
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import ShareRow, TrainRequest
from tests.strategies.secagg.world import LARGER, World, attempt, binding_for, ok, refused


def asked(world: World) -> tuple[TrainRequest, int]:
    """Return the honest request for the first node."""
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    return server.train_request(world.ids[0]), world.ids[0]


def with_first_row(request: TrainRequest, row: ShareRow) -> TrainRequest:
    return dataclasses.replace(
        request, rows=((request.rows[0][0], row.encode()), *request.rows[1:])
    )


def rejected(world: World, node: int, request: TrainRequest) -> tuple[int, ...]:
    opened = ok(world.roles[node].open_train(request.encode(), binding_for()))
    return opened.rejected


def test_a_row_that_decrypts_under_a_false_signature_is_rejected():
    world = World(LARGER, 6, with_identities=True)
    request, node = asked(world)
    assert rejected(world, node, request) == ()
    dealer, data = request.rows[0]
    row = ShareRow.decode(data)
    other = ShareRow.decode(request.rows[1][1]).signature
    for signature in (b"", bytes(64), other):
        wrong = with_first_row(request, dataclasses.replace(row, signature=signature))
        assert rejected(world, node, wrong) == (dealer,)


@pytest.mark.parametrize("with_identities", [False, True])
@pytest.mark.parametrize("part", ["mask_hash", "self_hash"])
def test_a_share_that_is_not_the_hashed_one_is_rejected(with_identities, part):
    """Its dealer has signed both: else the receiver would be called the liar at the end."""
    world = World(LARGER, 6, with_identities=with_identities)
    request, node = asked(world)
    dealer, data = request.rows[0]
    row = dataclasses.replace(ShareRow.decode(data), **{part: bytes(32), "signature": b""})
    if with_identities:
        roster = ok(world.roles[node].open_train(request.encode(), binding_for())).secrets
        text = row_to_sign(roster.roster, dealer, node, row)
        row = dataclasses.replace(row, signature=world.identity[dealer].sign(text))
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
