"""One view for all (protocol, section 5): what a node asks to see before it gives shares."""

import dataclasses

import pytest

from strategies.secagg.client.transitions import Stage
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import ConfirmRequest, UnmaskRequest
from strategies.secagg.server.role import ServerRole
from tests.strategies.secagg.world import (
    LARGER,
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
    refused,
)


def masked(num_gone: int = 0) -> tuple[World, ServerRole]:
    """Return five nodes with identities whose masked inputs are in, the first ones' not."""
    world = World(PARAMETERS, 5, with_identities=True)
    server = world.ready(attempt())
    world.train(server, world.ids[num_gone:], binding_for())
    server.close_masked()
    return world, server


def signed(num_views: int) -> tuple[World, UnmaskRequest]:
    """Return the request after a confirm trip of four survivors, with so many signatures."""
    world, server = masked(num_gone=1)
    world.confirm(server)
    request = server.unmask_request()
    return world, dataclasses.replace(request, views=request.views[:num_views])


def ask(world: World, node: int, request: UnmaskRequest, reason: str) -> None:
    refused(world, node, world.roles[node].unmask(request.encode()), reason)


def test_without_dropouts_the_masked_inputs_are_the_proof():
    world, server = masked()
    request = server.unmask_request()
    assert len(request.inputs) == 4
    assert request.views == ()
    for node in world.ids:
        ok(world.roles[node].unmask(request.encode()))
        assert world.stores[node].table[attempt()].stage is Stage.REVEALED


def test_too_few_or_false_proofs_of_masked_inputs():
    world, server = masked()
    good, ids = server.unmask_request(), world.ids
    first, second = good.inputs[:2]
    cases = [
        ({"inputs": good.inputs[:3]}, "VIEW_NOT_SIGNED"),
        ({"inputs": ()}, "VIEW_NOT_SIGNED"),
        ({"inputs": ((first[0], second[1]), *good.inputs[1:])}, "VIEW_BROKEN"),
        ({"inputs": (*good.inputs, (999, first[1]))}, "VIEW_BROKEN"),
        ({"survivors": tuple(ids[:4]), "dropouts": (ids[4],)}, "VIEW_NOT_SIGNED"),
        ({"survivors": tuple(ids[:4])}, "VIEW_NOT_SIGNED"),
    ]
    for node, (changed, reason) in zip([*ids[:4], ids[0], ids[1]], cases, strict=True):
        world, server = masked()
        good = server.unmask_request()
        ask(world, node, dataclasses.replace(good, **changed), reason)


def test_an_input_that_rejected_somebody_is_no_proof():
    """Its sender has signed that it masked with fewer."""
    world = World(PARAMETERS, 5, with_identities=True)
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    liar, node = world.ids[0], world.ids[1]
    for one in world.ids:
        request = server.train_request(one)
        if one == liar:
            request = dataclasses.replace(request, rows=request.rows[1:])
        opened = ok(world.roles[one].open_train(request.encode(), binding_for()))
        message = world.masked(opened, one)
        assert message.rejected == ((world.ids[1],) if one == liar else ())
        server.add_masked(one, message.encode())
    proofs = tuple(
        (one, server._payload_hashes[one] + message.signature)
        for one, message in server._inputs.items()
    )
    request = UnmaskRequest(attempt(), tuple(world.ids), (), proofs, (), None)
    ask(world, node, request, "VIEW_BROKEN")
    honest = dataclasses.replace(request, inputs=proofs[1:])
    ok(world.roles[world.ids[2]].unmask(honest.encode()))


def test_views():
    world, request = signed(3)
    ask(world, world.ids[1], request, "VIEW_NOT_SIGNED")
    world, request = signed(4)
    (first, one), (second, two) = request.views[:2]
    forged = ((first, two), *request.views[1:])
    ask(world, first, dataclasses.replace(request, views=forged), "VIEW_BROKEN")
    stranger = (*request.views, (999, one))
    ask(world, second, dataclasses.replace(request, views=stranger), "VIEW_BROKEN")
    world, request = signed(4)
    ok(world.roles[world.ids[1]].unmask(request.encode()))


def test_a_node_gives_shares_for_no_other_view_than_it_signed():
    world, _ = masked()
    ids = tuple(world.ids)
    two_stories = [ids[:4], ids[1:]]
    views = {}
    for node, story in zip(ids[1:4], [*two_stories, ids[:4]], strict=True):
        reply = ok(world.roles[node].confirm(ConfirmRequest(attempt(), story).encode()))
        views[node] = reply.signature
    request = UnmaskRequest(attempt(), ids[:4], (ids[4],), (), tuple(views.items()), None)
    ask(world, ids[2], request, "VIEW_BROKEN")
    # Its own view was signed by itself alone, and by no quorum.
    own = dataclasses.replace(request, survivors=ids[1:], dropouts=(ids[0],))
    world.stores[ids[3]].table.clear()
    ask(world, ids[1], own, "VIEW_BROKEN")


