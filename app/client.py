"""Flower's ClientApp: answer each message, or refuse with an enumerated reason.

Flower sends the text of an exception to the server, and such a text can hold data; so nothing
raises out of here. torch is imported by the handlers that train, not by this module: in a
deployment every message is a fresh process.
"""

import logging
import time
from collections.abc import Mapping

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from app.builders.workload import build_workload
from app.config.load import ConfigError, Scalar, load_config
from app.node.admission import admit
from app.node.node_log import tell
from app.node.noting import note_answer
from app.node.publishing import publish
from app.node.session import NodeSession
from app.node.settings import in_simulation, settings_of
from app.round.client_side import SessionSide
from strategies.refusals import Reason, RequestRefusedError, refusal_reply
from strategies.registry import AGGREGATIONS, aggregation_of
from tasks.base import ModelRefusedError
from tasks.records import DataError, LocalData

log = logging.getLogger("flwr.tacet")


class NodeApp(ClientApp):
    """Flower's ClientApp, which can do a part of its work before there is a message."""

    def warm_up(self, run_config: Mapping[str, Scalar]) -> None:
        """Read a run's configuration and import what it needs; open nothing of the node.

        ``tacet supernode`` asks for it in a process that forks for the messages of the run
        (``app.approval.loaded``), so nothing that is random may be drawn here.

        Raises
        ------
        ConfigError, ValueError
            If there can be no such run.
        """
        build_workload(load_config(run_config))


def make_app(held: LocalData | None = None) -> NodeApp:
    """Return the ClientApp of a node.

    Parameters
    ----------
    held : LocalData, optional
        See ``NodeSession``: for a simulation in this process, which no message can ask for.
    """
    made = NodeApp()

    def answer_message(message: Message, context: Context) -> Message:
        return answer(message, context, held)

    # One answer for all: a run's aggregation knows which kinds of message it has.
    made.evaluate()(answer_message)
    made.train()(answer_message)
    for action in sorted({a for one in AGGREGATIONS.values() for a in one.actions}):
        made.train(action)(answer_message)
    return made


def answer(message: Message, context: Context, held: LocalData | None = None) -> Message:
    """Answer one message as this run's aggregation does."""
    started, session = time.monotonic(), None
    try:
        config = load_config(context.run_config)
        settings = settings_of(context.node_config, config, in_simulation())
        session = NodeSession(context, config, settings, held)
        reply = _answer_admitted(message, session)
    except (ConfigError, DataError, ModelRefusedError, RequestRefusedError) as error:
        # A refusal's own text is its reason; what led to it says more.
        told = (error.__cause__ or error) if isinstance(error, RequestRefusedError) else error
        log.error("client %s refuses: %s", _name(context), told)
        reply = refusal_reply(_reason(error), message)
    except Exception:
        log.exception("client %s failed", _name(context))
        reply = refusal_reply(Reason.INTERNAL_ERROR, message)
    publish(session, reply)
    note_answer(session, message, reply, time.monotonic() - started)
    return reply


def _answer_admitted(message: Message, session: NodeSession) -> Message:
    """Answer a message of a run that the node's owner allows; a refusal leaves no secrets."""
    aggregation, side = aggregation_of(session.config.aggregation), SessionSide(session)
    try:
        # Here, where no aggregation can forget it: no message is read before.
        admit(session)
        started = time.monotonic()
        reply = aggregation.answer(message, side)
        tell(session, _answered(message, session, time.monotonic() - started))
        return reply
    except BaseException:
        aggregation.forget(message, side)
        raise


def _answered(message: Message, session: NodeSession, seconds: float) -> str:
    kind = message.metadata.message_type
    place = f" on {session.noted.device}" if session.noted.device else ""
    return f"node {_name(session.context)} has answered {kind} in {seconds:.1f} s{place}"


def _reason(error: Exception) -> Reason:
    if isinstance(error, RequestRefusedError):
        return error.reason
    return Reason.DATA_REFUSED if isinstance(error, DataError) else Reason.CONFIG_REFUSED


def _name(context: Context) -> str:
    """Return how the local log calls this node."""
    partition = context.node_config.get("partition-id")
    return f"{context.node_id}" + ("" if partition is None else f" (partition {partition})")


app = make_app()
