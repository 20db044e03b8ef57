"""What a role asks its memory, when, and what it makes of the answers."""

import dataclasses

import pytest

from strategies.secagg.client.memory import NoMemory
from strategies.secagg.client.store import ENDED, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.messages import INPUT_PROOF_BYTES, NO_HEAD, Advert, AdvertRequest
from tests.strategies.secagg.world import PARAMETERS, World, attempt, binding_for, ok, refused


class Noted(NoMemory):
    """Memory that answers as it is told, and notes what it was asked."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0
        self.known: dict[bytes, bytes] = {}
        self.shown: list[bytes] = []
        self.views: list[tuple[str, tuple[int, ...], int]] = []
        self.is_lacking, self.allowed = False, {"allows": True, "note": True}

    def next_head(self):
        self.count += 1
        return bytes([self.number, self.count]) * 16

    def lacks(self, heads):
        self.shown += sorted(heads)
        return self.is_lacking

    def heads_of(self, identities):
        return {one: (head,) for one, head in self.known.items() if one in identities}

    def keep_heads(self, attempt, heads):
        self.known |= heads

    def allows_view(self, run_id, members, least):
        self.views.append(("allows", tuple(members), least))
        return self.allowed["allows"]

    def note_view(self, run_id, members, least):
        self.views.append(("note", tuple(members), least))
        return self.allowed["note"]


@pytest.fixture
def world() -> World:
    """Return five nodes with identities and a memory each."""
    made = World(PARAMETERS, 5, with_identities=True)
    made.memories = {node: Noted(i) for i, node in enumerate(made.ids)}
    made.roles = {node: made.role(node) for node in made.ids}
    return made


def masked(world: World, number: int):
    server = world.ready(attempt(number))
    world.train(server, world.ids, binding_for(f"model {number}"))
    server.close_masked()
    return server


def test_the_last_heads_of_opened_attempts_are_shown_to_their_nodes(world):
    known = {node: set[bytes]() for node in world.ids}
    for number in (1, 2, 3):
        server = masked(world, number)
        for place, node in enumerate(world.ids):
            memory = world.memories[node]
            assert set(memory.shown) == known[node]
            memory.shown.clear()
            assert bytes([place, number]) * 16 not in known[node]
        world.unmask(server, world.ids)
        for node in world.ids:
            # By the peers to whom it was shown that this one has masked: any q of five.
            own = world.identity[node].fingerprint
            peers = [memory.known for one, memory in world.memories.items() if one != node]
            known[node] = {heads[own] for heads in peers if own in heads}
            assert own not in world.memories[node].known
        assert sum(map(bool, known.values())) >= 4


def test_an_attempt_that_is_not_opened_changes_no_memory(world):
    for number in (1, 2):
        masked(world, number)
        assert not any(memory.known or memory.shown for memory in world.memories.values())


def test_without_identities_no_head_is_drawn():
    world = World(PARAMETERS, 5)
    world.memories = {node: Noted(i) for i, node in enumerate(world.ids)}
    world.roles = {node: world.role(node) for node in world.ids}
    server = masked(world, 1)
    world.unmask(server, world.ids)
    assert not any(memory.count or memory.known for memory in world.memories.values())
    request = AdvertRequest(attempt(2)).encode()
    reply = ok(world.roles[world.ids[0]].advertise(request))
    assert Advert.decode(reply.advert).head == NO_HEAD


def told_to_train(world: World, node: int):
    server = world.ready(attempt(1))
    binding = binding_for()
    server.bind_masks(binding)
    return world.roles[node].open_train(server.train_request(node, None).encode(), binding)


def test_a_ledger_that_lacks_its_own_head_is_not_masked_with(world):
    node = world.ids[2]
    world.memories[node].is_lacking = True
    refused(world, node, told_to_train(world, node), "LEDGER_ROLLED_BACK")


def test_a_cohort_that_may_not_be_opened_is_not_masked_with(world):
    node = world.ids[2]
    world.memories[node].allowed["allows"] = False
    refused(world, node, told_to_train(world, node), "COHORT_CHANGED")


@pytest.mark.parametrize("when", ["allows", "note"])
def test_survivors_that_may_not_be_opened_get_no_share(world, when):
    node = world.ids[2]
    server = masked(world, 1)
    world.memories[node].allowed[when] = False
    reply = world.roles[node].unmask(server.unmask_request().encode())
    refused(world, node, reply, "COHORT_CHANGED")
    # Shares that were not given are no reason to refuse the model: it may be asked again.
    stage = world.stores[node].table[attempt(1)].stage
    assert stage is (Stage.CLOSED if when == "allows" else Stage.REVEALED)
    # By identities: ids are the server's to give.
    members = tuple(world.identity[one].fingerprint for one in world.ids)
    asked = ["allows", "allows", "note"][: 2 if when == "allows" else 3]
    due = [(one, members, PARAMETERS.survivors(5)) for one in asked]
    assert world.memories[node].views == due


def test_survivors_that_may_not_be_opened_are_not_signed(world):
    node, gone = world.ids[2], world.ids[4]
    server = world.ready(attempt(1))
    world.train(server, [one for one in world.ids if one != gone], binding_for())
    server.close_masked()
    world.memories[node].allowed["allows"] = False
    reply = world.roles[node].confirm(server.confirm_request().encode())
    refused(world, node, reply, "COHORT_CHANGED")


def test_heads_of_those_who_are_not_shown_to_have_masked_are_not_kept(world):
    server, node = masked(world, 1), world.ids[0]
    request = server.unmask_request()
    ok(world.roles[node].unmask(request.encode()))
    shown = {world.identity[one].fingerprint for one, _ in request.inputs}
    own = world.identity[node].fingerprint
    assert len(shown) < 5
    assert world.memories[node].known.keys() == shown - {own}


def test_inputs_that_nobody_has_checked_are_no_proof_beside_views(world):
    node, gone = world.ids[0], world.ids[4]
    server = world.ready(attempt(1))
    world.train(server, [one for one in world.ids if one != gone], binding_for())
    server.close_masked()
    world.confirm(server)
    request = server.unmask_request()
    forged = dataclasses.replace(request, inputs=((gone, bytes(INPUT_PROOF_BYTES)),))
    ok(world.roles[node].unmask(forged.encode()))
    assert len(world.memories[node].known) == 3
    assert world.identity[gone].fingerprint not in world.memories[node].known


def test_a_run_that_is_over(world):
    node = world.ids[0]
    world.stores[node].table[attempt(0)] = Record(Stage.CLOSED, 0.0, ENDED)
    reply = world.roles[node].advertise(AdvertRequest(attempt(1)).encode())
    refused(world, node, reply, "RUN_OVER")
