"""What stands between an aggregation and a node's records holds, whatever the half forgets."""

from dataclasses import replace

import pytest
from flwr.app import Message

from strategies.codec.stages import SumContext
from strategies.plain.strategy import plain_seed
from strategies.refusals import Reason, reason_of
from strategies.registry import AGGREGATIONS
from strategies.rounds.records import encoded_record
from tests.kits.private_kit import run_config_of
from tests.kits.real_node import real_node
from tests.kits.traced import Traced

NODE = 1003


def careless(message, side):
    """Read, contribute and encode: no word of a policy, a cap or a ledger."""
    request = side.read(message)
    contribution = side.contribute(request, None)
    seed = plain_seed(side.run_id, request.query.server_round)
    shared = SumContext(seed=seed, num_contributions=1)
    return Message(
        encoded_record(*request.codec.encode(contribution, shared)), reply_to=message
    )


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
