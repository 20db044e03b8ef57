"""What each node is sent of a state: all of it, or the change from what the node holds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from strategies.codec.arrays import BadArrayError, read_array
from strategies.rounds.deltas import (
    BadDeltaError,
    add_coarse,
    add_exact,
    are_alike,
    coarse_delta,
    digest_of,
    exact_delta,
)
from strategies.rounds.records import ARRAYS, CONFIG, MalformedRequestError
from workloads.values import Arrays, State

#: The record of a delta, in place of that of the arrays, and its keys beside the round.
DELTA = "delta"
_HELD, _DUE, _SIZES = "held", "due", "delta-steps"
_HASH_BYTES = 32
_KEPT_STATES = 2


class NotHeldError(ValueError):
    """A delta to a state that the node does not hold."""


class Delta(Enum):
    """How a state is told by its difference to the last one."""

    exact = "exact"
    int8 = "int8"


@dataclass(frozen=True)
class _Step:
    """A step of the server in whole steps of eight bits, and between which states it leads."""

    held: bytes
    due: bytes
    content: ArrayRecord
    sizes: list[float]


@dataclass
class Synchroniser:
    """What the nodes of a run hold, as far as the server knows, and what they are sent.

    A node that answered holds the state that it was asked about. Whoever did not answer, or
    says that it holds another one, is sent all of the next state.

    Attributes
    ----------
    delta : Delta or None
        How a state is told to a node that holds the last one; None for whole, always.
    """

    delta: Delta | None = None
    _states: dict[bytes, Arrays] = field(default_factory=dict[bytes, Arrays])
    _holds: dict[int, bytes] = field(default_factory=dict[int, bytes])
    _step: _Step | None = None

    def settle(self, before: State, after: State, asked: Callable[[State], State]) -> State:
        """Return the state that the next round goes on from: one that the delta can tell.

        With eight bits the server itself rounds its step, at random and so without bias, and
        all go on from the same state, bit for bit.

        Parameters
        ----------
        before, after : State
            What a round asked about, and what its sum made of it.
        asked : callable
            From a state to the part of it that nodes are asked about.
        """
        is_float = all(values.dtype.kind == "f" for values in after.arrays.values())
        is_coarse = self.delta is Delta.int8 and is_float
        if not (is_coarse and are_alike(before.arrays, after.arrays)):
            return after
        steps, sizes = coarse_delta(before.arrays, after.arrays)
        settled = replace(after, arrays=add_coarse(before.arrays, steps, sizes))
        names = asked(settled).arrays
        self._step = _Step(
            digest_of(asked(before).arrays),
            digest_of(names),
            ArrayRecord({name: Array(steps[name]) for name in names}),
            [sizes[name] for name in sorted(names)],
        )
        return settled

    def contents(self, whole: RecordDict, asked: State) -> Callable[[int], RecordDict]:
        """Return what gives the content of a request to each node.

        Parameters
        ----------
        whole : RecordDict
            The content with all of the state.
        asked : State
            The state in it.
        """
        if self.delta is None:
            return lambda _: whole
        due = digest_of(asked.arrays)
        self._remember(due, asked.arrays)
        told: dict[bytes, RecordDict] = {}

        def content(node: int) -> RecordDict:
            held = self._holds.get(node, b"")
            if held not in self._states:
                return whole
            if held not in told:
                told[held] = self._told(whole, held, due)
            return told[held]

        return content

    def note(self, answered: Collection[int], failed: Collection[int]) -> None:
        """Note who has answered to the state that was last sent, and who has not."""
        if self.delta is None or not self._states:
            return
        last = next(reversed(self._states))
        for node in failed:
            self._holds.pop(node, None)
        for node in answered:
            self._holds[node] = last

    def _remember(self, digest: bytes, arrays: Arrays) -> None:
        self._states.pop(digest, None)
        self._states[digest] = arrays
        while len(self._states) > _KEPT_STATES:
            del self._states[next(iter(self._states))]

    def _told(self, whole: RecordDict, held: bytes, due: bytes) -> RecordDict:
        """Return a request with a delta, or the whole one where that is no longer."""
        told: dict[str, Any] = {_HELD: held, _DUE: due}
        step, before, after = self._step, self._states[held], self._states[due]
        if step is not None and (step.held, step.due) == (held, due):
            delta, told[_SIZES] = step.content, step.sizes
        elif are_alike(before, after):
            found = exact_delta(before, after)
            delta = ArrayRecord({name: Array(part) for name, part in found.items()})
        else:
            return whole
        if _size(delta) >= _size(whole.array_records[ARRAYS]):
            return whole
        rest = {key: record for key, record in whole.items() if key != ARRAYS}
        config = ConfigRecord({**whole.config_records[CONFIG], **told})
        return RecordDict({**rest, DELTA: delta, CONFIG: config})


def restored(content: RecordDict, held: Callable[[bytes], Arrays | None]) -> RecordDict:
    """Return a request with all of its state, from one with a delta, trusting nothing.

    Parameters
    ----------
    content : RecordDict
        As received; one without a delta is returned as it is.
    held : callable
        From a digest to the arrays that the node holds, None if it holds others.

    Raises
    ------
    NotHeldError
        If the node does not hold what the delta is to.
    MalformedRequestError
        If the delta does not lead from there to the state that it says.
    """
    if DELTA not in content:
        return content
    try:
        config, delta = content.config_records[CONFIG], content.array_records[DELTA]
        names = [_hash_of(config, key) for key in (_HELD, _DUE)]
        before = held(names[0])
        if before is None:
            raise NotHeldError("a delta to a state that this node does not hold")
        parts = {name: read_array(array) for name, array in delta.items()}
        sizes = config.get(_SIZES)
        after = add_exact(before, parts) if sizes is None else _coarse(before, parts, sizes)
    except (KeyError, BadArrayError, BadDeltaError) as error:
        raise MalformedRequestError(f"{type(error).__name__}: {error}") from None
    if digest_of(after) != names[1]:
        raise MalformedRequestError("a delta that leads to another state than it says")
    arrays = ArrayRecord({name: Array(values) for name, values in after.items()})
    rest = {key: record for key, record in content.items() if key != DELTA}
    return RecordDict({**rest, ARRAYS: arrays})


def _coarse(before: Arrays, parts: Arrays, given: Any) -> Arrays:
    """Return the state that is so many steps away; their sizes are in the order of names."""
    sizes = cast(list[Any], given) if isinstance(given, list) else []
    if len(sizes) != len(before) or not all(type(size) is float for size in sizes):
        raise BadDeltaError("no list of a step for each array")
    return add_coarse(before, parts, dict(zip(sorted(before), sizes, strict=True)))


def _hash_of(config: ConfigRecord, key: str) -> bytes:
    value = config[key]
    if not isinstance(value, bytes) or len(value) != _HASH_BYTES:
        raise BadDeltaError(f"{key} is no hash")
    return value


def _size(record: ArrayRecord) -> int:
    return sum(len(array.data) for array in record.values())
