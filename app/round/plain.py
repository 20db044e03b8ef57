"""The client's half of ``plain``: the contribution as it is, or encoded if it is private."""

from flwr.app import Message

from app.node.admission import admit
from app.node.session import NodeSession
from app.round.contribute import codec_for, contribute, pay, request_round
from strategies.codec.private_codec import PrivateCodec
from strategies.plain.strategy import plain_seed
from strategies.plain.summing import encoded_record
from strategies.refusals import Reason, Refusal


def answer(message: Message, session: NodeSession) -> Message:
    """Answer one message with a contribution.

    Raises
    ------
    Refusal
        If training diverged, the message is of another aggregation, or the node's owner does
        not allow it.
    """
    admit(session)
    codec = codec_for(message.content, session)
    pay(codec, message, session, None)
    contribution = contribute(message, session, codec)
    if isinstance(codec, PrivateCodec):
        seed = plain_seed(session.run_id, request_round(message.content))
        vector, scalars = codec.encode(contribution, 1, seed)
        return Message(encoded_record(vector, scalars), reply_to=message)
    if not contribution.is_finite():
        raise Refusal(Reason.NON_FINITE)
    return Message(contribution.to_record(), reply_to=message)
