"""The node's own log: what it did, for which run, and when."""

import logging
from datetime import UTC, datetime

from app.node.session import NodeSession

log = logging.getLogger("flwr.tacet")


def tell(session: NodeSession, what: str) -> None:
    """Log a line with time and run; nothing in a simulation, which has one log for all nodes.

    Parameters
    ----------
    session : NodeSession
        The node in this message.
    what : str
        What it does, in words that hold nothing of a record.
    """
    if session.settings.simulated:
        return
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    log.info("%s run %d: %s", now, session.run_id, what)
