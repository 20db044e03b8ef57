"""Two messages at one node at the same time: each is a process, and only one write wins."""

import pytest

from strategies.secagg.client.role import ClientRole
from strategies.secagg.client.transitions import Stage
from strategies.secagg.messages import (
    AdvertRequest,
    ConfirmRequest,
    MaskedInput,
    Refusal,
)
from tests.strategies.secagg.attacks import split
from tests.strategies.secagg.world import (
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
    refusal_name,
)


def both_at_once(world: World, node: int, monkeypatch, first, second) -> list[object]:
    """Answer ``first``, and wholly in between, after it has read the store, ``second``.

    Each gets a role of its own, as a message has a process of its own.
    """
    replies: list[object] = []
    store, late = world.stores[node], world.role(node)
    advance = type(store).advance

    def meanwhile(changes):
        if not replies:
            replies.append(None)
            replies[0] = second(late)
        return advance(store, changes)

    with monkeypatch.context() as patched:
        patched.setattr(store, "advance", meanwhile)
        replies.append(first(world.role(node)))
    return replies


def masked(with_identities: bool = False) -> World:
    world = World(PARAMETERS, 5, with_identities=with_identities)
    world.train(world.ready(attempt()), world.ids, binding_for())
    return world


def test_two_unmask_requests_at_once_give_one_share_of_each_node(monkeypatch):
    world = masked()
    node, gone = world.ids[0], world.ids[4]

    def unmask(dropouts: set[int]):
        return lambda role: role.unmask(split(world, dropouts))

    early, late = both_at_once(world, node, monkeypatch, unmask({gone}), unmask(set()))
    assert gone in dict(ok(early).self_shares)
    assert refusal_name(late) == "WRONG_STAGE"


def test_two_views_at_once_get_one_signature(monkeypatch):
    world = masked(with_identities=True)
    node, ids = world.ids[0], tuple(world.ids)

    def confirm(survivors: tuple[int, ...]):
        return lambda role: role.confirm(ConfirmRequest(attempt(), survivors).encode())

    early, late = both_at_once(world, node, monkeypatch, confirm(ids), confirm(ids[:4]))
    ok(early)
    assert refusal_name(late) == "WRONG_STAGE"


@pytest.mark.parametrize("message", ["advert", "input"])
def test_of_two_the_same_at_once_one_is_answered(monkeypatch, message):
    """Two adverts would be two key pairs for one attempt, two inputs one key stream twice."""
    world = World(PARAMETERS, 5)
    server, node = world.ready(attempt()), world.ids[0]
    server.bind_masks(binding_for())
    opened = world.opened(server, node, binding_for())

    def ask(role: ClientRole):
        if message == "advert":
            return role.advertise(AdvertRequest(attempt(2)).encode())
        values = world.inputs[node].copy(), world.scalars[node]
        return role.mask(opened, *values, world.bits)

    replies = both_at_once(world, node, monkeypatch, ask, ask)
    assert [isinstance(reply, Refusal) for reply in replies] == [False, True]


def test_a_model_whose_sum_was_opened_while_it_trained_again_is_not_masked():
    """The second attempt was opened before the first one's unmask request came."""
    world = World(PARAMETERS, 5)
    first, following = world.ready(attempt(1)), world.server(attempt(2))
    sent = world.train(first, world.ids, binding_for(), attempt(2))
    for node, data in sent.items():
        following.add_advert(node, MaskedInput.decode(data).next_advert)
    world.share(following, following.close_adverts(), world.ids)
    following.bind_masks(binding_for())
    node = world.ids[0]
    opened = world.opened(following, node, binding_for())
    ok(world.roles[node].unmask(split(world, set())))
    reply = world.roles[node].mask(
        opened, world.inputs[node].copy(), world.scalars[node], world.bits
    )
    assert refusal_name(reply) == "MODEL_REPEATED"
    assert world.stores[node].table[attempt(2)].stage is Stage.CLOSED


def test_of_two_attempts_that_begin_at_once_neither_knows_of_the_other_and_one_is_refused(
    monkeypatch,
):
    """Both open, nodes could mask in two orders, and of dealt keys half of each sum be told."""
    world = World(PARAMETERS, 5)
    node = world.ids[0]

    def advertise(number: int):
        return lambda role: role.advertise(AdvertRequest(attempt(number)).encode())

    early, late = both_at_once(world, node, monkeypatch, advertise(1), advertise(2))
    ok(early)
    assert refusal_name(late) == "WRONG_STAGE"
