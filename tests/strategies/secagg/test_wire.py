"""The byte format: round trips, one encoding for each value, and nothing but DecodeError."""

import contextlib
import dataclasses
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.secagg import fields, messages, wire
from strategies.secagg.client import store
from strategies.secagg.fields import AttemptId, DecodeError
from strategies.secagg.messages import MESSAGES, Advert, MaskedInput, Refusal, Roster
from strategies.secagg.wire import VERSION, Wire
from tests import ROOT

ALL = [*MESSAGES, store.AdvertisedSecrets, store.SharedSecrets, store.MaskedSecrets]
ATTEMPTS = st.builds(
    AttemptId, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
)
NODES = st.sets(st.integers(0, 2**64 - 1), max_size=6).map(lambda s: tuple(sorted(s)))


def values(kind: fields.Kind) -> st.SearchStrategy:
    """Return values that a field kind can hold, found by what its writer accepts."""
    if kind is fields.ATTEMPT:
        return ATTEMPTS
    if kind is fields.NODES:
        return NODES
    for bits, number in ((8, fields.U8), (16, fields.U16), (64, fields.U64)):
        if kind is number:
            return st.integers(0, 2**bits - 1)
    size = kind.size
    if size.isdigit():
        return st.binary(min_size=int(size), max_size=int(size))
    if size in ("4 + length", "8 + length"):
        return st.binary(max_size=60)
    if size == "4 + each (12 + length)":
        table = st.dictionaries(st.integers(0, 2**64 - 1), st.binary(max_size=60), max_size=4)
        return table.map(lambda entries: tuple(sorted(entries.items())))
    if size.startswith("4 + each"):
        return st.lists(st.binary(max_size=60), max_size=4).map(tuple)
    if size.endswith("a row"):
        row = int(size.split()[2]) - 8
        cell = st.binary(min_size=row, max_size=row)
        return st.dictionaries(st.integers(0, 2**64 - 1), cell, max_size=4).map(
            lambda table: tuple(sorted(table.items()))
        )
    assert size.startswith("1 or 1 + (")
    return st.none() | (ATTEMPTS if "(16)" in size else st.binary(max_size=60))


def instances(cls: type[Wire]) -> st.SearchStrategy:
    return st.builds(cls, **{name: values(f.kind) for name, f in wire.layout(cls)})


ANY = st.sampled_from(ALL).flatmap(instances)


@given(ANY)
def test_round_trip(message):
    data = message.encode()
    again = type(message).decode(data)
    assert again == message
    assert dataclasses.replace(again).encode() == data


def decodes(data: bytes) -> list[Wire]:
    found = []
    for cls in ALL:
        with contextlib.suppress(DecodeError):
            found.append(cls.decode(data))
    return found


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_decode_error(data):
    assert decodes(data) == []


@pytest.mark.slow
@settings(max_examples=300)
@given(ANY, st.data())
def test_damaged_messages_raise_only_decode_error_or_are_canonical(message, data):
    raw = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for candidate in (bytes(raw), bytes(raw[:cut]), bytes(raw) + b"\0"):
        for found in decodes(candidate):
            # `replace` forgets the bytes that were read.
            assert dataclasses.replace(found).encode() == candidate


@given(ANY)
def test_every_truncation_and_extension_is_refused(message):
    raw = message.encode()
    for wrong in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(DecodeError):
            type(message).decode(wrong)


def test_huge_lengths_are_refused_before_allocating():
    head = b"TS" + bytes([VERSION])
    attempt = bytes(16)
    with pytest.raises(DecodeError, match="over the limit"):
        Roster.decode(head + b"\x03" + attempt + bytes(4) + b"\xff\xff\xff\xff")
    with pytest.raises(DecodeError, match="over the limit"):
        MaskedInput.decode(head + b"\x06" + attempt + bytes(9) + b"\xff" * 8)
    with pytest.raises(DecodeError, match="wanted"):
        MaskedInput.decode(head + b"\x06" + attempt + bytes(9) + struct.pack(">Q", 2**31))


def test_a_length_over_the_limit_is_refused_though_all_bytes_are_there():
    attempt = bytes(16)
    long = struct.pack(">I", messages.MAX_ADVERT_BYTES + 1) + bytes(
        messages.MAX_ADVERT_BYTES + 1
    )
    roster = Roster(AttemptId(0, 0, 0), 0, 0, ()).encode()[:-4] + struct.pack(">I", 1)
    with pytest.raises(DecodeError, match="513 is over the limit 512"):
        Roster.decode(roster + long)
    signed = b"TS" + bytes([VERSION, messages.SharesUpload.TYPE]) + attempt + bytes(4 + 64)
    with pytest.raises(DecodeError, match="65 is over the limit 64"):
        messages.SharesUpload.decode(signed + struct.pack(">I", 65) + bytes(65))


