"""The check that the state of an exact run follows from the last sum, on the node.

Whoever chooses the state of an exact sum chooses what is asked, and can single out a record. So
a node works out by itself what the workload makes of the state before and the sum over it, and
answers nothing else. What this does not see is a sum that the server has made up: a node knows
its own part of it only. A server that lies so has said so to every node, in words that they can
keep; against what it learns stand the rules of ``app.node.exact_rules`` and the cohorts of
``app.node.views``.
"""

from __future__ import annotations

import hashlib
import json
from math import isclose
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.config.plain import to_dict
from app.node.exact_states import ExactStates
from app.node.session import NodeSession
from strategies.aggregation import Request
from strategies.refusals import Reason, RequestRefusedError
from workloads.values import Arrays, State, StateRefusedError

# Two machines' libraries may differ in the last digits, of float32 where a workload has rounded
# its numbers to that. Integers, such as the splits of a tree, are equal.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-8


class UnexplainedStateError(ValueError):
    """A state that does not follow from the sum before it. The message is for the own log."""


def require_followed(session: NodeSession, request: Request) -> None:
    """Refuse a state of an exact run that this node cannot work out itself; keep it otherwise.

    Only under a policy, and where messages are signed: elsewhere a server can play all the
    other nodes, and a request carries no sum.

    Raises
    ------
    RequestRefusedError
        If it does not follow.
    """
    policy = session.policy
    if policy is None or session.exact is None or not session.config.aggregation.is_signed:
        return
    known, asked = _Known(session, policy.dataset), request.hash_of(request.state)
    try:
        _require_own_query(request)
        held = known.get(asked)
        # A hash tells no type, and in another one arithmetic may overflow.
        if held is not None and agree(held, request.state):
            return
        _require_next(request, asked, known)
    except (UnexplainedStateError, StateRefusedError) as error:
        raise RequestRefusedError(Reason.STATE_UNEXPLAINED) from error
    known.add(asked, request.state)


class _Known:
    """The states that were found right, of runs that ask the same about the same columns."""

    def __init__(self, session: NodeSession, dataset: str) -> None:
        config = session.config
        asks = to_dict(config.task), to_dict(config.algorithm), config.seed
        self._of = hashlib.sha256(json.dumps(asks, sort_keys=True).encode()).digest()
        self._states = ExactStates(session.state_file, dataset)

    def get(self, asked: bytes) -> State | None:
        return self._states.get(self._key(asked))

    def add(self, asked: bytes, state: State) -> None:
        self._states.add(self._key(asked), state)

    def _key(self, asked: bytes) -> bytes:
        return hashlib.sha256(self._of + asked).digest()


def _require_own_query(request: Request) -> None:
    """Raise unless what is asked beside the state is what the workload asks in this round."""
    asked = request.query
    if asked != request.workload.query(request.state, asked.server_round):
        raise UnexplainedStateError(
            f"round {asked.server_round}: query-values={dict(asked.values)} are not what"
            " algorithm asks about this state: the server asks what it has chosen itself, or"
            " runs other code than this node"
        )


def _require_next(request: Request, asked: bytes, known: _Known) -> None:
    """Raise unless the state is the first one, or the one that the last sum leads to."""
    first, server_round = request.workload.initial_state(), request.query.server_round
    of_first = request.hash_of(first)
    # It has constants only, which are the same on all machines to their last digits.
    if of_first == asked and agree(first, request.state):
        return
    last = request.last_sum
    if last is None:
        raise UnexplainedStateError(
            f"round {server_round}: the state is not the first one of this run, and no sum came"
            " with it that it could follow from; a run with exact sums begins at its beginning"
        )
    is_second = last.asked == of_first
    before = first if is_second else known.get(last.asked)
    if before is None:
        raise UnexplainedStateError(
            f"round {server_round}: this node was not asked about the state before, and cannot"
            " work out this one; begin a new run"
        )
    length = request.workload.length(before)
    if len(last.aggregate.total) != length:
        raise UnexplainedStateError(
            f"round {server_round}: {len(last.aggregate.total)} sums, but {length} were asked"
        )
    found = _next_of(request, before)
    if not agree(found, request.state):
        raise UnexplainedStateError(
            f"round {server_round}: the state is not what algorithm makes of the last sum: the"
            " server asks what it has chosen itself, or runs other code than this node"
        )


def _next_of(request: Request, before: State) -> State:
    """Return what the workload makes of the last sum."""
    last = request.last_sum
    assert last is not None  # noqa: S101
    try:
        with np.errstate(all="ignore"):
            return request.workload.apply(
                before, last.aggregate, request.query.server_round - 1, _no_step
            )
    except (ValueError, ArithmeticError, LookupError, np.linalg.LinAlgError) as error:
        raise UnexplainedStateError(
            f"round {request.query.server_round}: nothing follows from the last sum:"
            f" {type(error).__name__}: {error}"
        ) from error


def _no_step(
    server_round: int, before: Arrays, mean: NDArray[np.float32], weight: float
) -> Arrays:
    raise UnexplainedStateError("the workload steps by an optimiser that only the server has")


def agree(one: State, other: State) -> bool:
    """Say whether two states are the same but for the last digits of numbers."""
    if one.arrays.keys() != other.arrays.keys() or one.header.keys() != other.header.keys():
        return False
    arrays = all(_close(values, other.arrays[name]) for name, values in one.arrays.items())
    return arrays and all(_alike(value, other.header[k]) for k, value in one.header.items())


def _close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    return np.allclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[k], other[k]) for k in one)
    return one == other
