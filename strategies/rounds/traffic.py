"""Count the bytes and the seconds of trips, for the round's report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from flwr.app import ArrayRecord, Message

_NUMBER_BYTES = 8


class Traffic:
    """The bytes to and from all nodes, and the seconds of each kind of trip, since ``take``.

    Attributes
    ----------
    bytes_down, bytes_up : int
        Contents of messages to nodes and from them, without Flower's envelopes.
    stage_seconds : dict
        Kind of trip, as its first message has it, to the seconds that were waited for it.
    """

    def __init__(self) -> None:
        self.bytes_down = self.bytes_up = 0
        self.stage_seconds: dict[str, float] = {}

    def note(self, sent: Sequence[Message], replies: Iterable[Message], seconds: float) -> None:
        """Count one trip."""
        self.note_sent(sent)
        self.note_replies(replies)
        if sent:
            self.note_seconds(sent[0].metadata.message_type, seconds)

    def note_sent(self, sent: Iterable[Message]) -> None:
        """Count messages to nodes, some of a trip or all, while all of them are there."""
        # A state is one record that all messages of a trip share: it is measured once.
        sizes: dict[int, int] = {}
        self.bytes_down += sum(content_bytes(message, sizes) for message in sent)

    def note_replies(self, replies: Iterable[Message]) -> None:
        """Count messages from nodes."""
        self.bytes_up += sum(content_bytes(message, {}) for message in replies)

    def note_seconds(self, kind: str, seconds: float) -> None:
        """Count the time of a trip of this kind."""
        self.stage_seconds[kind] = self.stage_seconds.get(kind, 0.0) + seconds

    def take(self) -> dict[str, Any]:
        """Return what was counted, as fields of a round's report, and begin anew."""
        found = {name: getattr(self, name) for name in ("bytes_down", "bytes_up")}
        found["stage_seconds"] = self.stage_seconds
        self.bytes_down = self.bytes_up = 0
        self.stage_seconds = {}
        return found


def content_bytes(message: Message, sizes: dict[int, int]) -> int:
    """Return the bytes of a message's content; an error has none."""
    if message.has_error():
        return 0
    records: list[Any] = list(message.content.values())
    for record in records:
        if id(record) not in sizes:
            sizes[id(record)] = _record_bytes(record)
    return sum(sizes[id(record)] for record in records)


def _record_bytes(record: Any) -> int:
    if isinstance(record, ArrayRecord):
        return sum(len(array.data) for array in record.values())
    return sum(_value_bytes(value) for value in record.values())


def _value_bytes(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    if not isinstance(value, list):
        return _NUMBER_BYTES
    values = cast(list[Any], value)
    # Flower's lists are of one type; a long one of numbers takes no time.
    if values and isinstance(values[0], (str, bytes)):
        return sum(map(len, values))
    return _NUMBER_BYTES * len(values)
