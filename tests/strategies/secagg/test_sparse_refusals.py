"""Both floors of survivors on a sparse graph, where one does not follow from the other."""

import functools

import pytest

from strategies.secagg.client.store import MaskedSecrets
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import ConfirmRequest, UnmaskRequest
from tests.strategies.secagg.world import World, attempt, binding_for, ok, refused

# T = 26 of 34, and each masks with 10 others: t = 7 of 11.
SPARSE = ProtocolParameters(min_survivors=26, max_colluding=1, is_sparse=True)


@functools.cache
def shared(with_identities: bool) -> tuple[World, dict]:
    """Return nodes that have masked, and their stores as they are then."""
    world = World(SPARSE, 34, with_identities=with_identities, dimension=2)
    world.train(world.ready(attempt()), world.ids, binding_for())
    return world, {node: dict(store.table) for node, store in world.stores.items()}


@pytest.fixture(params=[False, True])
def world(request) -> World:
    """34 masked nodes, without and with identities."""
    world, tables = shared(request.param)
    for node, table in tables.items():
        world.stores[node].table = dict(table)
    return world


def neighbours(world: World, node: int) -> list[int]:
    kept = MaskedSecrets.decode(world.stores[node].table[attempt()].secrets)
    assert (kept.min_survivors, kept.floor, len(kept.held)) == (26, 7, 11)
    return [peer for peer, _ in kept.held if peer != node]


def without(world: World, gone: list[int]) -> tuple[int, ...]:
    return tuple(n for n in world.ids if n not in gone)


def ask(world: World, node: int, survivors: tuple[int, ...]):
    """Ask a node for its view where nodes sign, and for its shares where they do not."""
    if world.identity:
        return world.roles[node].confirm(ConfirmRequest(attempt(), survivors).encode())
    gone = tuple(n for n in world.ids if n not in survivors)
    request = UnmaskRequest(attempt(), survivors, gone, (), (), None)
    return world.roles[node].unmask(request.encode())


def test_one_survivor_under_the_floor_is_refused_though_all_neighbours_survive(world):
    near = neighbours(world, node := world.ids[0])
    strangers = [n for n in world.ids if n != node and n not in near]
    few = without(world, strangers[:9])
    assert len(few) == SPARSE.survivors(34) - 1
    refused(world, node, ask(world, node, few), "SURVIVORS_TOO_FEW")


def test_one_neighbour_under_the_threshold_is_refused_though_enough_survive(world):
    near = neighbours(world, node := world.ids[0])
    refused(world, node, ask(world, node, without(world, near[:5])), "SURVIVORS_TOO_FEW")


def test_just_enough_survivors_and_neighbours_are_answered(world):
    near = neighbours(world, node := world.ids[0])
    strangers = [n for n in world.ids if n != node and n not in near]
    ok(ask(world, node, without(world, near[:4] + strangers[:4])))
