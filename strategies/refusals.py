"""The closed list of reasons for which a client's answer is not in the sum.

Exception texts can hold data, so a client answers with one of these and keeps the details in
its own log.
"""

from enum import StrEnum

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode

# Flower's own codes are 0 to 8 (flwr.common.constant.ErrorCode); ours is well away from them.
REFUSAL_CODE = 1000
# The SuperLink answers so for a node that has missed its heartbeats, and for a late reply.
_UNAVAILABLE = (
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
)


class Reason(StrEnum):
    """Why a client failed or refused."""

    DATA_REFUSED = "data_refused"
    TOO_FEW_RECORDS = "too_few_records"
    CONFIG_REFUSED = "config_refused"
    MALFORMED_REQUEST = "malformed_request"
    MODEL_REFUSED = "model_refused"
    STATE_UNEXPLAINED = "state_unexplained"
    STATE_NOT_HELD = "state_not_held"
    MODEL_OF_UNKNOWN_ORIGIN = "model_of_unknown_origin"
    TRAINING_DIVERGED = "training_diverged"
    POLICY_REFUSED = "policy_refused"
    BUDGET_EXHAUSTED = "budget_exhausted"
    LEDGER_REFUSED = "ledger_refused"
    INTERNAL_ERROR = "internal_error"
    NO_ANSWER = "no_answer"
    MALFORMED_REPLY = "malformed_reply"
    FLOWER_ERROR = "flower_error"
    # Not from a client: the server says these of one.
    IN_DISPUTE = "in_dispute"
    PROTOCOL_BROKEN = "protocol_broken"


class RequestRefusedError(Exception):
    """A request that a client refuses; the reply is the enumerated reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def is_permanent(reason: str) -> bool:
    """Whether asking this client again in the same run is pointless."""
    return reason in (
        Reason.DATA_REFUSED,
        Reason.TOO_FEW_RECORDS,
        Reason.CONFIG_REFUSED,
        Reason.STATE_UNEXPLAINED,
        Reason.MODEL_OF_UNKNOWN_ORIGIN,
        Reason.POLICY_REFUSED,
        Reason.BUDGET_EXHAUSTED,
        Reason.LEDGER_REFUSED,
        Reason.PROTOCOL_BROKEN,
        # As ``strategies.masked.messages`` words the protocol's own.
        "secagg_run_over",
        "secagg_ledger_rolled_back",
    )


def refusal_reply(reason: Reason, reply_to: Message) -> Message:
    """Return the error reply that carries nothing but the reason."""
    return Message(Error(REFUSAL_CODE, reason.value), reply_to=reply_to)


def reason_of(reply: Message) -> Reason:
    """Return the reason of an error reply, also of one that Flower itself made."""
    if reply.error.code in _UNAVAILABLE:
        return Reason.NO_ANSWER
    if reply.error.code != REFUSAL_CODE:
        return Reason.FLOWER_ERROR
    try:
        return Reason(reply.error.reason or "")
    except ValueError:
        return Reason.MALFORMED_REPLY
