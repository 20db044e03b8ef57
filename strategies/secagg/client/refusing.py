"""The error boundary of a client's handlers: decode, expire, refuse, close, log.

A refusal says an enumerated reason and nothing else. Texts go to the local log.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from strategies.secagg.client.checks import ProtocolRefusedError
from strategies.secagg.client.stages import Stages
from strategies.secagg.fields import AttemptId, Buffer, DecodeError
from strategies.secagg.messages import Refusal, TrainRequest, UnmaskRequest
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.wire import Wire, peek_attempt

_log = logging.getLogger(__name__)
_Request = TypeVar("_Request", bound=Wire)
_Reply = TypeVar("_Reply")
_UNNAMED = AttemptId(0, 0, 0)


class ErrorBoundary:
    """Caller of handlers that turns every error into a `Refusal`."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def answer(
        self, cls: type[_Request], data: Buffer, work: Callable[[_Request], _Reply]
    ) -> _Reply | Refusal:
        """Decode a request and handle it; bytes that do not decode are refused."""
        try:
            request = cls.decode(data)
        except DecodeError as error:
            peeked, broken = (
                peek_attempt(data),
                ProtocolRefusedError(RefusalReason.MALFORMED, str(error)),
            )

            def refuse() -> _Reply:
                raise broken

            return self.run([peeked] if peeked else [], refuse)
        return self.run(named(request), lambda: work(request))

    def run(self, attempts: list[AttemptId], work: Callable[[], _Reply]) -> _Reply | Refusal:
        """Handle a request about `attempts`; a refusal closes all of them."""
        reason = RefusalReason.INTERNAL
        try:
            self._stages.expire()
            return work()
        except ProtocolRefusedError as refused:
            reason = refused.reason
            _log.warning("refused %s: %s", attempts, refused)
        except DecodeError as error:
            reason = RefusalReason.MALFORMED
            _log.warning("refused %s: %s", attempts, error)
        except Exception:
            # Whatever went wrong may depend on the data: the server learns only that it did.
            _log.exception("refused %s", attempts)
        try:
            self._stages.close(attempts)
        except Exception:
            # The store is broken: nothing can be deleted, and nothing may be said of it.
            reason = RefusalReason.INTERNAL
            _log.exception("could not close %s", attempts)
        return Refusal(attempts[0] if attempts else _UNNAMED, reason)


def named(request: Wire) -> list[AttemptId]:
    """Return the attempts that a request is about."""
    found: list[AttemptId | None] = [getattr(request, "attempt", None)]
    if isinstance(request, TrainRequest):
        found.append(request.next_attempt)
    if isinstance(request, UnmaskRequest) and request.next_request is not None:
        found.append(peek_attempt(request.next_request))
    return [attempt for attempt in found if attempt is not None]
