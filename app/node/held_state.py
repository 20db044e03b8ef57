"""The last state that a node was sent, so that the next one may come as a delta to it."""

from __future__ import annotations

from flwr.app import RecordDict

from app.node.own_models import KeptModel
from app.node.session import NodeSession
from strategies.refusals import Reason, RequestRefusedError
from strategies.rounds.deltas import digest_of
from strategies.rounds.synchronisation import NotHeldError, restored
from workloads.values import Arrays, State

_NAME = "held"


def whole_request(session: NodeSession, content: RecordDict) -> RecordDict:
    """Return a request with all of its state.

    Raises
    ------
    RequestRefusedError
        If it has a delta to a state that this node does not hold, or in a run without deltas.
    MalformedRequestError
        If the delta does not lead to the state that it says.
    DatabaseError
        If the node's file cannot be used.
    """
    if not session.config.rounds.is_incremental:
        # Nothing reads a delta then, and there are no arrays.
        return content

    def held(digest: bytes) -> Arrays | None:
        kept = session.own_models().get(_NAME)
        if kept is None or digest_of(kept.arrays) != digest:
            return None
        return kept.arrays

    try:
        return restored(content, held)
    except NotHeldError as error:
        raise RequestRefusedError(Reason.STATE_NOT_HELD) from error


def hold(session: NodeSession, state: State, server_round: int) -> None:
    """Keep a state that came, of a run in which the next may be a delta to it.

    Parameters
    ----------
    session : NodeSession
        Of the message.
    state : State
        One that the workload has found to be its own.
    server_round : int
        The round that asks about it.

    Raises
    ------
    DatabaseError
        If the node's file cannot be used.
    """
    session.own_models().put({_NAME: KeptModel(round=server_round, arrays=dict(state.arrays))})
