"""What stands between an aggregation and a node's records holds, whatever the half forgets."""

import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message

from strategies.codec.stages import SumContext
from strategies.plain.strategy import plain_seed
from strategies.refusals import Reason, reason_of
from strategies.registry import AGGREGATIONS
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.records import encoded_record
from tests.kits.private_kit import run_config_of
from tests.kits.real_node import real_node
from tests.kits.traced import Traced

NODE = 1003


def header(dtype: str, length: int) -> bytes:
    """Return the bytes of an array of numpy's format that has a header and no values."""
    stream = BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def context_of(request, side) -> SumContext:
    seed = plain_seed(side.run_id, request.query.server_round)
    return SumContext(seed=seed, num_contributions=1)


def careless(message, side):
    """Read and contribute: no word of a policy, a cap or a ledger."""
    request = side.read(message)
    encoded = side.contribute(None, context_of(request, side))
    return Message(encoded_record(*encoded), reply_to=message)


@pytest.mark.parametrize(
    ("changes", "reason", "num_charges"),
    [
        ({}, None, 1),
        # The whole of what the run may spend is more than this cap.
        ({"max_epsilon": 1e-3}, Reason.BUDGET_EXHAUSTED, 0),
        ({"min_noise_multiplier": 50.0}, Reason.POLICY_REFUSED, 0),
        ({"tasks": ["digits"]}, Reason.POLICY_REFUSED, 0),
    ],
)
def test_a_careless_half_is_admitted_and_charged_all_the_same(
    tmp_path, monkeypatch, changes, reason, num_charges
):
    plain = replace(AGGREGATIONS["plain"], answer=careless)
    monkeypatch.setitem(AGGREGATIONS, "plain", plain)
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_local", **changes)
    reasons = []

    def fault(message, real):
        if message.metadata.dst_node_id != NODE:
            return real(message)
        reply = node.answer(message)
        reasons.append(reason_of(reply) if reply.has_error() else None)
        return reply

    Traced(run_config, 4, fault)
    assert reasons[0] is reason
    assert len(node.charges()) == num_charges


def in_clear(side, request):
    side.contribute_in_clear()


def twice(side, request):
    for _ in range(2):
        side.contribute(None, context_of(request, side))


@pytest.mark.parametrize(("attempt", "num_charges"), [(in_clear, 0), (twice, 1)])
def test_no_contribution_leaves_without_noise_or_twice(
    tmp_path, monkeypatch, attempt, num_charges
):
    replies = []

    def greedy(message, side):
        request = side.read(message)
        attempt(side, replace(request, codec=None, node_encodes=False))
        raise AssertionError("it was given")

    monkeypatch.setitem(AGGREGATIONS, "plain", replace(AGGREGATIONS["plain"], answer=greedy))
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_local")

    def fault(message, real):
        if message.metadata.dst_node_id != NODE:
            return Message(Error(1001, "away"), reply_to=message)
        replies.append(node.answer(message))
        return replies[-1]

    logged = []
    monkeypatch.setattr("app.client.log.exception", lambda *a: logged.append(sys.exc_info()[0]))
    with pytest.raises(RunStoppedError):
        Traced(run_config, 4, fault)
    assert {reason_of(reply) for reply in replies} == {Reason.INTERNAL_ERROR}
    assert AssertionError not in logged
    assert len(node.charges()) == num_charges * len(replies)


@pytest.mark.parametrize("server_round", [0, 2, 2**40])
def test_a_round_that_the_run_does_not_have_is_refused_before_it_costs(
    tmp_path, monkeypatch, server_round
):
    def other_round(message):
        message.content["config"]["server-round"] = server_round

    told, node = asked_otherwise(tmp_path, monkeypatch, other_round)
    assert told is Reason.MALFORMED_REQUEST
    assert node.charges() == []


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (Array(np.zeros(3, np.float32)), Reason.MODEL_REFUSED),
        # Twelve bytes of a header that speaks of much more memory.
        (Array("|V0", (3 * 10**7,), "numpy.ndarray", header("|V0", 3 * 10**7)), None),
        (Array("<f4", (3 * 10**7,), "numpy.ndarray", header("<f4", 3 * 10**7)), None),
        (Array(np.zeros(3, [("a", "<f4")])), None),
        (Array(np.zeros(3, np.complex64)), None),
    ],
)
def test_a_state_of_another_form_is_refused_before_it_costs(
    tmp_path, monkeypatch, array, reason
):
    def other_state(message):
        message.content["arrays"] = ArrayRecord({"weight": array})

    told, node = asked_otherwise(tmp_path, monkeypatch, other_state)
    assert told is (reason or Reason.MALFORMED_REQUEST)
    assert node.charges() == []


def asked_otherwise(tmp_path, monkeypatch, change):
    """Return the reason that a real node gives, and the node, for a changed message."""
    run_config = run_config_of(tmp_path, "client_local", "plain", num_rounds=1)
    node = real_node(tmp_path, monkeypatch, run_config, "client_local")
    reasons = []

    def fault(message, real):
        if message.metadata.dst_node_id != NODE:
            return real(message)
        if not reasons:
            change(message)
            reasons.append(reason_of(node.answer(message)))
        return Message(Error(1001, "away"), reply_to=message)

    Traced(run_config, 4, fault)
    return reasons[0], node
