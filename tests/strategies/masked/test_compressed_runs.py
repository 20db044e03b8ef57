"""Whole masked runs of compressed updates, and servers that say senseless ranges."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from app.config.load import ConfigError, load_config
from app.simulation.in_process import simulate
from strategies.codec.codec import add_up
from strategies.codec.compressed_codec import CompressedCodec
from strategies.codec.stages import SumContext
from strategies.masked.messages import unwrap
from strategies.rounds.attempt import RunStoppedError
from strategies.secagg.messages import MaskedInput
from tests.kits.secure_kit import FAST, secure_run
from tests.kits.traced import Traced, kind_of, with_faults

FEW = f"{FAST} aggregation.codec.value_bits=4"
PLAIN = "aggregation.through_codec=true aggregation.codec.value_bits=4"


@pytest.fixture
def run_config(tmp_path):
    return secure_run(tmp_path) | {"overrides": FEW}


def test_the_opened_sums_are_those_of_what_was_encoded_bit_for_bit(run_config, monkeypatch):
    run_config["overrides"] += " aggregation.codec.keep_fraction=0.7"
    sent, opened = [], []
    encode, decode = CompressedCodec.encode, CompressedCodec.decode

    def note_sent(self, contribution, context):
        found = encode(self, contribution, context)
        sent.append((self, context, tuple(part.copy() for part in found)))
        return found

    def note_opened(self, update, scalars, context, *, has_metrics=True):
        opened.append((self, context, update.copy(), scalars.copy()))
        return decode(self, update, scalars, context, has_metrics=has_metrics)

    monkeypatch.setattr(CompressedCodec, "encode", note_sent)
    monkeypatch.setattr(CompressedCodec, "decode", note_opened)
    simulate(run_config, 4)
    monkeypatch.undo()
    assert len(opened) == 4  # three rounds and the last scores
    assert [coded.is_whole for coded, *_ in opened] == [True, False, False, False]
    for coded, context, update, scalars in opened:
        given = [c for n, k, c in sent if k.seed == context.seed and n == coded]
        assert len(given) == 4
        shared = SumContext(seed=context.seed, num_contributions=4, num_survivors=4)
        clear = add_up(coded, given, shared, has_metrics=True)
        found = coded.decode(update, scalars, shared)
        np.testing.assert_array_equal(found.total, clear.total)
        assert found.sums == clear.sums


@pytest.mark.parametrize(
    ("free", "bits", "fraction"),
    [("value_bits=2", 4, 1.0), ("value_bits=3 aggregation.codec.keep_fraction=0.5", 5, 0.5)],
)
def test_bytes_are_those_of_the_plan(run_config, free, bits, fraction):
    run_config["overrides"] = f"{FAST} aggregation.codec.{free} rounds.min_clients=4"
    traced = Traced(run_config, 4)
    plan, lines = traced.plan(), traced.reports()
    length = plan.num_parameters
    scalars = plan.bytes_up_first - 4 * length
    assert plan.bytes_up - scalars == -(-int(np.ceil(fraction * length)) * bits // 8)
    masked = [
        MaskedInput.decode(unwrap(reply.content))
        for message, reply in traced.messages
        if kind_of(message) == "train"
    ]
    # The protocol counts survivors with a number of its own.
    sizes = [len(one.update) + len(one.scalars) - 8 for one in masked]
    assert sizes == [plan.bytes_up_first] * 4 + [plan.bytes_up] * 8
    assert lines[0]["bytes_up"] - lines[1]["bytes_up"] > 4 * length


@pytest.mark.slow
def test_a_run_learns_as_well_as_one_in_full(tmp_path):
    given = secure_run(tmp_path) | {"task": "digits", "num-rounds": 6, "overrides": ""}
    few = "aggregation.codec.value_bits=4"
    found = simulate({**given, "overrides": few}, 4)
    assert found.metrics["accuracy"] > 0.93


def test_plain_goes_through_the_same_codec(run_config):
    run_config |= {"aggregation": "plain", "task": "digits"}
    run_config["overrides"] += " aggregation.through_codec=true"
    found = simulate(run_config, 3)
    assert np.isfinite(found.metrics["loss"])


def test_a_resumed_run_goes_on_in_few_bits(run_config):
    first = Traced(run_config | {"num-rounds": 2}, 3)
    folder = str(first.folder)
    rest = {k: v for k, v in run_config.items() if k != "output-dir"}
    second = Traced(rest | {"resume-from": folder, "num-rounds": 3, "output-dir": ""}, 3)
    asked = [m for m, _ in second.messages if kind_of(m) == "train"]
    assert len(asked) == 3
    assert all("ranges" in m.content["config"] for m in asked)


def test_a_node_adds_what_it_left_out_once_also_where_an_attempt_is_repeated(
    run_config, monkeypatch
):
    run_config["overrides"] += " aggregation.codec.keep_fraction=0.5 rounds.min_replies=3"
    run_config["overrides"] += " aggregation.codec.error_feedback=true"
    seen, silent = [], []
    encode = CompressedCodec.encode_with

    def note(self, contribution, left, context):
        found, after = encode(self, contribution, left, context)
        seen.append((context.seed, left.copy(), after.copy()))
        return found, after

    def fault(message, real):
        reply = real(message)
        # The second round's first attempt fails after all have encoded.
        asked = message.content.config_records.get("config", {}).get("server-round")
        if kind_of(message) == "train" and asked == 2 and len(silent) < 3:
            silent.append(message.metadata.dst_node_id)
            return None
        return reply

    monkeypatch.setattr(CompressedCodec, "encode_with", note)
    Traced(run_config, 3, fault)
    monkeypatch.undo()
    assert len(seen) == 3 * 4
    rounds = [seen[i : i + 3] for i in range(0, 12, 3)]
    for (_, first, _), (_, failed, _), (_, again, after), (_, third, _) in zip(
        *rounds, strict=True
    ):
        assert not first.any()
        assert failed.any()
        np.testing.assert_array_equal(again, failed)
        np.testing.assert_array_equal(third, after.astype(np.float32))


@pytest.mark.parametrize(
    "ranges",
    [[float("nan"), 1.0], [0.0, 1.0], [1.0], [1.0] * 9, 1.0, "1", [1, 1], [1e300, 1.0], b"12"],
)
def test_a_server_that_says_senseless_ranges_hears_nothing(run_config, ranges):
    refused = []

    def fault(message, real):
        if kind_of(message) != "train":
            return real(message)
        config = ConfigRecord({**message.content["config"], "ranges": ranges})
        reply = real(_with(message, {**message.content, "config": config}))
        refused.append(reply.has_error())
        return reply

    with pytest.raises(RunStoppedError):
        simulate(run_config, 3, with_faults(run_config, 3, fault))
    assert refused
    assert all(refused)


def test_a_server_that_says_one_node_other_ranges_hears_nothing(run_config):
    def fault(message, real):
        if kind_of(message) == "train" and message.metadata.dst_node_id == 1001:
            config = ConfigRecord({**message.content["config"], "ranges": [1.0, 1.0]})
            message = _with(message, {**message.content, "config": config})
        return real(message)

    with pytest.raises(RunStoppedError):
        simulate(run_config, 3, with_faults(run_config, 3, fault))


def test_ranges_are_refused_where_nothing_is_rounded_at_random(run_config):
    run_config["overrides"] = FAST

    def fault(message, real):
        if kind_of(message) == "train":
            config = ConfigRecord({**message.content["config"], "ranges": [1.0, 1.0]})
            message = _with(message, {**message.content, "config": config})
        return real(message)

    with pytest.raises(RunStoppedError):
        simulate(run_config, 3, with_faults(run_config, 3, fault))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overrides": "aggregation.codec.value_bits=1"}, "value_bits=1: must be from 2 to 8"),
        ({"overrides": "aggregation.codec.value_bits=9"}, "value_bits=9: must be from 2 to 8"),
        ({"overrides": "aggregation.codec.value_bits=-2"}, "value_bits=-2"),
        ({"overrides": "aggregation.codec.keep_fraction=0"}, "keep_fraction=0"),
        ({"overrides": "aggregation.codec.keep_fraction=1.1"}, "keep_fraction=1.1"),
        ({"overrides": "aggregation.codec.keep_fraction=nan"}, "keep_fraction"),
        (
            {"aggregation": "plain", "overrides": "aggregation.codec.value_bits=4"},
            "through_codec=true",
        ),
        ({"algorithm": "glm", "overrides": "aggregation.codec.value_bits=4"}, "no effect"),
        (
            {"overrides": "aggregation.codec.error_feedback=true"},
            "give value_bits or keep_fraction",
        ),
        (
            {
                "aggregation": "plain",
                "overrides": f"{PLAIN} aggregation.codec.error_feedback=true",
            },
            "the server encodes",
        ),
        (
            {"algorithm": "qfedavg", "overrides": "aggregation.codec.keep_fraction=0.5"},
            "fedavg",
        ),
    ],
)
def test_what_has_no_effect_or_no_sense_is_refused(run_config, changes, says):
    with pytest.raises(ConfigError) as info:
        load_config(run_config | changes)
    assert says in str(info.value)


def _with(message: Message, content: dict) -> Message:
    changed = Message.__new__(Message)
    changed.__dict__.update(message.__dict__)
    changed.__dict__["_content"] = RecordDict(content)
    return changed
