"""The client's half of ``plain``: the contribution as it is, or encoded where that is due."""

from __future__ import annotations

from flwr.app import Message

from strategies.aggregation import ClientSide
from strategies.codec.stages import SumContext
from strategies.plain.strategy import plain_seed
from strategies.refusals import Reason, RequestRefusedError
from strategies.rounds.records import encoded_record, fits_in_clear, to_record


def answer(message: Message, side: ClientSide) -> Message:
    """Answer one message with a contribution.

    Raises
    ------
    RequestRefusedError
        If training diverged, the message is of another aggregation, or the node's owner does
        not allow it.
    """
    request = side.read(message)
    if request.node_encodes:
        seed = plain_seed(side.run_id, request.query.server_round)
        # Nobody knows here how many there are; neither codec that is used so needs it.
        shared = SumContext(seed=seed, num_contributions=1)
        vector, scalars = side.contribute(None, shared)
        return Message(encoded_record(vector, scalars), reply_to=message)
    contribution = side.contribute_in_clear()
    if not fits_in_clear(contribution):
        sums = ", ".join(f"{name} {value:g}" for name, value in contribution.sums.items())
        raise RequestRefusedError(Reason.TRAINING_DIVERGED) from ValueError(
            f"training diverged here: the sums over its records are {sums}"
        )
    return Message(to_record(contribution), reply_to=message)
