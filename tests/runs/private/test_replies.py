"""A walk through every field of every reply of private runs.

Each is masked or encoded with its noise and charged, or does not depend on the data.
"""

from copy import deepcopy

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.common.serde import recorddict_to_proto

import app.client
import app.node.settings
from app.config.load import load_config
from app.simulation.in_process import InProcessGrid
from strategies.codec.private_codec import CLIP_BITS, PrivateCodec
from strategies.refusals import REFUSAL_CODE
from strategies.rounds.attempt import RunStoppedError
from strategies.rounds.records import to_arrays
from tasks.breast_cancer import BreastCancer
from tasks.records import LocalData
from tasks.training.local import get_parameters
from tests.kits.codec_kit import model_of
from tests.kits.private_kit import ADAPTIVE, MATRIX, Nodes, has_charged, run_config_of
from tests.kits.traced import Traced, kind_of
from workloads.values import NUM_EXAMPLES, TRAIN_LOSS, PrivateContribution

METRICS = "privacy.metrics.every=2 privacy.metrics.noise_multiplier=3"
# Parts of very different sizes.
SKEW = "task.partition.scheme=size_skew task.partition.alpha=0.5"


def extras(option: str) -> str:
    return f"{METRICS} {ADAPTIVE}" if option.startswith("client") else METRICS


@pytest.fixture
def encoded(monkeypatch):
    """Collect what is encoded, before any mask: (contribution, vector, scalars, codec)."""
    found = []
    encode = PrivateCodec.encode

    def noted(self, contribution, *rest):
        vector, scalars = encode(self, contribution, *rest)
        found.append((contribution, vector.copy(), scalars.copy(), self))
        return vector, scalars

    monkeypatch.setattr(PrivateCodec, "encode", noted)
    return found


@pytest.fixture
def one_is_empty(monkeypatch):
    """Let node 0 have no record at all."""
    load = BreastCancer.load
    nothing = np.zeros(0, np.intp)

    def load_or_nothing(self, node):
        data = load(self, node)
        if node.partition_id:
            return data
        return LocalData(data.train.take(nothing), data.test.take(nothing))

    monkeypatch.setattr(BreastCancer, "load", load_or_nothing)


def size_of(message: Message) -> int:
    """Return the bytes of a reply's content on the wire."""
    return recorddict_to_proto(message.content).ByteSize()


def check_scalars(traced, encoded, option: str) -> None:
    """Scalars are noise when they are due, and zero when they are not."""
    codec = encoded[0][3]
    names = list(codec.scalar_names)
    scores = names[CLIP_BITS in names :]
    assert scores[:3] == ["eval_num_examples", "eval_loss", "eval_accuracy"]
    assert scores[3:] == [f"eval_bin_{number}" for number in range(100)]
    assert (names[0] == CLIP_BITS) == option.startswith("client")
    assert not {NUM_EXAMPLES, TRAIN_LOSS} & set(names)
    rounds = [encoded[i : i + 4] for i in range(0, 12, 4)]
    assert len(encoded) == 12
    node_has_noise = not option.endswith("central")
    for number, replies in enumerate(rounds, start=1):
        columns = np.array([scalars for *_, scalars, _ in replies], np.uint64).view(np.int64)
        metrics = columns[:, -len(scores) :]
        if number == 1:
            assert not metrics.any()
        else:
            # A node without a record sends as much noise as any other, unless the server adds
            # it: then it sends zeros, to the server that is trusted.
            assert metrics.any(axis=1).sum() == (4 if node_has_noise else 3)
            # The noise is so fine that none of it is exactly 0.
            assert metrics.all() or not node_has_noise
        if CLIP_BITS in names:
            assert columns[:, 0].all() == (number < 3)
        for contribution, vector, *_ in replies:
            assert bool(len(vector)) == (number < 3)
            assert isinstance(contribution, PrivateContribution)
    if node_has_noise:
        # Also the vector of the node without a record.
        assert all(vector.any() for _, vector, *_ in encoded[:8])
    assert traced.reports()[0]["metrics"] == {}