@pytest.mark.parametrize("differs", ["survivors", "plan"])
def test_what_the_others_have_signed_of_another_view_shows_nothing_of_this_one(differs):
    """T = t = q = 5 of six: its own signature, and four true ones over something else."""
    world = World(LARGER, 6, with_identities=True)
    server = world.ready(attempt())
    node, others, ids = world.ids[0], world.ids[1:5], tuple(world.ids)
    for one in world.ids:
        another = differs == "plan" and one != node
        binding = binding_for("another model") if another else binding_for()
        server.bind_masks(binding)
        world.masked(world.opened(server, one, binding), one)
    views = {}
    for one in (node, *others):
        another = differs == "survivors" and one != node
        asked = ConfirmRequest(attempt(), ids[1:] if another else ids[:5])
        views[one] = ok(world.roles[one].confirm(asked.encode())).signature
    request = UnmaskRequest(attempt(), ids[:5], ids[5:], (), tuple(views.items()), None)
    ask(world, node, request, "VIEW_BROKEN")


def test_who_has_signed_a_view_gives_no_shares_for_the_masked_inputs_alone():
    world, server = masked()
    node, ids = world.ids[0], tuple(world.ids)
    ok(world.roles[node].confirm(ConfirmRequest(attempt(), ids[:4]).encode()))
    ask(world, node, server.unmask_request(), "VIEW_BROKEN")


def test_a_survivor_set_is_signed_once():
    world, _ = masked()
    node, ids = world.ids[0], tuple(world.ids)
    ok(world.roles[node].confirm(ConfirmRequest(attempt(), ids).encode()))
    reply = world.roles[node].confirm(ConfirmRequest(attempt(), ids[:4]).encode())
    refused(world, node, reply, "REPEATED")


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        ((0, 1, 2), "SURVIVORS_TOO_FEW"),
        ((1, 2, 3, 4), "LEFT_OUT"),
        ((0, 1, 2, 3, 9), "SURVIVORS_NOT_IN_COHORT"),
    ],
)
def test_what_is_not_signed(story, reason):
    world, _ = masked()
    node, ids = world.ids[0], [*world.ids, 0, 0, 0, 0, 999]
    request = ConfirmRequest(attempt(), tuple(ids[i] for i in story))
    refused(world, node, world.roles[node].confirm(request.encode()), reason)


def test_own_identity_is_needed_to_confirm():
    world = World(PARAMETERS, 5)
    server = world.ready(attempt())
    world.train(server, world.ids, binding_for())
    request = ConfirmRequest(attempt(), tuple(world.ids)).encode()
    refused(world, world.ids[0], world.roles[world.ids[0]].confirm(request), "VIEW_NOT_SIGNED")


def test_two_attempts_that_were_masked_at_once_do_not_both_open():
    """Both train requests over one model were in flight: neither saw the other's MASKED."""
    world = World(PARAMETERS, 5)
    first = world.ready(attempt(1))
    following = world.server(attempt(2))
    for node in world.ids:
        request = world.server(attempt(2)).advert_request().encode()
        records = dict(world.stores[node].table)
        following.add_advert(node, ok(world.roles[node].advertise(request)).encode())
        # A bootstrap closes the first attempt; here its advert has ridden along.
        world.stores[node].table.update(records)
    world.share(following, following.close_adverts(), world.ids)
    model = binding_for()
    for server in (first, following):
        server.bind_masks(model)
    for node in world.ids:
        opened = [world.opened(server, node, model) for server in (first, following)]
        before = world.stores[node].table[attempt(1)]
        second = world.masked(opened[1], node)
        world.stores[node].table[attempt(1)] = before
        after = world.stores[node].table[attempt(2)]
        message = world.masked(opened[0], node)
        world.stores[node].table[attempt(2)] = after
        first.add_masked(node, message.encode())
        following.add_masked(node, second.encode())
    first.close_masked()
    following.close_masked()
    world.check(world.unmask(first, world.ids), world.ids)
    for node in world.ids:
        reply = world.roles[node].unmask(following.unmask_request().encode())
        refused(world, node, reply, "ATTEMPT_CLOSED", closed=(attempt(2),))


def test_each_node_is_shown_q_others_drawn_for_it():
    """Else the heads of the same n - q nodes would be kept by nobody, in each attempt."""
    parameters = ProtocolParameters(min_survivors=7, max_colluding=1)
    world = World(parameters, 10, with_identities=True)
    for drops_out in (False, True):
        server = world.ready(attempt(1 + drops_out))
        world.train(server, world.ids[drops_out:], binding_for(f"model {drops_out}"))
        server.close_masked()
        if drops_out:
            world.confirm(server)
        requests = [server.unmask_request() for _ in range(20)]
        shown = [{node for node, _ in (*one.inputs, *one.views)} for one in requests]
        assert {len(nodes) for nodes in shown} == {7}
        # A node is in none of them with a chance of (3/10)^20.
        assert set().union(*shown) == set(server.survivors)
