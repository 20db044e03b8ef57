"""The client's half of ``plain``: the contribution as it is, or encoded if it is private."""

from flwr.app import Context, Message

from app.config.run import AppConfig
from app.node.spending import calibrations, check_policy
from app.round.contribute import codec_for, contribute, pay, request_round
from strategies.codec.private_codec import PrivateCodec
from strategies.plain.strategy import plain_seed
from strategies.plain.summing import encoded_record
from strategies.refusals import Reason, Refusal
from tasks.base import Node


def answer(message: Message, context: Context, config: AppConfig, node: Node) -> Message:
    """Answer one message with a contribution.

    Raises
    ------
    Refusal
        If training diverged, the message is of another aggregation, or the node's owner does
        not allow it.
    """
    check_policy(config, node)
    codec = codec_for(message.content, config, calibrations(context, node))
    pay(codec, message, context, config, node, None)
    contribution = contribute(message, config, node, codec)
    if isinstance(codec, PrivateCodec):
        seed = plain_seed(context.run_id, request_round(message.content))
        vector, scalars = codec.encode(contribution, 1, seed)
        return Message(encoded_record(vector, scalars), reply_to=message)
    if not contribution.is_finite():
        raise Refusal(Reason.NON_FINITE)
    return Message(contribution.to_record(), reply_to=message)
