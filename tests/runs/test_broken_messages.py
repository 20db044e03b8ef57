"""Messages that are broken or not whole, against the real ClientApp."""

import struct

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from strategies.masked.messages import ADVERT, SHARE, UNMASK, unwrap, wrap
from strategies.secagg.messages import MaskedInput, ShareRequest, UnmaskRequest
from strategies.secagg.wire import VERSION
from tests.kits.attacked_nodes import FIRST, NODE, SECOND, Nodes, told


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


HEAD = b"TS" + bytes([VERSION, UnmaskRequest.TYPE]) + FIRST.to_bytes()
BROKEN = {
    "cut off": told(FIRST, set()).encode()[:-1],
    "one byte more": told(FIRST, set()).encode() + b"\0",
    "a huge length": HEAD + struct.pack(">I", 2**32 - 1),
    "a length beyond the end": HEAD + struct.pack(">I", 9_999),
    "another message": ShareRequest(FIRST, b"", ()).encode(),
    "another version": b"TS"
    + bytes([VERSION + 1, UnmaskRequest.TYPE])
    + told(FIRST, set()).encode()[4:],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_closes_the_attempt_that_it_names(nodes, name):
    nodes.masked(FIRST)
    content = RecordDict({"secagg": ConfigRecord({"bytes": BROKEN[name]})})
    assert nodes.refuses(NODE, UNMASK, content) == "secagg_malformed"
    assert nodes.secrets(NODE) == set()
    assert nodes.refuses(NODE, UNMASK, wrap(told(FIRST, set()))) == "secagg_attempt_closed"


@pytest.mark.parametrize("data", [b"", b"x", bytes(7), b"TS" + bytes([VERSION, 9, 0, 0, 0])])
@pytest.mark.parametrize("kind", [ADVERT, SHARE, "train", UNMASK])
def test_garbage_that_names_no_attempt_is_refused(nodes, kind, data):
    """It closes nothing: anything at all would else end every attempt."""
    nodes.advertised(FIRST)
    wire = ConfigRecord({"bytes": data})
    config = ConfigRecord({"server-round": 1})
    content = RecordDict({"secagg": wire, "arrays": nodes.arrays, "config": config})
    assert nodes.refuses(NODE, kind, content) == "secagg_malformed"
    assert nodes.secrets(NODE) == {FIRST}


@pytest.mark.parametrize("kind", [ADVERT, SHARE, "train", "evaluate", UNMASK])
@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"secagg": ConfigRecord()}),
        RecordDict({"secagg": ConfigRecord({"bytes": "text"})}),
        RecordDict({"secagg": ArrayRecord()}),
    ],
)
def test_a_message_without_protocol_bytes_is_refused(nodes, kind, content):
    assert nodes.refuses(NODE, kind, content) == "malformed_request"
    assert nodes.secrets(NODE) == set()


JUNK = ArrayRecord({"w": Array("float32", (3,), "numpy.ndarray", b"junk")})
WRONG_MODELS = {
    "no arrays": ({"arrays": None}, "malformed_request"),
    "arrays of another kind": ({"arrays": ConfigRecord()}, "malformed_request"),
    "bytes that are no array": ({"arrays": JUNK}, "malformed_request"),
    "no config": ({"config": None}, "malformed_request"),
    "no round": ({"config": ConfigRecord()}, "malformed_request"),
    "a round in words": ({"config": ConfigRecord({"server-round": "x"})}, "malformed_request"),
    "another model": ({"arrays": ArrayRecord()}, "secagg_plan_mismatch"),
}


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_a_train_message_that_is_not_whole_ends_the_attempt(nodes, name):
    records, expected = WRONG_MODELS[name]
    request = nodes.shared(FIRST).train_request(NODE)
    reason = nodes.refuses(NODE, "train", nodes.model(request, **records))
    assert reason == expected
    assert nodes.secrets(NODE) == set()


def test_a_model_that_does_not_fit_ends_the_attempt(nodes):
    """Told of consistently: the request passes, the training does not."""
    server = nodes.shared(FIRST)
    wrong = ArrayRecord()
    server.bind_masks(nodes.binding(wrong))
    content = nodes.model(server.train_request(NODE), arrays=wrong)
    assert nodes.refuses(NODE, "train", content) == "model_refused"
    assert nodes.secrets(NODE) == set()


def test_nothing_but_protocol_bytes_is_in_a_reply(nodes):
    server = nodes.shared(FIRST)
    reply = nodes.send(NODE, "train", nodes.model(server.train_request(NODE, SECOND)))
    assert list(reply.content) == ["secagg"]
    assert list(reply.content["secagg"]) == ["bytes"]
    MaskedInput.decode(unwrap(reply.content))
