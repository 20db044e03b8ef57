"""A server that breaks the protocol, against the real ClientApp: what comes back, what is left.

The pure roles have a harness of their own (``tests/strategies/secagg``); this one is about the
handlers around them.
"""

import dataclasses
import struct
from collections import Counter

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from app.builders.run import RunFacts, build_strategy
from app.builders.workload import build_workload
from app.client import app as client_app
from app.config.load import load_config
from app.node.protocol_store import ContextStore
from app.node.settings import simulate_in_this_process
from app.server import _initial_state
from app.simulation.in_process import InProcessGrid
from strategies.masked.messages import ADVERT, SHARE, UNMASK, unwrap, wrap
from strategies.refusals import REFUSAL_CODE, Reason
from strategies.rounds.records import to_arrays, to_parameters
from strategies.secagg.binding import MaskBinding
from strategies.secagg.messages import (
    MaskedInput,
    RefusalReason,
    Roster,
    TrainRequest,
    UnmaskReply,
    UnmaskRequest,
)
from strategies.secagg.server.role import ServerRole
from strategies.secagg.wire import AttemptId, Wire
from workloads.model_arrays import hash_state
from workloads.values import State

IDS = (1000, 1001, 1002, 1003)
ENUMERATED = {
    *((REFUSAL_CODE, reason.value) for reason in Reason),
    *((1100 + reason, f"secagg_{reason.name.lower()}") for reason in RefusalReason),
}


class Nodes:
    """Four real clients with their contexts, and a server that can say anything to them."""

    def __init__(self) -> None:
        simulate_in_this_process()
        run_config = {
            "task": "breast_cancer",
            "aggregation": "secagg",
            "overrides": "task.training.num_steps=1",
        }
        self.contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"partition-id": node - 1000, "num-partitions": len(IDS)},
                state=RecordDict(),
                run_config=run_config,
            )
            for node in IDS
        }
        self._grid = InProcessGrid({n: self._client(n) for n in IDS})
        config = load_config(run_config)
        workload = build_workload(config)
        facts = RunFacts(1, len(IDS), workload, 10)
        self.settings = build_strategy(config, facts)._settings
        self.arrays = to_arrays(_initial_state(config, workload).arrays)

    def _client(self, node: int):
        return lambda message: client_app(message, self.contexts[node])

    def send(self, node: int, kind: str, content: RecordDict) -> Message:
        message = Message(content, dst_node_id=node, message_type=kind)
        (reply,) = self._grid.send_and_receive([message])
        return reply

    def ask(self, node: int, kind: str, wire: Wire) -> bytes:
        reply = self.send(node, kind, wrap(wire))
        assert not reply.has_error(), reply.error
        return bytes(unwrap(reply.content))

    def secrets(self, node: int) -> set[AttemptId]:
        records = ContextStore(self.contexts[node].state).records(1)
        return {attempt for attempt, record in records.items() if record.secrets}

    def advertised(self, attempt: AttemptId) -> tuple[ServerRole, Roster]:
        server = ServerRole(attempt, self.settings.parameters)
        for node in IDS:
            server.add_advert(node, self.ask(node, ADVERT, server.advert_request()))
        return server, server.close_adverts()

    def shared(self, attempt: AttemptId) -> ServerRole:
        server, roster = self.advertised(attempt)
        for node in IDS:
            server.add_shares(node, self.ask(node, SHARE, roster))
        server.close_shares()
        server.bind_masks(self.binding(self.arrays))
        return server

    def binding(self, arrays: ArrayRecord) -> MaskBinding:
        return MaskBinding(
            model=hash_state(State(to_parameters(arrays)), {}),
            config=self.settings.config_hash,
            codec=self.settings.coding.codec.hash(),
            noise_scale=0.0,
        )

    def model(self, request: TrainRequest, **other: object) -> RecordDict:
        """Return a train message; `other` replaces records, None leaves one out."""
        config = ConfigRecord({"server-round": request.attempt.round})
        records = {"arrays": self.arrays, "config": config, **other}
        kept = {name: record for name, record in records.items() if record is not None}
        return RecordDict({**kept, **wrap(request)})

    def masked(self, attempt: AttemptId) -> ServerRole:
        server = self.shared(attempt)
        for node in IDS:
            reply = self.send(node, "train", self.model(server.train_request(node)))
            assert not reply.has_error(), reply.error
            server.add_masked(node, unwrap(reply.content))
        server.close_masked()
        return server

    def refuses(self, node: int, kind: str, content: RecordDict) -> str:
        """Send what must be refused; return the reason, which is all that comes back."""
        reply = self.send(node, kind, content)
        assert reply.has_error()
        assert not reply.has_content()
        assert (reply.error.code, reply.error.reason) in ENUMERATED
        return reply.error.reason


FIRST, SECOND = AttemptId(1, 1, 0), AttemptId(1, 2, 1)
NODE = IDS[0]


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def told(attempt: AttemptId, dropouts: set[int]) -> UnmaskRequest:
    survivors = tuple(node for node in IDS if node not in dropouts)
    return UnmaskRequest(attempt, survivors, tuple(sorted(dropouts)), (), None)


