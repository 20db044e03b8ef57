"""The one canonical byte format of every protocol message and stored secret.

A message is ``b"TS"``, the protocol version, the message type and then its fields in the
order of the dataclass, each as its kind says (`strategies.secagg.fields`). Bytes left over
are an error. Decoding raises `DecodeError` and nothing else.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from itertools import groupby
from typing import Any, ClassVar, Self, get_type_hints

from strategies.secagg.fields import ATTEMPT, AttemptId, Buffer, DecodeError, Kind, Reader

VERSION = 5
_MAGIC = b"TS"


@dataclass(frozen=True)
class Field:
    """Declares a field: how it is encoded, and why showing it to its reader is safe."""

    kind: Kind
    safe: str


@cache
def layout(cls: type[Any]) -> tuple[tuple[str, Field], ...]:
    """Return the declared fields of a message class, in wire order."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple((f.name, hints[f.name].__metadata__[0]) for f in fields(cls))


# The form of the next fields, several at once; or else what reads the next one.
_Read = tuple[struct.Struct | None, Callable[[Reader], Any]]


@cache
def _reads(cls: type[Any]) -> tuple[_Read, ...]:
    """Return how the fields of a class are read: fixed ones that follow each other at once."""
    reads: list[_Read] = []
    for code, alike in groupby(layout(cls), key=lambda one: bool(one[1].kind.code)):
        kinds = [declared.kind for _, declared in alike]
        if code:
            form = struct.Struct(">" + "".join(kind.code for kind in kinds))
            reads.append((form, kinds[0].read))
        else:
            reads += [(None, kind.read) for kind in kinds]
    return tuple(reads)


@cache
def _head(cls: type["Wire"]) -> bytes:
    return _MAGIC + bytes([VERSION, cls.TYPE])


@dataclass(frozen=True)
class Wire:
    """Base of every message: `encode` and `decode` follow the declared fields."""

    TYPE: ClassVar[int] = 0

    def encode(self) -> bytes:
        """Return the canonical bytes; `ValueError` names a value that does not fit."""
        return self._encoded(layout(type(self)))

    def parts(self) -> list[Buffer]:
        """Return the canonical bytes in parts, of which a payload is one: it is not copied."""
        return self._parts(layout(type(self)))

    def _encoded(self, declared_fields: tuple[tuple[str, Field], ...]) -> bytes:
        return b"".join(self._parts(declared_fields))

    def _parts(self, declared_fields: tuple[tuple[str, Field], ...]) -> list[Buffer]:
        parts: list[Buffer] = [_head(type(self))]
        for name, declared in declared_fields:
            value, kind = getattr(self, name), declared.kind
            if kind.parts is None:
                parts.append(kind.write(value))
            else:
                parts += kind.parts(value)
        return parts

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Return the message in `data`; anything but its canonical bytes is a `DecodeError`."""
        r = Reader(data)
        head = bytes(r.take(4))
        if head != _head(cls):
            if head[:3] != _head(cls)[:3]:
                raise DecodeError(f"not a version {VERSION} message")
            raise DecodeError(f"message type {head[3]} where {cls.TYPE} belongs")
        values: list[Any] = []
        for form, read in _reads(cls):
            if form is None:
                values.append(read(r))
            else:
                values += r.unpack(form)
        message = cls(*values)
        r.finish()
        return message


@dataclass(frozen=True)
class Signed(Wire):
    """Base of a message whose last field, `signature`, covers all bytes before it."""

    @cached_property
    def body(self) -> Buffer:
        """The canonical bytes before the signature."""
        return self._encoded(layout(type(self))[:-1])

    def with_signature(self, signature: bytes) -> Self:
        """Return this message under a signature, without encoding the rest again."""
        signed = replace(self, **{"signature": signature})
        vars(signed)["body"] = self.body
        return signed

    def encode(self) -> bytes:
        """Return the canonical bytes; `ValueError` names a value that does not fit."""
        name, declared = layout(type(self))[-1]
        return b"".join((self.body, declared.kind.write(getattr(self, name))))

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Return the message in `data`; anything but its canonical bytes is a `DecodeError`."""
        message = super().decode(data)
        name, declared = layout(cls)[-1]
        end = len(declared.kind.write(getattr(message, name)))
        # There is one encoding of each value: what was read is what would be written.
        vars(message)["body"] = memoryview(data).cast("B")[:-end]
        return message


def is_message(cls: type[Wire], data: Buffer | None) -> bool:
    """Say whether bytes begin as a message of this class."""
    return data is not None and bytes(data[2:4]) == bytes([VERSION, cls.TYPE])


def peek_attempt(data: Buffer) -> AttemptId | None:
    """Return the attempt a possibly broken message names, so that it can be closed."""
    try:
        r = Reader(data)
        r.take(4)
        return ATTEMPT.read(r)
    except DecodeError:
        return None
