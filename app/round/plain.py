"""The client's half of ``plain``: the contribution as it is, or encoded where that is due."""

from flwr.app import Message

from app.builders.run import node_encodes
from app.node.admission import admit
from app.node.session import NodeSession
from app.round.contribute import contribute, pay
from app.round.request import read
from strategies.codec.stages import SumContext
from strategies.plain.strategy import plain_seed
from strategies.refusals import Reason, Refusal
from strategies.rounds.records import encoded_record, to_record
from workloads.base import Contribution


def answer(message: Message, session: NodeSession) -> Message:
    """Answer one message with a contribution.

    Raises
    ------
    Refusal
        If training diverged, the message is of another aggregation, or the node's owner does
        not allow it.
    """
    admit(session)
    request = read(message, session)
    pay(request, session, None)
    contribution = contribute(request, session)
    if node_encodes(session.config, request.workload):
        seed = plain_seed(session.run_id, request.query.server_round)
        # Nobody knows here how many there are; neither codec that is used so needs it.
        vector, scalars = request.codec.encode(
            contribution, SumContext(seed=seed, num_contributions=1)
        )
        return Message(encoded_record(vector, scalars), reply_to=message)
    assert isinstance(contribution, Contribution)  # noqa: S101 - only private ones are others
    if not contribution.is_finite():
        raise Refusal(Reason.NON_FINITE)
    return Message(to_record(contribution), reply_to=message)
