"""Conversion between the protocol's bytes and Flower's messages."""

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict

from strategies.codec.arrays import BadArrayError, read_vector, write_bytes
from strategies.refusals import Reason
from strategies.secagg.messages import EncryptedInput, MaskedInput, Refusal
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.wire import Wire

#: Message types of the trips beside ``train`` and ``evaluate``.
ADVERT, SHARE = "train.advert", "train.share"
CONFIRM, UNMASK = "train.confirm", "train.unmask"
ACTIONS = tuple(kind.removeprefix("train.") for kind in (ADVERT, SHARE, CONFIRM, UNMASK))

_RECORD, _KEY = "secagg", "bytes"
_PREFIX = "secagg_"
# Codes above this are the protocol's refusals (strategies.refusals has 1000).
_REFUSAL_CODES = 1100


class BadContentError(ValueError):
    """A message without protocol bytes where they belong."""


def wrap(message: Wire) -> RecordDict:
    """Return the content that carries a protocol message."""
    if isinstance(message, MaskedInput | EncryptedInput):
        # As an array, Flower moves a large payload in chunks.
        return RecordDict({_RECORD: ArrayRecord({_KEY: write_bytes(message.parts())})})
    return RecordDict({_RECORD: ConfigRecord({_KEY: message.encode()})})


def unwrap(content: RecordDict) -> bytes | memoryview:
    """Return the bytes of a protocol message.

    Raises
    ------
    BadContentError
        If there are none.
    """
    try:
        if _RECORD in content.config_records:
            data = content.config_records[_RECORD][_KEY]
            if isinstance(data, bytes):
                return data
        array = read_vector(content.array_records[_RECORD][_KEY], "uint8")
    except (KeyError, BadArrayError) as error:
        raise BadContentError(f"{type(error).__name__}: {error}") from None
    return array.data


def refuse(refusal: Refusal, reply_to: Message) -> Message:
    """Return the error reply that carries a protocol refusal: its number and nothing else."""
    return Message(refusal_of(RefusalReason(refusal.reason)), reply_to=reply_to)


def refusal_of(reason: RefusalReason) -> Error:
    """Return the error that stands for a reason."""
    return Error(_REFUSAL_CODES + reason.value, _PREFIX + reason.name.lower())


def protocol_reason(error: Error) -> str | None:
    """Return the reason of a protocol refusal, or None if the error is of another kind."""
    try:
        reason = RefusalReason(error.code - _REFUSAL_CODES)
    except ValueError:
        return None
    told = (error.reason or "") == _PREFIX + reason.name.lower()
    return _PREFIX + reason.name.lower() if told else str(Reason.MALFORMED_REPLY)
