"""The client's state machine as data: what each message does to the stage of an attempt.

Stages belong to one attempt (run, round, attempt). A message from the server is one or two
events: on the attempt that it names, and, where the next round rides along, on the next
attempt. A pair that is not in `TRANSITIONS` is refused, and a refusal closes every attempt
that the message names. Bootstrap and steady state are the same transitions: they differ
only in which message carries an event.

Decisions where `protocol.md` leaves room:

* A bootstrap (an `AdvertRequest`) closes every other open attempt of the run at this node.
* Training on a model again closes the attempt that trained on it before, unless that one
  has answered the unmask trip: then it is refused. A node cannot see whether others opened
  the earlier attempt; but as 2t > m + c, fewer than t nodes of one cohort are left that
  have not, so a second sum over the same model cannot be opened.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from strategies.secagg.messages import (
    AdvertRequest,
    ConfirmRequest,
    ShareRequest,
    TrainRequest,
    UnmaskRequest,
)
from strategies.secagg.reasons import RefusalReason
from strategies.secagg.wire import Wire


class Stage(IntEnum):
    """The stage of an attempt at one node. `NONE` is never stored."""

    NONE = 0
    ADVERTISED = 1
    SHARED = 2
    MASKED = 3
    CONFIRMED = 4
    REVEALED = 5
    CLOSED = 6


class Event(IntEnum):
    """The step that a message asks for in an attempt."""

    ADVERTISE = 1
    SHARE = 2
    MASK = 3
    CONFIRM = 4
    UNMASK = 5


class Which(IntEnum):
    """The attempt that an event is for."""

    NAMED = 1
    NEXT = 2


FINAL: frozenset[Stage] = frozenset({Stage.REVEALED, Stage.CLOSED})
OPEN: frozenset[Stage] = frozenset(Stage) - FINAL - {Stage.NONE}

TRANSITIONS: Mapping[tuple[Stage, Event], Stage] = MappingProxyType(
    {
        (Stage.NONE, Event.ADVERTISE): Stage.ADVERTISED,
        (Stage.ADVERTISED, Event.SHARE): Stage.SHARED,
        (Stage.SHARED, Event.MASK): Stage.MASKED,
        (Stage.MASKED, Event.CONFIRM): Stage.CONFIRMED,
        (Stage.MASKED, Event.UNMASK): Stage.REVEALED,
        (Stage.CONFIRMED, Event.UNMASK): Stage.REVEALED,
    }
)

MESSAGE_EVENTS: Mapping[type[Wire], tuple[tuple[Which, Event], ...]] = MappingProxyType(
    {
        AdvertRequest: ((Which.NAMED, Event.ADVERTISE),),
        ShareRequest: ((Which.NAMED, Event.SHARE),),
        TrainRequest: ((Which.NAMED, Event.MASK), (Which.NEXT, Event.ADVERTISE)),
        ConfirmRequest: ((Which.NAMED, Event.CONFIRM),),
        UnmaskRequest: ((Which.NAMED, Event.UNMASK), (Which.NEXT, Event.SHARE)),
    }
)


def step(stage: Stage, event: Event) -> Stage | RefusalReason:
    """Return the next stage, or why there is none."""
    if stage is Stage.NONE and event is not Event.ADVERTISE:
        return RefusalReason.UNKNOWN_ATTEMPT
    after = TRANSITIONS.get((stage, event))
    if after is not None:
        return after
    if stage is Stage.CLOSED and event is not Event.ADVERTISE:
        return RefusalReason.ATTEMPT_CLOSED
    return RefusalReason.REPEATED if stage >= _AFTER[event] else RefusalReason.WRONG_STAGE


_AFTER: Mapping[Event, Stage] = MappingProxyType(
    {event: after for (_, event), after in TRANSITIONS.items()}
)


def as_markdown() -> str:
    """Return the table for the documents: a row for each stage, a column for each event."""
    head = "| stage | " + " | ".join(event.name for event in Event) + " |"
    lines = [head, "|---" * (len(Event) + 1) + "|"]
    for stage in Stage:
        cells = [step(stage, event).name for event in Event]
        lines.append(f"| {stage.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