def test_the_honest_server_is_answered(nodes):
    """So that the refusals below mean something."""
    server = nodes.masked(FIRST)
    for node in IDS:
        server.add_unmask(node, nodes.ask(node, UNMASK, server.unmask_request()))
    assert server.finish().survivors == IDS
    assert not any(nodes.secrets(node) for node in IDS)


def test_both_shares_of_one_node_in_one_request(nodes):
    nodes.masked(FIRST)
    request = UnmaskRequest(FIRST, IDS, IDS[3:], (), None)
    for node in IDS:
        assert nodes.refuses(node, UNMASK, wrap(request)) == "secagg_both_shares"
        assert nodes.secrets(node) == set()


def test_different_survivor_sets_give_both_shares_of_nobody(nodes):
    """Half hear that the last one dropped out; nobody answers a second time."""
    nodes.masked(FIRST)
    shares: Counter[tuple[str, int]] = Counter()
    for node, dropouts in zip(IDS[:3], [set(), set(), {IDS[3]}], strict=True):
        reply = UnmaskReply.decode(nodes.ask(node, UNMASK, told(FIRST, dropouts)))
        shares.update(("self", of) for of, _ in reply.self_shares)
        shares.update(("mask", of) for of, _ in reply.mask_shares)
        other = set() if dropouts else {IDS[3]}
        again = nodes.refuses(node, UNMASK, wrap(told(FIRST, other)))
        assert again == "secagg_repeated"
    assert (shares["self", IDS[3]], shares["mask", IDS[3]]) == (2, 1)
    assert nodes.settings.parameters.shape(len(IDS)).threshold == 3
    assert nodes.refuses(IDS[3], UNMASK, wrap(told(FIRST, {IDS[3]}))) == "secagg_left_out"
    assert not any(nodes.secrets(node) for node in IDS)


def test_a_cohort_shrunk_to_two_at_every_stage(nodes):
    _, roster = nodes.advertised(FIRST)
    small = Roster(FIRST, 2, 1, roster.adverts[:2])
    assert nodes.refuses(NODE, SHARE, wrap(small)) == "secagg_roster_too_small"
    assert nodes.secrets(NODE) == set()
    request = nodes.shared(SECOND).train_request(NODE)
    shrunk = nodes.model(dataclasses.replace(request, cohort=IDS[:2]))
    assert nodes.refuses(NODE, "train", shrunk) == "secagg_cohort_too_small"
    assert nodes.secrets(NODE) == set()
    third = AttemptId(1, 3, 2)
    nodes.masked(third)
    few = wrap(told(third, set(IDS[2:])))
    assert nodes.refuses(NODE, UNMASK, few) == "secagg_survivors_too_few"
    assert nodes.secrets(NODE) == set()


def test_an_old_round_replayed(nodes):
    server, roster = nodes.advertised(FIRST)
    for node in IDS:
        server.add_shares(node, nodes.ask(node, SHARE, roster))
    server.close_shares()
    server.bind_masks(nodes.binding(nodes.arrays))
    train = nodes.model(server.train_request(NODE))
    assert not nodes.send(NODE, "train", train).has_error()
    unmask = wrap(told(FIRST, set()))
    assert not nodes.send(NODE, UNMASK, unmask).has_error()
    nodes.shared(SECOND)
    old = [(ADVERT, wrap(server.advert_request())), (SHARE, wrap(roster))]
    for kind, content in [*old, ("train", train), ("evaluate", train), (UNMASK, unmask)]:
        assert nodes.refuses(NODE, kind, content) == "secagg_repeated"
        assert nodes.secrets(NODE) == {SECOND}


def test_a_model_again_with_one_node_fewer(nodes):
    server = nodes.masked(FIRST)
    for node in IDS:
        nodes.ask(node, UNMASK, server.unmask_request())
    request = nodes.shared(SECOND).train_request(NODE)
    assert nodes.refuses(NODE, "train", nodes.model(request)) == "secagg_model_repeated"
    assert nodes.secrets(NODE) == set()


HEAD = b"TS\x01\x09" + FIRST.to_bytes()
BROKEN = {
    "cut off": told(FIRST, set()).encode()[:-1],
    "one byte more": told(FIRST, set()).encode() + b"\0",
    "a huge length": HEAD + struct.pack(">I", 2**32 - 1),
    "a length beyond the end": HEAD + struct.pack(">I", 9_999),
    "another message": Roster(FIRST, 3, 3, ()).encode(),
    "another version": b"TS\x02\x09" + told(FIRST, set()).encode()[4:],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_closes_the_attempt_that_it_names(nodes, name):
    nodes.masked(FIRST)
    content = RecordDict({"secagg": ConfigRecord({"bytes": BROKEN[name]})})
    assert nodes.refuses(NODE, UNMASK, content) == "secagg_malformed"
    assert nodes.secrets(NODE) == set()
    assert nodes.refuses(NODE, UNMASK, wrap(told(FIRST, set()))) == "secagg_attempt_closed"


@pytest.mark.parametrize("data", [b"", b"x", bytes(7), b"TS\x01\x09" + bytes(3)])
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
