"""The client's half of ``plain``: the contribution as it is."""

from flwr.app import Context, Message

from app.handlers import evaluate, train
from app.schema import AppConfig
from strategies.refusals import Reason, Refusal
from tasks.base import Node


def answer(message: Message, context: Context, config: AppConfig, node: Node) -> Message:
    """Answer one message with a contribution.

    Raises
    ------
    Refusal
        If training diverged, or the message is of another aggregation.
    """
    handlers = {"train": train, "evaluate": evaluate}
    kind = message.metadata.message_type
    if kind not in handlers:
        raise Refusal(Reason.MALFORMED_REQUEST)
    contribution = handlers[kind](message.content, config, node)
    if not contribution.is_finite():
        raise Refusal(Reason.NON_FINITE)
    return Message(contribution.to_record(), reply_to=message)
