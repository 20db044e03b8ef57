"""Refusals of protocol.md section 5 from training on, and that they delete the secrets."""

import dataclasses
import pathlib

import numpy as np
import pytest

from strategies.secagg.client.transitions import Event, Stage, as_markdown, step
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import TrainRequest, UnmaskRequest
from strategies.secagg.reasons import RefusalReason
from tests.strategies.secagg.world import (
    PARAMETERS,
    World,
    attempt,
    binding_for,
    ok,
    refused,
)


def trained() -> tuple[World, TrainRequest, int]:
    world = World(PARAMETERS, 5)
    server = world.ready(attempt())
    server.bind_masks(binding_for())
    return world, server.train_request(world.ids[0]), world.ids[0]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda r: {"cohort": r.cohort[:3]}, "COHORT_TOO_SMALL"),
        (lambda r: {"cohort": r.cohort[1:]}, "LEFT_OUT"),
        (lambda r: {"cohort": (*r.cohort, 999)}, "NOT_IN_COHORT"),
        (lambda r: {"cohort": r.cohort[:4]}, "PLAN_MISMATCH"),
        (lambda r: {"binding": bytes(32)}, "PLAN_MISMATCH"),
        (lambda r: {"rows": (*r.rows, (999, bytes(94)))}, "SHARES_UNEXPECTED"),
        (lambda r: {"rows": r.rows[:2]}, "SHARES_TOO_FEW"),
        (lambda r: {"rows": ()}, "SHARES_TOO_FEW"),
        (lambda r: {"attempt": attempt(2)}, "UNKNOWN_ATTEMPT"),
        (lambda r: {"next_attempt": r.attempt}, "REPEATED"),
        (lambda r: {"next_attempt": AttemptId(5, 2, 0)}, "UNKNOWN_ATTEMPT"),
    ],
)
def test_train_requests(edit, reason):
    world, request, node = trained()
    wrong = dataclasses.replace(request, **edit(request))
    closed = (attempt(),) if wrong.attempt == attempt() else ()
    refused(
        world, node, world.roles[node].open_train(wrong.encode(), binding_for()), reason, closed
    )


@pytest.mark.parametrize(
    "binding", [binding_for(model="other"), binding_for(config="other"), binding_for(noise=1.0)]
)
def test_a_binding_that_is_not_what_the_node_would_do(binding):
    world, request, node = trained()
    reply = world.roles[node].open_train(request.encode(), binding)
    refused(world, node, reply, "PLAN_MISMATCH")


def test_a_repeated_message_is_refused_and_leaves_nothing():
    world, request, node = trained()
    role = world.roles[node]
    first, second = (ok(role.open_train(request.encode(), binding_for())) for _ in range(2))
    ok(role.mask(first, world.inputs[node].copy(), world.scalars[node], world.bits))
    reply = role.mask(second, world.inputs[node].copy(), world.scalars[node], world.bits)
    refused(world, node, reply, "REPEATED")


def test_input_of_the_wrong_type_is_refused():
    world, request, node = trained()
    opened = ok(world.roles[node].open_train(request.encode(), binding_for()))
    reply = world.roles[node].mask(opened, np.zeros(3, np.float32), world.scalars[node], 24)
    refused(world, node, reply, "BAD_INPUT")


def test_a_fault_inside_says_nothing_but_internal(caplog):
    world, request, node = trained()
    opened = ok(world.roles[node].open_train(request.encode(), binding_for()))
    secret = np.zeros((2, 2), np.uint32)  # fails inside the masking
    reply = world.roles[node].mask(opened, secret, world.scalars[node], 24)
    refused(world, node, reply, "INTERNAL")
    assert "one-dimensional" in caplog.text


@pytest.mark.parametrize(
    ("survivors", "dropouts", "reason"),
    [
        ((0, 1, 2, 3, 4), (1,), "BOTH_SHARES"),
        ((0, 1, 2), (3, 4), "SURVIVORS_TOO_FEW"),
        ((1, 2, 3, 4), (0,), "LEFT_OUT"),
        ((0, 1, 2, 3, 4, 9), (), "SURVIVORS_NOT_IN_COHORT"),
        ((0, 1, 2, 3), (4, 9), "SURVIVORS_NOT_IN_COHORT"),
    ],
)
def test_unmask_requests(survivors, dropouts, reason):
    world = World(PARAMETERS, 5)
    server, node = world.ready(attempt()), world.ids[0]
    world.train(server, world.ids, binding_for())
    ids = [*world.ids, 0, 0, 0, 0, 999]
    request = UnmaskRequest(
        attempt(),
        tuple(ids[i] for i in survivors),
        tuple(ids[i] for i in dropouts),
        (),
        (),
        None,
    )
    refused(world, node, world.roles[node].unmask(request.encode()), reason)
    good = UnmaskRequest(attempt(), tuple(world.ids), (), (), (), None)
    refused(world, node, world.roles[node].unmask(good.encode()), "ATTEMPT_CLOSED")


def test_a_second_unmask_request_is_refused_whatever_it_asks():
    world = World(PARAMETERS, 5)
    server, node = world.ready(attempt()), world.ids[0]
    world.train(server, world.ids, binding_for())
    ids = tuple(world.ids)
    ok(world.roles[node].unmask(UnmaskRequest(attempt(), ids, (), (), (), None).encode()))
    for request in (
        UnmaskRequest(attempt(), ids, (), (), (), None),
        UnmaskRequest(attempt(), ids[:4], ids[4:], (), (), None),
    ):
        refused(world, node, world.roles[node].unmask(request.encode()), "REPEATED")


def test_a_survivor_that_the_node_did_not_mask_with():
    world = World(ProtocolParameters(min_survivors=5, max_colluding=1), 6)
    server, node = world.ready(attempt()), world.ids[0]
    server.bind_masks(binding_for())
    request = server.train_request(node)
    spoiled = ((request.rows[0][0], bytes(94)), *request.rows[1:])
    wrong = dataclasses.replace(request, rows=spoiled)
    opened = ok(world.roles[node].open_train(wrong.encode(), binding_for()))
    assert opened.rejected == (spoiled[0][0],)
    assert world.masked(opened, node).rejected == (spoiled[0][0],)
    reply = world.roles[node].unmask(
        UnmaskRequest(attempt(), tuple(world.ids), (), (), (), None).encode()
    )
    refused(world, node, reply, "SURVIVOR_NOT_MASKED")


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("event", list(Event))
def test_the_table_never_goes_back_and_never_leaves_an_end(stage, event):
    after = step(stage, event)
    if isinstance(after, Stage):
        assert after > stage
        assert stage not in (Stage.REVEALED, Stage.CLOSED)
    assert after.name in as_markdown()


def test_every_reason_is_provoked_by_a_test():
    """A reason that no test names is dead or untested."""
    sources = "".join(p.read_text() for p in pathlib.Path(__file__).parent.glob("test_*.py"))
    for reason in RefusalReason:
        assert f'"{reason.name}"' in sources