def test_the_docs_name_the_version():
    page = (ROOT / "docs" / "secure-aggregation.md").read_text(encoding="utf-8")
    assert f"Every message is `TS`, version {VERSION}," in page


def test_wrong_version_type_order_and_flags_are_named():
    refusal = Refusal(AttemptId(1, 2, 3), 4).encode()
    with pytest.raises(DecodeError, match="version"):
        Refusal.decode(b"TS\x01" + refusal[3:])
    with pytest.raises(DecodeError, match="message type 11 where 2"):
        Advert.decode(refusal)
    request = messages.ConfirmRequest(AttemptId(1, 2, 3), (5, 9)).encode()
    swapped = request[:-16] + request[-8:] + request[-16:-8]
    with pytest.raises(DecodeError, match="ascending"):
        messages.ConfirmRequest.decode(swapped)
    bare = messages.TrainRequest(
        AttemptId(1, 2, 3), (5,), (), bytes(32), bytes(40), None
    ).encode()
    with pytest.raises(DecodeError, match="flag is 2"):
        messages.TrainRequest.decode(bare[:-1] + b"\2")


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        (Advert, {"mask_key": bytes(65)}),
        (Advert, {"node_id": 2**64}),
        (Advert, {"node_id": -1}),
        (messages.ConfirmRequest, {"survivors": (2, 1)}),
        (messages.ConfirmRequest, {"survivors": (1, 1)}),
        (messages.SharesUpload, {"rows": ((1, bytes(4097)),)}),
        (messages.SharesUpload, {"rows": ((2, bytes(94)), (1, bytes(94)))}),
        (messages.UnmaskRequest, {"inputs": ((1, bytes(64)),)}),
        (messages.Roster, {"adverts": (bytes(513),)}),
    ],
)
def test_encoding_refuses_what_could_not_be_decoded(cls, change):
    plain = {"attempt": AttemptId(1, 1, 0)}
    empty = ("survivors", "dropouts", "rows", "inputs", "views", "adverts")
    blank = {"node_id": 1, "signature": b"", **dict.fromkeys(empty, ())}
    for name, field in wire.layout(cls):
        if name not in plain:
            plain[name] = blank.get(
                name, 0 if field.kind in (fields.U8, fields.U16) else bytes(32)
            )
    with pytest.raises(ValueError, match=r"."):
        cls(**(plain | change)).encode()


def test_types_are_distinct_and_every_field_says_why_it_is_safe():
    assert len({cls.TYPE for cls in ALL}) == len(ALL)
    for cls in MESSAGES:
        for name, field in wire.layout(cls):
            assert len(field.safe) > 3, (cls, name)


@given(ANY)
def test_peek_finds_the_attempt_of_what_starts_well(message):
    if type(message) in MESSAGES and hasattr(message, "attempt"):
        assert wire.peek_attempt(message.encode() + b"junk") == message.attempt
    assert wire.peek_attempt(b"TS\1") is None


@given(st.lists(st.sampled_from([0, 3, 3, 3, 7]), max_size=60), st.integers(0, 2))
def test_rows_of_any_lengths_are_read_as_they_are_written(lengths, more):
    kind = fields.table(9)
    rows = tuple((2 * at, bytes([at] * size)) for at, size in enumerate(lengths))
    data = kind.write(rows)
    reader = fields.Reader(data + bytes(more))
    assert kind.read(reader) == rows
    assert reader.take(more) == bytes(more)
    with pytest.raises(fields.DecodeError):
        kind.read(fields.Reader(data[:-1]))


@pytest.mark.parametrize(
    ("counted", "rows", "why"),
    [
        (3, [(1, 2), (2, 2)], "3 rows wanted, 2 there"),
        (2, [(1, 2), (2, 10)], "length 10 is over the limit 9"),
        (2, [(1, 2), (2, 2)], "2 bytes wanted, 1 left"),
    ],
)
def test_a_table_says_where_it_breaks_off(counted, rows, why):
    data = struct.pack(">I", counted)
    data += b"".join(struct.pack(">QI", node, size) + bytes(size) for node, size in rows)
    cut = data[:-1] if why.endswith("1 left") else data
    with pytest.raises(fields.DecodeError, match=why):
        fields.table(9).read(fields.Reader(cut))
