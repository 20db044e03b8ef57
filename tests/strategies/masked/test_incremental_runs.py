"""Whole runs in which nodes are sent what has changed of the model."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict

import app.round.request as request_module
from app.config.load import ConfigError, load_config
from strategies.rounds.attempt import RunStoppedError
from tests.kits.secure_kit import FAST, assert_same, secure_run
from tests.kits.traced import Traced, kind_of

INCREMENTAL = "rounds.synchronisation=incremental"


@pytest.fixture
def run_config(tmp_path):
    return secure_run(tmp_path) | {"task": "digits"}


def sent(traced: Traced) -> list[str]:
    """Return what each request about a model brought."""
    return [
        "delta" if "delta" in message.content else "arrays"
        for message, _ in traced.messages
        if kind_of(message) in ("train", "evaluate")
    ]


def test_exact_deltas_give_the_model_of_whole_ones_with_fewer_bytes(run_config):
    whole = Traced(run_config, 3)
    given = run_config | {"output-dir": run_config["output-dir"] + "2"}
    given["overrides"] = f"{FAST} {INCREMENTAL}"
    found = Traced(given, 3)
    assert_same(whole.outcome.arrays, found.outcome.arrays)
    assert sent(whole) == ["arrays"] * 12
    assert sent(found) == ["arrays"] * 3 + ["delta"] * 9
    for before, after in zip(whole.reports()[1:], found.reports()[1:], strict=True):
        assert after["bytes_down"] < 0.98 * before["bytes_down"]
    assert found.reports()[0]["bytes_down"] == whole.reports()[0]["bytes_down"]


def test_eight_bits_a_number_are_a_byte_and_all_go_on_from_the_same_model(run_config):
    run_config["overrides"] = f"{FAST} {INCREMENTAL} rounds.delta=int8"
    found = Traced(run_config, 3)
    assert sent(found) == ["arrays"] * 3 + ["delta"] * 9
    plan = found.plan()
    deltas = [m.content["delta"] for m, _ in found.messages if "delta" in m.content]
    numbers = sum(array.numpy().size for array in deltas[0].values())
    assert numbers == plan.num_parameters
    assert plan.bytes_down_first == 4 * plan.num_parameters
    assert numbers <= plan.bytes_down <= numbers + 200


def test_a_node_that_lost_what_it_held_is_sent_everything_again(run_config):
    run_config["overrides"] = f"{FAST} {INCREMENTAL} rounds.min_replies=3"
    run_config["overrides"] += " aggregation.min_survivors=3"
    # Whoever misses the unmask trip of a round has no keys for the next one.
    run_config["num-rounds"] = 4
    lost = []

    def fault(message, real):
        if "delta" in message.content and not lost:
            lost.append(message.metadata.dst_node_id)
            content = RecordDict(dict(message.content))
            config = content["config"]
            content["config"] = type(config)({**config, "held": bytes(32)})
            message.__dict__["_content"] = content
        return real(message)

    found = Traced(run_config, 4, fault)
    failures = [line["failures"] for line in found.reports()]
    assert [list(one.values()) for one in failures if one] == [["state_not_held"]]
    after = [
        "delta" if "delta" in message.content else "arrays"
        for message, _ in found.messages
        if kind_of(message) == "train" and message.metadata.dst_node_id == lost[0]
    ]
    assert after == ["arrays", "delta", "arrays"]


def test_a_delta_in_a_run_without_them_is_refused(run_config):
    given = run_config | {"overrides": f"{FAST} {INCREMENTAL}"}
    content = next(m.content for m, _ in Traced(given, 3).messages if "delta" in m.content)

    def fault(message, real):
        if kind_of(message) == "train":
            own = {"secagg": message.content["secagg"]}
            message.__dict__["_content"] = RecordDict({**content, **own})
        return real(message)

    run_config["output-dir"] += "2"
    with pytest.raises(RunStoppedError, match="malformed_request"):
        Traced(run_config, 3, fault)


@pytest.mark.parametrize("name", ["more", "file"])
def test_a_state_that_is_no_model_of_the_run_is_not_kept(run_config, monkeypatch, name):
    kept = []
    monkeypatch.setattr(request_module, "hold", lambda _, state, __: kept.append(state))
    run_config["overrides"] = f"{FAST} {INCREMENTAL} rounds.max_attempts=1"

    def fault(message, real):
        if kind_of(message) == "train":
            content = RecordDict(dict(message.content))
            more = {name: Array(np.zeros(3, np.float32))}
            content["arrays"] = ArrayRecord({**content["arrays"], **more})
            message.__dict__["_content"] = content
        return real(message)

    with pytest.raises(RunStoppedError, match="model_refused"):
        Traced(run_config, 3, fault)
    assert not kept


def test_sums_in_the_clear_have_deltas_too(run_config):
    run_config |= {"aggregation": "plain", "overrides": f"{FAST} {INCREMENTAL}"}
    assert sent(Traced(run_config, 2))[2:] == ["delta"] * 6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overrides": "rounds.delta=int8"}, "take incremental"),
        ({"algorithm": "glm", "task": "breast_cancer", "overrides": INCREMENTAL}, "no effect"),
        ({"overrides": "rounds.synchronisation=some"}, "some"),
    ],
)
def test_what_has_no_effect_or_no_sense_is_refused(run_config, changes, says):
    with pytest.raises(ConfigError) as info:
        load_config(run_config | changes)
    assert says in str(info.value)
