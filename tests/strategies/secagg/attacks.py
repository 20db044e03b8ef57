"""What a malicious server starts from, and its requests about survivors of its choice."""

from strategies.secagg.messages import UnmaskRequest
from strategies.secagg.server.role import ServerRole
from tests.strategies.secagg.spy import Spy
from tests.strategies.secagg.world import World, attempt, binding_for


def trained(world: World, number: int = 1, model: str = "model 1") -> tuple[ServerRole, Spy]:
    """Run an honest attempt up to the masked inputs, with a spy."""
    server = world.ready(attempt(number))
    server.bind_masks(binding_for(model))
    spy = Spy(tuple(world.ids), 4)
    for node in world.ids:
        opened = world.opened(server, node, binding_for(model))
        message = world.masked(opened, node)
        spy.saw_input(node, opened, message)
        server.add_masked(node, message.encode())
    return server, spy


def split(world: World, dropouts: set[int], at=None) -> bytes:
    survivors = tuple(n for n in world.ids if n not in dropouts)
    return UnmaskRequest(
        at or attempt(), survivors, tuple(sorted(dropouts)), (), (), None
    ).encode()