@pytest.mark.slow
@pytest.mark.parametrize(("option", "aggregation"), MATRIX)
@pytest.mark.usefixtures("one_is_empty")
def test_every_field_of_every_reply(tmp_path, encoded, option, aggregation):
    """Records, keys, types and sizes: the same for a node without a record as for any other."""
    free = f"{extras(option)} {SKEW}"
    traced = Traced(run_config_of(tmp_path, option, aggregation, free, num_rounds=2), 4)
    codec = encoded[0][3]
    for message, reply in traced.messages:
        kind = kind_of(message)
        assert reply is not None
        assert not reply.has_error()
        content = reply.content
        if aggregation == "secagg":
            assert [(n, list(r)) for n, r in content.items()] == [("secagg", ["bytes"])]
            assert isinstance(content, RecordDict)
            continue
        assert kind in ("train", "evaluate")
        assert set(content) == {"update", "sums"}
        update, sums = content["update"]["update"].numpy(), content["sums"]["sums"].numpy()
        assert list(content["update"]) == ["update"]
        assert list(content["sums"]) == ["sums"]
        assert isinstance(content["update"], ArrayRecord)
        assert update.dtype == np.uint32
        assert sums.dtype == np.uint64
        length = codec.plan.padded_dimension if kind == "train" else 0
        assert (len(update), len(sums)) == (length, len(codec.scalar_names))
    # Four replies to each trip, one after the other, and no two of a trip differ in size but by
    # the secrets of pairs: the lower node of a pair sends it, so the first node sends three.
    trips = [traced.messages[i : i + 4] for i in range(0, len(traced.messages), 4)]
    for trip in trips:
        (kind,) = {kind_of(message) for message, _ in trip}
        sizes = [size_of(reply) for _, reply in trip]
        assert sorted(message.metadata.dst_node_id for message, _ in trip) == [
            message.metadata.dst_node_id for message, _ in trip
        ]
        assert len(set(np.diff(sizes))) == 1
        assert sizes[0] == sizes[-1] or kind in ("train.share", "train.unmask")
    check_scalars(traced, encoded, option)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["example_distributed", "example_local"])
def test_an_empty_sample_looks_like_any_other(tmp_path, encoded, option):
    """At a rate of 1e-12 nobody draws a record: the replies are as long, and as noisy."""
    free = "task.training.num_steps=1" if option == "example_local" else ""
    runs = []
    for rate in (1.0, 1e-12):
        folder = tmp_path / str(rate)
        folder.mkdir()
        run_config = run_config_of(folder, option, "secagg", free, num_rounds=1, rate=rate)
        runs.append(Traced(run_config, 4))
    sizes = [[(kind_of(m), size_of(r)) for m, r in run.messages] for run in runs]
    assert sizes[0] == sizes[1]
    assert all(vector.any() for _, vector, *_ in encoded)


def ask(run_config, kind="train", number=1, node=0, told=(), message_config=None):
    """Ask one simulated node for something."""
    config = load_config(run_config)
    arrays = to_arrays(get_parameters(model_of(config)))
    values = {"server-round": number} if message_config is None else message_config
    content = RecordDict({"arrays": arrays, "config": ConfigRecord(values | dict(told))})
    context = Context(
        run_id=1,
        node_id=7 + node,
        node_config={"partition-id": node, "num-partitions": 4},
        state=RecordDict(),
        run_config=dict(run_config),
    )
    return app.client.app(Message(content, dst_node_id=7 + node, message_type=kind), context)


@pytest.fixture
def simulated(monkeypatch):
    monkeypatch.setattr(app.node.settings, "_simulated_in_process", True)
    InProcessGrid({})


