"""Flower's ClientApp: answer each message, or refuse with an enumerated reason.

Flower sends the text of an exception to the server, and such a text can hold data; so nothing
raises out of here. torch is imported by the handlers that train, not by this module: in a
deployment every message is a fresh process.
"""

import logging
from importlib import import_module

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from app.config import ConfigError, load_config
from app.node import in_simulation, node_of
from strategies.refusals import Reason, Refusal, refusal_reply
from tasks.base import DataError

log = logging.getLogger("flwr.tacet")

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Score the global model, train it on this node's records, answer with the update."""
    return _answer("train", message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score the global model on this node's held-out records."""
    return _answer("evaluate", message, context)


def _answer(handler: str, message: Message, context: Context) -> Message:
    try:
        config = load_config(context.run_config)
        node = node_of(context.node_config, config, in_simulation())
        content = getattr(import_module("app.handlers"), handler)(message.content, config, node)
        return Message(content, reply_to=message)
    except (ConfigError, DataError, Refusal) as error:
        log.error("client %s refuses: %s", _name(context), error.__cause__ or error)
        reason = {ConfigError: Reason.CONFIG_REFUSED, DataError: Reason.DATA_REFUSED}
        return refusal_reply(
            error.reason if isinstance(error, Refusal) else reason[type(error)], message
        )
    except Exception:
        log.exception("client %s failed", _name(context))
        return refusal_reply(Reason.INTERNAL_ERROR, message)


def _name(context: Context) -> str:
    """Return how the local log calls this node."""
    partition = context.node_config.get("partition-id")
    return f"{context.node_id}" + ("" if partition is None else f" (partition {partition})")
