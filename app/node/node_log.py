"""The node's own log: what it did, for which run, and when."""

import logging
from datetime import UTC, datetime
from threading import Lock

from app.node.session import NodeSession

log = logging.getLogger("flwr.tacet")

#: Runs of which this process has said where their models are.
_TOLD: set[tuple[int, str]] = set()
# A simulation in one process answers for its nodes side by side.
_TELLING = Lock()


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


def tell_device(session: NodeSession, device: str) -> None:
    """Note where the model is trained and scored; a node says it with each of its answers.

    A simulation's one log says it once a run.

    Parameters
    ----------
    session : NodeSession
        The node in this message.
    device : str
        In words; empty where there is no choice.
    """
    session.noted.device = device
    told = session.run_id, device
    if not device or not session.settings.simulated:
        return
    with _TELLING:
        is_new = told not in _TOLD
        _TOLD.add(told)
    if is_new:
        log.info("models are trained and scored on %s", device)