@pytest.mark.parametrize("option", ["example_local", "example_central", "client_local"])
@pytest.mark.usefixtures("simulated")
def test_without_metrics_an_evaluation_hears_nothing(tmp_path, option):
    nodes = Nodes(tmp_path, 4)
    run_config = run_config_of(
        tmp_path, option, "plain", SKEW, simulation_nodes=str(nodes.file)
    )
    replies = [ask(run_config, "evaluate", node=node) for node in range(4)]
    for reply in replies:
        assert reply.content["update"]["update"].numpy().size == 0
        assert reply.content["sums"]["sums"].numpy().size == 0
    assert len({size_of(reply) for reply in replies}) == 1
    # And there is nothing to pay for.
    assert not any(has_charged(nodes.state(node)) for node in range(4))


@pytest.mark.usefixtures("simulated")
def test_an_evaluation_gets_no_clip_bit(tmp_path):
    free = f"{SKEW} {ADAPTIVE}"
    run_config = run_config_of(tmp_path, "client_local", "plain", free)
    told = {"clip-norm": 0.5}
    for node in range(3):
        sums = ask(run_config, "evaluate", node=node, told=told).content["sums"]["sums"]
        assert sums.numpy().tolist() == [0]


def test_an_evaluation_under_masks_hears_nothing_either(tmp_path, encoded):
    """The server asks for an evaluation where a round was due: it gets masked emptiness."""
    nodes = Nodes(tmp_path, 4)

    def fault(message, real):
        if kind_of(message) != "train":
            return real(message)
        changed = Message.__new__(Message)
        changed.__dict__.update(message.__dict__)
        changed.__dict__["_metadata"] = deepcopy(message.metadata)
        changed.metadata.__dict__["_message_type"] = "evaluate"
        return real(changed)

    run_config = run_config_of(
        tmp_path,
        "client_distributed",
        "secagg",
        "rounds.max_attempts=1",
        simulation_nodes=str(nodes.file),
        num_rounds=1,
    )
    # What the server, whose own code asked for training, makes of that is not at issue.
    with pytest.raises((RunStoppedError, ValueError)):
        Traced(run_config, 4, fault)
    assert len(encoded) == 4
    for contribution, vector, scalars, _ in encoded:
        assert contribution == PrivateContribution(None)
        assert (len(vector), len(scalars)) == (0, 0)
    assert not any(has_charged(nodes.state(node)) for node in range(4))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, "malformed_request"),
        ({"clip-norm": 0.0}, "malformed_request"),
        ({"clip-norm": -1.0}, "malformed_request"),
        ({"clip-norm": float("nan")}, "malformed_request"),
        ({"clip-norm": float("inf")}, "malformed_request"),
        ({"clip-norm": 1}, "malformed_request"),
        ({"clip-norm": "0.5"}, "malformed_request"),
        ({"clip-norm": 0.5, "server-round": -1}, "malformed_request"),
        ({"clip-norm": 0.5, "server-round": "1"}, "malformed_request"),
        ({"clip-norm": 0.5, "server-round": 1.0}, "malformed_request"),
    ],
)
@pytest.mark.usefixtures("simulated")
def test_a_refusal_carries_its_reason_alone(tmp_path, told, reason):
    run_config = run_config_of(tmp_path, "client_local", "plain", ADAPTIVE)
    reply = ask(run_config, told=told)
    assert reply.error == Error(REFUSAL_CODE, reason)
    assert not reply.has_content()


@pytest.mark.parametrize("norm", [5e-324, 9e-13, 1.1e12, 1.7e308])
@pytest.mark.usefixtures("simulated")
def test_a_clip_norm_that_floats_would_not_keep_to_is_refused(tmp_path, norm):
    run_config = run_config_of(tmp_path, "client_local", "plain", ADAPTIVE)
    reply = ask(run_config, told={"clip-norm": norm})
    assert reply.error.reason == "malformed_request"


@pytest.mark.parametrize("norm", [1e-12, 1e12])
@pytest.mark.usefixtures("simulated")
def test_an_absurd_clip_norm_still_gives_a_bounded_noisy_reply(tmp_path, norm):
    """The server chooses it: the integers must not tell more for any value."""
    run_config = run_config_of(tmp_path, "client_local", "plain", ADAPTIVE)
    reply = ask(run_config, told={"clip-norm": norm})
    assert reply.content["update"]["update"].numpy().any()
