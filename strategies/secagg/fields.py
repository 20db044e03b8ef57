"""How each kind of field is written and read, with nothing that a reader must take on trust.

Every kind has a fixed size or a length in front, and one encoding for each value: sets are
strictly ascending and options are one byte 0 or 1. Integers are big-endian. Reading raises
`DecodeError` and nothing else, and looks at a length before it allocates.
"""

import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

MAX_MEMBERS = 10_000
MAX_BLOB_BYTES = 64 << 20
MAX_PAYLOAD_BYTES = 4 << 30
_ROW_HEAD = struct.Struct(">QI")
_LENGTH, _LONG_LENGTH = struct.Struct(">I"), struct.Struct(">Q")

Buffer = bytes | bytearray | memoryview


class DecodeError(ValueError):
    """Bytes that are not the canonical encoding of a message; says which rule they break."""


class AttemptId(NamedTuple):
    """One attempt at one round of one run; the unit of all keys and secrets."""

    run_id: int
    round: int
    attempt: int

    def to_bytes(self) -> bytes:
        """Return the 16 bytes that stand for this attempt in keys and signatures."""
        return struct.pack(">QII", *self)


class Reader:
    """A cursor over received bytes that never reads past their end."""

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self._at = 0

    def take(self, num_bytes: int) -> memoryview:
        """Return the next `num_bytes` bytes without a copy."""
        end = self._at + num_bytes
        if end > len(self._view):
            raise DecodeError(f"{num_bytes} bytes wanted, {len(self._view) - self._at} left")
        part = self._view[self._at : end]
        self._at = end
        return part

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        """Return the values that the next bytes hold in a form."""
        return form.unpack(self.take(form.size))

    def length(self, limit: int, form: struct.Struct = _LENGTH) -> int:
        """Return a length field, at most `limit`."""
        (value,) = self.unpack(form)
        if value > limit:
            raise DecodeError(f"length {value} is over the limit {limit}")
        return int(value)

    def blob(self, limit: int) -> bytes:
        """Return a copy of at most `limit` bytes with their length in front."""
        return self.take(self.length(limit)).tobytes()

    def table(self, limit: int) -> list[tuple[int, bytes]]:
        """Return rows of a node id and at most `limit` bytes with their length in front.

        Rows of one length that follow each other are read in one go, as the server reads one
        for each pair of nodes: at first all, and after a change of length twice as many each
        time, so that changing lengths cost no more than a small multiple of what they must.
        """
        count, found = self.length(MAX_MEMBERS), list[tuple[int, bytes]]()
        head, at_once = _ROW_HEAD.size, count
        while len(found) < count:
            rest = self._view[self._at :]
            if head > len(rest):
                raise DecodeError(f"{count} rows wanted, {len(found)} there")
            _, length = _ROW_HEAD.unpack_from(rest)
            if length > limit:
                raise DecodeError(f"length {length} is over the limit {limit}")
            size = head + length
            fitting = min(at_once, count - len(found), len(rest) // size)
            if not fitting:
                raise DecodeError(f"{length} bytes wanted, {len(rest) - head} left")
            lengths = struct.iter_unpack(f">8xI{length}x", rest[: fitting * size])
            alike = next((at for at, (one,) in enumerate(lengths) if one != length), fitting)
            found += struct.iter_unpack(f">Q4x{length}s", self.take(alike * size))
            at_once = 2 * at_once if alike == fitting else 1
        return found

    def finish(self) -> None:
        """Check that nothing is left over."""
        if self._at != len(self._view):
            raise DecodeError(f"{len(self._view) - self._at} bytes left over")


@dataclass(frozen=True)
class Kind:
    """How one field is written and read, and its size in words for the documents.

    What may be long has `parts`, too: the bytes that `write` gives, but values not copied.
    What `read` does by the `struct` module alone has its `code` there.
    """

    size: str
    write: Callable[[Any], bytes]
    read: Callable[[Reader], Any]
    parts: Callable[[Any], list[Buffer]] | None = None
    code: str = ""


def _long(
    size: str, parts: Callable[[Any], list[Buffer]], read: Callable[[Reader], Any]
) -> Kind:
    return Kind(size, lambda value: b"".join(parts(value)), read, parts)


def _number(width: str) -> Kind:
    size = struct.calcsize(width)

    def write(value: int) -> bytes:
        try:
            return struct.pack(width, value)
        except struct.error as error:
            raise ValueError(f"{value!r} does not fit {8 * size} bits") from error

    form = struct.Struct(width)
    return Kind(f"{size}", write, lambda r: r.unpack(form)[0], code=width[1:])


def fixed(num_bytes: int) -> Kind:
    """Return the kind of a field of exactly `num_bytes` bytes."""

    def write(value: bytes) -> bytes:
        if len(value) != num_bytes:
            raise ValueError(f"{len(value)} bytes given where {num_bytes} belong")
        return bytes(value)

    code = f"{num_bytes}s"
    return Kind(f"{num_bytes}", write, lambda r: bytes(r.take(num_bytes)), code=code)


def blob(limit: int = MAX_BLOB_BYTES) -> Kind:
    """Return the kind of a byte string of at most `limit` bytes, copied when read."""

    def write(value: bytes) -> bytes:
        if len(value) > limit:
            raise ValueError(f"{len(value)} bytes are over the limit {limit}")
        return struct.pack(">I", len(value)) + value

    return Kind("4 + length", write, lambda r: r.blob(limit))


def blobs(limit: int) -> Kind:
    """Return the kind of a list of byte strings of at most `limit` bytes each."""
    one = blob(limit)

    def write(value: tuple[bytes, ...]) -> bytes:
        return _count(len(value)) + b"".join(one.write(item) for item in value)

    def read(r: Reader) -> tuple[bytes, ...]:
        return tuple([r.blob(limit) for _ in range(r.length(MAX_MEMBERS))])

    return Kind("4 + each (4 + length)", write, read)


def rows(num_bytes: int) -> Kind:
    """Return the kind of a table from node id to `num_bytes` bytes, ids strictly ascending."""
    layout = f">Q{num_bytes}s"
    pack_row = struct.Struct(layout).pack
    size = 8 + num_bytes

    def write(value: tuple[tuple[int, bytes], ...]) -> bytes:
        if not {len(item) for _, item in value} <= {num_bytes}:
            raise ValueError(f"a row is not of {num_bytes} bytes")
        _ascending([node for node, _ in value], ValueError)
        return _count(len(value)) + b"".join([pack_row(*row) for row in value])

    def read(r: Reader) -> tuple[tuple[int, bytes], ...]:
        table = tuple(struct.iter_unpack(layout, r.take(size * r.length(MAX_MEMBERS))))
        _ascending([row[0] for row in table], DecodeError)
        return table

    return Kind(f"4 + {size} a row", write, read)


def table(limit: int) -> Kind:
    """Return the kind of a table from node id to at most `limit` bytes, ids ascending."""

    def parts(value: tuple[tuple[int, bytes], ...]) -> list[Buffer]:
        nodes, items = [node for node, _ in value], [item for _, item in value]
        _ascending(nodes, ValueError)
        lengths = [len(item) for item in items]
        longest = max(lengths, default=0)
        if longest > limit:
            raise ValueError(f"{longest} bytes are over the limit {limit}")
        heads = map(_ROW_HEAD.pack, nodes, lengths)
        return [_count(len(value)), *chain.from_iterable(zip(heads, items, strict=True))]

    def read(r: Reader) -> tuple[tuple[int, bytes], ...]:
        entries = r.table(limit)
        _ascending([node for node, _ in entries], DecodeError)
        return tuple(entries)

    return _long("4 + each (12 + length)", parts, read)


def option(inner: Kind) -> Kind:
    """Return the kind of a field that may be absent (`None`)."""

    def write(value: Any) -> bytes:
        return b"\0" if value is None else b"\1" + inner.write(value)

    def read(r: Reader) -> Any:
        flag = r.take(1)[0]
        if flag > 1:
            raise DecodeError(f"option flag is {flag}, not 0 or 1")
        return inner.read(r) if flag else None

    return Kind(f"1 or 1 + ({inner.size})", write, read)


def _count(value: int) -> bytes:
    if value > MAX_MEMBERS:
        raise ValueError(f"{value} entries are over the limit {MAX_MEMBERS}")
    return struct.pack(">I", value)


def _ascending(nodes: Sequence[int], error: type[ValueError]) -> None:
    if not all(map(operator.lt, nodes, islice(nodes, 1, None))):
        raise error("node ids are not strictly ascending")


def _write_nodes(value: tuple[int, ...]) -> bytes:
    _ascending(value, ValueError)
    return _count(len(value)) + struct.pack(f">{len(value)}Q", *value)


def _read_nodes(r: Reader) -> tuple[int, ...]:
    count = r.length(MAX_MEMBERS)
    nodes = struct.unpack(f">{count}Q", r.take(8 * count))
    _ascending(nodes, DecodeError)
    return nodes


def _payload_parts(value: Buffer) -> list[Buffer]:
    if len(value) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"{len(value)} bytes are over the limit {MAX_PAYLOAD_BYTES}")
    return [struct.pack(">Q", len(value)), value]


U8, U16, U64 = _number(">B"), _number(">H"), _number(">Q")
HASH = fixed(32)
NODES = Kind("4 + 8 a node", _write_nodes, _read_nodes)
# A payload may be hundreds of megabytes: it is read as a view on the received bytes.
PAYLOAD = _long(
    "8 + length", _payload_parts, lambda r: r.take(r.length(MAX_PAYLOAD_BYTES, _LONG_LENGTH))
)
ATTEMPT = Kind(
    "16",
    lambda a: AttemptId(*a).to_bytes(),
    lambda r: AttemptId(*struct.unpack(">QII", r.take(16))),
)
